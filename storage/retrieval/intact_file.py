"""A stored instance on its way out of the archive for good: never anything but what was stored.

Facts kept here:

- The SHA-256 of the bytes on disk is compared with that of the bytes received before any of them is given out, in
  whatever form: bytes that rotted on a disk are noticed, not handed on. A file is read twice for that, the second time
  mostly from memory.
- The CRC-32, which is not in the index, comes of the same reading: whoever sends the file can tell it beforehand.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from storage.blobs.crc32 import crc32
from storage.blobs.local import LocalBlobs
from storage.errors import Damaged, NotFound
from storage.retrieval.instance_file import InstanceFile, PartFile

if TYPE_CHECKING:
    from storage.retrieval.transcoded_file import TranscodedFile


class IntactFile:
    """A DICOM file (PS3.10); stream it once, or close it.

    Parameters
    ----------
    instance : InstanceFile
        Which.
    part : PartFile or TranscodedFile
        It, open.
    crc : int, optional
        CRC-32 of its bytes.

    Attributes
    ----------
    length : int
        In bytes.
    crc : int or None
        CRC-32 of the bytes, None when they are made while they are sent.
    """

    def __init__(self, instance: InstanceFile, part: "PartFile | TranscodedFile", crc: int | None = None) -> None:
        self._instance = instance
        self._part = part
        self.length = part.length
        self.crc = crc

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield all bytes, in chunks of at most 1 MiB.

        Raises
        ------
        Damaged
            They were fewer than there should be.
        """
        length = 0
        async with aclosing(_generator(self._part.stream())) as chunks:
            async for chunk in chunks:
                length += len(chunk)
                yield chunk
        if length != self.length:
            raise _damaged(self._instance)

    def close(self) -> None:
        """Drop what was prepared; `stream` does it at its end."""
        close: Callable[[], None] | None = getattr(self._part, "close", None)
        if close is not None:
            close()


async def read_intact(blobs: LocalBlobs, instance: InstanceFile) -> int:
    """Read a stored file, compare it with what was received, and return its CRC-32.

    Raises
    ------
    Damaged
        It is something else, or cannot be read.
    """
    digest, length, crc = hashlib.sha256(), 0, 0

    def update(chunk: bytes) -> int:
        digest.update(chunk)
        return crc32(chunk, crc)

    try:
        async for chunk in blobs.reader(instance.blob).stream(0, instance.size + 1):
            length += len(chunk)
            crc = await blobs.run(update, chunk)
    except (OSError, NotFound) as error:
        raise _noted(blobs, instance, "it cannot be read") from error
    if (length, digest.digest()) != (instance.size, instance.sha256):
        raise _noted(blobs, instance, "it is not what was stored")
    return crc


async def _generator(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        yield chunk


def _noted(blobs: LocalBlobs, instance: InstanceFile, what: str) -> Damaged:
    return blobs.damage.found(instance.blob, instance.sop_instance_uid, what)


def _damaged(instance: InstanceFile) -> Damaged:
    return Damaged(
        f"The file of instance {instance.sop_instance_uid} is not what was stored, or cannot be read; `dicomweb check`"
        " tells more."
    )
