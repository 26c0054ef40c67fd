"""Command sets: what a DIMSE message says before its data set (PS3.7 6.3, Annex E).

Facts this module keeps:

- A command set is Implicit VR Little Endian whatever the transfer syntax of its context; elements ascend; the first
  one is Command Group Length, which counts the bytes after itself (PS3.7 6.3.1).
- Tags and value representations of group 0000 are pydicom's; nothing of them is typed here.
- Reading is tolerant: order, padding, the group length and unknown elements do not matter. What cannot be read at all,
  or has no Command Field, is a ValueError.
- Text is in the default repertoire: what is beyond it is written as "?" (PS3.5 6.1.2.1).
"""

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

from pydicom._dicom_dict import DicomDictionary

Value = int | str | list[int]
"""Numbers, text, or the tags of an AT element."""

Command = dict[str, Value]
"""By keyword of group 0000, such as "CommandField" or "AffectedSOPClassUID", without the group length."""

RESPONSE: Final = 0x8000
"""The bit of Command Field that makes a response of a request."""

NO_DATA_SET: Final = 0x0101
"""Command Data Set Type of a message without data set (PS3.7 E.1)."""

DATA_SET: Final = 0x0001
"""Command Data Set Type of a message with data set, where anything but 0101H would do."""

PENDING: Final = frozenset({0xFF00, 0xFF01})
"""Statuses after which more responses follow (PS3.7 C.1)."""


class Operation(IntEnum):
    """Command Field (0000,0100) of the requests (PS3.7 E.1)."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


_ELEMENT = struct.Struct("<HHI")
_ATTRIBUTES: Final = {tag & 0xFFFF: (entry[4], entry[0]) for tag, entry in DicomDictionary.items() if tag >> 16 == 0}
"""Element number -> keyword, VR."""
_NUMBERS: Final = {keyword: (number, vr) for number, (keyword, vr) in _ATTRIBUTES.items()}
"""Keyword -> element number, VR."""
_GROUP_LENGTH: Final = "CommandGroupLength"


def encode(command: Command) -> bytes:
    """Write a command set with its Command Group Length.

    Parameters
    ----------
    command : Command
        A value that is None is left out.

    Raises
    ------
    ValueError
        A keyword is not one of group 0000, or a value does not fit its VR.

    Standard
    --------
    PS3.7 6.3.1
    """
    body = b"".join(_elements(command))
    return _element(_GROUP_LENGTH, len(body)) + body


def decode(data: bytes) -> Command:
    """Read a command set; unknown elements are left out.

    Raises
    ------
    ValueError
        It is no command set.
    """
    command: Command = {}
    for element, value in _split(data):
        keyword, vr = _ATTRIBUTES.get(element, ("", ""))
        if keyword and value and keyword != _GROUP_LENGTH:
            command[keyword] = _DECODERS.get(vr, _text)(value)
    if "CommandField" not in command:
        raise ValueError("a command set without Command Field")
    return command


def is_response(command: Command) -> bool:
    """Whether it is a response, not a request."""
    return bool(number(command, "CommandField") & RESPONSE)


def has_data_set(command: Command) -> bool:
    """Whether a data set follows it (PS3.7 E.1)."""
    return command.get("CommandDataSetType", NO_DATA_SET) != NO_DATA_SET


def number(command: Command, keyword: str, default: int = 0) -> int:
    """Return a numeric value, or `default` when it is not there."""
    value = command.get(keyword, default)
    return value if isinstance(value, int) else default


def text(command: Command, keyword: str) -> str:
    """Return a text value, or "" when it is not there."""
    value = command.get(keyword, "")
    return value if isinstance(value, str) else ""


def _elements(command: Command) -> Iterator[bytes]:
    unknown = command.keys() - _NUMBERS.keys()
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not in group 0000")
    for keyword in sorted(command, key=lambda keyword: _NUMBERS[keyword][0]):
        # Callers hand on what may be absent; the type says so nowhere for their ease of reading.
        value: Value | None = command[keyword]
        if value is not None and keyword != _GROUP_LENGTH:
            yield _element(keyword, value)


def _element(keyword: str, value: Value) -> bytes:
    element, vr = _NUMBERS[keyword]
    try:
        encoded = _encoded(vr, value)
    except (struct.error, TypeError) as error:
        raise ValueError(f"{keyword}: {value!r} is no {vr}") from error
    return _ELEMENT.pack(0, element, len(encoded)) + encoded


def _encoded(vr: str, value: Value) -> bytes:
    if vr in _NUMERIC:
        return struct.pack(_NUMERIC[vr], value)
    if vr == "AT":
        tags = [value] if isinstance(value, int) else value
        return b"".join(struct.pack("<HH", int(tag) >> 16, int(tag) & 0xFFFF) for tag in tags)
    if not isinstance(value, str):
        raise TypeError
    encoded = value.encode("ascii", "replace")
    return encoded + (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of the elements of group 0000."""
    at = 0
    while at < len(data):
        if at + _ELEMENT.size > len(data):
            raise ValueError("a command set that ends within an element")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group:
            raise ValueError(f"a command set with an element of group {group:04X}")
        if at + length > len(data):
            raise ValueError(f"(0000,{element:04X}) is longer than the command set")
        yield element, data[at : at + length]
        at += length


def _unsigned_short(value: bytes) -> int:
    return int.from_bytes(value[:2], "little")


def _unsigned_long(value: bytes) -> int:
    return int.from_bytes(value[:4], "little")


def _tags(value: bytes) -> list[int]:
    if len(value) % 4:
        raise ValueError(f"tags of {len(value)} bytes in a command set")
    return [group << 16 | element for group, element in struct.iter_unpack("<HH", value)]


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


_NUMERIC: Final = {"US": "<H", "UL": "<I"}
_DECODERS: Final[dict[str, Callable[[bytes], Value]]] = {"US": _unsigned_short, "UL": _unsigned_long, "AT": _tags}
