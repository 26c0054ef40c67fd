"""The sweep at start-up: what a crash left behind is finished or removed, before anybody else writes."""

from dataclasses import dataclass
from itertools import islice

import asyncpg

from storage.blobs.local import LocalBlobs
from storage.database.pool import sql
from storage.errors import ForeignFiles

SAMPLE = 50
"""So many files and rows are looked at to tell whether folder and database belong together."""


@dataclass(slots=True)
class Swept:
    """How many blobs were found committed, never acknowledged (and removed), and let go of earlier (and removed)."""

    committed: int = 0
    unacknowledged: int = 0
    discarded: int = 0


async def sweep(pool: "asyncpg.Pool[asyncpg.Record]", blobs: LocalBlobs) -> Swept:
    """Decide about every blob that was on its way when the last process died.

    Only the holder of the data folder may call it, before anything is stored. An index without rows cannot tell what
    was acknowledged (it may have been lost), so every file that was published stays then, for `dicomweb reindex`.

    Raises
    ------
    ForeignFiles
        The files are those of another archive.
    """
    await follow_replacements(pool, blobs)
    swept = Swept()
    staged = await blobs.run(blobs.staged)
    await _require_own_files(pool, blobs, staged)
    rows = await pool.fetch(sql("blobs_with_rows"), staged)
    kept = {row["blob"] for row in rows}
    index_is_lost = not await pool.fetchval("SELECT EXISTS (SELECT FROM instances)")
    for name in staged:
        if name in kept or index_is_lost:
            swept.committed += name in kept
        else:
            await blobs.run(blobs.delete, name)
            swept.unacknowledged += 1
        await blobs.run(blobs.unstage, name)
    for row in await pool.fetch(sql("discarded_blobs")):
        await blobs.run(blobs.delete, row["blob"])
        await pool.execute("DELETE FROM discarded_blobs WHERE blob = $1", row["blob"])
        swept.discarded += 1
    return swept


async def follow_replacements(pool: "asyncpg.Pool[asyncpg.Record]", blobs: LocalBlobs) -> None:
    """Have corrections go on behind the last one that was noted: a new database would count from 1 again."""
    replacements = await blobs.run(blobs.replacements.read)
    await pool.execute(sql("follow_version"), max((each.number for each in replacements), default=0))


async def _require_own_files(pool: "asyncpg.Pool[asyncpg.Record]", blobs: LocalBlobs, staged: list[str]) -> None:
    """Refuse files of which the index knows none, while it has others that are not there: `--data-dir` and
    `--database-url` of two archives, each of which would be cleared of what the other does not know."""
    known = [row["blob"] for row in await pool.fetch(sql("some_blobs"), SAMPLE)]
    if not known or await blobs.run(lambda: any(blobs.path(name).exists() for name in known)):
        return
    found = await blobs.run(lambda: [*islice(blobs.names(), SAMPLE), *staged[:SAMPLE]])
    if found and not await pool.fetch(sql("blobs_with_rows"), found):
        raise ForeignFiles(
            f"The database knows none of the files in {blobs.root}, and has others that are not there: is the data "
            "folder the right one for this database? To make an index of these files use a new database, and reindex."
        )
