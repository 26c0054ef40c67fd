"""Reading every stored file once in a while, so that damage is found while there is still a good copy somewhere.

Facts this module keeps:

- One file after the other, in the order in which they were stored, spread evenly over the time a round may take; never
  faster than `MOST_BYTES_A_SECOND`, so that others hardly notice. Files without checksums do not wait for their turn.
- The bytes come from the disk: the system's copy in memory is given up first (`LocalBlobs.digest_slowly`).
- How far it is stands in the index: a round goes on where it was, whatever ended in between.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from storage.database.pool import sql
from storage.upkeep.verify import Finding, examine

if TYPE_CHECKING:
    from storage.archive import Archive

MOST_BYTES_A_SECOND: Final = 20e6
LEAST_PAUSE: Final = 0.01
COUNT_EVERY: Final = 3600.0
"""Seconds after which it is counted again how much there is left to read."""


@dataclass(frozen=True, slots=True)
class Step:
    """One file that was read.

    Attributes
    ----------
    pause : float
        Seconds to wait before the next.
    finding : Finding or None
        What is wrong with it.
    ended : Round or None
        The round, when this was none of its files but its end.
    """

    pause: float
    finding: Finding | None = None
    ended: "Round | None" = None


@dataclass(frozen=True, slots=True)
class Round:
    """A round that is over: when it began, and how many files and bytes were read."""

    begun_at: datetime
    files: int
    bytes: int


class Scrub:
    """Reads the stored files, one a step.

    Parameters
    ----------
    archive : Archive
        Whose.
    days : float
        That a round is to take.
    """

    def __init__(self, archive: "Archive", days: float) -> None:
        self._archive = archive
        self._days = timedelta(days=days)
        self._left = 0
        self._counted = -COUNT_EVERY

    async def step(self) -> Step:
        """Read the next file, or end the round; what is found is written into the index."""
        pool = self._archive.pool
        (place,) = await pool.fetch(sql("scrub_place"), self._days)
        row = await pool.fetchrow(sql("rows_to_verify"), place["last_row"], 1)
        if row is None:
            return await self._end(place)
        began = time.monotonic()
        finding = await examine(self._archive, row, bytes_a_second=MOST_BYTES_A_SECOND)
        await pool.execute(sql("scrubbed"), row["id"], row["size"])
        pause = await self._pause(place, row) - (time.monotonic() - began)
        self._left -= row["size"]
        return Step(max(LEAST_PAUSE, pause), finding)

    async def _end(self, place: Any) -> Step:
        """Begin the next round when its time has come; an empty archive is looked at again in a while."""
        self._counted = -COUNT_EVERY
        if place["files"] and place["completed_at"] is None:
            await self._archive.pool.execute(sql("end_round"))
            return Step(LEAST_PAUSE, ended=Round(place["begun_at"], place["files"], place["bytes"]))
        if place["seconds_left"] <= 0:
            await self._archive.pool.execute(sql("begin_round"))
            return Step(LEAST_PAUSE)
        return Step(min(COUNT_EVERY, place["seconds_left"]))

    async def _pause(self, place: Any, row: Any) -> float:
        """Return the seconds that the file at hand may take of what is left of the round."""
        if row["is_unknown"] or place["seconds_left"] <= 0:
            return 0.0
        if time.monotonic() - self._counted >= COUNT_EVERY:
            self._left = await self._archive.pool.fetchval(sql("bytes_to_scrub"), place["last_row"])
            self._counted = time.monotonic()
        return float(min(COUNT_EVERY, place["seconds_left"] * row["size"] / max(self._left, row["size"])))
