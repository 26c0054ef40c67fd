"""A text among the large values of an instance, in UTF-8 as the metadata that names it is (PS3.18 F.2)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Self

from storage.blobs.local import LocalBlobs
from storage.dicom.charset import character_set
from storage.dicom.utf_8 import Utf8Writer
from storage.retrieval.bulk_value import BulkValue
from storage.retrieval.instance_file import InstanceFile, cut


class BulkText(BulkValue):
    """A large value of text that is stored in another character set.

    Attributes
    ----------
    length : int
        Bytes in UTF-8, padding included.
    """

    def __init__(
        self, blobs: LocalBlobs, instance: InstanceFile, offset: int, length: int, vr: str, declared: str
    ) -> None:
        super().__init__(blobs, instance, offset, length, vr)
        self._blobs = blobs
        self._stored_length = length
        self._is_ascii = False
        self._character_set = character_set(declared.encode("latin-1"))

    async def open(self) -> Self:
        """Find out the length; needed before `length` and `stream` are used."""
        length, is_ascii = 0, True
        async with aclosing(self._written()) as pieces:
            async for piece in pieces:
                length += len(piece)
                is_ascii = is_ascii and piece.isascii()
        self.length, self._is_ascii = length, is_ascii and length == self._stored_length
        return self

    @property
    def as_stored(self) -> bool:
        """Whether `stream` yields the very bytes of the file."""
        return self._is_ascii

    async def stream(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset` (all by default)."""
        if self._is_ascii:
            async for chunk in super().stream(offset, length):
                yield chunk
            return
        async with aclosing(self._written()) as pieces:
            async for piece in cut(pieces, offset, self.length - offset if length is None else length):
                yield piece

    async def _written(self) -> AsyncGenerator[bytes, None]:
        writer = Utf8Writer(self.vr, self._character_set)
        async for chunk in super().stream(0, self._stored_length):
            yield await self._blobs.run(writer.write, chunk)
        yield await self._blobs.run(writer.rest)
