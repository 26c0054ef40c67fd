"""Encapsulated values: items one after another, up to a sequence delimiter (PS3.5 A.4)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from storage.dicom.source import CHUNK_BYTES, Source
from storage.errors import LimitExceeded

UNDEFINED = 0xFFFFFFFF
"""The length that says: up to a delimiter."""

ITEM_HEAD = b"\xfe\xff\x00\xe0"
"""The item tag in Little Endian, as encapsulated pixel data always is."""

_LITTLE = struct.Struct("<HHL")
_BIG = struct.Struct(">HHL")


class DelimitedSpan(NamedTuple):
    """How far a value of undefined length goes.

    `length` is in bytes up to the delimiter, or to the end of what there is when `delimited` is false; `fragments`
    counts its items, 0 when it does not consist of items.
    """

    length: int
    delimited: bool
    fragments: int


def fragments(source: Source, offset: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of the value of each item of an encapsulated value; stops at what is no item.

    The last fragment of a truncated file is cut at its end, so that every fragment lies within the source.
    """
    while offset + 8 <= end:
        head = source.read(offset, 8)
        if len(head) < 8 or head[:4] != ITEM_HEAD:
            return
        length = int.from_bytes(head[4:], "little")
        offset += 8
        yield offset, min(length, end - offset)
        offset += length


def span_to_delimiter(
    source: Source, offset: int, limit: int, *, little_endian: bool, max_fragments: int
) -> DelimitedSpan:
    """Find the sequence delimiter that ends the value at `offset`.

    Parameters
    ----------
    source : Source
        The file.
    offset, limit : int
        Where the value starts, and where it must end at the latest.
    little_endian : bool
        The byte order of tags and lengths.
    max_fragments : int
        The most items there may be.

    Raises
    ------
    LimitExceeded
        There are more items than that.
    """
    header = _LITTLE if little_endian else _BIG
    position, last, count = offset, offset, 0
    while position + 8 <= limit:
        head = source.read(position, 8)
        if len(head) < 8:
            break
        group, number, length = header.unpack(head)
        if group != 0xFFFE or number not in (0xE000, 0xE0DD) or length == UNDEFINED:
            return _search(source, offset, last, limit, count, little_endian)
        if number == 0xE0DD:
            return DelimitedSpan(position - offset, True, count)
        count += 1
        if count > max_fragments:
            raise LimitExceeded(f"A value has more than {max_fragments} fragments.")
        last = position
        position += 8 + length
    if position > limit and count:  # the last length lies, or the file is truncated
        return _search(source, offset, last, limit, count, little_endian)
    return DelimitedSpan(limit - offset, False, count)


def _search(source: Source, offset: int, start: int, limit: int, count: int, little_endian: bool) -> DelimitedSpan:
    """Look for the delimiter byte by byte, where the items do not lead to it."""
    wanted = b"\xfe\xff\xdd\xe0\0\0\0\0" if little_endian else b"\xff\xfe\xe0\xdd\0\0\0\0"
    position = start
    while position < limit:
        window = source.read(position, min(CHUNK_BYTES, limit - position))
        found = window.find(wanted)
        if found >= 0:
            return DelimitedSpan(position + found - offset, True, count)
        if len(window) < CHUNK_BYTES:
            break
        position += len(window) - len(wanted) + 1
    return DelimitedSpan(max(limit - offset, 0), False, count)
