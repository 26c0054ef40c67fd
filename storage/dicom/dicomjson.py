"""The DICOM JSON Model (PS3.18 Annex F) of a header; cannot fail, whatever the bytes of the values are.

What is kept here:

* F.2.2: keys of 8 uppercase hexadecimal digits in ascending order, no group 0002, no group lengths; `vr` and at most
  one of Value, InlineBinary and BulkDataURI.
* F.2.5: an empty attribute has its `vr` only; an empty value among several is null; an empty item is {}.
* F.2: all text is Unicode, and (0008,0005) then reads ISO_IR 192.
* F.2.3: IS and DS are numbers when a double holds them as written, else strings; 64 bit integers beyond 2^53 are
  strings.
* RFC 8259 has no NaN: FL and FD values that are not finite stay in the file and are given out as bulk data.
* No U+0000 anywhere, since PostgreSQL's jsonb cannot hold it.

A BulkDataURI is only a path (`7FE00010`, `30060039/1/30060040`): tags and, between them, the number of the item from 1.
URLs are made when the metadata is read.
"""

import base64
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson

from storage.dicom.charset import MANY_VALUES, ONE_VALUE, PERSON_NAMES, RESETS, UNDECLARED, CharacterSet, character_set
from storage.dicom.elements import Dataset, Element, Encoding, Header
from storage.dicom.vr import WORD_BYTES, big_endian_bytes, tag_of

ENCODING_VERSION: Final = 2
"""One more whenever the JSON of some file comes out differently than before: entity tags of metadata depend on it."""

Attribute = dict[str, Any]
"""The JSON object of one attribute: `vr` and at most one of `Value`, `InlineBinary`, `BulkDataURI`."""


BulkPlace = tuple[int, int, str, *tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A data set in the DICOM JSON Model.

    Attributes
    ----------
    dataset : dict of str to Attribute
        The JSON object, keys ascending.
    bulk : dict of str to (offset, length, vr) or (offset, length, vr, declared)
        Where the values given as BulkDataURI lie in the (inflated) file, in bytes, by their path; of text that is not
        in UTF-8 also the Specific Character Set it is in.
    warnings : list of str
        Paths of the attributes whose value could not be represented as it should, at most 100.
    """

    dataset: dict[str, Attribute]
    bulk: dict[str, BulkPlace]
    warnings: list[str]


SPECIFIC_CHARACTER_SET: Final = tag_of("SpecificCharacterSet")
UTF_8: Final[Attribute] = {"vr": "CS", "Value": ["ISO_IR 192"]}
BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
PIXEL_DATA: Final = frozenset(map(tag_of, ("PixelData", "FloatPixelData", "DoubleFloatPixelData")))
PALETTES: Final = tuple(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))
LUT_DATA: Final = frozenset(map(tag_of, ("LUTData", *PALETTES, *(f"Segmented{palette}" for palette in PALETTES))))
"""Viewers read these from InlineBinary only."""
MAX_INLINE_LUT: Final = 256 * 1024
INLINE_TEXT_FACTOR: Final = 16
"""How many times the threshold for binary values a value of another VR may have to be inline."""
MAX_WARNINGS: Final = 100
MAX_EXACT: Final = 2**53
MAX_DIGITS: Final = 15
PADDING: Final = " \0"
INTEGER: Final = re.compile(r"[+-]?[0-9]{1,100}")
DECIMAL: Final = re.compile(r"[+-]?(?:([0-9]+)(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]{1,4})?")
INTEGRAL: Final = re.compile(r"([+-]?[0-9]{1,20})\.0*")
NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")

_keys: dict[int, str] = {}


def key_of(tag: int) -> str:
    """Return the tag as a key of the JSON object: 8 uppercase hexadecimal digits."""
    key = _keys.get(tag)
    if key is None:
        key = f"{tag:08X}"
        if len(_keys) < 20_000:  # private tags of hostile files must not fill the memory
            _keys[tag] = key
    return key


def dumps(dataset: Any) -> bytes:
    """Return the JSON object as UTF-8 bytes (RFC 8259, without a byte order mark)."""
    return orjson.dumps(dataset)


def encode(header: Header, *, bulk_threshold: int = 4096, room: int = 0) -> Encoded:
    """Return the DICOM JSON Model of the data set of `header`; never raises because of a value.

    Parameters
    ----------
    header : Header
        As read from the file; values left in the file become BulkDataURI.
    bulk_threshold : int
        Bytes up to which binary values are InlineBinary. Other VRs have 16 times as much, lookup tables 256 KiB; Pixel
        Data of the top level is never inline.
    room : int
        Bytes that longer values of other VRs than the binary ones may have together and be inline all the same.

    Standard
    --------
    PS3.18 F.2.
    """
    walk = _Walk(header.encoding, bulk_threshold, room)
    dataset = _dataset(header.dataset, walk, UNDECLARED, "")
    key = key_of(SPECIFIC_CHARACTER_SET)
    if walk.beyond_ascii and key not in dataset:
        dataset = dict(sorted((dataset | {key: UTF_8.copy()}).items()))
    return Encoded(dataset, walk.bulk, walk.warnings)


@dataclass(slots=True)
class _Walk:
    """What is the same, or collected, over the whole data set."""

    encoding: Encoding
    bulk_threshold: int
    room: int
    order: str = "<"
    charset: CharacterSet = UNDECLARED  # of the data set or item being encoded
    odd: bool = False  # the value being encoded deserves a warning
    beyond_ascii: bool = False
    bulk: dict[str, BulkPlace] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.order = "<" if self.encoding.little_endian else ">"

    def takes(self, length: int) -> bool:
        """Whether there is room for a long value; it is taken then."""
        fits = length <= self.room
        self.room -= length if fits else 0
        return fits


class _NotInJsonError(Exception):
    """The value has no form in JSON."""


def _dataset(dataset: Dataset, walk: _Walk, charset: CharacterSet, prefix: str) -> dict[str, Attribute]:
    own = dataset.get(SPECIFIC_CHARACTER_SET)
    if own is not None and isinstance(own.value, bytes):
        charset = character_set(own.value)
    encoded: dict[str, Attribute] = {}
    for tag in sorted(dataset):
        if tag & 0xFFFF == 0 or tag >> 16 == 2:
            continue
        element = dataset[tag]
        if tag == SPECIFIC_CHARACTER_SET:
            encoded[key_of(tag)] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        elif isinstance(element.value, list):
            encoded[key_of(tag)] = _sequence(element, element.value, walk, charset, prefix)
        else:
            walk.charset = charset
            encoded[key_of(tag)] = _attribute(element, element.value, walk, prefix)
    return encoded


def _sequence(element: Element, items: list[Dataset], walk: _Walk, charset: CharacterSet, prefix: str) -> Attribute:
    if not items:
        return {"vr": "SQ"}
    path = prefix + key_of(element.tag)
    return {
        "vr": "SQ",
        "Value": [_dataset(item, walk, charset, f"{path}/{number}/") for number, item in enumerate(items, 1)],
    }


def _attribute(element: Element, raw: bytes | None, walk: _Walk, prefix: str) -> Attribute:
    tag, vr = element.tag, element.vr
    read = VALUES.get(vr)
    if read is None and vr not in BINARY:
        vr = "UN"
    if not raw:
        return {"vr": vr} if raw is not None or not element.length else _bulk(element, vr, walk, prefix)
    limit = walk.bulk_threshold if read is None else walk.bulk_threshold * INLINE_TEXT_FACTOR
    if len(raw) > limit or tag in PIXEL_DATA or element.encapsulated:
        lookup_table = tag in LUT_DATA and len(raw) <= MAX_INLINE_LUT
        pixels = element.encapsulated or (tag in PIXEL_DATA and not prefix)
        if pixels or (len(raw) > limit and not lookup_table and not (read and walk.takes(len(raw)))):
            return _bulk(element, vr, walk, prefix)
    walk.odd = False
    if read is None:
        attribute: Attribute = {"vr": vr, "InlineBinary": _base64(raw, vr, walk)}
    else:
        try:
            values = read(raw, walk)
            # a single empty value is an empty attribute
            attribute = {"vr": vr} if not values or values == [None] else {"vr": vr, "Value": values}
        except _NotInJsonError:
            walk.odd = True
            attribute = _bulk(element, vr, walk, prefix)
    if walk.odd and len(walk.warnings) < MAX_WARNINGS:
        walk.warnings.append(prefix + key_of(tag))
    return attribute


def _bulk(element: Element, vr: str, walk: _Walk, prefix: str) -> Attribute:
    path = prefix + key_of(element.tag)
    walk.bulk[path] = (element.offset, element.length, vr)
    if vr in RESETS:
        walk.beyond_ascii = True  # it may be, and then comes in UTF-8
        if walk.charset.codec != "utf_8":
            walk.bulk[path] += (walk.charset.declared,)
    return {"vr": vr, "BulkDataURI": path}


def _base64(raw: bytes, vr: str, walk: _Walk) -> str:
    size = WORD_BYTES.get(vr, 1)
    if size > 1:
        fits = len(raw) - len(raw) % size
        walk.odd = fits != len(raw)
        if big_endian_bytes(walk.encoding, vr) > 1:
            raw = np.frombuffer(raw, f"V{size}", count=fits // size).view(f">u{size}").byteswap().tobytes() + raw[fits:]
    return base64.b64encode(raw).decode("ascii")


# One reader per VR below: raw value field -> list of JSON values, None for an empty one.


def _decode(raw: bytes, walk: _Walk, resets: re.Pattern[bytes]) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    text = walk.charset.decode(raw, resets)
    if not text.isascii():
        walk.beyond_ascii = True
        if "\ufffd" in text:
            walk.odd = True
    return text


def _without_nul(text: str, walk: _Walk) -> str:
    walk.odd = walk.beyond_ascii = True
    return text.replace("\0", "\ufffd")


def _strings(raw: bytes, walk: _Walk) -> list[Any]:
    """AE AS CS DA DT LO SH TM UI: spaces on both sides mean nothing (PS3.5 Table 6.2-1)."""
    text = _decode(raw, walk, MANY_VALUES)
    if "\\" not in text:
        values: list[Any] = [text.strip(PADDING) or None]
    else:
        values = [value.strip(PADDING) or None for value in text.split("\\")]
    if "\0" in text:
        values = [_without_nul(value, walk) if value and "\0" in value else value for value in values]
    return values


def _unlimited_characters(raw: bytes, walk: _Walk) -> list[Any]:
    """UC: leading spaces are part of the value."""
    values = [value.rstrip(PADDING) or None for value in _decode(raw, walk, MANY_VALUES).split("\\")]
    return [_without_nul(value, walk) if value and "\0" in value else value for value in values]


def _text(raw: bytes, walk: _Walk) -> list[Any]:
    """LT ST UR UT: always one value, leading spaces are part of it (PS3.18 F.2.4)."""
    text = _decode(raw, walk, ONE_VALUE).rstrip(PADDING)
    return [(_without_nul(text, walk) if "\0" in text else text) or None]


def _person_names(raw: bytes, walk: _Walk) -> list[Any]:
    text = _decode(raw, walk, PERSON_NAMES)
    names: list[Any] = []
    for name in text.split("\\"):
        groups = [group.rstrip(PADDING) for group in name.split("=", 2)]
        if "\0" in name:
            groups = [_without_nul(group, walk) if "\0" in group else group for group in groups]
        names.append({key: group for key, group in zip(NAME_GROUPS, groups, strict=False) if group} or None)
    return names


def _integer_strings(raw: bytes, walk: _Walk) -> list[Any]:
    values: list[Any] = []
    for text in _strings(raw, walk):
        value = text if text is None else integer_string(text)
        walk.odd |= isinstance(value, str)
        values.append(value)
    return values


def _decimal_strings(raw: bytes, walk: _Walk) -> list[Any]:
    values: list[Any] = []
    for text in _strings(raw, walk):
        value = text if text is None else decimal_string(text)
        walk.odd |= isinstance(value, str) and DECIMAL.fullmatch(value) is None
        values.append(value)
    return values


def integer_string(text: str) -> int | str:
    """Return one value of IS as a number, or as the text it is when it is none or beyond 2^53.

    "2.0" is not an integer string (PS3.5 6.2), but it is written often enough, and means 2.
    """
    if INTEGER.fullmatch(text):
        value = int(text)
    elif integral := INTEGRAL.fullmatch(text):
        value = int(integral.group(1))
    else:
        return text
    return value if -MAX_EXACT <= value <= MAX_EXACT else text


def decimal_string(text: str) -> int | float | str:
    """Return one value of DS as a number, or as the text it is when it is none or has more than 15 digits."""
    parts = DECIMAL.fullmatch(text)
    if parts is None:
        return text
    if len(text) > MAX_DIGITS or parts.group(4):
        mantissa = text.lower().partition("e")[0].lstrip("+-").replace(".", "").lstrip("0")
        if len(mantissa.rstrip("0") if "." in text else mantissa) > MAX_DIGITS:
            return text
        value = float(text)
        return text if math.isinf(value) or (value == 0 and mantissa) else value
    return int(text) if parts.lastindex == 1 else float(text)


def _numbers(code: str) -> Callable[[bytes, _Walk], list[Any]]:
    size = struct.calcsize("<" + code)

    def read(raw: bytes, walk: _Walk) -> list[Any]:
        count, rest = divmod(len(raw), size)
        if rest:
            walk.odd = True
            raw = raw[: count * size]
        return list(struct.unpack(f"{walk.order}{count}{code}", raw))

    return read


def _large_integers(code: str) -> Callable[[bytes, _Walk], list[Any]]:
    unpack = _numbers(code)

    def read(raw: bytes, walk: _Walk) -> list[Any]:
        return [value if -MAX_EXACT <= value <= MAX_EXACT else str(value) for value in unpack(raw, walk)]

    return read


def _singles(raw: bytes, walk: _Walk) -> list[Any]:
    """FL: the shortest decimal number that is the same single, 0.1 and not 0.10000000149011612."""
    count, rest = divmod(len(raw), 4)
    walk.odd |= rest != 0
    singles = np.frombuffer(raw, walk.order + "f4", count).astype(np.float32)
    values: list[Any] = orjson.loads(orjson.dumps(singles, option=orjson.OPT_SERIALIZE_NUMPY))
    if None in values:  # what orjson makes of NaN and infinities
        raise _NotInJsonError
    return values


def _doubles(raw: bytes, walk: _Walk) -> list[Any]:
    values = _unpack_doubles(raw, walk)
    if not all(map(math.isfinite, values)):
        raise _NotInJsonError
    return values


def _attribute_tags(raw: bytes, walk: _Walk) -> list[Any]:
    halves = _unpack_shorts(raw, walk)
    walk.odd |= len(halves) % 2 == 1
    return [f"{group:04X}{number:04X}" for group, number in zip(halves[::2], halves[1::2], strict=False)]


_unpack_doubles = _numbers("d")
_unpack_shorts = _numbers("H")

VALUES: Final[dict[str, Callable[[bytes, _Walk], list[Any]]]] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI"), _strings),
    **dict.fromkeys(("LT", "ST", "UR", "UT"), _text),
    "UC": _unlimited_characters,
    "PN": _person_names,
    "IS": _integer_strings,
    "DS": _decimal_strings,
    "US": _unpack_shorts,
    "SS": _numbers("h"),
    "UL": _numbers("L"),
    "SL": _numbers("l"),
    "UV": _large_integers("Q"),
    "SV": _large_integers("q"),
    "FL": _singles,
    "FD": _doubles,
    "AT": _attribute_tags,
}
