"""A stored instance on its way out of the archive for good: never anything but what was stored.

Facts kept here:

- The SHA-256 of the bytes on disk is compared with that of the bytes received: while they are sent when they go out as
  they are, before anything is made of them otherwise. Bytes that rotted on a disk are noticed, not handed on.
- What is noticed at the end of a file is an error there; whoever sends it must not end the message as if all were well.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from storage.blobs import LocalBlobs
from storage.errors import ArchiveError
from storage.instance_file import InstanceFile, PartFile

if TYPE_CHECKING:
    from storage.transcoded_file import TranscodedFile

_DAMAGED: Final = "A stored file is not what was stored, or cannot be read; `dicomweb check` tells more."


class IntactFile:
    """A DICOM file (PS3.10); stream it once, or close it.

    Parameters
    ----------
    blobs : LocalBlobs
        Where threads are.
    part : PartFile or TranscodedFile
        The open file.
    sha256 : bytes, optional
        What its bytes must hash to.

    Attributes
    ----------
    length : int
        In bytes.
    """

    def __init__(self, blobs: LocalBlobs, part: "PartFile | TranscodedFile", sha256: bytes | None = None) -> None:
        self._blobs = blobs
        self._part = part
        self._sha256 = sha256
        self.length = part.length

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield all bytes, in chunks of at most 1 MiB.

        Raises
        ------
        ArchiveError
            In the end: they were not those that were stored.
        """
        digest = hashlib.sha256()
        length = 0
        async with aclosing(_generator(self._part.stream())) as chunks:
            async for chunk in chunks:
                length += len(chunk)
                if self._sha256 is not None:
                    await self._blobs.run(digest.update, chunk)
                yield chunk
        if length != self.length or self._sha256 not in (None, digest.digest()):
            raise ArchiveError(_DAMAGED)

    def close(self) -> None:
        """Drop what was prepared; `stream` does it at its end."""
        close: Callable[[], None] | None = getattr(self._part, "close", None)
        if close is not None:
            close()


async def check_intact(blobs: LocalBlobs, instance: InstanceFile) -> None:
    """Read a stored file and compare it with what was received; raises ArchiveError when it is something else."""
    try:
        found = await blobs.run(blobs.digest, instance.blob)
    except OSError as error:
        raise ArchiveError(_DAMAGED) from error
    if found != (instance.size, instance.sha256):
        raise ArchiveError(_DAMAGED)


async def _generator(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        yield chunk
