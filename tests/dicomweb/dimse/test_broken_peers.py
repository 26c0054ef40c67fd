"""Peers that do not keep to PS3.8, are cut off, or fall silent: bare sockets against our acceptor and requestor."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from dicomweb.dimse import pdu
from dicomweb.dimse.associate import decode_request, encode_acceptance
from dicomweb.dimse.association import Association, Timeouts
from dicomweb.dimse.command_set import decode, encode
from dicomweb.dimse.errors import AssociationAborted, PeerTimeout, ProtocolError
from dicomweb.dimse.negotiation import IMPLEMENTATION
from dicomweb.dimse.pdu import Packer
from dicomweb.dimse.requestor import Address, connect
from tests.dicomweb.dimse.peers import (
    CONTEXTS,
    CT_IMAGE_STORAGE,
    ECHO,
    PATIENT,
    STORE,
    Acceptor,
    accept_all,
    acceptor,
    read_pdu,
    request_pdu,
)
from tests.waiting import until

ABORT = 7
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def message(context_id: int, command: dict[str, object], data: bytes | None = None) -> bytes:
    """Return a message as PDUs of at most 4 KiB."""
    encoded = encode({**command, "CommandDataSetType": 0x0101 if data is None else 1})  # type: ignore[dict-item]
    return fragments(context_id, encoded, is_command=True) + (b"" if data is None else fragments(context_id, data))


def fragments(context_id: int, data: bytes, *, is_command: bool = False, is_complete: bool = True) -> bytes:
    """Return a command or data set as PDUs, perhaps without the last."""
    packer = Packer(context_id, 4096, is_command=is_command)
    full = b"".join(b"".join(buffers) for buffers in packer.add(data))
    return full + (b"".join(packer.finish()) if is_complete else b"")


@asynccontextmanager
async def bare(seen: Acceptor) -> AsyncIterator[Streams]:
    """Connect without saying anything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", seen.port)
    try:
        yield reader, writer
    finally:
        writer.close()


@asynccontextmanager
async def associated(seen: Acceptor) -> AsyncIterator[Streams]:
    """Open an association by hand: context 1 verification, 3 CT storage."""
    async with bare(seen) as (reader, writer):
        writer.write(request_pdu())
        assert (await read_pdu(reader))[0] == 2
        yield reader, writer


GARBAGE = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 1),
    "zeros": (bytes(100), 1),
    "P-DATA first": (message(1, ECHO | {"MessageID": 1}), 2),
    "release first": (pdu.RELEASE_REQUEST, 2),
    "huge": (b"\1\0\x7f\xff\xff\xff" + bytes(1000), 6),
    "too short": (b"\1\0\0\0\0\4" + bytes(4), 6),
    "items cut": (b"\1\0\0\0\0\x48" + bytes(68) + b"\x10\0\xff\xff", 6),
    "tiny PDUs": (request_pdu(max_pdu=3), 6),
}


@pytest.mark.parametrize(("stream", "reason"), GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_proposal_is_aborted(stream: bytes, reason: int) -> None:
    """The answer is A-ABORT of the provider with its reason, then the end (PS3.8 Table 9-10 AA-1, Table 9-26)."""
    async with acceptor() as seen, bare(seen) as (reader, writer):
        writer.write(stream)
        assert await read_pdu(reader) == (ABORT, bytes([0, 0, 2, reason]))
        assert await reader.read() == b""
        await seen.done()
    assert seen.associations == []


async def test_an_unknown_protocol_version_is_rejected() -> None:
    """Bit 0 of the version is the one we speak; without it: permanent, ACSE, reason 2 (PS3.8 9.3.4)."""
    stream = bytearray(request_pdu())
    stream[6:8] = b"\0\2"
    async with acceptor() as seen, bare(seen) as (reader, writer):
        writer.write(stream)
        assert await read_pdu(reader) == (3, bytes([0, 1, 2, 2]))
    assert seen.proposals == []


async def test_a_peer_that_says_nothing_is_let_go() -> None:
    """ARTIM ends a connection without proposal, also one that trickles (G-010, PS3.8 9.1.5)."""
    async with acceptor(timeouts=Timeouts(acse=0.3)) as seen, bare(seen) as (silent, _), bare(seen) as (slow, writer):
        started = asyncio.get_running_loop().time()
        for byte in request_pdu()[:5]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert await silent.read() == b""
        assert await read_pdu(slow) == (0, b"")  # by a reset when its last byte came late
        assert asyncio.get_running_loop().time() - started < 10
        await seen.done()


@pytest.mark.parametrize("length", [0, 1, 6, 80, 200])
async def test_a_peer_that_leaves_before_it_has_proposed_is_forgotten(length: int) -> None:
    """A port probe, or a proposal cut off anywhere, leaves nothing behind."""
    async with acceptor() as seen:
        async with bare(seen) as (_, writer):
            writer.write(request_pdu()[:length])
            await writer.drain()
        await asyncio.sleep(0.05)
        await seen.done()
    assert (seen.associations, seen.errors) == ([], [])


async def test_a_proposal_in_single_bytes_is_read() -> None:
    """TCP may cut a stream anywhere (PS3.8 9.1)."""
    async with acceptor() as seen, bare(seen) as (reader, writer):
        for byte in request_pdu() + message(1, ECHO | {"MessageID": 9}):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await read_pdu(reader))[0] == 2
        kind, body = await read_pdu(reader)
        assert (kind, body[4:6]) == (4, b"\1\3")


COMMAND = encode({**STORE, "MessageID": 1, "CommandDataSetType": 1})  # type: ignore[dict-item]
OUT_OF_ORDER = {
    "context not accepted": (message(5, ECHO | {"MessageID": 1}), 6),
    "data set without command": (fragments(3, b"abcd"), 2),
    "data set in another context": (fragments(3, COMMAND, is_command=True) + fragments(1, b"abcd"), 2),
    "command within a data set": (fragments(3, COMMAND, is_command=True) + message(3, ECHO | {"MessageID": 2}), 2),
    "command cut by another": (
        fragments(3, COMMAND * 100, is_command=True, is_complete=False) + message(1, ECHO | {"MessageID": 2}),
        2,
    ),
    "no command set": (fragments(1, b"not a command", is_command=True), 6),
    "no Message ID": (message(1, ECHO), 6),
    "endless command": (fragments(1, bytes(2 << 20), is_command=True, is_complete=False), 6),
    "second proposal": (request_pdu(), 2),
    "release amid a message": (fragments(3, COMMAND, is_command=True) + pdu.RELEASE_REQUEST, 2),
    "release response": (pdu.RELEASE_RESPONSE, 2),
    "unknown PDU": (b"\x09\0\0\0\0\0", 1),
    "PDV too long": (b"\4\0\0\0\0\x08" + b"\0\0\0\x20\1\3ab", 6),
}


@pytest.mark.parametrize(("stream", "reason"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
async def test_what_has_no_meaning_there_is_aborted(stream: bytes, reason: int) -> None:
    """Messages out of order and unexpected PDUs end the association on both sides (PS3.8 Table 9-10 AA-8, E.1)."""
    async with acceptor() as seen, associated(seen) as (reader, writer):
        writer.write(stream)
        assert await read_pdu(reader) == (ABORT, bytes([0, 0, 2, reason]))
        await seen.done()
        (error,) = seen.errors
        assert isinstance(error, ProtocolError)


async def test_a_command_set_may_come_in_pieces() -> None:
    """Several PDVs in one PDU, and one command set in several PDUs (PS3.8 9.3.5, E.1)."""
    encoded = encode({**ECHO, "MessageID": 3, "CommandDataSetType": 0x0101})  # type: ignore[dict-item]
    pdvs = [encoded[:10], b"", encoded[10:20], encoded[20:]]
    body = b"".join(struct.pack(">IBB", len(part) + 2, 1, 3 if part is pdvs[-1] else 1) + part for part in pdvs)
    first = struct.pack(">BxI", 4, len(body)) + body
    second = b"".join(
        struct.pack(">BxIIBB", 4, 7, 3, 1, 3 if at == len(encoded) - 1 else 1) + encoded[at : at + 1]
        for at in range(len(encoded))
    )
    async with acceptor() as seen, associated(seen) as (reader, writer):
        for stream in (first, second):
            writer.write(stream)
            assert (await read_pdu(reader))[0] == 4
        writer.write(pdu.RELEASE_REQUEST)
        assert (await read_pdu(reader))[0] == 6
        writer.close()
        await seen.done()
    assert seen.errors == []


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    """A peer that does not wait for responses is held back by TCP, and gets all of them (PS3.7 D.3.3.3)."""
    many = 200
    async with acceptor() as seen, associated(seen) as (reader, writer):
        writer.write(b"".join(message(3, STORE | {"MessageID": at + 1}, bytes(20_000)) for at in range(many)))
        answers = [(await read_pdu(reader))[1] for _ in range(many)]
        assert [decode(answer[6:])["MessageIDBeingRespondedTo"] for answer in answers] == list(range(1, many + 1))


async def test_a_pdu_longer_than_we_asked_for_is_taken_in_pieces() -> None:
    """A peer that ignores our limit is served, in constant memory (G-007)."""
    sizes = []

    async def count(association: Association) -> None:
        async for request in association.messages():
            assert request.data is not None
            sizes.append(sum([len(chunk) async for chunk in request.data]))
            await association.respond(request, 0)

    length = 20 << 20
    async with acceptor(count, max_pdu=4096) as seen, associated(seen) as (reader, writer):
        writer.write(fragments(3, COMMAND, is_command=True) + struct.pack(">BxIIBB", 4, length + 6, length + 2, 3, 2))
        for _ in range(20):
            writer.write(bytes(1 << 20))
            await writer.drain()
        assert (await read_pdu(reader))[0] == 4
    assert sizes == [length]


async def test_a_connection_that_is_lost_amid_a_data_set_is_an_error() -> None:
    """End of file within a message never passes for its end (promise 2)."""

    async def read(association: Association) -> None:
        async for request in association.messages():
            assert request.data is not None
            await request.data.read(1 << 20)
            raise AssertionError

    async with acceptor(read) as seen:
        async with associated(seen) as (_, writer):
            writer.write(fragments(3, COMMAND, is_command=True) + fragments(3, bytes(10_000), is_complete=False))
            await writer.drain()
        await seen.done()
    assert [str(error) for error in seen.errors] == ["the peer closed the connection"]


async def test_a_peer_that_falls_silent_amid_a_message_is_ended() -> None:
    """The DIMSE timer runs within a message, whatever the idle timer says (G-010)."""
    timeouts = Timeouts(dimse=0.2, idle=60)
    async with acceptor(timeouts=timeouts) as seen, associated(seen) as (reader, writer):
        writer.write(fragments(3, COMMAND, is_command=True) + fragments(3, bytes(10_000), is_complete=False))
        assert await read_pdu(reader) == (ABORT, bytes([0, 0, 2, 0]))
        await seen.done()
    assert [type(error) for error in seen.errors] == [PeerTimeout]


async def test_a_half_open_connection_is_ended() -> None:
    """A peer of which nothing is heard any more is aborted after the idle timeout (G-010)."""
    async with acceptor(timeouts=Timeouts(idle=0.2)) as seen, associated(seen) as (reader, _):
        assert (await read_pdu(reader))[0] == ABORT
        assert await reader.read() == b""
        await seen.done()
    assert [type(error) for error in seen.errors] == [PeerTimeout]


async def test_a_peer_that_reads_nothing_is_ended() -> None:
    """The write timer ends an association whose peer takes nothing of what we send (G-010)."""

    async def flood(association: Association) -> None:
        async for request in association.messages():
            while True:
                await association.respond(request, 0xFF00, bytes(1 << 20))

    async with acceptor(flood, timeouts=Timeouts(write=0.3)) as seen:
        _, writer = await asyncio.open_connection("127.0.0.1", seen.port, limit=1024)
        writer.write(request_pdu() + message(1, ECHO | {"MessageID": 1}))
        await seen.accepted.wait()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        started = asyncio.get_running_loop().time()
        await seen.done()
        assert asyncio.get_running_loop().time() - started < 10
        writer.close()
    assert [type(error) for error in seen.errors] == [PeerTimeout]


async def test_a_peer_that_never_closes_after_release_is_left() -> None:
    """After A-RELEASE-RP the peer closes; one that does not is closed on after ARTIM (PS3.8 9.2 Sta13)."""
    async with acceptor(timeouts=Timeouts(acse=1.5)) as seen, associated(seen) as (reader, writer):
        writer.write(pdu.RELEASE_REQUEST)
        assert (await read_pdu(reader))[0] == 6
        assert await reader.read() == b""
        await seen.done()
    assert seen.errors == []


async def test_a_release_collision_is_answered_in_order() -> None:
    """As acceptor we wait for the response to our own request before we answer the peer's (PS3.8 7.2.2.7)."""

    async def release(association: Association) -> None:
        await association.release()

    async with acceptor(release) as seen, associated(seen) as (reader, writer):
        assert (await read_pdu(reader))[0] == 5
        writer.write(pdu.RELEASE_REQUEST)
        await asyncio.sleep(0.1)
        writer.write(pdu.RELEASE_RESPONSE)
        assert (await read_pdu(reader))[0] == 6
        writer.close()
        await seen.done()
    assert seen.errors == []


@asynccontextmanager
async def scripted(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Address]:
    """Listen and answer each connection as told, then close it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
            await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1], "SCRIPTED")
    finally:
        server.close()


async def open_to(address: Address, **timeouts: float) -> Association:
    """Open an association as requestor."""
    return await connect(
        address,
        calling_ae_title="SCU",
        contexts=CONTEXTS,
        timeouts=Timeouts(**timeouts) if timeouts else PATIENT,
    )


async def acceptance(reader: asyncio.StreamReader) -> bytes:
    """Read a proposal and return the A-ASSOCIATE-AC that accepts all of it."""
    _, body = await read_pdu(reader)
    proposal = decode_request(body)
    accepted = await accept_all(proposal, None)  # type: ignore[arg-type]
    return encode_acceptance(proposal, accepted, max_pdu=4096, implementation=IMPLEMENTATION)


ANSWERS = {
    "nothing": (b"", AssociationAborted),
    "garbage": (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError),
    "abort": (pdu.abort(2, 1), AssociationAborted),
    "P-DATA": (message(1, ECHO), ProtocolError),
    "a proposal": (request_pdu(), ProtocolError),
    "half an acceptance": (b"\2\0\0\0\1\0" + bytes(40), AssociationAborted),
    "an unreadable acceptance": (b"\2\0\0\0\0\4" + bytes(4), ProtocolError),
}


@pytest.mark.parametrize(("answer", "error"), ANSWERS.values(), ids=ANSWERS)
async def test_what_does_not_answer_a_proposal_is_an_error(answer: bytes, error: type[AssociationAborted]) -> None:
    """A requestor gets AssociationAborted, never an error of a codec or a socket (PS3.8 Table 9-10 Sta5)."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_pdu(reader)
        writer.write(answer)

    async with scripted(say) as address:
        with pytest.raises(error):
            await open_to(address)


async def test_a_peer_that_does_not_answer_a_proposal_is_a_timeout() -> None:
    """The ACSE timer runs for the requestor, too; the peer is told by A-ABORT (G-010)."""
    told = []

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_pdu(reader)
        told.append((await read_pdu(reader))[0])

    async with scripted(stay) as address:
        with pytest.raises(PeerTimeout):
            await open_to(address, acse=0.2)
        await until(lambda: told)
    assert told == [ABORT]


async def test_a_peer_that_does_not_answer_a_release_is_aborted() -> None:
    """Release is bounded in time (G-010, PS3.8 9.2 Sta7)."""
    told = []

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await acceptance(reader))
        told.extend([(await read_pdu(reader))[0], (await read_pdu(reader))[0]])

    async with scripted(stay) as address:
        association = await open_to(address, acse=1.5)
        await association.release()
        assert not association.is_open
        await until(lambda: told)
    assert told == [5, ABORT]


async def test_a_requestor_answers_a_crossing_release_first() -> None:
    """As requestor we answer at once and then take the response to our own request (PS3.8 7.2.2.7)."""
    heard = []

    async def cross(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await acceptance(reader))
        heard.append((await read_pdu(reader))[0])
        writer.write(pdu.RELEASE_REQUEST)
        heard.append((await read_pdu(reader))[0])
        writer.write(pdu.RELEASE_RESPONSE)

    async with scripted(cross) as address:
        association = await open_to(address)
        await association.release()
    assert heard == [5, 6]


async def test_responses_nobody_asked_for_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """A response to another message, with or without data set, is a line in the log and nothing more."""

    async def stray(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await acceptance(reader))
        await read_pdu(reader)
        answer = {"CommandField": 0x8030, "Status": 0}
        writer.write(message(3, answer | {"MessageIDBeingRespondedTo": 99}))
        writer.write(message(3, answer | {"MessageIDBeingRespondedTo": 98}, b"data"))
        writer.write(message(3, answer | {"MessageIDBeingRespondedTo": 1, "CommandField": 0x8001}))
        writer.write(message(3, answer | {"MessageIDBeingRespondedTo": 1}))
        await read_pdu(reader)
        writer.write(pdu.RELEASE_RESPONSE)

    async with scripted(stray) as address:
        caplog.set_level("INFO", "dicomweb.dimse")
        association = await open_to(address)
        context = association.contexts[3]
        assert (await association.request(context, ECHO)).status == 0
        await association.release()
    assert caplog.text.count("nobody waits for") == 3


async def test_a_peer_that_stops_reading_ends_a_sender() -> None:
    """A C-STORE to a peer that takes nothing ends with the write timer (G-010)."""
    over = asyncio.Event()

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await acceptance(reader))
        await over.wait()

    async with scripted(stay) as address:
        association = await open_to(address, write=0.3)
        with pytest.raises(PeerTimeout, match="took nothing"):
            await association.request(association.contexts[1], STORE, bytes(50 << 20))
        assert not association.is_open
        await association.abort()
        over.set()


async def test_contexts_a_peer_accepts_wrongly_are_not_used() -> None:
    """A transfer syntax nobody proposed, or a context nobody proposed, is not accepted (PS3.8 9.3.3.2)."""

    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await acceptance(reader)).replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.9"))
        await read_pdu(reader)

    async with scripted(wrong) as address:
        association = await open_to(address)
        assert CT_IMAGE_STORAGE not in {context.abstract_syntax for context in association.contexts.values()}
        await association.abort()
