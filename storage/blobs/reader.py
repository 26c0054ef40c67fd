"""Reading a stored file by position.

A frame that is in memory is read at once: handing it to a thread would cost more than reading it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from errno import EAGAIN, EOPNOTSUPP
from pathlib import Path
from typing import Protocol

from storage.blobs.checksums import BLOCK, Checks
from storage.dicom.source import read_at
from storage.errors import Damaged, NotFound

CHUNK = 512 * 1024
"""Bytes read and sent in one piece."""

_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


class BlobReader(Protocol):
    """Reads one stored object by position."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`, fewer only at the end."""
        ...

    def stream(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset` in chunks of about `CHUNK` bytes."""
        ...


class LocalReader:
    """Reads one local blob: at once when the bytes are in memory, in a thread when the disk must be asked.

    With checks all it reads is compared, and raises Damaged where it differs.

    Parameters
    ----------
    path : Path
        Of the blob.
    run : callable
        Runs blocking work in a thread, as `LocalBlobs.run`.
    checks : Checks, optional
        What its blocks must be.
    """

    def __init__(self, path: Path, run: Callable[..., Awaitable[bytes]], checks: Checks | None = None) -> None:
        self._path = path
        self._run = run
        self._checks = checks

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`, fewer only at the end of the blob."""
        file = self._open()
        try:
            return await self._read(file, offset, length)
        finally:
            os.close(file)

    async def stream(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset` in chunks of `CHUNK` bytes; the last may have a block more."""
        file = self._open()
        try:
            end = offset + length
            while offset < end:
                most = CHUNK - offset % BLOCK
                data = await self._read(file, offset, end - offset if end - offset <= most + BLOCK else most)
                if not data:
                    return
                yield data
                offset += len(data)
        finally:
            os.close(file)

    def _open(self) -> int:
        try:
            file = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            if self._checks is not None:
                self._checks.damaged("it is gone")
            raise NotFound("The stored file is missing; `dicomweb check` tells more.") from None
        try:
            if self._checks is not None:
                self._checks.require_size(file)
        except Damaged:
            os.close(file)
            raise
        return file

    async def _read(self, file: int, offset: int, length: int) -> bytes:
        read = read_at if self._checks is None else self._checks.read
        if length <= 0:
            return b""
        if _in_memory(file, offset) and _in_memory(file, offset + length - 1):
            return read(file, offset, length)
        return await self._run(read, file, offset, length)


def _in_memory(file: int, offset: int) -> bool:
    """Whether a byte of a file can be read without asking the disk; that of its ends stands for all of a frame."""
    try:
        return bool(_NOWAIT) and os.preadv(file, [bytearray(1)], offset, _NOWAIT) == 1
    except OSError as error:
        if error.errno in (EAGAIN, EOPNOTSUPP):
            return False
        raise
