"""Checksums of stored files: one of every frame, and one of every block of a file, kept in the index.

Facts kept here:

- They are CRC-32 (`storage.blobs.crc32`), 4 bytes little endian each.
- A frame is compared by itself, as it lies in the file: damage elsewhere does not keep it back. All else is compared by
  the blocks that it lies in, which are read as a whole for that.
- What was stored before there were checksums has none, and is not compared until `scrub` has read it.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.blobs.crc32 import Pieces, crc32
from storage.dicom.source import BytesSource, FileSource, Source, chunks, read_at
from storage.errors import Damaged
from storage.pixels.layout import Layout, frame_span

BLOCK: Final = 1 << 16
"""Bytes that have a checksum together."""
BYTES: Final = 4
"""Of one checksum."""
_BLOCKS: Final = Pieces(BLOCK)


def packed(crc: int) -> bytes:
    """Return a checksum as it is kept."""
    return crc.to_bytes(BYTES, "little")


class BlockChecksums:
    """The checksums of the blocks of a file that passes by."""

    def __init__(self) -> None:
        self._table = bytearray()
        self._crc = 0
        self._held = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in what comes next."""
        with memoryview(data) as view:
            position = 0
            while position < len(view):
                piece = view[position : position + BLOCK - self._held]
                self._crc = crc32(piece, self._crc)
                self._held += len(piece)
                position += len(piece)
                if self._held == BLOCK:
                    self._table += packed(self._crc)
                    self._crc = self._held = 0

    def table(self) -> bytes:
        """Return the checksums of all blocks; the last one may be short."""
        return bytes(self._table + packed(self._crc)) if self._held else bytes(self._table)


def checksum_of(source: Source, offset: int, length: int) -> bytes:
    """Return the checksum of bytes of a source."""
    if isinstance(source, BytesSource):
        return packed(crc32(source.view(offset, length)))
    crc = 0
    for chunk in chunks(source, offset, length):
        crc = crc32(chunk, crc)
    return packed(crc)


def frame_checksums(source: Source, layout: Layout, table: bytes | None) -> bytes | None:
    """Return the checksums of all frames; None when there are none.

    Parameters
    ----------
    source : Source
        The (inflated) file.
    layout : Layout
        Of the file.
    table : bytes or None
        The frame table of encapsulated pixel data.
    """
    pixel = layout.pixel_data
    if pixel is None or not pixel.frames:
        return None
    entries = [None] * pixel.frames if table is None else [table[at : at + 16] for at in range(0, len(table), 16)]
    spans = (frame_span(pixel, index, entry) for index, entry in enumerate(entries))
    return b"".join(checksum_of(source, span.offset, span.length) for span in spans)


@dataclass(frozen=True, slots=True)
class Checks:
    """What a stored file must be, block by block.

    Attributes
    ----------
    size : int
        Of the file, in bytes.
    table : bytes
        Of its blocks.
    damaged : callable
        Given what is wrong, it notes that and returns the error to raise.
    """

    size: int
    table: bytes
    damaged: Callable[[str], Damaged]

    def require_size(self, file: int) -> None:
        """Raise Damaged unless an open file is as long as it should be."""
        found = os.fstat(file).st_size
        if found != self.size:
            raise self.damaged(f"it has {found} bytes instead of {self.size}")

    def read(self, file: int, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end, compared before they are given out.

        Raises
        ------
        Damaged
            One of the blocks they lie in is not what was stored.
        """
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        start, end = offset - offset % BLOCK, offset + length
        data = read_at(file, offset, length)
        before = read_at(file, start, offset - start)
        behind = read_at(file, end, min(-end % BLOCK, self.size - end))
        found = crc32(data, crc32(before) if before else 0)
        if behind:
            found = crc32(behind, found)
        if found != self._stored(start, end):
            raise self._damaged_block(start, before + data + behind)
        return data

    def _stored(self, start: int, end: int) -> int:
        """Return the checksum of all blocks from the one that starts at `start` to the one in which `end` is."""
        first, behind = start // BLOCK, -(-end // BLOCK)
        crcs = struct.unpack_from(f"<{behind - first}L", self.table, first * BYTES)
        return _BLOCKS.joined(crcs, min(BLOCK, self.size - (behind - 1) * BLOCK))

    def _damaged_block(self, start: int, data: bytes) -> Damaged:
        """Note which block it is of those that `data` are."""
        while self._stored(start, start + 1) == crc32(data[:BLOCK]):
            start, data = start + BLOCK, data[BLOCK:]
        return self.damaged(f"bytes {start} to {min(start + BLOCK, self.size) - 1} are not what was stored")


class CheckedSource(FileSource):
    """A source over a stored file that gives out nothing but what was stored.

    Raises
    ------
    Damaged
        On opening, when it has another length; on reading, when it has other bytes.
    """

    def __init__(self, path: Path, checks: Checks) -> None:
        super().__init__(path)
        checks.require_size(self._descriptor)
        self._checks = checks
        self._block: tuple[int, bytes] = -1, b""  # the last one that something small was read of

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        start = offset - offset % BLOCK
        if length > BLOCK or offset + length > start + BLOCK:
            return self._checks.read(self._descriptor, offset, length)
        held, data = self._block
        if held != start:
            data = self._checks.read(self._descriptor, start, BLOCK)
            self._block = start, data
        return data[offset - start : offset - start + length]
