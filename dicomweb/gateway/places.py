"""The places of the gateway: for how many associations it works at once.

Facts this module keeps:

- A place is taken while a request is answered, its data set coming in or its answers going out: idle associations take
  none. An echo needs none, so that whoever asks whether we are well hears it.
- When all are taken a proposal is rejected for now (G-005), and a request of an association that is open waits.
- Who then is slower than the least rate gives way, after a moment of grace. Who keeps pace is never cut.
- One address has at most three quarters of the places. A trusted proxy has no such share: it speaks for many.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.negotiation import shown_title
from dicomweb.gateway.associations import Associations, LiveAssociation
from dicomweb.process.listener import plain_address
from dicomweb.proxies import is_trusted
from dicomweb.settings import Settings

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at who could give way, while somebody waits."""


class Places:
    """The places, and who has them.

    Parameters
    ----------
    settings : Settings
        `dimse_max_associations` and `trusted_proxies` count.
    associations : Associations
        Those that are open.
    """

    def __init__(self, settings: Settings, associations: Associations) -> None:
        self._free = asyncio.Semaphore(settings.dimse_max_associations)
        self._share = -(-settings.dimse_max_associations * 3 // 4)
        self._trusted = tuple(settings.trusted_proxies)
        self._associations = associations
        self._holders: Counter[str] = Counter()

    def has_room(self, host: str) -> bool:
        """Whether an association from an address would be worked for now."""
        if self._free.locked():
            self._let_slow_go()
        has_share = is_trusted(host, self._trusted) or self._holders[host] < self._share
        return has_share and not self._free.locked()

    @asynccontextmanager
    async def place(self, live: LiveAssociation) -> AsyncIterator[None]:
        """Have a place for what an association asks for, as soon as there is one."""
        if live.operation is Operation.C_ECHO:
            yield
            return
        await self._take()
        host = plain_address(live.association.peer_host)
        self._holders[host] += 1
        try:
            yield
        finally:
            self._free.release()
            self._holders[host] -= 1
            if not self._holders[host]:
                del self._holders[host]

    async def _take(self) -> None:
        while self._free.locked():
            self._let_slow_go()
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._free.acquire()
                return
            except TimeoutError:
                continue
        await self._free.acquire()

    def _let_slow_go(self) -> None:
        """Have the slowest give way; its place is free when it is gone, a moment later."""
        slow = [live.association for live in self._associations.live() if live.operation and live.association.is_slow]
        for association in slow:
            logger.warning(
                "association of %s from %s is too slow and gives way to others",
                *(shown_title(association.calling_ae_title), association.peer_host),
            )
            association.give_up()
