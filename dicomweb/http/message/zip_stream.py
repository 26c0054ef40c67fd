"""The structures of a ZIP archive whose entries are stored, not compressed, and that nobody can seek back in.

Facts kept here (PKWARE APPNOTE 6.3; ISO/IEC 21320-1):

* An entry whose checksum is known when it begins has it in its header, as every reader understands. Another has it in
  a data descriptor behind its bytes (bit 3 of the flags), its length in that and in the directory only.
* ZIP64 is used where a number needs it, and nowhere else: some old readers refuse it.
* Nothing depends on the day: the same entries make the same archive. Names are ASCII.
* How long an archive will be follows from the names and lengths of its entries.
* Pure: no I/O.
"""

import struct
from collections.abc import Iterable
from typing import Final

LARGEST: Final = 0xFFFFFFFE
"""What the fields of 32 bits hold at most; all ones mean ZIP64."""
MOST_ENTRIES: Final = 0xFFFE

_LOCAL: Final = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END: Final = struct.Struct("<4sHHHHLLH")
_END_64: Final = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR: Final = struct.Struct("<4sLQL")
_DESCRIPTOR: Final = struct.Struct("<4sLLL")
_DESCRIPTOR_64: Final = struct.Struct("<4sLQQ")
_SIZES_64: Final = struct.Struct("<HHQQ")

_ONES: Final = 0xFFFFFFFF
_STREAMED: Final = 1 << 3
_STORED: Final = 0
_VERSION, _VERSION_64 = 20, 45
_UNIX: Final = 3 << 8
_READABLE: Final = 0o100644 << 16
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01, the first day there is


def entry_head(name: str, size: int, crc: int | None) -> bytes:
    """Return what precedes the bytes of an entry.

    Parameters
    ----------
    name : str
        Its path, ASCII, with slashes.
    size : int
        How many bytes follow.
    crc : int or None
        Their CRC-32; None when it is told afterwards, by `entry_tail`.
    """
    path = name.encode("ascii")
    large = size > LARGEST
    if crc is None:
        extra = _SIZES_64.pack(1, 16, 0, 0) if large else b""
        flags, told = _STREAMED, _ONES if large else 0
    else:
        extra = _SIZES_64.pack(1, 16, size, size) if large else b""
        flags, told = 0, _ONES if large else size
    version = _VERSION_64 if large else _VERSION
    head = _LOCAL.pack(
        b"PK\x03\x04", version, flags, _STORED, _TIME, _DATE, crc or 0, told, told, len(path), len(extra)
    )
    return head + path + extra


def entry_tail(size: int, crc: int) -> bytes:
    """Return what follows the bytes of an entry whose checksum was not known before."""
    return (_DESCRIPTOR_64 if size > LARGEST else _DESCRIPTOR).pack(b"PK\x07\x08", crc, size, size)


def entry_length(name: str, size: int, *, streamed: bool) -> int:
    """Return how long an entry is with what precedes and follows its bytes, `streamed` when its checksum follows."""
    large = size > LARGEST
    length = _LOCAL.size + len(name) + size + (_SIZES_64.size if large else 0)
    if streamed:
        length += (_DESCRIPTOR_64 if large else _DESCRIPTOR).size
    return length


class CentralDirectory:
    """The directory at the end of the archive; some 70 bytes an entry are kept for it."""

    def __init__(self) -> None:
        self._headers = bytearray()
        self._count = 0
        self._offset = 0

    def add(self, name: str, size: int, crc: int, *, streamed: bool) -> None:
        """Record the next entry, `streamed` when its checksum followed its bytes."""
        self._headers += _central(name, size, crc, self._offset, streamed=streamed)
        self._count += 1
        self._offset += entry_length(name, size, streamed=streamed)

    def end(self) -> bytes:
        """Return what follows the last entry."""
        return bytes(self._headers) + _end(self._count, len(self._headers), self._offset)


def archive_length(entries: Iterable[tuple[str, int, bool]]) -> int:
    """Return how long an archive is in bytes, given name, size and whether its checksum follows, of each entry."""
    count = offset = directory = 0
    for name, size, streamed in entries:
        directory += _central_length(name, size, offset)
        offset += entry_length(name, size, streamed=streamed)
        count += 1
    return offset + directory + len(_end(count, directory, offset))


def _central(name: str, size: int, crc: int, offset: int, *, streamed: bool) -> bytes:
    path = name.encode("ascii")
    numbers = [number for number in (size, size) if size > LARGEST] + [offset] * (offset > LARGEST)
    extra = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
    told = _ONES if size > LARGEST else size
    version = _VERSION_64 if numbers else _VERSION
    head = _CENTRAL.pack(
        b"PK\x01\x02",
        _UNIX | version,
        version,
        _STREAMED if streamed else 0,
        _STORED,
        _TIME,
        _DATE,
        crc,
        told,
        told,
        len(path),
        len(extra),
        0,
        0,
        0,
        _READABLE,
        _ONES if offset > LARGEST else offset,
    )
    return head + path + extra


def _central_length(name: str, size: int, offset: int) -> int:
    numbers = 2 * (size > LARGEST) + (offset > LARGEST)
    return _CENTRAL.size + len(name) + (4 + 8 * numbers if numbers else 0)


def _end(count: int, length: int, offset: int) -> bytes:
    """Return the end of the directory of `count` entries that is `length` bytes long and begins at `offset`."""
    large = count > MOST_ENTRIES or length > LARGEST or offset > LARGEST
    end_64 = b""
    if large:
        rest = _END_64.size - 12
        end_64 = _END_64.pack(
            b"PK\x06\x06", rest, _UNIX | _VERSION_64, _VERSION_64, 0, 0, count, count, length, offset
        ) + _LOCATOR.pack(b"PK\x06\x07", 0, offset + length, 1)
        count, length, offset = 0xFFFF, _ONES, _ONES
    return end_64 + _END.pack(b"PK\x05\x06", 0, 0, count, count, length, offset, 0)
