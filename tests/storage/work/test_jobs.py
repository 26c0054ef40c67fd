"""The table of jobs: claimed once, taken up again when the holder dies, tried again, given up, cancelled."""

import asyncio
from datetime import timedelta
from typing import Any

from storage.work.jobs import JobQueue, Jobs, listen


async def test_a_job_is_claimed_by_one_and_its_progress_is_seen(archive: Any) -> None:
    """Of many that claim at once one gets the job; total, done and failed items are there for everybody at once."""
    jobs, queue = Jobs(archive.pool), JobQueue(archive.pool, ["send"])
    number = await jobs.add("send", {"peer": "PACS"})
    await jobs.add("other", {})
    claims = await asyncio.gather(*(queue.claim() for _ in range(5)))
    (claimed,) = [claim for claim in claims if claim]
    assert claimed.job.parameters == {"peer": "PACS"}
    assert await claimed.keep(total=3, items={"1.1": None, "1.2": "refused"})
    job = await jobs.get(number)
    assert job is not None
    assert (job.state, job.total, job.done, job.failed) == ("running", 3, 1, 1)
    assert job.failures == [{"item": "1.2", "error": "refused"}]
    assert await claimed.keep(items={"1.2": None, "1.3": None})
    assert await claimed.finish("done")
    job = await jobs.get(number)
    assert job is not None and job.finished_at is not None
    assert (job.state, job.total, job.done, job.failed, job.failures) == ("done", 3, 3, 0, [])
    assert not await jobs.cancel(number) and not await jobs.retry(number)


async def test_a_job_of_a_dead_holder_is_taken_up_where_it_stopped(archive: Any) -> None:
    """When a lease ends the next one claims the job and sees what is settled; the late holder writes nothing."""
    number = await Jobs(archive.pool).add("send", {})
    queue = JobQueue(archive.pool, ["send"], lease=0.05)
    first = await queue.claim()
    assert first and await first.keep(total=2, items={"1.1": None})
    await asyncio.sleep(0.06)
    second = await queue.claim()
    assert second and second.job.id == number
    assert second.settled == {"1.1": None}
    assert not await first.keep(items={"1.2": None})
    assert not await first.finish("done")
    job = await Jobs(archive.pool).get(number)
    assert job and (job.state, job.done) == ("running", 1)


async def test_attempts_count_only_while_nothing_gets_done(archive: Any) -> None:
    """A job that gets on is as good as new after each item; one that does not counts up, waits, and can be parked."""
    jobs, queue = Jobs(archive.pool), JobQueue(archive.pool, ["send"])
    number = await jobs.add("send", {})
    for attempt in (1, 2, 3):
        claimed = await queue.claim()
        assert claimed and claimed.job.attempts == attempt
        assert await claimed.postpone(0, "nobody there")
    claimed = await queue.claim()
    assert claimed and await claimed.keep(items={"1.1": None})
    assert await claimed.postpone(3600, "gone again")
    assert await queue.claim() is None
    job = await jobs.get(number)
    assert job and (job.state, job.attempts, job.error) == ("waiting", 1, "gone again")
    due = await queue.next_due()
    assert due is not None and 3500 < due <= 3600
    assert await jobs.retry(number)
    claimed = await queue.claim()
    assert claimed and await claimed.finish("parked", "given up")
    assert await queue.next_due() is None
    assert await jobs.retry(number)
    claimed = await queue.claim()
    assert claimed and claimed.settled == {"1.1": None}


async def test_a_cancelled_job_is_nobodys(archive: Any) -> None:
    """After a cancel the holder learns it at its next sign of life, and what it then writes is not written."""
    jobs, queue = Jobs(archive.pool), JobQueue(archive.pool, ["send"])
    number = await jobs.add("send", {})
    claimed = await queue.claim()
    assert claimed and await jobs.cancel(number)
    assert not await claimed.keep(items={"1.1": None})
    assert not await claimed.postpone(1, "late")
    job = await jobs.get(number)
    assert job and (job.state, job.done) == ("cancelled", 0)


async def test_a_job_given_back_is_claimed_again_at_once(archive: Any) -> None:
    """A holder that is stopped gives back what it has, and that does not count as an attempt."""
    queue = JobQueue(archive.pool, ["send"])
    await Jobs(archive.pool).add("send", {})
    claimed = await queue.claim()
    assert claimed and await claimed.give_back()
    claimed = await queue.claim()
    assert claimed and claimed.job.attempts == 1


async def test_jobs_are_listed_by_state_the_newest_first(archive: Any) -> None:
    """The list can be narrowed to states and kinds and read page by page."""
    jobs, queue = Jobs(archive.pool), JobQueue(archive.pool, ["send", "pull"])
    numbers = [await jobs.add(kind, {}) for kind in ("send", "pull", "send")]
    claimed = await queue.claim()
    assert claimed and claimed.job.id == numbers[0]
    assert [job.id for job in await jobs.list()] == numbers[::-1]
    assert [job.id for job in await jobs.list(states=["queued"])] == numbers[:0:-1]
    assert [job.id for job in await jobs.list(kinds=["pull"])] == [numbers[1]]
    assert [job.id for job in await jobs.list(limit=1, before=numbers[2])] == [numbers[1]]
    await claimed.finish("done")
    await queue.forget(timedelta(0))
    assert await jobs.get(numbers[0]) is None


async def test_a_new_job_wakes_who_listens(archive: Any, database_url: str) -> None:
    """Queueing and cancelling are told at once through the database, whichever process did it."""
    wake = asyncio.Event()
    listening = asyncio.create_task(listen(database_url, wake))
    try:
        await asyncio.wait_for(wake.wait(), 30)
        wake.clear()
        number = await Jobs(archive.pool).add("send", {})
        await asyncio.wait_for(wake.wait(), 30)
        wake.clear()
        await Jobs(archive.pool).cancel(number)
        assert await asyncio.wait_for(wake.wait(), 30)
    finally:
        listening.cancel()


async def test_a_job_that_ends_its_worker_is_suspected(archive: Any) -> None:
    """A worker died at it, and the supervisor started another; what got on, or ended in an orderly way, is not."""
    jobs = Jobs(archive.pool)
    number = await jobs.add("send", {})

    def queue(run: str = "run") -> JobQueue:
        return JobQueue(archive.pool, ["send"], lease=0.02, run=run)

    async def deaths(queue: JobQueue) -> int:
        await asyncio.sleep(0.03)
        claimed = await queue.claim()
        assert claimed
        return claimed.job.deaths

    assert [await deaths(queue()) for _ in range(3)] == [0, 1, 2]
    assert await deaths(queue("another")) == 2, "the machine was switched off: nobody knows why it ended"
    same = queue("another")
    assert [await deaths(same) for _ in range(2)] == [3, 3], "it is the same worker, which was away from the database"
    await asyncio.sleep(0.03)
    claimed = await same.claim()
    assert claimed and await claimed.give_back()
    claimed = await queue("another").claim()
    assert claimed and claimed.job.deaths == 3, "stopped in an orderly way: that is no death, and no excuse"
    assert await claimed.keep(items={"1.1": None})
    job = await jobs.get(number)
    assert job and job.deaths == 0, "it gets on"
    assert await deaths(queue("another")) == 1
    await asyncio.sleep(0.03)
    claimed = await queue("another").claim()
    assert claimed and claimed.job.deaths == 2 and await claimed.postpone(0, "nobody there")
    assert await deaths(queue("another")) == 0, "it came to an end"


async def test_suspects_are_claimed_when_asked_for(archive: Any) -> None:
    """Others come first to who is at a suspect already."""
    jobs = Jobs(archive.pool)
    suspect = await jobs.add("send", {})
    dead = JobQueue(archive.pool, ["send"], lease=0.02, run="run")
    assert await dead.claim()
    await asyncio.sleep(0.03)
    queue = JobQueue(archive.pool, ["send"], run="run")
    assert await queue.claim(suspects=False) is None
    other = await jobs.add("send", {})
    claimed = await queue.claim(suspects=False)
    assert claimed and claimed.job.id == other
    claimed = await queue.claim()
    assert claimed and claimed.job.id == suspect and claimed.job.deaths == 1
