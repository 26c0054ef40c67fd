"""The sweep at start-up: what a crash left behind is finished or removed, before anybody else writes."""

from dataclasses import dataclass

import asyncpg

from storage.blobs import LocalBlobs
from storage.database import sql


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
    """
    swept = Swept()
    staged = await blobs.run(blobs.staged)
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
