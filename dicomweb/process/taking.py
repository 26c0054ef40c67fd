"""Taking connections from a listening socket, many at once.

Facts this module keeps:

- uvloop takes one connection in a turn of its loop. With a thousand busy connections a turn is tens of milliseconds,
  and who comes then waits behind all who came before, seconds or minutes, without anybody having refused it.
- Where no connection can be taken, for there are too many open files or the like, it is tried again in a moment: those
  that wait stay in the kernel.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from storage.system.errors import in_words

logger = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""Connections taken in a turn of the event loop: others go on meanwhile."""
AFTER_FAILURE: Final = 1.0
"""Seconds without taking connections when one could not be taken."""


class Taker:
    """Takes connections until it is closed, with the listening socket.

    Parameters
    ----------
    listener : socket.socket
        Where they come.
    taken : callable
        Told of each, and of the address of the other side; the connection is its own.
    """

    def __init__(self, listener: socket.socket, taken: Callable[[socket.socket, str], None]) -> None:
        self._listener = listener
        self._taken = taken
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._begin()

    def close(self) -> None:
        """Take no more, and listen no more."""
        if self._pause is not None:
            self._pause.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    async def wait_closed(self) -> None:
        """Return at once: there is nothing to wait for."""

    def _begin(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._ready)

    def _ready(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("no connection can be taken now: %s", in_words(error))
                self._loop.remove_reader(self._listener.fileno())
                self._pause = self._loop.call_later(AFTER_FAILURE, self._begin)
                return
            self._taken(connection, str(address[0]) if address else "")
