"""A large value of an instance, read from its file by position, always in little endian."""

from collections.abc import AsyncIterator

from storage.blobs.local import LocalBlobs
from storage.dicom.vr import big_endian_bytes, swapped_words
from storage.retrieval.instance_file import InstanceFile, reader_of


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
        self._word_bytes = self._bytes_of_a_word()

    @property
    def as_stored(self) -> bool:
        """Whether `stream` yields the very bytes of the file."""
        return self._word_bytes == 1

    async def stream(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset` (all by default)."""
        wanted = self.length - offset if length is None else length
        if self._word_bytes == 1:
            async for chunk in self._reader.stream(self._offset + offset, wanted):
                yield chunk
            return
        aligned = offset - offset % 8  # whole values of every VR
        skip = offset - aligned
        async for chunk in self._reader.stream(self._offset + aligned, min(wanted + skip + 8, self.length - aligned)):
            piece = swapped_words(self._word_bytes, chunk)[skip : skip + wanted]
            skip = 0
            wanted -= len(piece)
            yield piece

    def _bytes_of_a_word(self) -> int:
        """Return how many bytes must be reversed at a time to get little endian; 1 for none."""
        layout = self.instance.layout
        if layout.pixel_data is not None and layout.pixel_data.offset == self._offset:
            return layout.pixel_data.word_bytes
        return big_endian_bytes(layout.encoding, self.vr)
