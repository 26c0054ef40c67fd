"""The job "send": what arrives, what is tried again, what is given up."""

import asyncio
import threading
import time
from typing import Any

import pytest

from storage.work.jobs import JobQueue, Jobs
from tests.builders import ct_slice, new_uid
from tests.dicomweb.jobs.storage_peer import storage_peer
from tests.dicomweb.jobs.working import until, working
from tests.live_server import free_port

WAITS_FOR_LOCK = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


@pytest.fixture
async def study(archive: Any) -> tuple[str, list[str]]:
    """A stored study of ten instances: its UID, and theirs in order."""
    study, series, instances = new_uid(), new_uid(), [new_uid() for _ in range(10)]
    for number, uid in enumerate(instances, 1):
        await archive.store(ct_slice(study, series, uid, rows=4, columns=4, instance_number=number))
    return study, instances


def send(study: str, peer: str = "STORE") -> dict[str, Any]:
    """What the job is given."""
    return {"peer": peer, "entities": [{"study_instance_uid": study}]}


async def test_a_study_is_sent_with_its_progress_shown(archive: Any, study: tuple[str, list[str]]) -> None:
    """Every instance arrives once, in order; total and done are known at the end."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        async with working(archive):
            job = await until(jobs, await jobs.add("send", send(study[0])))
    assert (job.state, job.total, job.done, job.failed, job.error) == ("done", 10, 10, 0, "")
    assert remote.received == study[1]
    assert job.started_at and job.finished_at


async def test_what_was_done_is_not_sent_again(archive: Any, study: tuple[str, list[str]]) -> None:
    """When the association breaks the job waits and goes on behind what was acknowledged."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        broken: list[str] = []

        def answer(uid: str) -> int:
            if uid == study[1][6] and not broken:
                broken.append(uid)
                return -1
            return 0

        remote.answer = answer
        async with working(archive):
            job = await until(jobs, await jobs.add("send", send(study[0])))
    assert (job.state, job.done) == ("done", 10)
    assert remote.received == [*study[1][:7], *study[1][6:]], "only what was under way is sent twice"


async def test_a_stopped_worker_gives_its_jobs_back(archive: Any, study: tuple[str, list[str]]) -> None:
    """The next worker takes up at once what the last one was at, where it stopped."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        number = 0
        async with working(archive):
            number = await jobs.add("send", send(study[0]))
            while len(remote.received) < 3:
                await asyncio.sleep(0.005)
        job = await jobs.get(number)
        assert job is not None
        assert (job.state, job.attempts) in (("queued", 0), ("done", 1), ("queued", 1))
        async with working(archive):
            job = await until(jobs, number)
    assert (job.state, job.done) == ("done", 10)
    assert sorted(set(remote.received)) == sorted(study[1])
    assert len(remote.received) <= 11


async def test_a_worker_stopped_while_it_writes_forgets_nothing(archive: Any, study: tuple[str, list[str]]) -> None:
    """What was acknowledged and is being written when the worker has to end is not sent again by the next one."""
    jobs, going_on = Jobs(archive.pool), threading.Event()
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        remote.answer = lambda uid: 0 if uid != study[1][3] or going_on.wait(10) else 0xA900
        async with archive.pool.acquire() as other:
            async with working(archive, poll_every=5):  # so that it writes when there is something to be written only
                number = await jobs.add("send", send(study[0]))
                await until(jobs, number, lambda job: job.state == "running")
                lock = other.transaction()
                await lock.start()
                await other.execute("SELECT FROM jobs WHERE id = $1 FOR UPDATE", number)
                while len(remote.received) < 4 or not await archive.pool.fetchval(WAITS_FOR_LOCK):
                    await asyncio.sleep(0.01)
                unlocking = asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(lock.rollback()))
            assert unlocking.when() < asyncio.get_running_loop().time(), "stopping waits for what is written"
        going_on.set()
        async with working(archive):
            job = await until(jobs, number)
    assert (job.state, job.done) == ("done", 10)
    assert remote.received == [*study[1][:4], *study[1][3:]], "only what was under way is sent twice"


async def test_a_job_of_a_worker_that_was_killed_is_taken_up(archive: Any, study: tuple[str, list[str]]) -> None:
    """A job whose holder is gone goes on when its lease has ended; what is settled is not sent again."""
    jobs = Jobs(archive.pool)
    number = await jobs.add("send", send(study[0]))
    dead = await JobQueue(archive.pool, ["send"], lease=0.3).claim()
    assert dead is not None
    await dead.keep(total=10, items=dict.fromkeys(study[1][:4]))
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        async with working(archive):
            job = await until(jobs, number)
    assert (job.state, job.done) == ("done", 10)
    assert remote.received == study[1][4:]


async def test_one_refused_instance_does_not_keep_the_others(archive: Any, study: tuple[str, list[str]]) -> None:
    """The job has failed in the end, says which instance and why, and can be tried again for that one alone."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        remote.answer = lambda uid: 0xA900 if uid == study[1][2] else 0
        async with working(archive) as worker:
            number = await jobs.add("send", send(study[0]))
            job = await until(jobs, number)
            assert (job.state, job.done, job.failed) == ("failed", 9, 1)
            assert job.failures[0]["item"] == study[1][2] and "A900" in job.failures[0]["error"]
            remote.answer = lambda uid: 0
            remote.received.clear()
            assert await jobs.retry(number)
            worker.wake.set()
            job = await until(jobs, number)
    assert (job.state, job.done, job.failed) == ("done", 10, 0)
    assert remote.received == [study[1][2]]


async def test_a_peer_that_is_away_is_waited_for(archive: Any, study: tuple[str, list[str]]) -> None:
    """While nobody is there the job waits with growing pauses and says why; when somebody is, it is done."""
    jobs, port = Jobs(archive.pool), free_port()
    with storage_peer(port=port) as remote:
        await archive.peers.put(remote.peer)
    async with working(archive):
        number = await jobs.add("send", send(study[0]))
        job = await until(jobs, number, lambda job: job.state == "waiting" and job.attempts >= 2)
        assert "cannot be reached" in job.error
        with storage_peer(port=port) as remote:
            job = await until(jobs, number)
    assert (job.state, job.done) == ("done", 10)


async def test_a_peer_without_room_is_asked_again(archive: Any, study: tuple[str, list[str]]) -> None:
    """A700, out of resources, passes: the instance is sent again later (PS3.4 Table B.2-1)."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        remote.answer = lambda uid: 0xA700 if len(remote.received) == 5 else 0
        async with working(archive):
            job = await until(jobs, await jobs.add("send", send(study[0])))
    assert (job.state, job.done) == ("done", 10)
    assert remote.received == [*study[1], study[1][4]]


async def test_a_job_that_gets_nowhere_is_parked(archive: Any, study: tuple[str, list[str]]) -> None:
    """After the last attempt a job is parked with its reason, until somebody tries it again."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
    async with working(archive, most_attempts=2, first_pause=0.01):
        number = await jobs.add("send", send(study[0]))
        job = await until(jobs, number)
        assert (job.state, job.attempts) == ("parked", 2)
        assert "cannot be reached" in job.error


async def test_an_instance_that_kills_the_association_is_given_up(archive: Any, study: tuple[str, list[str]]) -> None:
    """What loses the association again and again is failed, and the rest arrives."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        remote.answer = lambda uid: -1 if uid == study[1][4] else 0
        async with working(archive, first_pause=0.01):
            job = await until(jobs, await jobs.add("send", send(study[0])))
    assert (job.state, job.done, job.failed) == ("failed", 9, 1)
    assert job.failures[0]["item"] == study[1][4]


async def test_a_cancelled_job_stops(archive: Any, study: tuple[str, list[str]]) -> None:
    """After a cancel nothing more is sent than what is under way."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        async with working(archive) as worker:
            number = await jobs.add("send", send(study[0]))

            def answer(uid: str) -> int:
                if len(remote.received) == 3:
                    cancelled.result(10)
                    loop.call_soon_threadsafe(worker.wake.set)
                elif len(remote.received) > 3:
                    time.sleep(0.5)  # time to notice
                return 0

            loop = asyncio.get_running_loop()

            async def cancel() -> None:
                while len(remote.received) < 3:
                    await asyncio.sleep(0.005)
                await jobs.cancel(number)

            remote.answer = answer
            cancelled = asyncio.run_coroutine_threadsafe(cancel(), loop)
            job = await until(jobs, number)
            await asyncio.sleep(0.3)
    assert job.state == "cancelled"
    assert len(remote.received) < 10


async def test_a_study_of_a_thousand_instances_is_sent(archive: Any) -> None:
    """Each arrives once, over one association, and the job counts them all."""
    study, series, jobs = new_uid(), new_uid(), Jobs(archive.pool)

    async def chunks(number: int) -> Any:
        yield ct_slice(study, series, f"{series}.{number}", rows=1, columns=1)

    async with archive.ingest() as ingest:
        for number in range(1000):
            await ingest.add(chunks(number))
        assert {outcome.status for outcome in await ingest.finish()} == {"stored"}
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        async with working(archive):
            job = await until(jobs, await jobs.add("send", send(study)))
    assert (job.state, job.total, job.done) == ("done", 1000, 1000)
    assert len(remote.received) == len(set(remote.received)) == 1000


async def test_jobs_are_done_side_by_side(archive: Any, study: tuple[str, list[str]]) -> None:
    """One peer that takes its time keeps neither the jobs of others back nor another job of its own."""
    jobs, going_on = Jobs(archive.pool), threading.Event()
    with storage_peer() as quick, storage_peer("SLOW") as slow:
        slow.answer = lambda uid: 0 if going_on.wait(10) else 0xA900
        for remote in (quick, slow):
            await archive.peers.put(remote.peer)
        async with working(archive):
            waiting = [await jobs.add("send", send(study[0], "SLOW")) for _ in range(2)]
            ready = [await jobs.add("send", send(study[0])) for _ in range(6)]
            assert {(await until(jobs, number)).state for number in ready} == {"done"}
            assert {(await until(jobs, number, lambda job: True)).state for number in waiting} == {"running"}
            going_on.set()
            assert {(await until(jobs, number)).state for number in waiting} == {"done"}
    assert (len(quick.received), len(slow.received)) == (60, 20)


@pytest.mark.parametrize(
    ("peer", "uid", "says"), [("NOBODY", None, "no peer NOBODY"), ("STORE", "1.2.3", "nothing of this")]
)
async def test_what_cannot_be_done_fails_at_once(
    archive: Any, study: tuple[str, list[str]], peer: str, uid: str | None, says: str
) -> None:
    """An unknown peer, or a study that is not here: trying again would not help."""
    jobs = Jobs(archive.pool)
    with storage_peer() as remote:
        await archive.peers.put(remote.peer)
        async with working(archive):
            job = await until(jobs, await jobs.add("send", send(uid or study[0], peer)))
    assert job.state == "failed"
    assert says in job.error
