"""The job worker itself: what it does without being asked."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from dicomweb.jobs.worker import DEADLY, JobWorker
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.work.jobs import JobQueue, Jobs
from storage.worklist.items import Worklist
from tests.dicomweb.jobs.working import until, working
from tests.storage.worklist_items import item, step


@pytest.mark.parametrize(("settings", "left"), [({}, 2), ({"worklist_keep_days": 7}, 1)])
async def test_what_is_long_over_is_deleted(archive: Archive, settings: dict[str, Any], left: int) -> None:
    """Jobs a month after their end, worklist items only when a setting says after how many days."""
    jobs = Jobs(archive.pool)
    numbers = [await jobs.add("send", {}) for _ in range(2)]
    for age, number in zip((31, 29), numbers, strict=True):
        claimed = await JobQueue(archive.pool, ["send"]).claim()
        assert claimed is not None and await claimed.finish("parked")
        await archive.pool.execute(
            "UPDATE jobs SET finished_at = now() - $1::interval WHERE id = $2", timedelta(age), number
        )
    await Worklist(archive.pool).add(item(step(ScheduledProcedureStepStartDate="20200101")))
    await Worklist(archive.pool).add(item(step(ScheduledProcedureStepStartDate="29990101"), StudyInstanceUID="1.2.4"))
    async with working(archive, settings=Settings(**settings)), asyncio.timeout(60):
        while await jobs.get(numbers[0]) is not None or await items(archive) != left:
            await asyncio.sleep(0.02)
    assert await jobs.get(numbers[1]) is not None
    assert await items(archive) == left


async def items(archive: Archive) -> int:
    """How many worklist items there are."""
    return int(await archive.pool.fetchval("SELECT count(*) FROM worklist_items"))


@pytest.mark.parametrize("turns", range(6))
async def test_a_worker_that_is_stopped_as_it_wakes_up_stops(archive: Any, turns: int) -> None:
    """However close a wake-up and the end of the process are."""
    worker = JobWorker(archive, Settings(), poll_every=60)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.3)
    worker.wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=30)
    if not done:
        running.cancel()
    assert done, "it went on"


async def test_a_job_that_ended_two_workers_is_parked(archive: Archive) -> None:
    """It says so, is not begun again by itself, and others go on; who asks for it may have it again."""
    jobs = Jobs(archive.pool)
    deadly = await jobs.add("send", {"peer": "NOBODY", "entities": []})
    for _ in range(2):
        dead = await JobQueue(archive.pool, ["send"], lease=0.02, run="run").claim()
        assert dead is not None and dead.job.id == deadly
        await asyncio.sleep(0.03)
    other = await jobs.add("send", {"peer": "NOBODY", "entities": []})
    async with working(archive, run="run"):
        parked, failed = await until(jobs, deadly), await until(jobs, other)
    assert (parked.state, parked.error, parked.started_at is not None) == ("parked", DEADLY, True)
    assert failed.state == "failed" and "no peer" in failed.error
    assert await jobs.retry(deadly)
    async with working(archive, run="run"):
        assert "no peer" in (await until(jobs, deadly)).error
