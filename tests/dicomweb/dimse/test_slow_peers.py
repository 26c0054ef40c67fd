"""Peers that trickle, and peers that leave while we are still busy making what they asked for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dicomweb.dimse import pdu
from dicomweb.dimse.association import Association, Timeouts
from dicomweb.dimse.command_set import encode
from dicomweb.dimse.errors import AssociationAborted, PeerTimeout
from tests.dicomweb.dimse.peers import ECHO, STORE, acceptor, read_pdu
from tests.dicomweb.dimse.test_broken_peers import ABORT, associated, fragments, message

COMMAND = encode({**ECHO, "MessageID": 1, "CommandDataSetType": 0x0101})  # type: ignore[dict-item]
TRICKLED = {
    "a command set in one PDU": fragments(1, COMMAND, is_command=True),
    "a command set in fragments of two bytes": b"".join(
        pdu.p_data(1, 2, is_command=True, is_last=False) + COMMAND[at : at + 2] for at in range(0, len(COMMAND), 2)
    ),
    "a release": pdu.RELEASE_REQUEST,
}


@pytest.mark.parametrize("stream", TRICKLED.values(), ids=TRICKLED)
async def test_a_peer_that_trickles_a_command_is_ended(stream: bytes) -> None:
    """The DIMSE timer is for a whole command set or PDU: a byte now and then does not start it anew (G-010)."""
    async with acceptor(timeouts=Timeouts(dimse=0.4, idle=60)) as seen, associated(seen) as (reader, writer):
        started = asyncio.get_running_loop().time()
        answer = asyncio.create_task(read_pdu(reader))
        for at in range(len(stream)):
            writer.write(stream[at : at + 1])
            await asyncio.wait([answer], timeout=0.05)
            if answer.done():
                break
        assert await answer == (ABORT, bytes([0, 0, 2, 0]))
        assert asyncio.get_running_loop().time() - started < 20
        await seen.done()
    (error,) = seen.errors
    assert isinstance(error, PeerTimeout) and "within 0.4 seconds" in str(error)


async def test_a_peer_that_trickles_a_data_set_is_served() -> None:
    """A slow line is no fault: within a data set the timer is one of silence (G-010, G-052)."""
    async with acceptor(timeouts=Timeouts(dimse=2, idle=60)) as seen, associated(seen) as (reader, writer):
        writer.write(fragments(3, encode({**STORE, "MessageID": 1, "CommandDataSetType": 1}), is_command=True))  # type: ignore[dict-item]
        for byte in fragments(3, bytes(8)):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.15)
        assert (await read_pdu(reader))[0] == 4
    assert seen.errors == []


async def test_many_commands_in_a_row_have_a_timer_each() -> None:
    """Requests that follow each other without pause, each cut in two, are no trickle (G-010)."""
    async with acceptor(timeouts=Timeouts(dimse=2, idle=60)) as seen, associated(seen) as (reader, writer):
        whole = message(1, ECHO | {"MessageID": 9})
        writer.write(whole[:10])
        for _ in range(16):
            await asyncio.sleep(0.15)
            writer.write(whole[10:] + whole[:10])
            assert (await read_pdu(reader))[0] == 4
        writer.write(whole[10:] + pdu.abort(0, 0))
        await seen.done()
    assert [str(error) for error in seen.errors] == ["the peer aborted the association"]


async def test_an_abort_is_noticed_while_a_data_set_is_gathered() -> None:
    """Whoever makes a long answer piece by piece is told that nobody waits for it, not 256 KB later (promise 6)."""
    taken = []

    async def slowly() -> AsyncIterator[bytes]:
        for number in range(1000):
            yield bytes(100)
            taken.append(number)
            await asyncio.sleep(0.01)

    async def answer(association: Association) -> None:
        async for request in association.messages():
            await association.send(request.context, STORE | {"MessageID": 5}, slowly())

    async with acceptor(answer) as seen, associated(seen) as (_, writer):
        writer.write(message(3, STORE | {"MessageID": 1}, b"data"))
        await asyncio.sleep(0.2)
        writer.write(pdu.abort(0, 0))
        await asyncio.wait_for(seen.done(), 20)
    assert 0 < len(taken) < 100
    (error,) = seen.errors
    assert type(error) is AssociationAborted and str(error) == "the peer aborted the association"
