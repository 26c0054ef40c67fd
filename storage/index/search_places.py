"""Searches take turns where they have to read a whole table; all others run at once.

A scan keeps a connection and a processor busy for as long as a search may take. A few dozen at once, from a viewer that
searches while somebody types, would leave none of either for the list, for frames and for what a scanner stores.
Facts this module keeps:

- Scans have `PLACES` in each process, and so many connections at most. Who waits for a place holds no connection.
- Few wait, and not for long: then they are told to come again (`Busy`), which is better than a client that gives up.
- A scan uses one processor: no parallel workers of PostgreSQL.
- The log tells of each scan; the answer does, where it took long.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from storage.database.pool import searching
from storage.errors import Busy
from storage.index import search
from storage.index.search_cost import DEAR, may_scan
from storage.matching.query import Query

if TYPE_CHECKING:
    import asyncpg

logger = logging.getLogger(__name__)

PLACES: Final = 1
"""Scans at once in one process."""
MOST_WAITING: Final = 8
WAIT_WITHIN: Final = 5.0
"""Seconds until a place must be free."""
SLOW: Final = 1.0
"""Seconds from which on a scan is spoken of to who asked."""
WARNING: Final = (
    "No index serves this search, so it read all there is; a study date, patient ID or accession number makes it quick"
)


class SearchPlaces:
    """Runs searches, scans only while there is a place.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`.
    dear : float
        Cost from which on a search is a scan, in the planner's unit.
    wait_within : float
        Seconds until a place must be free.
    """

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", *, dear: float = DEAR, wait_within: float = WAIT_WITHIN
    ) -> None:
        self._pool = pool
        self._dear = dear
        self._wait_within = wait_within
        self._places = asyncio.Semaphore(PLACES)
        self._waiting = 0

    async def find(self, query: Query) -> search.Page:
        """Search; raises InvalidQuery, QueryTooBroad, and Busy when all places stay taken."""
        if not may_scan(query):
            return await self._run(query)
        async with searching(self._pool) as connection:
            cost = await search.cost(connection, query)
            if cost < self._dear:
                return await search.find(connection, query)
        async with self._place():
            began = time.monotonic()
            try:
                page = await self._run(query, alone=True)
            finally:
                spent = time.monotonic() - began
                logger.info("a search without an index: level %s, cost %.0f, %.1f s", query.level.name, cost, spent)
        if spent >= SLOW:
            page.warnings.append(WARNING)
        return page

    async def _run(self, query: Query, *, alone: bool = False) -> search.Page:
        async with searching(self._pool, alone=alone) as connection:
            return await search.find(connection, query)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise _busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_within):
                await self._places.acquire()
        except TimeoutError:
            raise _busy() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


def _busy() -> Busy:
    logger.warning("a search without an index was refused: others of its kind take all places")
    return Busy(
        "No index serves this search, and others like it are running; add a study date, patient ID or accession "
        "number, or try again in a moment."
    )
