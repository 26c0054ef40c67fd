"""The job "pull": what a remote archive has comes here, by C-GET and by C-MOVE, and only what is missing."""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dicomweb.settings import Settings
from storage.archive import Archive
from storage.policy import Policy
from storage.work.jobs import Jobs
from tests.builders import ct_slice, dicom_file, new_uid, sop_instance_uid
from tests.dicomweb.gateway.serving import serving
from tests.dicomweb.jobs.retrieve_peer import retrieve_peer
from tests.dicomweb.jobs.working import until, working
from tests.dicomweb.scu.remote_archive import remote_archive
from tests.live_server import REPOSITORY

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def pull(study: str, method: str) -> dict[str, Any]:
    """What the job is given."""
    return {"peer": "REMOTE", "entities": [{"study_instance_uid": study}], "method": method}


def files_of(study: str, method: str = "get") -> list[bytes]:
    """A study of two series; one of them is compressed for C-GET. By C-MOVE this one sends no such."""
    compressed = {"transfer_syntax": JPEG_LOSSLESS, "pixels": [b"\xff\xd8one\xff\xd9"]} if method == "get" else {}
    jpegs = [dicom_file(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.2", **compressed) for _ in range(2)]
    plain = [ct_slice(study, f"{study}.1", rows=4, columns=4, instance_number=number) for number in range(1, 6)]
    return [*plain, *jpegs]


@pytest.mark.parametrize("method", ["get", "move"])
async def test_a_study_comes_whole_and_as_it_is_there(archive: Any, tmp_path: Path, method: str) -> None:
    """Every instance arrives in its own transfer syntax, and the job counts them (PS3.4 C.4.2, C.4.3)."""
    study, jobs = new_uid(), Jobs(archive.pool)
    files = files_of(study, method)
    async with serving(archive) as served:
        with remote_archive(tmp_path, served.port, *files, compressed=method == "get") as peer:
            await archive.peers.put(peer)
            async with working(archive):
                job = await until(jobs, await jobs.add("pull", pull(study, method)))
    assert (job.state, job.error, job.failures) == ("done", "", [])
    assert (job.total, job.done) == (7, 7)
    stored = await archive.instances(study)
    assert {one.sop_instance_uid for one in stored} == {sop_instance_uid(file) for file in files}
    assert sum(one.transfer_syntax_uid == JPEG_LOSSLESS for one in stored) == (2 if method == "get" else 0)


@pytest.mark.parametrize("method", ["get", "move"])
async def test_only_what_is_missing_is_asked_for(archive: Any, tmp_path: Path, method: str) -> None:
    """What is here already does not cross the network again: a second pull, and one that goes on, fetch the rest."""
    study, jobs = new_uid(), Jobs(archive.pool)
    files = files_of(study, method)
    for file in files[:3]:
        await archive.store(file)
    async with serving(archive) as served:
        with remote_archive(tmp_path, served.port, *files, compressed=method == "get") as peer:
            await archive.peers.put(peer)
            async with working(archive):
                job = await until(jobs, await jobs.add("pull", pull(study, method)))
                before = len(await archive.changes())
                again = await until(jobs, await jobs.add("pull", pull(study, method)))
    assert (job.state, job.total, job.done) == (again.state, again.total, again.done) == ("done", 7, 7)
    assert before == len(await archive.changes()) == 7


async def test_single_series_and_instances_can_be_pulled(archive: Any, tmp_path: Path) -> None:
    """An entity names a series or an instance as well as a study."""
    study, jobs = new_uid(), Jobs(archive.pool)
    files = files_of(study)
    one = sop_instance_uid(files[1])
    with remote_archive(tmp_path, 1, *files) as peer:
        await archive.peers.put(peer)
        entities = [
            {"study_instance_uid": study, "series_instance_uid": f"{study}.1", "sop_instance_uid": one},
            {"study_instance_uid": study, "series_instance_uid": f"{study}.2"},
        ]
        async with working(archive):
            given = {"peer": "REMOTE", "entities": entities, "method": "get"}
            job = await until(jobs, await jobs.add("pull", given))
    assert (job.state, job.total, job.done) == ("done", 3, 3)
    assert len(await archive.instances(study, f"{study}.1")) == 1


async def test_a_study_the_peer_has_not_is_told(archive: Any, tmp_path: Path) -> None:
    """A UID the peer knows nothing of is a failure of its own; what it has comes."""
    study, jobs = new_uid(), Jobs(archive.pool)
    with remote_archive(tmp_path, 1, ct_slice(study)) as peer:
        await archive.peers.put(peer)
        entities = [{"study_instance_uid": "1.2.3"}, {"study_instance_uid": study}]
        async with working(archive):
            given = {"peer": "REMOTE", "entities": entities, "method": "get"}
            job = await until(jobs, await jobs.add("pull", given))
    assert (job.state, job.total, job.done, job.failed) == ("failed", 2, 1, 1)
    assert job.failures == [{"item": "1.2.3", "error": "The peer has nothing of this."}]


async def test_a_peer_that_does_not_know_us_is_told_apart(archive: Any, tmp_path: Path) -> None:
    """C-MOVE to an AE the peer has no address of fails at once and says what to do (PS3.4 Table C.4-2, A801)."""
    study, jobs = new_uid(), Jobs(archive.pool)
    with remote_archive(tmp_path, 1, ct_slice(study)) as peer:
        await archive.peers.put(peer)
        async with working(archive, settings=Settings(aet="STRANGER")):
            job = await until(jobs, await jobs.add("pull", pull(study, "move")))
    assert job.state == "failed"
    assert "A801" in job.error and "STRANGER" in job.error


def slices(study: str, count: int = 3) -> list[bytes]:
    """Small CT images of two series."""
    return [
        ct_slice(study, f"{study}.{number % 2}", f"{study}.9.{number}", rows=4, columns=4) for number in range(count)
    ]


@pytest.mark.parametrize("method", ["get", "move"])
async def test_what_failed_for_a_moment_is_asked_for_again(archive: Archive, method: str) -> None:
    """While this archive has no room the job waits; later what is missing comes (A700; PS3.4 C.4.2.1.5)."""
    study, jobs = new_uid(), Jobs(archive.pool)
    full = Archive(archive.pool, archive.blobs, Policy(min_free_bytes=1 << 62))
    with retrieve_peer(*slices(study)) as remote:
        await archive.peers.put(remote.peer)
        number = await jobs.add("pull", pull(study, method))
        async with serving(full) as served, working(full):
            remote.our_port = served.port
            job = await until(jobs, number, lambda job: job.state == "waiting")
        assert (job.total, job.done, job.failed) == (3, 0, 0)
        assert "3 of the instances did not come" in job.error
        async with serving(archive) as served, working(archive):
            remote.our_port = served.port
            job = await until(jobs, number)
    assert (job.state, job.done, job.failed) == ("done", 3, 0)


async def test_what_never_comes_is_given_up(archive: Archive) -> None:
    """A peer that lists an instance and never sends it is asked a few times; the rest is here, and not sent again."""
    study, jobs = new_uid(), Jobs(archive.pool)
    with retrieve_peer(*slices(study)) as remote:
        lost = remote.files[1].SOPInstanceUID
        asked: list[str] = []
        remote.sends = lambda uid: asked.append(uid) is None and uid != lost
        await archive.peers.put(remote.peer)
        async with working(archive):
            job = await until(jobs, await jobs.add("pull", pull(study, "get")))
    assert (job.state, job.done, job.failures) == ("failed", 2, [{"item": lost, "error": "The peer did not send it."}])
    assert 3 <= asked.count(lost) <= 12
    assert sorted(remote.sent) == sorted(file.SOPInstanceUID for file in remote.files if file.SOPInstanceUID != lost)


@pytest.mark.parametrize("levels", [(), ("STUDY",), ("STUDY", "SERIES")])
@pytest.mark.parametrize("method", ["get", "move"])
async def test_a_peer_that_lists_no_instances_sends_whole_studies(
    archive: Archive, method: str, levels: tuple[str, ...]
) -> None:
    """Without C-FIND, or without its IMAGE level, the study is asked for as such; what it has not is told."""
    study, jobs = new_uid(), Jobs(archive.pool)
    with retrieve_peer(*slices(study), levels=levels) as remote:
        await archive.peers.put(remote.peer)
        async with serving(archive) as served, working(archive):
            remote.our_port = served.port
            job = await until(jobs, await jobs.add("pull", pull(study, method)))
            nothing = await until(jobs, await jobs.add("pull", pull("1.2.3", method)))
    assert (job.state, job.done, job.failed, job.error) == ("done", 3, 0, "")
    assert len(await archive.instances(study)) == 3
    assert nothing.failures == [{"item": "1.2.3", "error": "The peer has nothing of this."}]


WORKER = """
import asyncio, sys
from pathlib import Path
from dicomweb.jobs.worker import JobWorker
from dicomweb.settings import Settings
from storage.archive import Archive

async def work():
    archive = await Archive.open(sys.argv[1], Path(sys.argv[2]))
    await JobWorker(archive, Settings(dimse_timeout=60), lease=0.6).run()

asyncio.run(work())
"""


async def test_a_pull_goes_on_after_its_worker_was_killed(archive: Archive, database_url: str, tmp_path: Path) -> None:
    """kill -9 in the midst of a C-GET: the next worker takes the job up when the lease ends; only the rest crosses."""
    study, jobs, killed = new_uid(), Jobs(archive.pool), threading.Event()
    with retrieve_peer(*slices(study, 6)) as remote:
        remote.about_to_send = lambda uid: len(remote.sent) < 5 or killed.wait(60)
        await archive.peers.put(remote.peer)
        number = await jobs.add("pull", pull(study, "get"))
        arguments = ("-c", WORKER, database_url, str(tmp_path / "data"))
        worker = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=REPOSITORY)
        async with asyncio.timeout(60):
            while len(remote.sent) < 5 and worker.returncode is None:
                await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        killed.set()
        before, here = len(remote.sent), len(await archive.instances(study))
        assert here == 4, "killed in its midst"
        job = await jobs.get(number)
        assert job is not None and job.state == "running"
        async with working(archive):
            job = await until(jobs, number)
    assert (job.state, job.done) == ("done", 6)
    assert len(remote.sent) - before <= 6 - here + 1
    assert len(await archive.changes()) == 6
