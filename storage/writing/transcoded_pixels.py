"""Sources that end in pixel data of another transfer syntax, made frame by frame.

Facts kept here:

- The writer of whole files (`reencode`) takes every large value from a source by position. Pixel data that is not in
  the file is given a place behind its end; whoever reads there gets it decoded, or from a temporary file.
- Native frames follow each other to the bit, so single-bit frames are made in groups that are whole bytes (PS3.5 8.2).
- Compressed frames are written to an unlinked temporary file first: their lengths are known then, an offset table can
  be given, and a frame that cannot be encoded is noticed before anything was sent.
- Frames are made ahead in other threads, a few at a time; never are more of them in memory.
"""

import errno
import math
import os
import struct
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final

from storage.dicom.fragments import ITEM_HEAD
from storage.dicom.source import Source
from storage.errors import OutOfSpace
from storage.pixels.encoders import UnencodablePixelData

AHEAD: Final = 3
"""How many frames are made before they are wanted, when there are threads for it."""
_MOST_BASIC_OFFSET: Final = 0xFFFFFFFF
_MOST_FRAGMENT: Final = 0xFFFFFFFE
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

MakeFrame = Callable[[int], bytes]
"""Makes a frame by its index; called in several threads at once."""


class FrameQueue:
    """Frames made in order, the next ones ahead in other threads.

    Parameters
    ----------
    make : callable
        Makes a frame by its index from 0.
    count : int
        How many there are.
    executor : Executor, optional
        Where frames are made ahead; without one each is made when it is wanted.
    """

    def __init__(self, make: MakeFrame, count: int, executor: Executor | None = None) -> None:
        self._make = make
        self._count = count
        self._executor = executor
        self._next = 0
        self._pending: deque[Future[bytes]] = deque()

    def frame(self, index: int) -> bytes:
        """Return a frame; out of order it is made anew."""
        if self._executor is None:
            return self._make(index)
        if index != self._next - len(self._pending):
            self.close()
            self._next = index
        while self._next < self._count and len(self._pending) <= AHEAD:
            self._pending.append(self._executor.submit(self._make, self._next))
            self._next += 1
        return self._pending.popleft().result()

    def close(self) -> None:
        """Drop what was not started yet."""
        while self._pending:
            self._pending.pop().cancel()


class NativePixels:
    """A source that goes on behind its end with native frames.

    Parameters
    ----------
    source : Source
        The file.
    make : callable
        Makes native frames in little endian: `group_of(frame_bits)` of them a call, so that calls are whole bytes.
    frame_bits : int
        Bits of one frame.
    count : int
        How many frames there are.
    executor : Executor, optional
        Where frames are made ahead.

    Attributes
    ----------
    offset, value_length : int
        Where the pixel data seems to be, in bytes.
    """

    def __init__(self, source: Source, make: MakeFrame, frame_bits: int, count: int, executor: Executor | None) -> None:
        self._source = source
        group = group_of(frame_bits)
        self._group_bytes = frame_bits * group // 8
        self._frames = FrameQueue(make, -(-count // group), executor)
        self.offset = source.length
        self.value_length = (frame_bits * count + 7) // 8
        self.length = self.offset + self.value_length
        self._last: tuple[int, bytes] = -1, b""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        if offset < self.offset:
            return self._source.read(offset, length)
        parts = []
        position = offset - self.offset
        end = min(position + length, self.value_length)
        while position < end:
            index, start = divmod(position, self._group_bytes)
            if index != self._last[0]:
                self._last = index, self._frames.frame(index)
            part = self._last[1][start : start + end - position]
            if not part:
                raise OSError("A decoded frame is shorter than it was promised.")
            parts.append(part)
            position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Drop the frames that are being made."""
        self._frames.close()


def group_of(frame_bits: int) -> int:
    """Return how many frames together are whole bytes."""
    return 8 // math.gcd(frame_bits, 8)


class EncapsulatedPixels:
    """A source that goes on behind its end with fragments, one a frame, kept in an unlinked temporary file.

    Parameters
    ----------
    source : Source
        The file.
    folder : Path, optional
        Where the temporary file is made.
    frames : int
        How many will be added at most.

    Attributes
    ----------
    offset, value_length : int
        Where the pixel data seems to be, in bytes; known when `finish` was called.
    offsets, lengths : list of int
        Of the frames, as the Extended Offset Table wants them (PS3.3 C.7.6.3.1.8).
    compressed_bytes : int
        Bytes of all frames, without heads and padding.

    Standard
    --------
    PS3.5 A.4.
    """

    def __init__(self, source: Source, frames: int, folder: Path | None = None) -> None:
        self._source = source
        self._file = tempfile.TemporaryFile(prefix="dicomweb-transcoded-", dir=folder)  # noqa: SIM115 - has close()
        self._start = 8 + 4 * frames  # room for the Basic Offset Table in front of the fragments
        self._skipped = 0
        self._file.seek(self._start)
        self.offsets: list[int] = []
        self.lengths: list[int] = []
        self.compressed_bytes = 0
        self._end = self._start
        self.offset = source.length
        self.value_length = 0
        self.length = source.length

    def add(self, frame: bytes) -> None:
        """Append one frame as one fragment.

        Raises
        ------
        OutOfSpace
            There is no room for it.
        UnencodablePixelData
            It is too long for one fragment.
        """
        padded = len(frame) + len(frame) % 2
        if padded > _MOST_FRAGMENT:
            raise UnencodablePixelData("A compressed frame is longer than 4 GiB.")
        try:
            self._file.write(ITEM_HEAD + struct.pack("<L", padded) + frame + bytes(padded - len(frame)))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise OutOfSpace("There is no room to transcode an instance.") from error
            raise
        self.offsets.append(self._end - self._start)
        self.lengths.append(padded)
        self.compressed_bytes += len(frame)
        self._end += 8 + padded

    def finish(self) -> None:
        """Write the offset table: the basic one, or an empty one when the offsets do not fit into 32 bits."""
        table = struct.pack(f"<{len(self.offsets)}L", *self.offsets) if self.has_basic_offsets else b""
        self._skipped = self._start - 8 - len(table)
        self._file.seek(self._skipped)
        self._file.write(ITEM_HEAD + struct.pack("<L", len(table)) + table)
        self._file.flush()
        self.value_length = self._end - self._skipped
        self.length = self.offset + self.value_length

    @property
    def has_basic_offsets(self) -> bool:
        """Whether all offsets fit into the Basic Offset Table."""
        return self.offsets[-1] <= _MOST_BASIC_OFFSET

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        if offset < self.offset:
            return self._source.read(offset, length)
        position = offset - self.offset
        wanted = min(length, self.value_length - position)
        return os.pread(self._file.fileno(), max(wanted, 0), position + self._skipped)

    def close(self) -> None:
        """Give the temporary file back to the system."""
        self._file.close()
