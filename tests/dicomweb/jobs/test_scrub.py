"""Healing: a damaged instance is asked of a peer that has it, and takes the place of the damaged file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dicomweb.jobs import scrub
from dicomweb.jobs.scrub import keep_healing, keep_scrubbing
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.blobs.damage import damaged_files
from storage.work.jobs import Jobs
from tests.builders import ct_slice, dataset_only
from tests.dicomweb.jobs.working import IN_TIME, until, working
from tests.dicomweb.scu.remote_archive import remote_archive


@asynccontextmanager
async def healing(archive: Archive) -> AsyncIterator[None]:
    """Scrub, heal and do jobs."""
    settings = Settings(heal_from=["REMOTE"], scrub_days=1)
    tasks = [asyncio.create_task(each(archive, settings)) for each in (keep_scrubbing, keep_healing)]
    try:
        async with working(archive):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_damaged_instance_is_healed_by_a_peer(archive: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """What comes has other file meta information and the same data set; the damaged file is none of the archive's."""
    monkeypatch.setattr(scrub, "HEAL_EVERY", 0.05)
    file = ct_slice("1.2", "1.3", "1.4")
    await archive.store(file)
    (damaged,) = await archive.instances("1.2")
    path = archive.blobs.path(damaged.blob)
    path.write_bytes(file[:-1] + bytes([file[-1] ^ 1]))
    with remote_archive(tmp_path, 1, file) as peer:
        await archive.peers.put(peer)
        async with healing(archive), asyncio.timeout(IN_TIME):
            while (await archive.instances("1.2"))[0].blob == damaged.blob:
                await asyncio.sleep(0.05)
            (job,) = await Jobs(archive.pool).list()
            assert (await until(Jobs(archive.pool), job.id)).state == "done"
    (healed,) = await archive.instances("1.2")
    assert dataset_only(archive.blobs.path(healed.blob).read_bytes()) == dataset_only(file)
    assert await damaged_files(archive.pool) == 0


async def test_another_data_set_heals_nothing(archive: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """What a peer has under the same UIDs is not taken for what was lost; the job says why."""
    monkeypatch.setattr(scrub, "HEAL_EVERY", 0.05)
    file = ct_slice("1.2", "1.3", "1.4")
    await archive.store(file)
    (damaged,) = await archive.instances("1.2")
    archive.blobs.path(damaged.blob).write_bytes(file[:-1] + bytes([file[-1] ^ 1]))
    with remote_archive(tmp_path, 1, file[:-2] + bytes([file[-2] ^ 1]) + file[-1:]) as peer:
        await archive.peers.put(peer)
        async with healing(archive), asyncio.timeout(IN_TIME):
            while not (jobs := await Jobs(archive.pool).list()):
                await asyncio.sleep(0.05)
            job = await until(Jobs(archive.pool), jobs[0].id)
    assert (job.state, [one["item"] for one in job.failures]) == ("failed", ["1.4"])
    assert "A different file" in job.failures[0]["error"]
    assert (await archive.instances("1.2"))[0].blob == damaged.blob and await damaged_files(archive.pool) == 1
