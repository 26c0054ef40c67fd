"""The connections of one HTTP worker: how many there may be, who gives way, and who is too slow to stay.

Facts this module keeps:

- A connection costs two descriptors and some memory, so there are at most so many. When they run short the idle give
  way first (no request begun), then those in the middle of a head, the oldest first, then those that keep no pace, the
  slowest first. Who keeps pace stays, and who comes then is told to come again.
- An answer that is not read keeps up to two megabytes. When too many are not read, those that keep no pace give way.
- An address with more than half of the connections gives way before others do. A trusted proxy has no share: it speaks
  for many.
- Requests that wait for their clients are none that are worked on (`request_limit.py`): here is their only bound.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from dicomweb.http.entrance.watched_connection import Standing, WatchedConnection
from dicomweb.pace import OVER
from dicomweb.process.descriptors import most_connections
from dicomweb.proxies import is_trusted
from dicomweb.settings import Settings

logger = logging.getLogger(__name__)

EVERY: Final = 1.0
"""Seconds between two looks at all connections."""
AT_ONCE: Final = 32
"""The part of all places that is made free when one is wanted: looking for it costs as much for one as for many."""
READERS: Final = 64
"""Connections for which the kernel keeps much, since they have shown that they read."""

Rank = tuple[bool, Standing, float]


class Connections:
    """Knows the connections of a worker and lets go of those that hold places for nothing.

    Parameters
    ----------
    settings : Settings
        `max_connections`, `max_requests_in_flight`, `least_rate` and `trusted_proxies` count.
    over : float
        Seconds over which the least rate is averaged.
    """

    def __init__(self, settings: Settings, over: float = OVER) -> None:
        self.least_rate = float(settings.least_rate)
        self.over = over
        self.most = most_connections(settings.max_connections)
        self.most_unread = settings.max_requests_in_flight // 2
        self._trusted = tuple(settings.trusted_proxies)
        self._all: set[WatchedConnection] = set()
        self._by_address: Counter[str] = Counter()
        self.unread: set[WatchedConnection] = set()
        self._readers: set[WatchedConnection] = set()

    def __len__(self) -> int:
        return len(self._all)

    def protocol(self, **given: Any) -> WatchedConnection:
        """Make the protocol of a new connection, as uvicorn asks for it."""
        return WatchedConnection(self, **given)

    def add(self, connection: WatchedConnection) -> bool:
        """Count a connection in; return False when there is no place for it."""
        if len(self._all) >= self.most:
            self._make_room()
            if len(self._all) >= self.most:
                return False
        self._all.add(connection)
        self._by_address[connection.address] += 1
        return True

    def remove(self, connection: WatchedConnection) -> None:
        """Count one out; nothing happens when it was not in."""
        self.unread.discard(connection)
        self._readers.discard(connection)
        if connection in self._all:
            self._all.remove(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def trusts(self, connection: WatchedConnection) -> bool:
        """Whether one that reads may have more of the kernel's memory from now on: the first few of them."""
        if connection in self._readers or len(self._readers) >= READERS:
            return False
        self._readers.add(connection)
        return True

    async def watch(self) -> None:
        """Look at all of them now and then, for ever."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(EVERY)
            now = loop.time()
            # A pause of ours, with the machine busy elsewhere, is none of theirs.
            self.look(min(now - before, 2 * EVERY))
            before = now

    def look(self, seconds: float) -> None:
        """Let go of who was too slow for too long, and of more where too many answers are not read."""
        late = [connection for connection in self._all if connection.look(seconds)]
        self._let_go(late, "kept no pace")
        excess = len(self.unread) - self.most_unread
        if excess > 0:
            self._let_go(self._slowest(self.unread)[:excess], "did not read, with too many others")

    def _make_room(self) -> None:
        ranked = sorted(self._ranked(self._all), key=lambda found: found[0])
        giving_way = [connection for _, connection in ranked[: max(1, self.most // AT_ONCE)]]
        self._let_go(giving_way, "gave way to others")

    def _ranked(self, among: Iterable[WatchedConnection]) -> list[tuple[Rank, WatchedConnection]]:
        """Return who can give way, with how readily: the least first."""
        greedy = {address for address, count in self._by_address.items() if count > self.most // 2}
        greedy = {address for address in greedy if not is_trusted(address, self._trusted)}
        return [
            ((connection.address not in greedy, *standing), connection)
            for connection in among
            if (standing := connection.standing()) is not None
        ]

    def _slowest(self, among: Iterable[WatchedConnection]) -> list[WatchedConnection]:
        slow = [found for found in self._ranked(among) if found[0][1] is Standing.SLOW]
        return [connection for _, connection in sorted(slow, key=lambda found: found[0])]

    def _let_go(self, connections: Iterable[WatchedConnection], why: str) -> None:
        count = 0
        for count, connection in enumerate(connections, 1):  # noqa: B007 - the last one counts
            self.remove(connection)
            connection.let_go()
        if count:
            logger.warning("%d connections %s and were let go; %d are left", count, why, len(self._all))
