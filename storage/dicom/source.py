"""Where the bytes of a DICOM file come from, for reading at any position without holding them all."""

import errno
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from storage.errors import InvalidDicom, LimitExceeded, OutOfSpace

CHUNK_BYTES = 1 << 20
"""At most so many bytes are asked of a source, and held, at once when large values are read."""


class Source(Protocol):
    """Bytes with a known length, readable at any offset."""

    length: int

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""


def read_at(file: int, offset: int, length: int) -> bytes:
    """Return `length` bytes of an open file from `offset`; fewer only at its end."""
    if length <= 0:
        return b""
    data = os.pread(file, length, offset)
    if len(data) == length or not data:
        return data
    pieces = [data]
    while data and length > len(data):  # the kernel gives at most 2 GiB a call
        offset, length = offset + len(data), length - len(data)
        data = os.pread(file, length, offset)
        pieces.append(data)
    return b"".join(pieces)


class BytesSource:
    """A source over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        return self._data[offset : offset + length]

    def view(self, offset: int, length: int) -> memoryview:
        """Return what `read` does without copying it."""
        return memoryview(self._data)[offset : offset + length]


class _DescriptorSource:
    """A source over an open file descriptor, which it closes with itself."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.length = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        return read_at(self._descriptor, offset, min(length, self.length - offset))

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()


class FileSource(_DescriptorSource):
    """A source over a file on disk, read by position; close it, or use it in a `with` statement."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def chunks(source: Source, offset: int, length: int) -> Iterator[bytes]:
    """Yield the bytes [offset, offset + length) in pieces of at most `CHUNK_BYTES`; fewer bytes only at the end."""
    end = min(offset + length, source.length)
    while offset < end:
        data = source.read(offset, min(CHUNK_BYTES, end - offset))
        if not data:
            return
        yield data
        offset += len(data)


def inflated(source: Source, position: int, max_bytes: int) -> tuple[Source, bool]:
    """Inflate the data set of a deflated file into an unlinked temporary file.

    Parameters
    ----------
    source : Source
        The file.
    position : int
        Where the deflated data set starts; what comes before is copied, so that positions stay the same.
    max_bytes : int
        The most the inflated data set may take.

    Returns
    -------
    source : Source
        The inflated file; it is gone when the source is.
    complete : bool
        False when the deflated stream is cut short or damaged after a readable beginning.

    Raises
    ------
    InvalidDicom
        There is no deflated stream.
    LimitExceeded
        It inflates to more than `max_bytes`.

    Standard
    --------
    PS3.5 A.5 (RFC 1951, without a header); a zlib or gzip header is tolerated.
    """
    window_bits = 47 if _has_zlib_header(source.read(position, 2)) else -zlib.MAX_WBITS
    descriptor, name = tempfile.mkstemp(prefix="dicomweb-inflated-")
    os.unlink(name)  # noqa: PTH108 - nobody can find it, and it cannot be left behind
    try:
        for chunk in chunks(source, 0, position):
            _write(descriptor, chunk)
        complete = _inflate(source, position, descriptor, window_bits, max_bytes)
        return _DescriptorSource(descriptor), complete
    except BaseException:
        os.close(descriptor)
        raise


def _has_zlib_header(start: bytes) -> bool:
    if start == b"\x1f\x8b":
        return True
    return len(start) == 2 and start[0] & 0x0F == 8 and start[0] >> 4 <= 7 and int.from_bytes(start, "big") % 31 == 0


def _inflate(source: Source, position: int, descriptor: int, window_bits: int, max_bytes: int) -> bool:
    inflater = zlib.decompressobj(window_bits)
    total = 0
    for chunk in chunks(source, position, source.length - position):
        while chunk and not inflater.eof:
            try:
                data = inflater.decompress(chunk, CHUNK_BYTES)
            except zlib.error as error:
                if not total:
                    raise InvalidDicom("The data set should be deflated, but it cannot be inflated.") from error
                return False
            total += len(data)
            if total > max_bytes:
                raise LimitExceeded(f"The deflated data set inflates to more than {max_bytes} bytes.")
            _write(descriptor, data)
            chunk = inflater.unconsumed_tail
    _write(descriptor, inflater.flush())  # what the last call held back, a few bytes
    return inflater.eof


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace("There is no room to inflate a deflated data set.") from error
        raise
