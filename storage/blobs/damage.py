"""Stored files that turned out not to be what was stored: told in the log once, and kept where every process tells it.

Facts this module keeps:

- Whoever reads a file may find it, in any thread, in the middle of anything: noting it waits for nothing.
- A file is damaged as long as a row of the index names it. When another one takes its place, or it is read again and
  found right, it is forgotten.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from storage.database.pool import sql
from storage.errors import Damaged

if TYPE_CHECKING:
    import asyncpg

    Pool = asyncpg.Pool[asyncpg.Record]

logger = logging.getLogger(__name__)


class DamageLog:
    """What one process finds damaged."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._found: set[str] = set()

    def keep_in(self, pool: "Pool") -> None:
        """Write what is found into the index from now on; to be called in the event loop."""
        self._pool, self._loop = pool, asyncio.get_running_loop()

    def found(self, blob: str, sop_instance_uid: str, what: str) -> Damaged:
        """Note that the file of an instance is damaged, and return the error to raise; in any thread."""
        self._found.add(blob)
        text = f"file {blob} of instance {sop_instance_uid} is damaged: {what}"
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, blob, text)
        else:
            logger.error("%s", text)
        return Damaged(
            f"The stored file is damaged: {what} (instance {sop_instance_uid}). Send the instance again, and"
            " it takes its place; `dicomweb check` tells more."
        )

    def knows(self, blob: str) -> bool:
        """Whether this process found a file damaged."""
        return blob in self._found

    async def written(self) -> None:
        """Wait until all that was found is in the index."""
        await asyncio.sleep(0)
        await asyncio.gather(*self._writing)

    def _begin(self, blob: str, text: str) -> None:
        task = asyncio.ensure_future(self._write(blob, text))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, blob: str, text: str) -> None:
        assert self._pool is not None
        try:
            is_news = await self._pool.fetchval(sql("note_damage"), blob, text)
        except Exception as error:  # whatever it is, it must be told
            logger.error("%s (and the index could not be written: %s)", text, type(error).__name__)
            return
        if is_news:
            logger.error("%s; send the instance again, and it takes its place", text)


async def damaged_files(pool: "Pool") -> int:
    """Return how many stored files are known to be damaged."""
    return int(await pool.fetchval(sql("damaged_files")))


async def ask_for(connection: Any) -> list[dict[str, str]]:
    """Return the UIDs of damaged instances that nobody was asked for yet, and note that somebody is."""
    return [dict(row) for row in await connection.fetch(sql("ask_for_damaged"))]


async def damaged_among(pool: "Pool", rows: Sequence[int]) -> set[int]:
    """Return which of some instance rows have a file that is known to be damaged."""
    return {row["id"] for row in await pool.fetch(sql("damaged_among"), list(rows))}


def damage_advice(number: int) -> str:
    """Say what a number of damaged files means and what to do; empty when there is none."""
    if not number:
        return ""
    what, them = ("1 stored file is", "It is") if number == 1 else (f"{number:,} stored files are", "They are")
    return (
        f"{what} damaged or missing. {them} not given out; what is sent again takes the place. `dicomweb check` lists"
        " every one."
    )
