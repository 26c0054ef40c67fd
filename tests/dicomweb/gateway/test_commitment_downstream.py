"""Storage commitment that is given only when an archive downstream has given it, too (PS3.4 J.1.1)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from dicomweb.gateway import commitment_delivery
from storage.archive import Archive
from storage.work.commitments import Reference
from tests.builders import new_uid
from tests.dicomweb.gateway.committing import CT, Committing, Modality, committed, committing, failed, stored
from tests.dicomweb.gateway.committing import peer as known
from tests.dicomweb.scu.committer import Committer
from tests.live_server import free_port


@pytest.fixture
async def running(archive: Archive) -> AsyncIterator[Committing]:
    """A gateway that asks VNA before it commits."""
    async with committing(archive, commitment_downstream="VNA", commitment_retry_seconds=0.1) as opened:
        yield opened


async def ask(running: Committing, references: list[Reference]) -> tuple[list[str], dict[str, int]]:
    """Ask for commitment; returns what the report commits to and what failed."""
    modality = Modality()
    association = await asyncio.to_thread(modality.open, running.port)
    status = await asyncio.to_thread(modality.ask, association, "1.2.3", references)
    assert status.Status == 0x0000
    _, _, report = await asyncio.to_thread(modality.report)
    await asyncio.to_thread(association.release)
    return committed(report), failed(report)


@pytest.mark.parametrize("reported_on", ["same", "new"])
async def test_what_fails_downstream_fails_here(running: Committing, reported_on: str) -> None:
    """Only what is sound here is asked for; its reason downstream is the reason here; the report may come on either
    association (G-136; PS3.4 J.3.3.1.2)."""
    sound, refused = await stored(running.gateway.archive, 2)
    missing = Reference(CT, new_uid())
    committer = Committer({refused.sop_instance_uid: 0x0213}, report_to=running.port if reported_on == "new" else None)
    with committer.listening() as port:
        await known(running.gateway, port, ae_title="VNA")
        assert await ask(running, [sound, refused, missing]) == (
            [sound.sop_instance_uid],
            {refused.sop_instance_uid: 0x0213, missing.sop_instance_uid: 0x0112},
        )
        await asyncio.to_thread(committer.settle)
    assert len(committer.asked[0].ReferencedSOPSequence) == 2
    assert committer.answers == [0x0000]


async def test_an_archive_that_is_offline_is_asked_again(running: Committing) -> None:
    """Nothing is committed to before it has answered (G-136)."""
    references = await stored(running.gateway.archive, 1)
    await known(running.gateway, free_port(), ae_title="VNA")
    asking = asyncio.create_task(ask(running, references))
    async with asyncio.timeout(60):
        while not (await running.commitments.newest()) or (await running.commitments.get(1)).attempts < 2:
            await asyncio.sleep(0.02)
    assert "downstream: " in (await running.becomes("asking")).problem
    committer = Committer()
    with committer.listening() as port:
        await known(running.gateway, port, ae_title="VNA")
        assert await asking == ([references[0].sop_instance_uid], {})
        await asyncio.to_thread(committer.settle)


async def test_an_archive_that_never_answers_fails_everything(
    running: Committing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it should have committed to has failed with 0110 when it was asked for long enough (G-136)."""
    monkeypatch.setattr(commitment_delivery, "DOWNSTREAM_WITHIN", timedelta(0))
    references = await stored(running.gateway.archive, 1)
    assert await ask(running, references) == ([], {references[0].sop_instance_uid: 0x0110})


async def test_asking_that_fails_as_nobody_foresaw_is_not_asking_for_ever(
    running: Committing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours has the end of an archive that never answers: 0110, once the time is over (G-132, G-136)."""

    async def broken(*_: object, **__: object) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(commitment_delivery, "request_commitment", broken)
    monkeypatch.setattr(commitment_delivery, "DOWNSTREAM_WITHIN", timedelta())
    references = await stored(running.gateway.archive, 1)
    await known(running.gateway, free_port(), ae_title="VNA")
    assert await ask(running, references) == ([], {references[0].sop_instance_uid: 0x0110})


async def test_a_report_nobody_asked_for_is_refused(running: Committing) -> None:
    """A Transaction UID that is not ours is an invalid argument (PS3.7 10.1.1)."""
    stranger = Committer(report_to=running.port)
    with stranger.listening() as port:
        modality = Modality()
        association = await asyncio.to_thread(modality.open, port)
        await asyncio.to_thread(modality.ask, association, "1.2.99", [Reference(CT, "1.5")])
        await asyncio.to_thread(association.release)
        await asyncio.to_thread(stranger.settle)
    assert stranger.answers == [0x0115]
