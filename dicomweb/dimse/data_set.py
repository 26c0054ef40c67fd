"""The data set of a message while it comes in.

Facts this module keeps:

- It is a stream: at most `HIGH_WATER` bytes and one read from the socket wait in it; then reading the socket waits.
- What its reader does not take is dropped as it comes, never mixed with the next message.
- When the association ends within it, its reader gets the error, never a short data set.
"""

import asyncio
from copy import copy

from dicomweb.dimse.errors import AssociationError

HIGH_WATER = 256 << 10
"""How many bytes wait for the reader before the socket is left alone."""


class DataSet:
    """The bytes of one data set, in the transfer syntax of its context: an asynchronous iterable of chunks.

    It can be read once. Chunks have any size, usually tens to hundreds of kilobytes, and are never empty.
    """

    def __init__(self) -> None:
        self._parts: list[memoryview] = []
        self._size = 0
        self._is_complete = False
        self._is_discarded = False
        self._error: AssociationError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """How many bytes wait for the reader."""
        return self._size

    def __aiter__(self) -> "DataSet":
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._error is not None:
                raise copy(self._error)
            if self._is_discarded:
                raise RuntimeError("a data set is read after its message was done with")
            if self._is_complete:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        parts, self._parts, self._size = self._parts, [], 0
        _wake(self._writer)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    async def read(self, limit: int) -> bytes:
        """Return all of it.

        Raises
        ------
        ValueError
            It has more than `limit` bytes; the rest is dropped.
        AssociationError
            The association ended within it.
        """
        chunks = []
        size = 0
        async for chunk in self:
            size += len(chunk)
            if size > limit:
                self.discard()
                raise ValueError(f"a data set of more than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def discard(self) -> None:
        """Drop what is in it and what is still to come."""
        self._is_discarded = True
        self._parts.clear()
        self._size = 0
        _wake(self._writer)
        _wake(self._reader)

    async def complete(self) -> None:
        """Wait until all of it has come; what comes from now on is dropped unless it is complete already.

        Raises
        ------
        AssociationError
            The association ended within it.
        """
        if not self._is_complete:
            self.discard()
        while not self._is_complete:
            if self._error is not None:
                raise copy(self._error)
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader

    def feed(self, part: memoryview) -> None:
        """Add bytes, at once; see `room`."""
        if len(part) and not self._is_discarded and self._error is None:
            self._parts.append(part)
            self._size += len(part)
            _wake(self._reader)

    def end(self, error: AssociationError | None = None) -> None:
        """Say that it is complete, or with an error that it never will be; the first call counts."""
        if not self._is_complete and self._error is None:
            self._is_complete = error is None
            self._error = error
            _wake(self._reader)
            _wake(self._writer)

    async def room(self) -> None:
        """Wait until its reader has taken enough."""
        while self._size > HIGH_WATER and self._error is None:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
