"""A job worker in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from dicomweb.jobs.worker import JobWorker
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.work.jobs import FINISHED, Job, Jobs

IN_TIME = 60.0


@asynccontextmanager
async def working(archive: Archive, **options: Any) -> AsyncIterator[JobWorker]:
    """Do jobs; a second attempt comes soon."""
    settings = options.pop("settings", Settings(dimse_timeout=60, dimse_acse_timeout=60))
    worker = JobWorker(archive, settings, **{"first_pause": 0.05, "poll_every": 0.02} | options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(jobs: Jobs, number: int, when: Callable[[Job], bool] | None = None) -> Job:
    """Wait until a job is over, or as asked for."""
    async with asyncio.timeout(IN_TIME):
        while True:
            job = await jobs.get(number)
            assert job is not None
            if when(job) if when else job.state in FINISHED:
                return job
            await asyncio.sleep(0.02)
