"""Associations: how many, how they end, what a failing handler and a silent peer cost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dicomweb import pace
from dicomweb.dimse.associate import encode_request
from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Command, Operation
from dicomweb.dimse.errors import AssociationError, AssociationRejected, PeerUnreachable
from dicomweb.dimse.negotiation import Proposal, ProposedContext, UserIdentity
from dicomweb.gateway.watchdog import end_the_dead
from storage.archive import Archive
from storage.dicom.transfer_syntax import IMPLICIT_LE
from storage.errors import Unavailable
from storage.work.peers import Peer
from tests.builders import ct_slice, dataset_only, sop_instance_uid
from tests.dicomweb.gateway.serving import CONTEXTS, CT, ECHO, Serving, echo, serving, store
from tests.waiting import until


@pytest.fixture
async def served(archive: Archive) -> AsyncIterator[Serving]:
    """A gateway over the empty archive."""
    async with serving(archive) as opened:
        yield opened


async def rejection(served: Serving, **options: Any) -> tuple[int, int, int]:
    """Be rejected; result, source and reason."""
    with pytest.raises(AssociationRejected) as rejected:
        await served.open(**options)
    return rejected.value.result, rejected.value.source, rejected.value.reason


@asynccontextmanager
async def storing(association: Association) -> AsyncIterator[None]:
    """Be in the middle of a store, sending a piece now and then, until the end of the block; it succeeds."""
    begun, done = asyncio.Event(), asyncio.Event()
    data = ct_slice(rows=1024, columns=1024)

    async def chunks() -> AsyncIterator[bytes]:
        whole = dataset_only(data)
        yield whole[:600_000]  # more than is gathered before it is sent
        begun.set()
        await done.wait()
        yield whole[600_000:]

    under_way = asyncio.create_task(store(association, data, data=chunks()))
    await begun.wait()
    try:
        yield
    finally:
        done.set()
        assert (await under_way).status == 0


async def test_one_association_too_many_is_rejected_for_now(archive: Archive) -> None:
    """G-005: 2, 3, 2 while as many as allowed are worked for; whoever is done makes room."""
    async with serving(archive, dimse_max_associations=2) as served:
        first, second = await served.open(), await served.open()
        async with storing(first):
            third = await served.open()
            async with storing(second):
                assert await rejection(served) == (2, 3, 2)
                assert await echo(third) == 0
            async with await served.open() as again:
                assert await echo(again) == 0
        value = served.gateway.metrics.value
        assert value("dicomweb_dimse_associations_total", outcome="rejected", reason="too-many-associations") == 1
        for association in (first, second, third):
            await association.release()


async def test_a_request_waits_for_a_place(archive: Archive) -> None:
    """Who was let in while others were idle is answered when one of them is done, and nobody is cut."""
    async with serving(archive, dimse_max_associations=1) as served, await served.open() as busy:
        waiting = await served.open()
        async with storing(busy):
            late = asyncio.create_task(store(waiting, ct_slice()))
            await asyncio.sleep(0.7)
            assert not late.done()
        assert (await late).status == 0
        await waiting.release()


async def test_idle_associations_take_no_place(archive: Archive) -> None:
    """However many there are, one that asks for something gets in at once (G-005)."""
    async with serving(archive, dimse_max_associations=1) as served:
        idle = [await served.open() for _ in range(20)]
        assert [await echo(each) for each in idle[:5]] == [0] * 5
        async with await served.open() as association:
            assert (await store(association, ct_slice())).status == 0
        assert all(each.is_open for each in idle)
        for each in idle:
            await each.abort()


async def test_the_longest_idle_give_way_when_connections_run_short(archive: Archive) -> None:
    """First who never asked, then the longest idle; a store under way never does, however old it is."""
    async with serving(archive, dimse_max_connections=16) as served:
        busy = await served.open()
        async with storing(busy):
            used = await served.open()
            assert await echo(used) == 0
            unused = [await served.open() for _ in range(14)]
            more = [await served.open() for _ in range(13)]
            await until(lambda: not unused[12].is_open)
            assert used.is_open and unused[13].is_open and all(each.is_open for each in more)
            assert await echo(used) == 0
        for each in (busy, used, *unused, *more):
            await each.abort()


async def test_a_slow_store_gives_way_to_who_waits(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the least rate, after a moment of grace, and only when somebody waits (PS3.8 9.1.5: A-ABORT)."""
    monkeypatch.setattr(pace, "GRACE", 0.3)
    async with serving(archive, dimse_max_associations=1, least_rate=500) as served:
        slow = await served.open()
        waiting = await served.open()
        with pytest.raises(AssociationError):
            async with storing(slow):
                await asyncio.sleep(0.6)
                assert slow.is_open  # nobody waited until now
                assert (await store(waiting, ct_slice())).status == 0
        assert served.gateway.archive.blobs.staged() == []
        await waiting.release()


async def test_a_rejection_is_logged_with_who_and_why(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    """G-004: the administrator of a misconfigured modality finds the reason in the log."""
    async with serving(archive, dimse_any_calling_ae=False) as served:
        with caplog.at_level(logging.INFO, "dicomweb"):
            assert await rejection(served, calling="MR7") == (1, 1, 3)
            assert await rejection(served, called="ELSE") == (1, 1, 7)
    assert [record.getMessage() for record in caplog.records] == [
        "association of MR7 from 127.0.0.1 with DICOMWEB rejected: calling-ae-title, "
        "it is not among the peers (dicomweb peers add, PUT /api/peers)",
        "association of CT1 from 127.0.0.1 with ELSE rejected: called-ae-title, "
        "that is not the title of this archive (aet)",
    ]


async def test_a_title_is_no_way_into_the_log(served: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """G-006: control characters in AE titles make neither lines of their own nor errors of the database."""
    proposal = Proposal("CALLING", "DICOMWEB", (ProposedContext(1, ECHO, (IMPLICIT_LE,)),))
    for title in (b"A\nB\0\x1b[2J", b"A\0B"):
        encoded = encode_request(proposal).replace(b"CALLING".ljust(16), title.ljust(16))
        with caplog.at_level(logging.DEBUG, "dicomweb"):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(encoded)
            assert await reader.read(10) == b"\3\0\0\0\0\4\0\1\1\3"
            writer.close()
    said = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert len(said) == 2 and all(line.startswith("association of A?B") and line.isprintable() for line in said)


async def test_why_an_association_ended_and_what_was_refused_is_logged(
    served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """G-020: a technician sees there what most devices do not show."""
    with caplog.at_level(logging.INFO, "dicomweb.gateway"):
        association = await served.open([*CONTEXTS, ("1.2.840.10008.5.1.1.1", [IMPLICIT_LE])])
        assert (await store(association, ct_slice("1.2", "1.3", "1.4"), AffectedSOPInstanceUID="1.5")).status == 0xA900
        assert (await store(association, ct_slice("1.2", "1.3", "1.4"))).status == 0
        await association.abort()
        await until(lambda: len(served.gateway.associations) == 0)
        await until(lambda: len(caplog.records) == 3)
    not_served, refused, ended = (record.getMessage() for record in caplog.records)
    assert not_served.endswith("not served are Basic Film Session SOP Class (SOP class not served)")
    assert refused.startswith("C-STORE of CT1 refused with A900: The data set is not the instance")
    assert "aborted (the peer aborted the association) after 2 requests" in ended


async def test_a_peer_asks_nothing_where_it_has_only_the_scp_role(served: Serving) -> None:
    """PS3.7 D.3.3.4, G-012: 0124; with both roles, or where none were negotiated, it may."""
    offered: list[tuple[dict[str, tuple[bool, bool]], int]] = [
        ({CT: (False, True)}, 0x0124),
        ({CT: (True, True)}, 0),
        ({}, 0),
    ]
    for roles, status in offered:
        async with await served.open(roles=roles) as association:
            (context,) = (each for each in association.contexts.values() if each.abstract_syntax == CT)
            data = ct_slice()
            command: Command = {
                "CommandField": Operation.C_STORE,
                "AffectedSOPClassUID": CT,
                "AffectedSOPInstanceUID": sop_instance_uid(data),
            }
            assert (await association.request(context, command, dataset_only(data))).status == status
            assert await echo(association) == 0


async def test_every_timer_follows_the_settings(archive: Archive) -> None:
    """G-010: that of a peer which takes nothing, too."""
    async with serving(archive, dimse_timeout=7, dimse_acse_timeout=8, dimse_idle_timeout=9) as served:
        timeouts = served.gateway.timeouts
        assert (timeouts.dimse, timeouts.write, timeouts.acse, timeouts.idle) == (7, 7, 8, 9)


async def test_a_peer_shows_its_credentials(served: Serving) -> None:
    """G-013, G-014: over the wire; none, wrong and right ones."""
    await served.gateway.peers.put(Peer("CT1", "127.0.0.1", 104, username="ct"), passcode="secret")
    assert await rejection(served) == (1, 2, 1)
    assert await rejection(served, identity=UserIdentity(2, b"ct", b"wrong")) == (1, 2, 1)
    async with await served.open(identity=UserIdentity(2, b"ct", b"secret", response_requested=True)) as association:
        assert await echo(association) == 0


async def test_connections_that_say_nothing_keep_nobody_out_and_are_closed(archive: Archive) -> None:
    """G-010, ARTIM: silent connections beyond the limit give way, the oldest first; the others are let go in time."""
    async with serving(archive, dimse_acse_timeout=60, dimse_max_connections=16) as served:
        silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(40)]
        async with await served.open() as association:
            assert await echo(association) == 0
        for reader, _ in silent[:25]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert not silent[-1][0].at_eof()
        for _, writer in silent:
            writer.close()
    async with serving(archive, dimse_acse_timeout=0.5) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_an_idle_association_is_ended(archive: Archive) -> None:
    """G-010: after `dimse_idle_timeout` without a message."""
    async with serving(archive, dimse_idle_timeout=1.5) as served:
        association = await served.open()
        assert await echo(association) == 0
        await until(lambda: not association.is_open)
        await until(lambda: len(served.gateway.associations) == 0)
        ended = {"outcome": "timeout", "reason": "PeerTimeout"}
        await until(lambda: served.gateway.metrics.value("dicomweb_dimse_associations_total", **ended) == 1)


async def test_an_association_that_is_dead_is_ended_by_the_watchdog(
    served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """What an association should have noticed itself is noticed all the same."""
    association = await served.open()
    await until(lambda: len(served.gateway.associations) == 1)
    await end_the_dead(served.gateway)
    (live,) = served.gateway.associations.live()
    live.moved -= 10_000
    await end_the_dead(served.gateway)
    await until(lambda: not association.is_open and len(served.gateway.associations) == 0)
    assert sum(" is dead for " in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("a mistake"), 0x0110), (Unavailable("away"), 0xA700), (ConnectionRefusedError(), 0xA700)],
)
async def test_a_handler_that_fails_costs_its_request_alone(
    served: Serving, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """Design 1.7: an answer whatever happens, a reason without details, and the association goes on."""

    def broken() -> None:
        raise type(error)(*error.args)  # the parameter itself would keep its traceback, and with it the association

    async with await served.open() as association:
        with monkeypatch.context() as broken_archive:
            broken_archive.setattr(served.gateway.archive, "ingest", broken)
            answer = await store(association, ct_slice())
        assert answer.status == status
        assert "mistake" not in str(answer.command["ErrorComment"])
        assert (await store(association, ct_slice())).status == 0


async def test_a_command_for_another_class_than_the_context_is_refused(served: Serving) -> None:
    """G-030: 0122 SOP class not supported; an operation nobody has is 0211."""
    async with await served.open() as association:
        context = association.context_for(ECHO)
        assert context is not None
        other = await association.request(context, {"CommandField": Operation.C_ECHO, "AffectedSOPClassUID": CT})
        assert other.status == 0x0122
        strange = await association.request(context, {"CommandField": 0x0777, "AffectedSOPClassUID": ECHO})
        assert strange.status == 0x0211
        assert await echo(association) == 0


async def test_what_is_under_way_is_finished_when_the_gateway_stops(served: Serving) -> None:
    """Design 2: a store in flight is answered; nobody new is let in, the idle are let go."""
    data = ct_slice("1.2", "1.3", "1.4", rows=1024, columns=512)
    going_on, idle = asyncio.Event(), await served.open()
    assert await echo(idle) == 0

    async def slowly() -> AsyncIterator[bytes]:
        whole = dataset_only(data)
        for start in range(0, len(whole), 300_000):  # more than is gathered before it is sent
            yield whole[start : start + 300_000]
            going_on.set()
            await asyncio.sleep(0.4)

    busy = await served.open()
    storing = asyncio.create_task(store(busy, data, data=slowly()))
    await going_on.wait()
    stopping = asyncio.create_task(served.server.stop(20, asyncio.Event()))
    assert (await storing).status == 0
    await stopping
    assert not len(served.gateway.associations)
    with pytest.raises(AssociationError):
        await echo(idle)
    with pytest.raises(PeerUnreachable):
        await served.open()
    assert len(await served.gateway.archive.instances("1.2")) == 1


async def test_the_grace_time_ends(served: Serving) -> None:
    """Design 2: who takes longer is aborted, and leaves nothing."""
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(300_000)
            started.set()
            await asyncio.sleep(0.05)

    association = await served.open()
    storing = asyncio.create_task(store(association, ct_slice(), data=endless()))
    await started.wait()
    await served.server.stop(0.3, asyncio.Event())
    with pytest.raises(AssociationError):
        await storing
    assert served.gateway.archive.blobs.staged() == []


async def test_what_happens_is_counted(served: Serving) -> None:
    """The metrics tell associations, operations, instances and bytes."""
    async with await served.open() as association:
        assert await echo(association) == 0
        assert (await store(association, ct_slice())).status == 0
        assert (await store(association, ct_slice(), AffectedSOPInstanceUID="x y")).status == 0x0117
        served.gateway.metrics.look(len(served.gateway.associations))
        assert served.gateway.metrics.value("dicomweb_dimse_associations_live") == 1
    value = served.gateway.metrics.value
    await until(lambda: value("dicomweb_dimse_associations_total", outcome="released", reason="") == 1)
    assert value("dicomweb_dimse_associations_total", outcome="accepted", reason="") == 1
    assert value("dicomweb_dimse_operations_total", operation="C_STORE", status="0000") == 1
    assert value("dicomweb_dimse_operations_total", operation="C_STORE", status="0117") == 1
    assert value("dicomweb_instances_total", outcome="stored") == 1
    assert value("dicomweb_instances_total", outcome="failed") == 1
    assert value("dicomweb_dimse_received_bytes_total") > 16_000
    assert value("dicomweb_dimse_sent_bytes_total") > 200


async def test_associations_leave_nothing_behind(served: Serving) -> None:
    """A hundred that release, abort, break off or never speak: as many tasks and associations as before."""

    async def one(number: int) -> None:
        if number % 4 == 3:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            writer.close()
            return
        association: Association = await served.open()
        await echo(association)
        await (association.release() if number % 4 else association.abort())

    before = len(asyncio.all_tasks())
    for start in range(0, 100, 10):
        await asyncio.gather(*(one(number) for number in range(start, start + 10)))
    await until(lambda: len(asyncio.all_tasks()) <= before)
    assert not len(served.gateway.associations)
