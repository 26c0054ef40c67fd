"""How much there is: numbers for people, never for decisions.

Facts this module keeps:

- Counting reads tables, so an answer is kept for a while: the longer it took, the longer. Whoever asks meanwhile gets
  the same one; who asks at the same time waits for the one that is being made.
- The sizes of few instances are added up, those of many estimated from a sample.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from storage.blobs.damage import damage_advice
from storage.database.pool import sql
from storage.upkeep.stocktaking import advice

if TYPE_CHECKING:
    from storage.archive import Archive

EXACT_UP_TO: Final = 100_000
"""Instances of which the sizes are added up, some 20 ms."""
SAMPLE: Final = 20_000
"""Instances, about, that an estimate looks at."""
LEAST_VALIDITY: Final = 2.0
"""Seconds."""
SHARE: Final = 50
"""How many times as long as it took to make an answer is kept: two per cent of one connection, at most."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the archive holds, and how the database and its queues are.

    Attributes
    ----------
    studies, series, instances : int
        How many there are.
    stored_bytes : int
        Of all files.
    unindexed_files : int
        Without a row, when that was last counted.
    damaged_files : int
        That are known not to be what was stored.
    estimated : bool
        Whether `stored_bytes` was estimated.
    database_version : str
        Of PostgreSQL.
    database_bytes : int
        Of tables and indexes on disk.
    jobs, commitments : dict
        State to how many are in it; states nothing is in are left out.
    modalities : dict
        Modality to how many studies have it, the most frequent first.
    """

    studies: int
    series: int
    instances: int
    stored_bytes: int
    estimated: bool
    unindexed_files: int
    damaged_files: int
    database_version: str
    database_bytes: int
    jobs: dict[str, int]
    commitments: dict[str, int]
    modalities: dict[str, int]

    @property
    def advice(self) -> str:
        """What is not as it should be in what is stored, and what to do; empty when all is well."""
        return " ".join(filter(None, (advice(self.unindexed_files), damage_advice(self.damaged_files))))


class StatisticsReader:
    """Reads statistics, seldom enough.

    Parameters
    ----------
    archive : Archive
        Whose.
    """

    def __init__(self, archive: "Archive") -> None:
        self._archive = archive
        self._lock = asyncio.Lock()
        self._known: Statistics | None = None
        self._valid_until = 0.0

    async def read(self) -> Statistics:
        """Return the statistics, at most a moment old."""
        async with self._lock:
            if self._known is None or time.monotonic() >= self._valid_until:
                began = time.monotonic()
                self._known = await self._read()
                ended = time.monotonic()
                self._valid_until = ended + max(LEAST_VALIDITY, SHARE * (ended - began))
            return self._known

    async def _read(self) -> Statistics:
        async with self._archive.pool.acquire(timeout=5) as connection:
            counts = await connection.fetchrow(sql("count_entities"))
            facts = await connection.fetchrow(sql("database_facts"))
            assert counts is not None and facts is not None
            stored, estimated = await _stored_bytes(connection, counts["instances"])
            return Statistics(
                **counts,
                stored_bytes=stored,
                estimated=estimated,
                unindexed_files=await connection.fetchval(sql("unindexed_files")),
                damaged_files=await connection.fetchval(sql("damaged_files")),
                database_version=facts["version"],
                database_bytes=facts["bytes"],
                jobs=await _by_state(connection, "jobs_by_state"),
                commitments=await _by_state(connection, "commitments_by_state"),
                modalities={
                    row["modality"]: row["studies"] for row in await connection.fetch(sql("studies_by_modality"))
                },
            )


async def newest_change(pool: "asyncpg.Pool[asyncpg.Record]") -> int:
    """Return the last sequence number of the change feed; 0 when nothing ever changed."""
    return int(await pool.fetchval(sql("newest_change")))


async def _stored_bytes(connection: Any, instances: int) -> tuple[int, bool]:
    if instances > EXACT_UP_TO:
        mean = await connection.fetchval(sql("mean_size"), min(100.0, 100.0 * SAMPLE / instances))
        if mean is not None:
            return round(mean * instances), True
    return int(await connection.fetchval(sql("sum_of_sizes"))), False


async def _by_state(connection: Any, statement: str) -> dict[str, int]:
    return {row["state"]: row["number"] for row in await connection.fetch(sql(statement))}
