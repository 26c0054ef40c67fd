"""A large value of an instance, read from its file by position, always in little endian."""

from collections.abc import AsyncIterator

from storage.blobs import LocalBlobs
from storage.instance_file import InstanceFile, reader_of
from storage.vr import swapped


class BulkValue:
    """One value that the metadata names by a BulkDataURI.

    Attributes
    ----------
    instance : InstanceFile
        The instance it belongs to.
    vr : str
        Its value representation.
    length : int
        Bytes of the value field, padding included.
    """

    def __init__(self, blobs: LocalBlobs, instance: InstanceFile, offset: int, length: int, vr: str) -> None:
        self.instance = instance
        self.vr = vr
        self.length = length
        self._offset = offset
        self._reader = reader_of(blobs, instance)

    async def stream(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset` (all by default)."""
        wanted = self.length - offset if length is None else length
        if self.instance.layout.encoding.little_endian:
            async for chunk in self._reader.stream(self._offset + offset, wanted):
                yield chunk
            return
        aligned = offset - offset % 8  # whole values of every VR
        skip = offset - aligned
        async for chunk in self._reader.stream(self._offset + aligned, min(wanted + skip + 8, self.length - aligned)):
            piece = swapped(self.vr, chunk)[skip : skip + wanted]
            skip = 0
            wanted -= len(piece)
            yield piece
