"""A bounded queue that can be closed: what passes between the reader of an association and those who wait for it.

Facts this module keeps:

- One puts, one gets. Putting waits while the queue is full, so that backpressure reaches the socket.
- After `close` what is in it can still be got; then `get` returns None or raises what ended the association.
- No task and no handle of the event loop belongs to it; nothing has to be tidied up.
"""

import asyncio
from collections import deque
from copy import copy
from typing import Generic, TypeVar

from dicomweb.dimse.errors import AssociationError

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A bounded queue that can be closed.

    Attributes
    ----------
    is_closed : bool
        Whether it takes nothing more.

    Parameters
    ----------
    room : int
        How many items wait in it at most.
    """

    def __init__(self, room: int) -> None:
        self._items: deque[T] = deque()
        self._room = room
        self.is_closed = False
        self._error: AssociationError | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: T) -> None:
        """Add an item as soon as there is room; nothing happens when it is closed."""
        while len(self._items) >= self._room and not self.is_closed:
            await self._change()
        if not self.is_closed:
            self._items.append(item)
            self._changed()

    async def get(self) -> T | None:
        """Return the next item, None after the last one.

        Raises
        ------
        AssociationError
            What it was closed with, after the last item.
        """
        while not self._items and not self.is_closed:
            await self._change()
        if self._items:
            item = self._items.popleft()
            self._changed()
            return item
        if self._error is not None:
            raise copy(self._error)
        return None

    def close(self, error: AssociationError | None = None) -> None:
        """Accept nothing more; the first call counts."""
        if not self.is_closed:
            self.is_closed = True
            self._error = error
            self._changed()

    def clear(self) -> list[T]:
        """Take everything out."""
        items = list(self._items)
        self._items.clear()
        self._changed()
        return items

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _changed(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
