"""Performed procedure steps are passed on to peers that follow them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt

from storage.archive import Archive
from storage.work.jobs import Jobs
from storage.work.peers import Peer
from storage.worklist.performed_steps import FORWARD, PerformedSteps
from tests.builders import dataset_of
from tests.dicomweb.jobs.working import until, working
from tests.live_server import free_port
from tests.storage.worklist.test_items import ended, in_progress

PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
LOST = dataset_of({"Status": 0})


@dataclass
class Follower:
    """An information system that takes performed steps: what it was told, and what it answers."""

    peer: Peer
    told: list[tuple[str, str, str]] = field(default_factory=list)
    statuses: list[int | Dataset] = field(default_factory=list)


@contextmanager
def follower(port: int | None = None) -> Iterator[Follower]:
    """Run one; its answers come from `statuses`, then they are 0000. `LOST` is taken, and the answer is lost."""
    running = Follower(Peer("RIS", "127.0.0.1", port or free_port(), forward_performed_steps=True))

    def take(event: Any, operation: str, uid: str, dataset: Any) -> tuple[int | Dataset, None]:
        running.told.append((operation, uid, str(dataset.PerformedProcedureStepStatus)))
        status = running.statuses.pop(0) if running.statuses else 0
        if status is LOST:
            event.assoc.abort()
        return status, None

    def create(event: Any) -> tuple[int | Dataset, None]:
        return take(event, "N-CREATE", str(event.request.AffectedSOPInstanceUID), event.attribute_list)

    def change(event: Any) -> tuple[int | Dataset, None]:
        return take(event, "N-SET", str(event.request.RequestedSOPInstanceUID), event.modification_list)

    entity = AE("RIS")
    entity.add_supported_context(PERFORMED_STEP)
    handlers: Any = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, change)]
    server = entity.start_server(("127.0.0.1", running.peer.port), block=False, evt_handlers=handlers)
    try:
        yield running
    finally:
        server.shutdown()


WHOLE = [("N-CREATE", "1.5.1", "IN PROGRESS"), ("N-SET", "1.5.1", "COMPLETED")]


async def states(archive: Archive) -> list[str]:
    """Wait until all is passed on or given up; the states of the jobs."""
    jobs = Jobs(archive.pool)
    return [(await until(jobs, job.id)).state for job in await jobs.list(kinds=[FORWARD])]


async def test_what_a_modality_says_is_passed_on_in_order(archive: Archive) -> None:
    """Who follows performed steps gets each message once, the creation first; nobody else does (G-173)."""
    steps = PerformedSteps(archive.pool)
    with follower() as ris:
        await archive.peers.put(ris.peer)
        await archive.peers.put(replace(ris.peer, ae_title="OTHER", forward_performed_steps=False))
        await archive.peers.put(replace(ris.peer, ae_title="CT1"))  # said it itself
        await steps.create("1.5.1", in_progress(), calling_ae_title="CT1")
        await steps.change("1.5.1", ended())
        async with working(archive):
            assert await states(archive) == ["done", "done"]
        assert ris.told == WHOLE


async def test_a_system_that_is_away_gets_everything_when_it_is_back(archive: Archive) -> None:
    """Messages wait and are tried again, a change never before the creation (G-173)."""
    steps, port = PerformedSteps(archive.pool), free_port()
    away = Peer("RIS", "127.0.0.1", port, forward_performed_steps=True)
    await archive.peers.put(away)
    await steps.create("1.5.1", in_progress(), calling_ae_title="CT1")
    await steps.change("1.5.1", ended())
    async with working(archive):
        await asyncio.sleep(0.3)
        with follower(port) as ris:
            assert await states(archive) == ["done", "done"]
            assert ris.told == WHOLE


async def test_a_step_that_is_known_there_counts_as_passed_on(archive: Archive) -> None:
    """0111 answers a creation whose first answer was lost; another failure is shown in the job (G-173)."""
    steps = PerformedSteps(archive.pool)
    with follower() as ris:
        ris.statuses = [0x0111, 0x0112]
        await archive.peers.put(ris.peer)
        async with working(archive):
            await steps.create("1.5.1", in_progress(), calling_ae_title="CT1")
            assert await states(archive) == ["done"]
            await steps.change("1.5.1", ended())
            assert await states(archive) == ["failed", "done"]
        assert ris.told == WHOLE


FAILURE = {"Status": 0x0110}
NO_LONGER = {**FAILURE, "ErrorID": 0xA710}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([LOST, NO_LONGER], "done"),
        ([LOST, FAILURE], "done"),
        ([LOST, {**FAILURE, "ErrorID": 0x0001}], "failed"),
        ([LOST, {"Status": 0x0112}], "failed"),
        ([NO_LONGER], "failed"),
        ([FAILURE], "failed"),
    ],
    ids=["lost, said", "lost, not said", "other failure", "unknown", "at once", "at once, not said"],
)
async def test_an_end_whose_answer_was_lost_counts_as_passed_on(
    archive: Archive, answers: list[Any], expected: str
) -> None:
    """0110, may no longer be updated, answers the end that the peer has from an earlier attempt; the first attempt it
    fails (G-164, G-173)."""
    steps = PerformedSteps(archive.pool)
    with follower() as ris:
        ris.statuses = [0, *(each if each is LOST else dataset_of(each) for each in answers)]
        await archive.peers.put(ris.peer)
        await steps.create("1.5.1", in_progress(), calling_ae_title="CT1")
        await steps.change("1.5.1", ended())
        async with working(archive):
            assert await states(archive) == [expected, "done"]
        assert ris.told == [*WHOLE, *WHOLE[1:] * (len(answers) - 1)]
