"""The job "pull": what a remote archive has comes here, by C-GET and by C-MOVE, and only what is missing."""

from pathlib import Path
from typing import Any

import pytest

from dicomweb.settings import Settings
from storage.jobs import Jobs
from storage.peers import Peers
from tests.builders import ct_slice, dicom_file, new_uid, sop_instance_uid
from tests.dicomweb.gateway.serving import serving
from tests.dicomweb.jobs.working import until, working
from tests.dicomweb.scu.remote_archive import remote_archive

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
            await Peers(archive.pool).put(peer)
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
            await Peers(archive.pool).put(peer)
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
        await Peers(archive.pool).put(peer)
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
        await Peers(archive.pool).put(peer)
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
        await Peers(archive.pool).put(peer)
        async with working(archive, settings=Settings(aet="STRANGER")):
            job = await until(jobs, await jobs.add("pull", pull(study, "move")))
    assert job.state == "failed"
    assert "A801" in job.error and "STRANGER" in job.error
