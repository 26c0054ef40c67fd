"""The scrub beside the jobs: files are read again in the background, and damaged ones are asked for where they may be.

Facts this module keeps:

- Whatever finds damage (the scrub, `dicomweb check`, somebody who reads), the instance is asked of the peers of
  `heal_from` once, by the job "pull". What they send is taken in the place of the damaged file when it is the same:
  the same bytes, or the same data set as far as the index knows it (`storage/index/writer.py`); anything else is
  refused.
"""

import asyncio
import logging
from typing import Final

from dicomweb.jobs.repeating import repeat
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.blobs.damage import ask_for
from storage.upkeep.scrub import Scrub
from storage.work.jobs import Jobs

logger = logging.getLogger(__name__)

HEAL_EVERY: Final = 10.0
"""Seconds."""


async def keep_scrubbing(archive: Archive, settings: Settings) -> None:
    """Read the stored files, round after round, until cancelled; with `scrub_days` 0 never."""
    if not settings.scrub_days:
        await asyncio.Event().wait()
    scrub = Scrub(archive, settings.scrub_days)

    async def step() -> float:
        done = await scrub.step()
        if done.finding is not None:
            logger.error("%s: %s: %s", done.finding.kind, done.finding.what, done.finding.detail)
        if done.ended is not None:
            since = done.ended.begun_at.isoformat(timespec="seconds")
            logger.info("all %d stored files, %d bytes, were read since %s", done.ended.files, done.ended.bytes, since)
        return done.pause

    await repeat(step, "the stored files cannot be read again")


async def keep_healing(archive: Archive, settings: Settings) -> None:
    """Ask the peers of `heal_from` for damaged instances until cancelled."""
    jobs = Jobs(archive.pool)

    async def step() -> float:
        async with archive.pool.acquire() as connection, connection.transaction():
            entities = await ask_for(connection) if settings.heal_from else []
            for peer in settings.heal_from if entities else ():
                parameters = {"peer": peer, "method": "get", "entities": entities}
                number = await jobs.add("pull", parameters, connection=connection)
                logger.info("job %d asks %s for %d damaged instances", number, peer, len(entities))
        return HEAL_EVERY

    await repeat(step, "peers cannot be asked for damaged instances")
