"""Values of the DICOM JSON Model -> the bytes of a value field in Little Endian.

One writer per VR, in two tables: of text, which then is encoded, and of numbers. Numbers may come as strings and text
as numbers, since clients send both.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from typing import Any, Final

from pydicom.valuerep import format_number_as_ds

from storage.dicom.dicomjson import NAME_GROUPS
from storage.dicom.vr import padding

MAX_DECIMAL_STRING: Final = 16
ATTRIBUTE_TAG: Final = re.compile("[0-9A-Fa-f]{8}")


EncodeText = Callable[[str, str], bytes]
"""VR and text -> bytes."""


def utf_8(vr: str, text: str) -> bytes:
    """Return text in ISO_IR 192, whatever the VR."""
    return text.encode("utf-8")


def value_field(vr: str, values: list[Any], encode_text: EncodeText = utf_8) -> bytes:
    """Return the value field, padded to an even length.

    Parameters
    ----------
    vr : str
        Any VR but SQ and the binary ones.
    values : list
        The `Value` of an attribute; None is an empty value.
    encode_text : callable
        Encodes text in the character set of the data set; what it raises comes through.

    Raises
    ------
    ValueError
        When a value is none of this VR; the message has nothing of the value in it.

    Standard
    --------
    PS3.5 6.2; PS3.18 Table F.2.3-1.
    """
    write_text = TEXTS.get(vr)
    if write_text is None and vr not in NUMBERS:
        raise ValueError("a binary value must be given as InlineBinary or BulkDataURI")
    if not values or (len(values) == 1 and values[0] is None):
        return b""
    try:
        raw = NUMBERS[vr](values) if write_text is None else encode_text(vr, write_text(values))
    except (struct.error, OverflowError, UnicodeEncodeError):
        raise ValueError("a value is out of the range of the VR") from None
    return raw + padding(vr) if len(raw) & 1 else raw


def inline_binary(encoded: Any, vr: str) -> bytes:
    """Return the bytes of an InlineBinary, padded to an even length; a list of one string is understood.

    Raises
    ------
    ValueError
        When it is not Base64.

    Standard
    --------
    PS3.18 F.2.7.
    """
    if isinstance(encoded, list) and len(encoded) == 1:
        encoded = encoded[0]
    if not isinstance(encoded, str):
        raise ValueError("InlineBinary must be a string")
    try:
        raw = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("InlineBinary is not Base64") from None
    return raw + padding(vr) if len(raw) & 1 else raw


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError("a value must be a string")


def _strings(values: list[Any]) -> str:
    return "\\".join(map(_plain, values))


def _text(values: list[Any]) -> str:
    if len(values) > 1:
        raise ValueError("this VR has one value only")
    return _plain(values[0])


def _decimal(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a decimal string must be finite")
        text = repr(value).removesuffix(".0")
        return text if len(text) <= MAX_DECIMAL_STRING else format_number_as_ds(value)
    return _plain(value)


def _decimals(values: list[Any]) -> str:
    return "\\".join(map(_decimal, values))


def _integers(values: list[Any]) -> str:
    whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    if any(isinstance(value, float) for value in whole):
        raise ValueError("an integer string must be an integer")
    return _strings(whole)


def _person_names(values: list[Any]) -> str:
    return "\\".join(map(_person_name, values))


def _person_name(value: Any) -> str:
    if not isinstance(value, dict):
        return _plain(value)
    if unknown := [group for group, text in value.items() if text and group not in NAME_GROUPS]:
        raise ValueError(f'"{str(unknown[0])[:40]}" is no component group of a name (PS3.18 F.2.2)')
    return "=".join(_plain(value.get(group)) for group in NAME_GROUPS).rstrip("=")


def _numbers(code: str) -> Callable[[list[Any]], bytes]:
    def write(values: list[Any]) -> bytes:
        return struct.pack(f"<{len(values)}{code}", *map(_integer, values))

    return write


def _integer(value: Any) -> int:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a value must be an integer")


def _floats(code: str) -> Callable[[list[Any]], bytes]:
    def write(values: list[Any]) -> bytes:
        return struct.pack(f"<{len(values)}{code}", *map(_float, values))

    return write


def _float(value: Any) -> float:
    if value is None:  # what JavaScript writes for NaN
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a value must be a number")
    return float(value)


def _attribute_tags(values: list[Any]) -> bytes:
    raw = b""
    for value in values:
        if not isinstance(value, str) or ATTRIBUTE_TAG.fullmatch(value) is None:
            raise ValueError("an attribute tag must be 8 hexadecimal digits")
        raw += struct.pack("<HH", int(value[:4], 16), int(value[4:], 16))
    return raw


TEXTS: Final[dict[str, Callable[[list[Any]], str]]] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"), _strings),
    **dict.fromkeys(("LT", "ST", "UR", "UT"), _text),
    "DS": _decimals,
    "IS": _integers,
    "PN": _person_names,
}
NUMBERS: Final[dict[str, Callable[[list[Any]], bytes]]] = {
    "US": _numbers("H"),
    "SS": _numbers("h"),
    "UL": _numbers("L"),
    "SL": _numbers("l"),
    "UV": _numbers("Q"),
    "SV": _numbers("q"),
    "FL": _floats("f"),
    "FD": _floats("d"),
    "AT": _attribute_tags,
}
