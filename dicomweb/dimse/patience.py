"""How long the reader of an association waits for the next bytes (PS3.8 9.1.5; checklist G-010).

Facts this module keeps:

- A command set, and any PDU that is no P-DATA-TF, is short: the DIMSE timer is for all of it. A byte now and then does
  not start it anew, so a peer cannot keep its place among the associations that way.
- A data set may be long and the line slow: within it the DIMSE timer is one of silence, and the peer must keep the
  least rate, counted while we wait for it.
- Between messages the idle timer runs, but not while somebody on this side is at work.
"""

import asyncio
from collections.abc import Callable

from dicomweb.dimse.connection import Connection
from dicomweb.dimse.errors import PeerTimeout
from dicomweb.dimse.message import Timeouts
from dicomweb.pace import Pace

_LEAST = 0.001


class Patience:
    """Reads a connection with the timer that belongs to what is being read.

    Parameters
    ----------
    connection : Connection
        Where bytes come from.
    timeouts : Timeouts
        `dimse` and `idle` count.
    is_busy : callable
        Whether somebody on this side is at work, or waits for the peer with a timer of its own.
    """

    def __init__(self, connection: Connection, timeouts: Timeouts, is_busy: Callable[[], bool]) -> None:
        self._connection = connection
        self._timeouts = timeouts
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        self._pace = Pace(timeouts.least_rate)
        self._reads_since: float | None = None

    @property
    def is_slow(self) -> bool:
        """Whether a data set comes too slowly for somebody who needs the place."""
        return self._reads_since is not None and self._pace.gives_way(self._loop.time() - self._reads_since)

    def whole(self) -> None:
        """Say that a command set or a PDU has come to its end: the next one has a timer of its own."""
        self._due = None

    async def read_command(self) -> bytes:
        """Return more of a command set or of a PDU that has begun.

        Raises
        ------
        PeerTimeout
            It is not whole in time.
        AssociationAborted
            The connection is lost.
        """
        seconds = self._timeouts.dimse
        self._due = self._due or self._loop.time() + seconds
        try:
            return await self._connection.read(max(self._due - self._loop.time(), _LEAST))
        except PeerTimeout:
            raise PeerTimeout(f"a command or PDU of the peer was not whole within {seconds:g} seconds") from None

    async def read_data(self) -> bytes:
        """Return more of a data set; raises as `read_command`, after silence or below the least rate."""
        begun = self._reads_since = self._loop.time()
        try:
            chunk = await self._connection.read(self._timeouts.dimse)
        finally:
            self._reads_since = None
        if self._pace.waited(self._loop.time() - begun, len(chunk)):
            raise PeerTimeout(f"the peer sent less than {self._pace.least:g} bytes a second")
        return chunk

    async def read_next(self) -> bytes:
        """Return the beginning of the next message, whenever it comes; raises as `read_command`, after idleness."""
        idle = self._timeouts.idle
        while True:
            silent = 0 if self._is_busy() else self._loop.time() - self._connection.last_active
            try:
                return await self._connection.read(max(idle - silent, _LEAST))
            except PeerTimeout:
                if not self._is_busy() and self._loop.time() - self._connection.last_active >= idle:
                    raise
