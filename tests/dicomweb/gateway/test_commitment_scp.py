"""Storage commitment asked of a gateway by a modality, in this process: the request, the check, the report."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.archive import Archive
from storage.work.commitments import Reference
from tests.builders import dataset_of, new_uid
from tests.dicomweb.gateway.committing import (
    CT,
    Committing,
    Modality,
    committed,
    committing,
    failed,
    flip_a_byte,
    information_of,
    peer,
    stored,
)
from tests.live_server import free_port

MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
async def running(archive: Archive) -> AsyncIterator[Committing]:
    """A gateway over the empty archive."""
    async with committing(archive) as opened:
        yield opened


async def ask(running: Committing, modality: Modality, references: list[Reference], uid: str = "1.2.3") -> Any:
    """Ask on an association that stays open; returns it."""
    association = await asyncio.to_thread(modality.open, running.port)
    status = await asyncio.to_thread(modality.ask, association, uid, references)
    assert status.Status == 0x0000
    return association


async def ask_and_leave(
    running: Committing, modality: Modality, references: list[Reference], uid: str = "1.2.3"
) -> None:
    """Ask, and release the association at once."""
    association = await ask(running, modality, references, uid)
    await asyncio.to_thread(association.release)


async def test_all_committed_is_reported_on_the_same_association(running: Committing) -> None:
    """While the association is open the report comes on it: event type 1, the same Transaction UID, every instance
    (PS3.4 J.3.3.1.2; G-124, G-126, G-127, G-130)."""
    references = await stored(running.gateway.archive, 3)
    modality = Modality()
    association = await ask(running, modality, references)
    on, event_type, report = await asyncio.to_thread(modality.report)
    assert on is association
    assert (event_type, report.TransactionUID, report.RetrieveAETitle) == (1, "1.2.3", "DICOMWEB")
    assert committed(report) == [reference.sop_instance_uid for reference in references]
    assert "FailedSOPSequence" not in report
    assert (await running.becomes("reported")).delivered_by == "same"
    await asyncio.to_thread(association.release)


async def test_failures_are_reported_with_their_reasons(running: Committing) -> None:
    """Missing 0112, damaged on disk 0110, wrong class 0119, no storage class 0122; event type 2; each instance is in
    one of the two sequences (PS3.4 Table J.3-2; PS3.3 C.14.1.1; G-125, G-126, G-128)."""
    archive = running.gateway.archive
    sound, damaged, misnamed = await stored(archive, 3)
    await flip_a_byte(archive, damaged)
    missing = Reference(CT, new_uid())
    strange = Reference("1.2.840.10008.1.1", new_uid())
    asked = [sound, damaged, misnamed._replace(sop_class_uid=MR), missing, strange]
    modality = Modality()
    association = await ask(running, modality, asked)
    _, event_type, report = await asyncio.to_thread(modality.report)
    assert event_type == 2
    assert committed(report) == [sound.sop_instance_uid]
    assert failed(report) == {
        damaged.sop_instance_uid: 0x0110,
        misnamed.sop_instance_uid: 0x0119,
        missing.sop_instance_uid: 0x0112,
        strange.sop_instance_uid: 0x0122,
    }
    await asyncio.to_thread(association.release)


async def test_a_report_of_failures_alone_has_one_sequence(running: Committing) -> None:
    """Referenced SOP Sequence stands only where something succeeded (PS3.4 Table J.3-2; G-125)."""
    modality = Modality()
    association = await ask(running, modality, [Reference(CT, new_uid())])
    _, event_type, report = await asyncio.to_thread(modality.report)
    assert event_type == 2
    assert "ReferencedSOPSequence" not in report
    assert "RetrieveAETitle" not in report
    await asyncio.to_thread(association.release)


async def test_a_transaction_uid_that_was_used_fails_with_0131(running: Committing) -> None:
    """A second request with it is received, and each of its instances fails (PS3.3 C.14.1.1; G-128)."""
    references = await stored(running.gateway.archive, 2)
    modality = Modality()
    association = await ask(running, modality, references)
    await asyncio.to_thread(modality.report)
    status = await asyncio.to_thread(modality.ask, association, "1.2.3", references)
    assert status.Status == 0x0000
    _, event_type, report = await asyncio.to_thread(modality.report, 2)
    assert (event_type, report.TransactionUID) == (2, "1.2.3")
    assert failed(report) == {reference.sop_instance_uid: 0x0131 for reference in references}
    await asyncio.to_thread(association.release)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"instance": "1.2.3.4"}, 0x0112),
        ({"action": 2}, 0x0123),
        ({"information": None}, 0x0114),
        ({"information": dataset_of({"RetrieveAETitle": "X"})}, 0x0114),
        ({"information": dataset_of({"TransactionUID": "1.2.3"})}, 0x0114),
        ({"information": information_of("1.2.3", [])}, 0x0115),
        ({"information": information_of("1.2.3", [Reference(CT, "1.5"), Reference(MR, "1.5")])}, 0x0115),
        ({"information": information_of("1.2.3", [Reference("", "1.5")])}, 0x0115),
    ],
    ids=["instance", "action", "none", "no uid of it", "no sequence", "no items", "two classes", "no uid"],
)
async def test_what_is_no_request_is_refused(running: Committing, changed: dict[str, Any], status: int) -> None:
    """Wrong instance, action type and arguments have statuses of their own, the association goes on, nothing is kept
    (PS3.4 J.3.2.1.4; G-120, G-121, G-123)."""
    modality = Modality()
    association = await asyncio.to_thread(modality.open, running.port)
    answer = await asyncio.to_thread(lambda: modality.ask(association, "1.2.3", [], **changed))
    assert answer.Status == status
    assert answer.ErrorComment
    assert await running.commitments.newest() == []
    assert association.is_established
    await asyncio.to_thread(association.release)


async def test_a_report_comes_on_a_new_association_when_the_first_is_gone(running: Committing) -> None:
    """We open it under the title we were called by, as the SCP (PS3.4 J.2.1, J.3.3.1.2; G-129, G-130, G-135)."""
    references = await stored(running.gateway.archive, 1)
    modality = Modality()
    with modality.listening() as port:
        await peer(running.gateway, port)
        await ask_and_leave(running, modality, references)
        on, event_type, report = await asyncio.to_thread(modality.report)
        assert (await running.becomes("reported")).delivered_by == "new"
    assert event_type == 1
    assert on.requestor.ae_title == "DICOMWEB"
    (role,) = [item for item in on.requestor.user_information if hasattr(item, "scu_role")]
    assert (role.scu_role, role.scp_role) == (False, True)
    assert committed(report) == [references[0].sop_instance_uid]


async def test_a_new_association_may_be_wanted_first(running: Committing) -> None:
    """The order of the ways is the peer's: here the open association is passed over (G-130)."""
    references = await stored(running.gateway.archive, 1)
    modality = Modality()
    with modality.listening() as port:
        await peer(running.gateway, port, "new", "same")
        association = await ask(running, modality, references)
        on, _, _ = await asyncio.to_thread(modality.report)
        assert on is not association
        assert (await running.becomes("reported")).delivered_by == "new"
        await asyncio.to_thread(association.release)


async def test_the_title_we_were_called_by_is_kept(archive: Archive) -> None:
    """The new association has the same AE titles as the first (PS3.4 J.3.3.1.2; G-129)."""
    async with committing(archive, dimse_any_called_ae=True) as running:
        modality = Modality()
        with modality.listening() as port:
            await peer(running.gateway, port)
            association = await asyncio.to_thread(modality.open, running.port, "OLDNAME")
            await asyncio.to_thread(modality.ask, association, "1.2.3", [Reference(CT, new_uid())])
            await asyncio.to_thread(association.release)
            on, _, _ = await asyncio.to_thread(modality.report)
            assert on.requestor.ae_title == "OLDNAME"


async def test_who_called_us_by_no_title_is_reported_to_under_our_own(running: Committing) -> None:
    """A blank called AE title, which some send, is none to open an association under (PS3.8 9.3.2; G-129)."""
    references = await stored(running.gateway.archive, 1)
    modality = Modality()
    with modality.listening() as port:
        await peer(running.gateway, port, "new")
        await running.commitments.add("1.2.3", "CT1", "", references)
        on, _, _ = await asyncio.to_thread(modality.report)
        assert on.requestor.ae_title == "DICOMWEB"
        await running.becomes("reported")


async def test_a_report_that_cannot_be_sent_at_all_holds_up_no_other(
    running: Committing, caplog: pytest.LogCaptureFixture
) -> None:
    """A way that fails as nobody foresaw is a way that did not work: the others are tried, the report is put off, and
    other reports to the same requester go out (G-130 to G-132)."""
    modality = Modality()
    unsayable = await running.commitments.add("1.2.3", "CT1", "R\xd6NTGEN", [Reference(CT, new_uid())])
    with modality.listening() as port:
        await peer(running.gateway, port, "new", "next")
        await running.commitments.add("1.2.4", "CT1", "DICOMWEB", [Reference(CT, new_uid())])
        _, _, report = await asyncio.to_thread(modality.report)
        assert report.TransactionUID == "1.2.4"
        put_off = await problem(running, attempts=2)
    assert put_off.id == unsayable and put_off.state == "reporting" and put_off.give_up_at is not None
    assert "new: unforeseen" in put_off.problem and "next: " in put_off.problem
    assert len(modality.reports) == 1
    assert any(record.exc_info for record in caplog.records)


async def test_a_report_waits_for_the_next_association_of_its_requester(running: Committing) -> None:
    """A requester that is no peer, and is gone, gets it when it opens its next association (G-131)."""
    references = await stored(running.gateway.archive, 1)
    modality = Modality()
    await ask_and_leave(running, modality, references)
    assert "closed" in (await problem(running)).problem
    other = await asyncio.to_thread(Modality("CT2").open, running.port)
    association = await asyncio.to_thread(modality.open, running.port)
    on, _, report = await asyncio.to_thread(modality.report)
    assert on is association
    assert committed(report) == [references[0].sop_instance_uid]
    assert (await running.becomes("reported")).delivered_by == "next"
    for opened in (association, other):
        await asyncio.to_thread(opened.release)


async def test_the_next_association_serves_what_is_put_off_for_long(archive: Archive) -> None:
    """A requester that was offline and comes by itself does not wait for our next attempt (G-131, G-132)."""
    async with committing(archive, commitment_retry_seconds=3600) as running:
        modality = Modality()
        await peer(running.gateway, free_port())
        await ask_and_leave(running, modality, [Reference(CT, new_uid())])
        assert "new: " in (await problem(running)).problem
        association = await asyncio.to_thread(modality.open, running.port)
        await asyncio.to_thread(modality.report)
        assert (await running.becomes("reported")).delivered_by == "next"
        await asyncio.to_thread(association.release)


async def test_a_requester_that_is_offline_for_a_while_gets_its_report(running: Committing) -> None:
    """Delivery is tried again after pauses that grow (G-132)."""
    references = await stored(running.gateway.archive, 1)
    modality = Modality()
    port = free_port()
    await peer(running.gateway, port, "new")
    await ask_and_leave(running, modality, references)
    commitment = await problem(running, attempts=2)
    assert commitment.state == "reporting"
    with modality.listening(port):
        await asyncio.to_thread(modality.report)
        assert (await running.becomes("reported")).problem == ""


async def test_a_report_that_is_refused_counts_as_not_delivered(running: Committing) -> None:
    """A status other than 0000 is shown as the problem, and the report is sent again (PS3.4 J.3.3.1.3)."""
    modality = Modality()
    modality.status = 0x0110
    with modality.listening() as port:
        await peer(running.gateway, port, "new")
        await ask_and_leave(running, modality, [Reference(CT, new_uid())])
        assert "0110H" in (await problem(running)).problem
        modality.status = 0x0000
        await running.becomes("reported")
    assert len(modality.reports) > 1


async def test_a_parked_report_is_resent_by_hand(archive: Archive) -> None:
    """Given up after the time set, visible, and delivered once somebody says so (G-132)."""
    async with committing(archive, commitment_give_up_hours=0.5 / 3600, commitment_retry_seconds=0.1) as running:
        modality = Modality()
        port = free_port()
        await peer(running.gateway, port, "new")
        await ask_and_leave(running, modality, [Reference(CT, new_uid())])
        parked = await running.becomes("parked")
        assert "new: " in parked.problem
        with modality.listening(port):
            await asyncio.sleep(0.6)
            assert modality.reports == []
            await running.commitments.resend(parked.id)
            await asyncio.to_thread(modality.report)
            await running.becomes("reported")


async def test_a_restart_between_request_and_report_loses_nothing(archive: Archive) -> None:
    """What was answered 0000 is checked and reported by the next gateway (G-122, G-132)."""
    references = await stored(archive, 1)
    modality = Modality()
    async with committing(archive, commitment_retry_seconds=0.1) as running:
        await peer(running.gateway, free_port(), "new")
        await ask_and_leave(running, modality, references)
        await problem(running)
    unchecked = await running.commitments.add("1.2.4", "CT1", "DICOMWEB", references)
    with modality.listening() as port:
        async with committing(archive) as running:
            await peer(running.gateway, port, "new")
            await running.becomes("reported")
            await running.becomes("reported", unchecked)
    assert {report.TransactionUID for _, _, report in modality.reports} == {"1.2.3", "1.2.4"}


async def test_a_check_that_breaks_is_tried_again(running: Committing) -> None:
    """Trouble with the index is not the instances' fault: they are checked when it is over (G-122)."""
    pool = running.gateway.archive.pool
    references = await stored(running.gateway.archive, 1)
    await pool.execute("ALTER TABLE instances RENAME TO out_of_sight")
    modality = Modality()
    association = await ask(running, modality, references)
    assert "check failed" in (await problem(running)).problem
    await pool.execute("ALTER TABLE out_of_sight RENAME TO instances")
    _, event_type, _ = await asyncio.to_thread(modality.report)
    assert event_type == 1
    await asyncio.to_thread(association.release)


async def test_many_instances_are_reported_on_in_one_report(running: Committing) -> None:
    """A request of thousands is answered at once and reported on in full (G-122, G-126)."""
    sound = await stored(running.gateway.archive, 1)
    asked = [*sound, *(Reference(CT, new_uid()) for _ in range(3000))]
    modality = Modality()
    association = await ask(running, modality, asked)
    _, event_type, report = await asyncio.to_thread(modality.report)
    assert event_type == 2
    assert committed(report) == [sound[0].sop_instance_uid]
    assert len(failed(report)) == 3000
    await asyncio.to_thread(association.release)


async def test_reports_do_not_come_between_a_request_and_its_response(running: Committing) -> None:
    """While the requester goes on asking we wait: five transactions on one association, five reports."""
    references = await stored(running.gateway.archive, 1)
    modality = Modality()
    association = await asyncio.to_thread(modality.open, running.port)
    for number in range(5):
        status = await asyncio.to_thread(modality.ask, association, f"1.2.{number}", references)
        assert status.Status == 0x0000
    await asyncio.to_thread(modality.report, 5)
    await asyncio.to_thread(association.release)


async def problem(running: Committing, attempts: int = 1) -> Any:
    """Wait until delivery was tried in vain so often."""
    async with asyncio.timeout(60):
        while (commitment := await running.commitments.get(1)).attempts < attempts or not commitment.problem:
            await asyncio.sleep(0.02)
    return commitment
