"""A video kept as encapsulated pixel data, read as the one stream it is (PS3.5 8.2.5-8.2.8, PS3.18 8.7.3.3.2)."""

import struct
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from dicomweb.http.wado.metadata import attributes_in
from dicomweb.rendering.attribute_values import integer
from storage.errors import InvalidDicom

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.bulk_value import BulkValue

_ITEM = struct.Struct("<HHL")
_ITEM_TAG = (0xFFFE, 0xE000)


class VideoStream:
    """The bytes of all fragments, joined, readable from any offset.

    Parameters
    ----------
    value : BulkValue
        Pixel Data as it lies in the file, items and all.
    fragments : list of (int, int)
        Offset in `value` and length of each fragment, in bytes.
    stated_length : int
        Of the stream, by Encapsulated Pixel Data Value Total Length; it tells whether the last byte is padding.
    """

    def __init__(self, value: "BulkValue", fragments: list[tuple[int, int]], stated_length: int = -1) -> None:
        self._value = value
        self._fragments = fragments
        whole = sum(length for _, length in fragments)
        self.length = stated_length if stated_length == whole - 1 else whole

    @classmethod
    async def open(cls, archive: "Archive", value: "BulkValue") -> Self:
        """Find the fragments of `value`; the first item is the offset table and is left out (PS3.5 A.4, C.7.6.3).

        Raises
        ------
        InvalidDicom
            The items do not follow one another.
        """
        fragments: list[tuple[int, int]] = []
        offset = 0
        is_table = True
        while offset + _ITEM.size <= value.length:
            head = b"".join([chunk async for chunk in value.stream(offset, _ITEM.size)])
            group, element, length = _ITEM.unpack(head)
            if (group, element) != _ITEM_TAG:
                break
            offset += _ITEM.size
            if not is_table:
                fragments.append((offset, min(length, value.length - offset)))
            is_table = False
            offset += length
        if not fragments:
            raise InvalidDicom("The encapsulated pixel data has no fragment.")
        attributes = await attributes_in(archive, value.instance)
        return cls(value, fragments, integer(attributes, "EncapsulatedPixelDataValueTotalLength", -1))

    async def stream(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset`, all of them by default."""
        wanted = self.length - offset if length is None else length
        for start, size in self._fragments:
            if offset >= size:
                offset -= size
                continue
            piece = min(size - offset, wanted)
            if piece <= 0:
                return
            async for chunk in self._value.stream(start + offset, piece):
                yield chunk
            wanted -= piece
            offset = 0
