"""One HTTP connection that knows what it waits for, and how fast that comes.

Facts this module keeps:

- It is idle between requests, in a head from its first byte to its last, and slow when a body comes, or an answer is
  taken, below the least rate. Otherwise we are at work for it, and it stays.
- An answer is not taken to its end before our buffer is empty, however long ago the application has given it away.
- While we do not read, or have not said 100 Continue, the client need not send.
- Who is let go of with a request in the air gets a 408 where no answer has begun, else a reset: never a short body that
  looks whole, and nothing left in the kernel.
"""

from asyncio import Transport
from enum import IntEnum
from typing import Any, Protocol

from dicomweb.http.entrance.bounded_head import LATE, BoundedHeadProtocol
from dicomweb.pace import UNSENT_AT_FIRST, UNSENT_OF_READERS, Pace, acknowledged, keep_unsent, reset
from dicomweb.process.listener import plain_address

BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
"""For a connection that has no place: nobody knows yet what it will ask."""


NEWBORN = 0.25
"""Seconds in which a connection is not idle although nothing has come yet: its request may wait to be read."""


class Standing(IntEnum):
    """What a connection does that can give way, the first to do so first."""

    IDLE = 0
    IN_HEAD = 1
    SLOW = 2


class Watch(Protocol):
    """What a connection needs of those who watch it."""

    least_rate: float
    over: float
    unread: "set[WatchedConnection]"

    def add(self, connection: "WatchedConnection") -> bool:
        """Count it in; False when there is no place."""

    def remove(self, connection: "WatchedConnection") -> None:
        """Count it out."""

    def trusts(self, connection: "WatchedConnection") -> bool:
        """Whether one that reads may have more of the kernel's memory from now on."""


class WatchedConnection(BoundedHeadProtocol):
    """A connection whose other side must keep pace.

    Parameters
    ----------
    watch : Watch
        Told of its beginning and its end.
    given
        As uvicorn gives them.
    """

    def __init__(self, watch: Watch, **given: Any) -> None:
        super().__init__(**given)
        self.address = ""
        self._watch = watch
        self._idle_since = 0.0
        self._received = 0
        self._moved = 0
        self._sends: bool | None = None  # whether we wait for the client to send; None when for nothing
        self._pace = Pace(watch.least_rate, watch.over)

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Take a place, or say that there is none."""
        super().connection_made(transport)
        if self.client:
            self.client = (plain_address(self.client[0]), self.client[1])
        keep_unsent(transport, UNSENT_AT_FIRST)
        self.address = self.client[0] if self.client else ""
        self._idle_since = self.loop.time()
        if not self._watch.add(self):
            transport.write(BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._watch.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what came."""
        self._received += len(data)
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client does not take what is there."""
        self._watch.unread.add(self)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has taken it."""
        if self._watch.trusts(self):
            keep_unsent(self.transport, UNSENT_OF_READERS)
        self._watch.unread.discard(self)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Be idle from here on."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def look(self, seconds: float) -> bool:
        """Count how fast it was since the last look, `seconds` ago; return whether it was too slow for too long."""
        sends = self._waited_for()
        if sends is None:
            self._sends = None
            return False
        before, self._moved = self._moved, self._received if sends else acknowledged(self.transport)
        if sends is not self._sends:
            self._sends = sends
            self._pace = Pace(self._watch.least_rate, self._watch.over)
            return False
        return self._pace.waited(seconds, max(0, self._moved - before))

    def standing(self) -> tuple[Standing, float] | None:
        """Return how readily it gives way, None when it stays: within a kind, the least first."""
        if not self._received and self.loop.time() - self._idle_since < NEWBORN:
            return None
        if self._in_head and not self._answering():
            return Standing.IN_HEAD, self._idle_since
        sends = self._waited_for()
        if sends is None:
            return None if self._answering() else (Standing.IDLE, self._idle_since)
        return (Standing.SLOW, self._pace.rate) if sends is self._sends and self._pace.gives_way() else None

    def let_go(self) -> None:
        """End it."""
        if self._waited_for() and not self.cycle.response_started and not self.pipeline:
            self.transport.write(LATE)
            self.transport.close()
        elif self._answering() or self.transport.get_write_buffer_size():
            reset(self.transport)
        else:
            self.transport.close()

    def _waited_for(self) -> bool | None:
        """Return True while the client is to send, False while it is to read, None while it is to do nothing."""
        if self.transport.get_write_buffer_size():
            return False
        ours = self.flow.read_paused or not self._in_body or self.cycle.waiting_for_100_continue
        return None if ours else True
