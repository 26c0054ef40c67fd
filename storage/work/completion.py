"""Which studies have become complete: the change feed is followed, and who wants to know gets a job (G-180).

Facts this module keeps:

- DICOM has no message that says so; a study is taken for complete when nothing was stored in it for a while (G-050).
- How far the feed was read and which studies still grow is in the database: no restart forgets or repeats anything.
- A study that grows again is announced again, whole.
"""

from datetime import timedelta
from typing import Any, Final

import asyncpg

from storage.database.pool import sql
from storage.work.jobs import Jobs

KIND: Final = "availability"
"""Of the jobs; their parameters are `peer` and `study_instance_uid`."""

_READER: Final = "availability"
_NEWS: Final = ("instance.stored", "instance.replaced")
_ROWS: Final = 5000


async def follow(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Read the change feed to its end and note the studies that grow; nothing is noted when nobody wants to know."""
    while True:
        async with pool.acquire() as connection, connection.transaction():
            position = await connection.fetchval(sql("feed_position"), _READER)
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM peers WHERE availability)"):
                await connection.execute(sql("skip_feed"), _READER)
                return
            rows = await connection.fetch(sql("changes"), position, _ROWS)
            if not rows:
                return
            changed: dict[str, Any] = {}
            for row in rows:
                if row["kind"] in _NEWS:
                    changed[row["study_instance_uid"]] = row["at"]
            await connection.execute(sql("growing_studies"), list(changed), list(changed.values()))
            await connection.execute(sql("move_feed"), _READER, rows[-1]["sequence"])
            if len(rows) < _ROWS:
                return


async def pass_over(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Take all that is in the change feed for known; only while nobody else writes to it."""
    await pool.execute(sql("skip_feed"), _READER)


async def announce(pool: "asyncpg.Pool[asyncpg.Record]", delay: float) -> int:
    """Queue a job for each study in which nothing was stored for `delay` seconds and each peer that wants to know.

    Returns
    -------
    int
        How many jobs.
    """
    queued = 0
    async with pool.acquire() as connection, connection.transaction():
        studies = await connection.fetch(sql("complete_studies"), timedelta(seconds=delay))
        if not studies:
            return 0
        peers = await connection.fetch("SELECT ae_title FROM peers WHERE availability ORDER BY ae_title")
        jobs = Jobs(pool)
        for study in studies:
            for peer in peers:
                parameters = {"peer": peer["ae_title"], "study_instance_uid": study["study_instance_uid"]}
                await jobs.add(KIND, parameters, connection=connection)
                queued += 1
    return queued


async def performed_steps(pool: "asyncpg.Pool[asyncpg.Record]", study_instance_uid: str) -> list[dict[str, Any]]:
    """Return the items of Referenced Performed Procedure Step Sequence (0008,1111) in the series of a study."""
    rows = await pool.fetch(sql("performed_steps_of_series"), study_instance_uid)
    return [item for row in rows for item in row["items"] if isinstance(item, dict)]
