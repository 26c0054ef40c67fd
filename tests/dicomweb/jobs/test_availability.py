"""Instance Availability Notification when a study has become complete."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import InstanceAvailabilityNotification  # type: ignore[attr-defined]

from dicomweb.settings import Settings
from storage.work.jobs import Jobs
from storage.work.peers import Peer
from tests.builders import ct_slice, new_uid
from tests.dicomweb.jobs.working import until, working
from tests.live_server import free_port


@contextmanager
def notified() -> Iterator[tuple[Peer, list[Dataset]]]:
    """Run an AE that takes notifications, and what it was told."""
    told: list[Dataset] = []

    def create(event: Any) -> tuple[int, None]:
        told.append(event.attribute_list)
        return 0, None

    entity = AE("RIS")
    entity.add_supported_context(InstanceAvailabilityNotification)
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_CREATE, create)])
    try:
        yield Peer("RIS", "127.0.0.1", port, availability=True), told
    finally:
        server.shutdown()


async def test_a_complete_study_is_announced_once(archive: Any) -> None:
    """When nothing came for the delay, the peer learns of every instance and where it is (PS3.4 Table R.3.2-1, G-180).

    A study that grows again is announced again; one that was there before anybody wanted to know is not.
    """
    old, study, series = new_uid(), new_uid(), new_uid()
    await archive.store(ct_slice(old))
    settings = Settings(availability_delay_seconds=1.5)
    async with working(archive, settings=settings) as worker:
        await asyncio.sleep(2)
        with notified() as (peer, told):
            await archive.peers.put(peer)
            await archive.peers.put(replace(peer, ae_title="OTHER", availability=False))
            step = {"ReferencedSOPClassUID": "1.2.840.10008.3.1.2.3.3", "ReferencedSOPInstanceUID": "1.2.3.4"}
            for _ in range(3):
                await archive.store(ct_slice(study, series, ReferencedPerformedProcedureStepSequence=[step]))
            await _until(told, 1, worker)
            await archive.store(ct_slice(study))
            await _until(told, 2, worker)
    first, second = told
    assert set(first.dir()) == {
        "ReferencedPerformedProcedureStepSequence",
        "ReferencedSeriesSequence",
        "StudyInstanceUID",
    }
    assert first.StudyInstanceUID == second.StudyInstanceUID == study
    assert [item.ReferencedSOPInstanceUID for item in first.ReferencedPerformedProcedureStepSequence] == ["1.2.3.4"]
    (item,) = first.ReferencedSeriesSequence
    assert item.SeriesInstanceUID == series
    assert len(item.ReferencedSOPSequence) == 3
    one = item.ReferencedSOPSequence[0]
    assert (one.InstanceAvailability, one.RetrieveAETitle) == ("ONLINE", "DICOMWEB")
    assert one.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert len(second.ReferencedSeriesSequence) == 2
    done = await Jobs(archive.pool).list(kinds=["availability"])
    assert [job.parameters["peer"] for job in done] == ["RIS", "RIS"]
    assert {(await until(Jobs(archive.pool), job.id)).state for job in done} == {"done"}


async def _until(told: list[Dataset], count: int, worker: Any) -> None:
    async with asyncio.timeout(60):
        while len(told) < count:
            worker.wake.set()
            await asyncio.sleep(0.02)
    await asyncio.sleep(2)
    assert len(told) == count
