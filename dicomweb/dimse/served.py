"""The requests of the peer, from their arrival until they are answered (PS3.7 9.3, 10.3).

Facts this module keeps:

- They are handled one at a time, in the order they came. Asking for the next one says that the one before is done with:
  what nobody took of its data set is dropped.
- C-CANCEL counts only for a request that has come and is not yet answered; one that comes too early or too late does
  nothing (PS3.7 9.3.2.3).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from dicomweb.dimse.errors import AssociationAborted
from dicomweb.dimse.mailbox import Mailbox
from dicomweb.dimse.message import Message

WAITING_REQUESTS: Final = 8
"""How many requests of the peer wait to be handled before the socket is left alone."""


class Served:
    """The requests of the peer that are not yet answered."""

    def __init__(self) -> None:
        self._mailbox: Mailbox[Message] = Mailbox(WAITING_REQUESTS)
        self._unanswered: set[int] = set()
        self._cancelled: set[int] = set()
        self._settled = asyncio.Event()
        self._being_handled = 0
        self._is_iterated = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being handled or waits for that."""
        return bool(self._being_handled or len(self._mailbox))

    async def put(self, request: Message) -> None:
        """Add a request that has come; wait while there are too many."""
        self._cancelled.discard(request.message_id)
        self._unanswered.add(request.message_id)
        await self._mailbox.put(request)

    def cancel(self, message_id: int) -> None:
        """Remember that the peer wants no more of a request."""
        if message_id in self._unanswered:
            self._cancelled.add(message_id)

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer wants no more of a request."""
        return message_id in self._cancelled

    def answered(self, message_id: int) -> None:
        """Remember that a request has its last response."""
        self._unanswered.discard(message_id)
        self._cancelled.discard(message_id)
        if not self._unanswered:
            self._settled.set()

    async def settle(self) -> None:
        """Wait until every request is answered, if there is somebody to answer them."""
        while self._unanswered and self._is_iterated and not self._mailbox.is_closed:
            self._settled.clear()
            await self._settled.wait()

    def clear(self) -> None:
        """Drop the requests that wait to be handled."""
        for request in self._mailbox.clear():
            request.discard()
            self.answered(request.message_id)

    def close(self, error: AssociationAborted | None) -> None:
        """Say that no more come, and why if that is an error."""
        self._mailbox.close(error)
        self._settled.set()

    def iterate(self, handled: Callable[[], None], ended: Callable[[], Awaitable[None]]) -> "Requests":
        """Iterate over the requests; `handled` is called after each, `ended` awaited after the last one."""
        self._is_iterated = True
        return Requests(self, handled, ended)

    async def take(self) -> Message | None:
        """Return the next request, which is being handled from now on; None after the last one."""
        request = await self._mailbox.get()
        self._being_handled += request is not None
        return request

    def done(self, request: Message) -> None:
        """Say that a request is not being handled any more."""
        request.discard()
        self._being_handled -= 1
        self.answered(request.message_id)


class Requests(AsyncIterator[Message]):
    """The requests of the peer, one at a time."""

    def __init__(self, served: Served, handled: Callable[[], None], ended: Callable[[], Awaitable[None]]) -> None:
        self._served = served
        self._handled = handled
        self._ended = ended
        self._request: Message | None = None

    async def __anext__(self) -> Message:
        if self._request is not None:
            self._served.done(self._request)
            self._request = None
            self._handled()
        try:
            self._request = await self._served.take()
        except AssociationAborted:
            await self._ended()
            raise
        if self._request is None:
            await self._ended()
            raise StopAsyncIteration
        return self._request
