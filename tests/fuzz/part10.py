"""Part 10 files, changed: stored by STOW-RS, and what was stored read in every form."""

import random
from collections.abc import Callable

from tests.builders import BIG_ENDIAN, DEFLATED, IMPLICIT_LE, big_sequence, ct_slice, encapsulated, multi_frame
from tests.fuzz.mutation import mutated
from tests.fuzz.reading import stored_and_read
from tests.fuzz.target import Target
from tests.fuzz.uids import file, image, uid, uids

Make = Callable[[random.Random], bytes]

PRIVATE = {0x00090010: ("LO", "HOUSE"), 0x00091001: ("UN", b"\1\2\3\4"), 0x00091002: ("SQ", [])}
BASES: tuple[Make, ...] = (
    image,
    lambda chance: ct_slice(uid(chance), uid(chance), uid(chance), rows=8, columns=8, transfer_syntax=IMPLICIT_LE),
    lambda chance: ct_slice(uid(chance), uid(chance), uid(chance), rows=8, columns=8, transfer_syntax=BIG_ENDIAN),
    lambda chance: ct_slice(uid(chance), uid(chance), uid(chance), rows=8, columns=8, transfer_syntax=DEFLATED),
    lambda chance: multi_frame(3, rows=4, columns=4, **uids(chance)),
    lambda chance: multi_frame(9, rows=5, columns=5, bits=1, **uids(chance)),
    lambda chance: encapsulated(**uids(chance)),
    lambda chance: encapsulated(offset_table="extended", **uids(chance)),
    lambda chance: big_sequence(4, depth=5, **uids(chance)),
    lambda chance: file(chance, elements=PRIVATE),
    lambda chance: file(chance, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientComments="x" * 300),
    lambda chance: file(chance, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", ContentSequence=_report()),
)
PREAMBLE = 158
"""Bytes before the first element of the file meta information that says something of the instance."""
WHOLE = 2000
"""Bytes in which most changes are: file meta information and data set."""


def make(chance: random.Random) -> bytes:
    """Make a file that differs from a valid one."""
    data = chance.choice(BASES)(chance)
    before = PREAMBLE if chance.random() < 0.9 else 0
    return data[:before] + mutated(chance, data[before:], head=WHOLE)


def send(target: Target, data: bytes) -> str:
    """Store it, read it."""
    return stored_and_read(target, "application/dicom", data)


def _report() -> list[dict[str, object]]:
    code = {"CodeValue": "113691", "CodingSchemeDesignator": "DCM", "CodeMeaning": "IEC Head"}
    text = {"ValueType": "TEXT", "RelationshipType": "CONTAINS", "ConceptNameCodeSequence": [code], "TextValue": "x"}
    return [text, {"ValueType": "CONTAINER", "RelationshipType": "CONTAINS", "ContentSequence": [text]}]


PINNED: dict[str, Make] = {
    "an image": image,
    "no picture": lambda chance: image(chance, BitsStored=0, BitsAllocated=0),
    "a pixel wide, longer than JPEG and GIF": lambda chance: multi_frame(
        1, rows=65535, columns=1, bits=8, **uids(chance)
    ),
    "a hundred thousand frames that are not there": lambda chance: multi_frame(
        2, NumberOfFrames=100_000, **uids(chance)
    ),
    "a hundred thousand frames of a pixel": lambda chance: multi_frame(
        100_000, rows=1, columns=1, bits=8, **uids(chance)
    ),
    "65535 bits stored": lambda chance: image(chance, BitsStored=65535, HighBit=65534),
    "65535 bits allocated": lambda chance: image(chance, BitsStored=65535, BitsAllocated=65535),
    "an item of 4 GB in a fragment": lambda chance: encapsulated(**uids(chance))[:-300] + b"\xff" * 300,
}
