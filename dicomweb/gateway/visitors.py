"""Who is connected to the gateway, and who gives way when connections run short.

Facts this module keeps:

- A connection costs two descriptors and some memory, so there are at most `dimse_max_connections`, or what descriptors
  allow.
- Those give way first that have opened no association, then those whose association never asked for anything, then the
  idle: the oldest of each first. Where something is being answered nobody gives way.
- An address with more than half of the connections gives way before others do. A trusted proxy, such as the gate of a
  network, has no share: it speaks for many.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from dicomweb.gateway.associations import LiveAssociation
from dicomweb.process.descriptors import most_connections
from dicomweb.proxies import is_trusted
from dicomweb.settings import Settings

logger = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""The part of all connections that is let go when one is wanted: looking costs as much for one as for many."""
RESOURCE_LIMIT: Final = (2, 0)
"""Source and reason of the A-ABORT: the provider, not specified (PS3.8 Table 9-26)."""


@dataclass(slots=True, eq=False)
class Visitor:
    """A connection.

    Attributes
    ----------
    host : str
        Address of the peer.
    task : asyncio.Task
        What serves it.
    live : LiveAssociation or None
        The association that it opened.
    since : float
        When it came (time.monotonic).
    """

    host: str
    task: "asyncio.Task[None]"
    live: LiveAssociation | None = None
    since: float = field(default_factory=time.monotonic)

    def standing(self) -> tuple[int, float] | None:
        """Return how readily it gives way, the least first; None when it stays."""
        if self.live is None:
            return 0, self.since
        if self.live.operation is not None:
            return None
        return (2 if self.live.answered else 1), self.live.since


class Visitors:
    """Those who are connected.

    Parameters
    ----------
    settings : Settings
        `dimse_max_connections` and `trusted_proxies` count.
    """

    def __init__(self, settings: Settings) -> None:
        self.most = most_connections(settings.dimse_max_connections)
        self._trusted = tuple(settings.trusted_proxies)
        self._all: dict[asyncio.Task[None], Visitor] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """What serves them, those that are being let go included."""
        return {*self._all, *self._leaving}

    def has_room(self) -> bool:
        """Whether one more may come; somebody gives way if need be."""
        if len(self._all) >= self.most:
            self._make_room()
        return len(self._all) < self.most

    def add(self, host: str, serving: Coroutine[Any, Any, None]) -> Visitor:
        """Begin to serve a connection."""
        task = asyncio.create_task(serving)
        visitor = self._all[task] = Visitor(host, task)
        task.add_done_callback(self._gone)
        return visitor

    def undecided(self) -> "list[asyncio.Task[None]]":
        """Return what serves those who have opened no association."""
        return [task for task, visitor in self._all.items() if visitor.live is None]

    def served(self, task: "asyncio.Task[None]", live: LiveAssociation) -> None:
        """Say that a connection has opened an association."""
        if task in self._all:
            self._all[task].live = live

    def _make_room(self) -> None:
        by_host = Counter(visitor.host for visitor in self._all.values())
        greedy = {host for host, count in by_host.items() if count > self.most // 2}
        greedy = {host for host in greedy if not is_trusted(host, self._trusted)}
        ranked = [
            ((visitor.host not in greedy, *standing), visitor)
            for visitor in self._all.values()
            if (standing := visitor.standing()) is not None
        ]
        ranked.sort(key=lambda found: found[0])
        giving_way = [visitor for _, visitor in ranked[: max(1, self.most // AT_ONCE)]]
        if giving_way:
            logger.warning("%d idle connections give way to others", len(giving_way))
        for visitor in giving_way:
            self._let_go(visitor)

    def _let_go(self, visitor: Visitor) -> None:
        del self._all[visitor.task]
        self._leaving.add(visitor.task)
        if visitor.live is None:
            visitor.task.cancel()
        else:
            ending = asyncio.create_task(visitor.live.association.abort(*RESOURCE_LIMIT))
            self._leaving.add(ending)
            ending.add_done_callback(self._gone)

    def _gone(self, task: "asyncio.Task[None]") -> None:
        self._all.pop(task, None)
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("unforeseen error", exc_info=error)
