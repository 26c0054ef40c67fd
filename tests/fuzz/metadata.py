"""STOW of metadata, JSON and XML: documents changed in their values, their structure and their bytes."""

import gzip
import json
import random
import re
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from storage.dicom import dicomxml
from tests.fuzz.mutation import TEXTS, changed_value, mutated
from tests.fuzz.reading import stored_and_read
from tests.fuzz.target import Target
from tests.fuzz.uids import uid
from tests.fuzz.wire import MESSAGE, message

JSON, XML, BYTES = "application/dicom+json", "application/dicom+xml", "application/octet-stream"
CT = "1.2.840.10008.5.1.4.1.1.2"
_XML_VALUES = re.compile(rb'[">]([^"<>]*)["<]')
"""What is between the quotes of an attribute, and what an element says."""
ZIPPED = b"\x1f\x8b"


def data_set(chance: random.Random) -> dict[str, Any]:
    """Return the metadata of a small image of 4 x 4 pixels, with a value of every kind."""
    uids = {tag: {"vr": "UI", "Value": [uid(chance)]} for tag in ("0020000D", "0020000E", "00080018")}
    words = {"00280002": 1, "00280010": 4, "00280011": 4, "00280100": 8, "00280101": 8, "00280102": 7, "00280103": 0}
    code = {"00080100": {"vr": "SH", "Value": ["1"]}, "00080104": {"vr": "LO", "Value": ["x"]}}
    return (
        uids
        | {
            "00080016": {"vr": "UI", "Value": [CT]},
            "00080020": {"vr": "DA", "Value": ["20240101"]},
            "00080030": {"vr": "TM", "Value": ["101010.5"]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
            "00081140": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": [CT]}}, {}]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "山田^花子"}]},
            "00101030": {"vr": "DS", "Value": [61.5]},
            "00189073": {"vr": "FD", "Value": [1.5]},
            "00200013": {"vr": "IS", "Value": [7]},
            "00209165": {"vr": "AT", "Value": ["00100010"]},
            "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
            "0040A730": {"vr": "SQ", "Value": [{"0040A043": {"vr": "SQ", "Value": [code]}}]},
            "00090010": {"vr": "LO", "Value": ["HOUSE"]},
            "00091001": {"vr": "UN", "InlineBinary": "AQID"},
            "00091002": {"vr": "UV", "Value": [2**40]},
            "7FE00010": {"vr": "OB", "BulkDataURI": "pixels"},
        }
        | {tag: {"vr": "US", "Value": [value]} for tag, value in words.items()}
    )


def make_json(chance: random.Random) -> bytes:
    """Make a message of JSON metadata and bulk data."""
    document: Any = [data_set(chance) for _ in range(chance.choice((1, 1, 2)))]
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        document = changed_value(chance, document)
    written = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    return _with_pixels(chance, JSON, written)


def make_xml(chance: random.Random) -> bytes:
    """Make a message of XML metadata and bulk data."""
    written = dicomxml.encode(data_set(chance))
    for _ in range(chance.choice((0, 1, 1, 2))):
        written = _renamed(chance, written)
    return _with_pixels(chance, XML, written)


def _renamed(chance: random.Random, document: bytes) -> bytes:
    """Change a value, a name or a tag of a document to another one of it, or to an odd one; or repeat elements."""
    places = list(_XML_VALUES.finditer(document))
    place = chance.choice(places)
    if chance.random() < 0.2:
        piece = document[place.start() : chance.choice(places).end()]
        return document[: place.start()] + piece * chance.choice((2, 20, 2000)) + document[place.end() :]
    odd = escape(chance.choice(TEXTS), {'"': "&quot;"}).encode("utf-8", "replace")
    value = chance.choice((chance.choice(places)[1], odd))
    return document[: place.start(1)] + value + document[place.end(1) :]


def _with_pixels(chance: random.Random, kind: str, written: bytes) -> bytes:
    if chance.random() < 0.3:
        written = mutated(chance, written, head=len(written))
    return message([(kind, "", written), (BYTES, "pixels", bytes(range(16)))])


def send_json(target: Target, data: bytes) -> str:
    """Store it, read it; a body of gzip says so."""
    return _send(target, JSON, data)


def send_xml(target: Target, data: bytes) -> str:
    """Store it, read it."""
    return _send(target, XML, data)


def _send(target: Target, kind: str, data: bytes) -> str:
    if data.startswith(ZIPPED):
        return stored_and_read(target, kind, data, {"Content-Encoding": "gzip"})
    return stored_and_read(target, MESSAGE.format(kind) if data.startswith(b"--b") else kind, data)


def _zipped(document: bytes) -> Callable[[random.Random], bytes]:
    return lambda _: gzip.compress(document, mtime=0)


PINNED_JSON: dict[str, Callable[[random.Random], bytes]] = {
    "as it should be": lambda chance: message(
        [(JSON, "", json.dumps([data_set(chance)]).encode()), (BYTES, "pixels", bytes(16))]
    ),
    "a million empty data sets in three kilobytes": _zipped(b"[" + b"{}," * 1_000_000 + b"{}]"),
    "a million items in a sequence": _zipped(b'[{"0040A730":{"vr":"SQ","Value":[' + b"{}," * 1_000_000 + b"{}]}}]"),
    "a million numbers": _zipped(b'[{"00280010":{"vr":"US","Value":[' + b"1," * 1_000_000 + b"1]}}]"),
    "a hundred thousand open brackets": lambda _: b"[" * 100_000,
    "a thousand data sets, each in the other": lambda _: (
        b'[{"0040A730":{"vr":"SQ","Value":' * 1000 + b"[]" + b"}}]" * 1000
    ),
}
PINNED_XML: dict[str, Callable[[random.Random], bytes]] = {
    "as it should be": lambda chance: message(
        [(XML, "", dicomxml.encode(data_set(chance))), (BYTES, "pixels", bytes(16))]
    ),
    "a million elements": _zipped(b"<NativeDicomModel>" + b"<DicomAttribute/>" * 1_000_000 + b"</NativeDicomModel>"),
    "a hundred thousand levels": lambda _: b"<a>" * 100_000,
    "entities of entities": lambda _: (
        b'<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><NativeDicomModel>&y;</NativeDicomModel>'
    ),
    "a file of ours": lambda _: (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><NativeDicomModel>&x;</NativeDicomModel>'
    ),
}
