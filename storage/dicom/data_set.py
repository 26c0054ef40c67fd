r"""A bare data set, as messages carry it, <-> the DICOM JSON Model: identifiers, worklist items, event information.

Facts this module keeps:

* There is no preamble and no file meta information: the presentation context says how the data set is encoded
  (PS3.8 Annex D, PS3.5 Annex A).
* The parser and the readers of values are those of files (`element_parser`, `dicomjson`), the writers of values those
  of composed files (`value_field`). Only what a message needs is here: every encoding, every character set.
* Sequences and items are written with defined length; elements ascend; group lengths and group 0002 do not exist.
* Text is written in the character set asked for when that has all of it, else all of it in ISO_IR 192 (G-076).
"""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from storage.dicom import dicomjson
from storage.dicom.dicomjson import SPECIFIC_CHARACTER_SET, key_of
from storage.dicom.element_parser import ElementParser
from storage.dicom.elements import Dataset, Encoding, Header, Limits
from storage.dicom.json_attribute import is_written, shown, stated_value, tag_of_key
from storage.dicom.part10 import encoding_of
from storage.dicom.source import BytesSource, Source, inflated
from storage.dicom.text_encoder import UTF_8, TextEncoder, Unrepresentable, text_encoder
from storage.dicom.value_field import inline_binary, value_field
from storage.dicom.vr import SHORT_VR, WORD_BYTES, swapped
from storage.errors import InvalidDicom, LimitExceeded

CHARACTER_SET: Final = key_of(SPECIFIC_CHARACTER_SET)
MAX_DEPTH: Final = Limits().max_depth
MAX_SHORT: Final = 0xFFFE
INLINE: Final = 1 << 40


class Bounds(NamedTuple):
    """What a data set may not exceed; a value of two bytes costs a hundred times as much once it is one of our objects.

    Attributes
    ----------
    length : int
        Bytes that a deflated data set inflates to: as many as its sender may send undeflated.
    elements : int
        Elements and items at all levels.
    values : int
        Values of all elements together; 200 000 UIDs are asked for at once by some.
    """

    length: int = 16 << 20
    elements: int = 200_000
    values: int = 250_000


MESSAGE: Final = Bounds()


class Decoded(NamedTuple):
    """A data set in the DICOM JSON Model, and the Specific Character Set it was written in ("" when it stated none)."""

    dataset: dict[str, Any]
    character_set: str


def decode(data: bytes, transfer_syntax_uid: str, bounds: Bounds = MESSAGE) -> dict[str, Any]:
    """Return a bare data set as a DICOM JSON object; all its values are in it, none a BulkDataURI.

    It takes seconds when the bounds are met: not on an event loop, unless the data set is small and not deflated.

    Raises
    ------
    InvalidDicom
        It ends in the middle of an element, or cannot be inflated.
    LimitExceeded
        It has too many elements or values, too deep sequences, or inflates to too much.

    Standard
    --------
    PS3.5 7 and Annex A; PS3.18 F.2.
    """
    return read(data, transfer_syntax_uid, bounds).dataset


def read(data: bytes, transfer_syntax_uid: str, bounds: Bounds = MESSAGE) -> Decoded:
    """Return what `decode` does, and the character set of the data set, for an answer in the same."""
    encoding = encoding_of(transfer_syntax_uid)
    source: Source = BytesSource(data)
    if encoding.deflated and data:
        source, complete = inflated(source, 0, bounds.length)
        if not complete:
            raise InvalidDicom("The deflated data set is cut short.")
    limits = Limits(max_elements=bounds.elements)
    parser = ElementParser(source, limits, source.length, little_endian=encoding.little_endian)
    dataset, position = parser.data_set(0, source.length, explicit=encoding.explicit_vr)
    if parser.overran or position != source.length:
        raise InvalidDicom("The data set ends in the middle of an element, or is not in its transfer syntax.")
    if _number_of_values(dataset) > bounds.values:
        raise LimitExceeded(f"The data set has more than {bounds.values} values.")
    header = Header({}, dataset, transfer_syntax_uid, encoding, False, 0, source.length)
    encoded = dicomjson.encode(header, bulk_threshold=INLINE)
    for path, (offset, length, vr, *_) in encoded.bulk.items():
        raw = source.read(offset, length)
        _put(encoded.dataset, path, vr, raw if encoding.little_endian else swapped(vr, raw))
    stated = dataset.get(SPECIFIC_CHARACTER_SET)
    terms = stated.value if stated else None
    return Decoded(encoded.dataset, terms.decode("latin-1").strip(" \0") if isinstance(terms, bytes) else "")


def _number_of_values(dataset: Dataset) -> int:
    """Count the values of all levels from their bytes, before anything is made of them."""
    number = 0
    for element in dataset.values():
        if isinstance(element.value, list):
            number += sum(map(_number_of_values, element.value))
        elif not element.value or element.vr in dicomjson.BINARY:  # one string, however long
            number += 1
        elif element.vr in WORD_BYTES:
            number += len(element.value) // WORD_BYTES[element.vr]
        else:
            number += element.value.count(b"\\") + 1
    return number


def _put(dataset: dict[str, Any], path: str, vr: str, raw: bytes) -> None:
    """Give a value that has no other form in JSON (not a number, infinite) as its bytes."""
    *steps, last = path.split("/")
    for key, number in zip(steps[::2], steps[1::2], strict=True):
        dataset = dataset[key]["Value"][int(number) - 1]
    dataset[last] = {"vr": vr, "InlineBinary": base64.b64encode(raw).decode("ascii")}


def encode(dataset: Mapping[str, Any], transfer_syntax_uid: str, *, character_set: str = "") -> bytes:
    """Return a DICOM JSON object as a bare data set.

    Parameters
    ----------
    dataset : mapping of str to Attribute
        Values in the object itself, none as BulkDataURI.
    transfer_syntax_uid : str
        Of the presentation context; not an encapsulated one.
    character_set : str
        The value of (0008,0005) that text beyond ASCII is wanted in; ISO_IR 192 is taken when it has not all of the
        text, or is none. (0008,0005) is written when there is such text, or when the object has that attribute.

    Raises
    ------
    InvalidDicom
        The object breaks the DICOM JSON Model or a value is not of its VR; the message names the attribute.
    LimitExceeded
        Sequences are nested too deeply.

    Standard
    --------
    PS3.5 7 and Annex A, 6.1.2; PS3.3 C.12.1.1.2.
    """
    encoding = encoding_of(transfer_syntax_uid)
    try:
        raw = _encoded(dataset, encoding, text_encoder(character_set) if character_set else UTF_8, character_set)
    except Unrepresentable:
        raw = _encoded(dataset, encoding, UTF_8, character_set)
    if not encoding.deflated:
        return raw
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    raw = deflater.compress(raw) + deflater.flush()
    return raw + bytes(len(raw) & 1)


def _encoded(dataset: Mapping[str, Any], encoding: Encoding, characters: TextEncoder, asked_for: str) -> bytes:
    writer = _Writer(encoding, characters)
    elements = writer.elements(dataset, 0)
    stated = dataset.get(CHARACTER_SET)
    if writer.beyond_ascii or (stated is not None and asked_for):
        name = characters.specific_character_set if writer.beyond_ascii else asked_for
        stated = {"vr": "CS", "Value": name.split("\\")}
    if stated is not None:
        place = sum(1 for key in dataset if key < CHARACTER_SET)
        elements.insert(place, writer.element(CHARACTER_SET, stated, 0))
    return b"".join(elements)


class _Writer:
    """Writes elements in one encoding and one character set; sequences depth first."""

    def __init__(self, encoding: Encoding, characters: TextEncoder) -> None:
        self.beyond_ascii = False
        self._explicit = encoding.explicit_vr
        self._little_endian = encoding.little_endian
        self._encode = characters.encode
        self._item = struct.Struct("<HHL" if encoding.little_endian else ">HHL").pack

    def elements(self, dataset: Mapping[str, Any], depth: int) -> list[bytes]:
        """Return the elements of a data set but (0008,0005), one piece each, an empty one for what is not written."""
        return [
            self.element(key, dataset[key], depth) for key in sorted(dataset, key=str.upper) if key != CHARACTER_SET
        ]

    def element(self, key: str, attribute: Mapping[str, Any], depth: int) -> bytes:
        """Return one element."""
        try:
            vr, form, value = stated_value(key, attribute)
            if vr == "SQ":
                raw = self._sequence(value, depth)
            elif form == "Value":
                raw = value_field(vr, value, self._text) if value else b""
            elif form == "InlineBinary":
                raw = inline_binary(value, vr)
            else:
                raise ValueError("the data set of a message has no bulk data elsewhere")
        except ValueError as error:
            raise InvalidDicom(f"{shown(key)}: {error}") from None
        if not self._little_endian:
            raw = swapped(vr, raw)
        written, head, pack, longest = _head(key, vr, self._explicit, self._little_endian)
        if len(raw) > longest:  # what a 16-bit length cannot say is UN (PS3.5 6.2.2)
            written, head, pack, _ = _head(key, "UN", self._explicit, self._little_endian)
        return head + pack(len(raw)) + raw if written else b""

    def _text(self, vr: str, text: str) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        self.beyond_ascii = True
        return self._encode(vr, text)

    def _sequence(self, items: list[Any], depth: int) -> bytes:
        if depth >= MAX_DEPTH:
            raise LimitExceeded(f"sequences are nested more than {MAX_DEPTH} levels deep")
        pieces: list[bytes] = []
        for item in items:
            if not isinstance(item, Mapping | None):
                raise ValueError("an item must be a JSON object (PS3.18 F.2.2)")
            content = b"".join(self.elements(item or {}, depth + 1))
            pieces += (self._item(0xFFFE, 0xE000, len(content)), content)
        return b"".join(pieces)


@lru_cache(maxsize=8192)
def _head(key: str, vr: str, explicit: bool, little_endian: bool) -> tuple[bool, bytes, Callable[[int], bytes], int]:
    """Return whether an element is written, what stands before its length, how that is packed, and the longest."""
    tag = tag_of_key(key)
    order = "<" if little_endian else ">"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    wide = struct.Struct(order + "L").pack
    if not explicit:
        return is_written(tag), head, wide, 0xFFFFFFFE
    code = vr.encode("ascii")
    if code in SHORT_VR:
        return is_written(tag), head + code, struct.Struct(order + "H").pack, MAX_SHORT
    return is_written(tag), head + code + b"\0\0", wide, 0xFFFFFFFE
