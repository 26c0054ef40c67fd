"""Associations between two sides of ours (PS3.7 7, PS3.8 7)."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from dicomweb.dimse.association import Association, Message, Timeouts
from dicomweb.dimse.command_set import Command, Operation
from dicomweb.dimse.errors import AssociationAborted, PeerTimeout
from dicomweb.dimse.requestor import connect
from tests.dicomweb.dimse.peers import (
    CONTEXTS,
    CT_IMAGE_STORAGE,
    ECHO,
    EXPLICIT,
    FIND,
    IMPLICIT,
    PATIENT,
    STORE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    VERIFICATION,
    accept_all,
    acceptor,
)


async def ask(association: Association, command: Command, data: bytes | AsyncIterator[bytes] | None = None) -> Message:
    """Send a request in the context of its SOP class."""
    context = association.context_for(str(command["AffectedSOPClassUID"]))
    assert context is not None
    return await association.request(context, command, data)


async def test_a_request_is_answered_with_its_ids() -> None:
    """A response names the message, the class and the instance it is about (PS3.7 9.3.1.2)."""
    async with acceptor() as seen:
        async with await seen.connect() as association:
            first = await ask(association, STORE, b"\1\2")
            second = await ask(association, ECHO | {"MessageID": 77})
        await seen.done()
    assert first.command == {
        "CommandField": 0x8001,
        "MessageIDBeingRespondedTo": 1,
        "AffectedSOPClassUID": CT_IMAGE_STORAGE,
        "AffectedSOPInstanceUID": "2.25.1",
        "CommandDataSetType": 0x0101,
        "Status": 0,
    }
    assert (second.operation, second.message_id, second.status) == (Operation.C_ECHO, 77, 0)
    assert seen.errors == []


SIZES = [0, 2, 4084, 4090, 4092, 100_000, 3_000_000]


@pytest.mark.parametrize("max_pdu", [0, 64, 4096, 16382, 131072, 1 << 24])
async def test_data_sets_of_any_size_arrive_whatever_the_limit(max_pdu: int) -> None:
    """No PDV is longer than the acceptor takes, and every byte arrives (G-007, PS3.8 D.1)."""
    received = []

    async def keep(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            received.append(await message.data.read(1 << 24))
            await association.respond(message, 0)

    sizes = [size for size in SIZES if max_pdu != 64 or size <= 100_000]
    sent = [hashlib.shake_128(bytes([at])).digest(size) for at, size in enumerate(sizes)]
    async with acceptor(keep, max_pdu=max_pdu) as seen, await seen.connect() as association:
        for data in sent:
            assert (await ask(association, STORE, data)).status == 0
        assert received == sent
        assert association.bytes_out > sum(sizes)


async def test_a_data_set_is_sent_from_a_stream_in_constant_memory() -> None:
    """A gigabyte goes through in pieces: the sender reads no further than the receiver takes (G-052, promise 6)."""
    piece = bytes(1 << 20)
    pieces = 200
    sizes = []

    async def count(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            sizes.append(sum([len(chunk) async for chunk in message.data]))
            await association.respond(message, 0)

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield piece

    async with acceptor(count) as seen, await seen.connect() as association:
        tracemalloc.start()
        try:
            await ask(association, STORE, stream())
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()
    assert sizes == [pieces * len(piece)]


async def test_a_receiver_that_does_not_read_holds_the_sender_back() -> None:
    """Backpressure reaches the socket: little is in flight while nobody takes the data set (promise 6)."""
    may_read = asyncio.Event()
    sent = 0

    async def wait(association: Association) -> None:
        async for message in association.messages():
            await may_read.wait()
            assert message.data is not None
            async for _ in message.data:
                pass
            await association.respond(message, 0)

    async def stream() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            yield bytes(1 << 20)
            sent += 1

    async with acceptor(wait) as seen, await seen.connect() as association:
        asking = asyncio.create_task(ask(association, STORE, stream()))
        await asyncio.sleep(0.3)
        stopped_at = sent
        may_read.set()
        assert (await asking).status == 0
    assert (stopped_at < 32, sent) == (True, 64)


async def test_what_a_handler_leaves_of_a_data_set_is_dropped() -> None:
    """A handler that stops reading answers; the rest never runs into the next message (PS3.8 E.1)."""

    async def taste(association: Association) -> None:
        async for message in association.messages():
            if message.data is not None:
                await anext(message.data)
            await association.respond(message, 0xA700 if message.data else 0)

    async with acceptor(taste) as seen, await seen.connect() as association:
        assert (await ask(association, STORE, bytes(5_000_000))).status == 0xA700
        assert (await ask(association, STORE, bytes(5_000_000))).status == 0xA700
        assert (await ask(association, ECHO)).status == 0


async def test_a_data_set_over_the_limit_is_a_value_error() -> None:
    """Reading a whole data set is bounded by whoever reads it (promise 6)."""
    texts = []

    async def refuse(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            try:
                await message.data.read(1000)
            except ValueError as error:
                texts.append(str(error))
            await association.respond(message, 0xA700, ErrorComment="x" * 100)

    async with acceptor(refuse) as seen, await seen.connect() as association:
        response = await ask(association, STORE, bytes(2_000_000))
        assert response.command["ErrorComment"] == "x" * 64
    assert texts == ["a data set of more than 1000 bytes"]


async def find(association: Association) -> None:
    """Answer C-FIND with matches until the peer cancels."""
    async for message in association.messages():
        for match in range(1000):
            if association.is_cancelled(message):
                await association.respond(message, 0xFE00)
                break
            await association.respond(message, 0xFF00, match.to_bytes(2, "big"))
            await asyncio.sleep(0)
        else:
            await association.respond(message, 0)


async def test_pending_responses_come_one_by_one_until_the_last() -> None:
    """Responses with status FF00 carry a match each; the last one has another status (G-071, G-072, PS3.7 9.1.2)."""
    async with acceptor(find) as seen, await seen.connect() as association:
        context = association.context_for(STUDY_ROOT_FIND)
        assert context is not None
        matches = []
        async for response in association.requests(context, FIND, b"\0\0"):
            if response.data is not None:
                matches.append(int.from_bytes(await response.data.read(2), "big"))
            else:
                assert response.status == 0
    assert matches == list(range(1000))


async def test_a_cancelled_request_ends_with_its_last_response() -> None:
    """C-CANCEL is seen between two matches and answered FE00; too late or for another message it is nothing (G-073)."""
    async with acceptor(find) as seen, await seen.connect() as association:
        context = association.context_for(STUDY_ROOT_FIND)
        assert context is not None
        await association.cancel(context, 5)
        statuses = []
        async for response in association.requests(context, FIND | {"MessageID": 5}, b"\0\0"):
            statuses.append(response.status)
            if len(statuses) == 10:
                await association.cancel(context, 5)
        assert statuses[-1] == 0xFE00
        assert 10 < len(statuses) < 1000
        await association.cancel(context, 5)
        again = [response.status async for response in association.requests(context, FIND | {"MessageID": 5}, b"")]
        assert (len(again), again[-1]) == (1001, 0)


async def test_a_caller_that_wants_no_more_responses_can_go_on() -> None:
    """Responses nobody waits for any more are dropped; the association stays usable."""
    async with acceptor(find) as seen, await seen.connect() as association:
        context = association.context_for(STUDY_ROOT_FIND)
        assert context is not None
        async for _ in association.requests(context, FIND, b""):
            break
        last = [response.status async for response in association.requests(context, FIND, b"")][-1]
        assert last == 0


async def test_the_acceptor_asks_while_the_requestor_waits() -> None:
    """C-GET: the stores of the peer come out of `messages` while the responses are awaited (PS3.7 9.1.3, G-012)."""

    async def get(association: Association) -> None:
        async for message in association.messages():
            storage = association.context_for(CT_IMAGE_STORAGE)
            assert storage is not None
            for _ in range(3):
                stored = await association.request(storage, STORE, bytes(300_000))
                assert stored.status == 0
                await association.respond(message, 0xFF00, NumberOfRemainingSuboperations=1)
            await association.respond(message, 0)

    sizes: list[int] = []

    async def store(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            sizes.append(len(await message.data.read(1 << 20)))
            await association.respond(message, 0)

    contexts = [(STUDY_ROOT_GET, [IMPLICIT]), (CT_IMAGE_STORAGE, [EXPLICIT])]
    async with acceptor(get) as seen:
        association = await seen.connect(contexts=contexts, roles={CT_IMAGE_STORAGE: (False, True)})
        storing = asyncio.create_task(store(association))
        context = association.context_for(STUDY_ROOT_GET)
        assert context is not None
        command: Command = {"CommandField": Operation.C_GET, "AffectedSOPClassUID": STUDY_ROOT_GET, "Priority": 0}
        statuses = [response.status async for response in association.requests(context, command, b"")]
        await association.release()
        await storing
    assert (statuses, sizes) == ([0xFF00, 0xFF00, 0xFF00, 0], [300_000] * 3)


async def test_the_acceptor_reports_an_event_on_the_same_association() -> None:
    """N-EVENT-REPORT goes from acceptor to requestor while the association is open (PS3.7 10.1.1, PS3.4 J.3.3)."""
    reported: list[Message] = []

    async def report(association: Association) -> None:
        context = next(iter(association.contexts.values()))
        event: Command = {
            "CommandField": Operation.N_EVENT_REPORT,
            "AffectedSOPClassUID": context.abstract_syntax,
            "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
            "EventTypeID": 1,
        }
        # It may reach the requestor together with the A-ASSOCIATE-AC.
        reported.append(await association.request(context, event, b"report"))
        async for _ in association.messages():
            pass

    async with acceptor(report) as seen, await seen.connect() as association:
        message = await anext(association.messages())
        assert message.data is not None
        assert (message.operation, await message.data.read(10)) == (Operation.N_EVENT_REPORT, b"report")
        await association.respond(message, 0)
        while not reported:
            await asyncio.sleep(0.01)
    assert reported[0].command["AffectedSOPInstanceUID"] == "1.2.840.10008.1.20.1.1"


@pytest.mark.parametrize("who", ["requestor", "acceptor", "both"])
async def test_either_side_or_both_at_once_may_release(who: str) -> None:
    """Release ends both sides without error, also when the requests cross (PS3.8 7.2, 7.2.2.7)."""
    go = asyncio.Event()

    async def maybe_release(association: Association) -> None:
        if who == "requestor":
            async for _ in association.messages():
                pass
        else:
            await go.wait()
            await association.release()

    async with acceptor(maybe_release) as seen:
        association = await seen.connect()
        await seen.accepted.wait()
        go.set()
        if who == "acceptor":
            async for _ in association.messages():
                pass
        await association.release()
        await association.release()
        await seen.done()
        assert not association.is_open
        assert not seen.associations[0].is_open
        assert seen.errors == []
        with pytest.raises(AssociationAborted, match="released"):
            await ask(association, ECHO)


async def test_a_release_waits_for_the_answer_that_is_still_to_come() -> None:
    """A-RELEASE-RQ behind a request is answered after the response (PS3.8 9.2 Sta8)."""
    order: list[str] = []

    async def slowly(association: Association) -> None:
        async for message in association.messages():
            await asyncio.sleep(0.2)
            await association.respond(message, 0)
            order.append("answered")
        order.append("released")

    async with acceptor(slowly) as seen:
        association = await seen.connect()
        context = association.context_for(VERIFICATION)
        assert context is not None
        await association.send(context, ECHO | {"MessageID": 1})
        await association.release()
        await seen.done()
    assert order == ["answered", "released"]
    assert seen.errors == []


async def test_an_abort_reaches_whoever_waits() -> None:
    """A-ABORT ends requests, data sets and iterations on the other side with AssociationAborted (PS3.8 7.3)."""

    async def abort(association: Association) -> None:
        async for _ in association.messages():
            await association.abort()

    async with acceptor(abort) as seen:
        association = await seen.connect()
        with pytest.raises(AssociationAborted, match="the peer aborted"):
            await ask(association, ECHO)
        await association.abort()
        with pytest.raises(AssociationAborted):
            await ask(association, ECHO)
        with pytest.raises(AssociationAborted):
            await anext(association.messages())


async def test_an_abort_within_a_data_set_is_an_error_for_its_reader() -> None:
    """Half a data set never passes for a whole one (promise 2)."""

    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)
            await asyncio.sleep(0.01)

    started = asyncio.Event()

    async def read(association: Association) -> None:
        async for message in association.messages():
            started.set()
            assert message.data is not None
            async for _ in message.data:
                pass
            raise AssertionError

    async with acceptor(read) as seen:
        association = await seen.connect()
        asking = asyncio.create_task(ask(association, STORE, forever()))
        await started.wait()
        await association.abort()
        with pytest.raises(AssociationAborted):
            await asking
        await seen.done()
        assert [str(error) for error in seen.errors] == ["the peer aborted the association"]


async def test_a_data_set_that_cannot_be_read_ends_the_association_only_when_it_was_begun() -> None:
    """What was begun cannot be finished, so it is aborted; before that nothing happened (PS3.8 E.1)."""

    async def breaks(after: int) -> AsyncIterator[bytes]:
        for _ in range(after):
            yield bytes(1 << 20)
        raise OSError("the disk is gone")

    async with acceptor() as seen:
        association = await seen.connect()
        with pytest.raises(OSError, match="disk"):
            await ask(association, STORE, breaks(0))
        assert (await ask(association, ECHO)).status == 0
        with pytest.raises(OSError, match="disk"):
            await ask(association, STORE, breaks(2))
        with pytest.raises(AssociationAborted):
            await ask(association, ECHO)
        await association.abort()
        await seen.done()
        assert len(seen.errors) == 1


async def test_a_cancelled_sender_ends_the_association() -> None:
    """A task that is cancelled amid a message leaves no half message behind (PS3.8 E.1)."""

    async def stream() -> AsyncIterator[bytes]:
        yield bytes(1 << 20)
        await asyncio.sleep(60)

    async with acceptor() as seen:
        association = await seen.connect()
        asking = asyncio.create_task(ask(association, STORE, stream()))
        await asyncio.sleep(0.1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not association.is_open
        await association.abort()


async def test_a_missing_response_is_a_timeout() -> None:
    """Nothing within the DIMSE timeout: we abort and say so (G-010)."""

    async def ignore(association: Association) -> None:
        async for _ in association.messages():
            await asyncio.sleep(60)

    async with acceptor(ignore) as seen:
        association = await seen.connect(timeouts=Timeouts(dimse=0.2))
        with pytest.raises(PeerTimeout, match="no response"):
            await ask(association, ECHO)
        assert not association.is_open
        with pytest.raises(PeerTimeout):
            await ask(association, ECHO)


async def test_an_idle_association_is_ended_but_not_while_something_is_done() -> None:
    """The idle timer runs while no message is handled or awaited (G-010)."""

    async def slowly(association: Association) -> None:
        async for message in association.messages():
            await asyncio.sleep(2.5)
            await association.respond(message, 0)

    async with acceptor(slowly, timeouts=Timeouts(idle=1.5)) as seen:
        association = await seen.connect()
        assert (await ask(association, ECHO)).status == 0
        with pytest.raises(AssociationAborted, match="DICOM layer aborted"):
            await anext(association.messages())
        await seen.done()
        assert [type(error) for error in seen.errors] == [PeerTimeout]


async def test_cancelling_the_server_closes_its_sockets() -> None:
    """Shutdown cancels the tasks; the peers see the end at once."""

    async def hang(association: Association) -> None:
        async for _ in association.messages():
            await asyncio.sleep(60)

    async with acceptor(hang) as seen:
        idle = await seen.connect()
        busy = await seen.connect()
        asking = asyncio.create_task(ask(busy, ECHO))
        await asyncio.sleep(0.1)
        for task in list(seen.tasks):
            task.cancel()
        await seen.done()
        for ended in (asking, asyncio.ensure_future(anext(idle.messages()))):
            with pytest.raises(AssociationAborted):
                await ended


async def test_associations_at_the_same_time_do_not_mix() -> None:
    """Each association has its own messages (PS3.8 7)."""

    async def echo_data(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            data = await message.data.read(1 << 20)
            await association.respond(message, 0, hashlib.sha256(data).digest())

    async def store(seen: object, at: int) -> None:
        async with await connect(
            address, calling_ae_title=f"SCU{at}", contexts=CONTEXTS, timeouts=PATIENT
        ) as association:
            for turn in range(5):
                data = bytes([at, turn]) * 50_000
                response = await ask(association, STORE, data)
                assert response.data is not None
                assert await response.data.read(100) == hashlib.sha256(data).digest()

    async with acceptor(echo_data, accept_all) as seen:
        address = seen.address
        await asyncio.gather(*(store(seen, at) for at in range(20)))
        await seen.done()
    assert seen.errors == []
