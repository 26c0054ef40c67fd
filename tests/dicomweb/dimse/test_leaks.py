"""Nothing is left of an association, however it ended: no task, no socket, no thread, no memory."""

import asyncio
import gc
import threading
import tracemalloc
from pathlib import Path

from dicomweb.dimse import pdu
from dicomweb.dimse.association import Association, Timeouts
from dicomweb.dimse.errors import AssociationAborted, AssociationError
from tests.dicomweb.dimse.peers import (
    ECHO,
    STORE,
    Acceptor,
    acceptor,
    read_pdu,
    request_pdu,
)

ROUNDS = 40
"""How many associations of each kind; 320 altogether."""


def open_files() -> int:
    """Return how many descriptors this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def settled() -> tuple[int, int, int]:
    """Return how many tasks, descriptors and threads there are when an event loop has opened what it needs."""
    async with acceptor() as seen:
        await released(seen)
        await seen.done()
    await asyncio.sleep(0.05)
    return len(asyncio.all_tasks()), open_files(), threading.active_count()


async def released(seen: Acceptor) -> None:
    """Echo, store, release."""
    async with await seen.connect() as association:
        await association.request(association.contexts[3], ECHO)
        await association.request(association.contexts[1], STORE, bytes(300_000))


async def aborted(seen: Acceptor) -> None:
    """Abort after an echo."""
    association = await seen.connect()
    await association.request(association.contexts[3], ECHO)
    await association.abort()


async def aborted_at_once(seen: Acceptor) -> None:
    """Abort before the reader of the association has taken its first step."""
    association = await seen.connect()
    await association.abort()


async def cut_off(seen: Acceptor) -> None:
    """Vanish without a word after half a message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", seen.port)
    writer.write(request_pdu())
    await read_pdu(reader)
    writer.write(pdu.p_data(3, 1000, is_command=True, is_last=True) + bytes(10))
    await writer.drain()
    writer.transport.abort()


async def half_open(seen: Acceptor) -> None:
    """Stay connected and say nothing until the acceptor ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", seen.port)
    writer.write(request_pdu())
    await read_pdu(reader)
    await read_pdu(reader)
    writer.close()


async def garbage(seen: Acceptor) -> None:
    """Speak HTTP."""
    reader, writer = await asyncio.open_connection("127.0.0.1", seen.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await read_pdu(reader)
    writer.close()


async def probe(seen: Acceptor) -> None:
    """Connect and close."""
    _, writer = await asyncio.open_connection("127.0.0.1", seen.port)
    writer.close()
    await writer.wait_closed()


async def cancelled(seen: Acceptor) -> None:
    """Cancel a task that waits for a response."""
    async with await seen.connect() as association:
        asking = asyncio.create_task(association.request(association.contexts[1], STORE, bytes(3_000_000)))
        await asyncio.sleep(0.001)
        asking.cancel()
        try:
            await asking
        except (asyncio.CancelledError, AssociationAborted):
            pass


KINDS = [released, aborted, aborted_at_once, cut_off, half_open, garbage, probe, cancelled]


async def test_hundreds_of_associations_leave_nothing_behind() -> None:
    """Tasks, sockets and threads are as many as before, whatever the peers did (G-010, promise 6)."""
    timeouts = Timeouts(acse=5, dimse=5, idle=1, write=5)
    before = await settled()
    async with acceptor(timeouts=timeouts) as seen:
        for _ in range(ROUNDS // 10):
            await asyncio.gather(*(kind(seen) for kind in KINDS for _ in range(10)))
        await asyncio.wait_for(seen.done(), 30)
        assert len(seen.associations) >= 5 * ROUNDS
    assert await settled() == before


async def test_an_association_is_freed_when_it_has_ended() -> None:
    """Memory does not grow with the number of associations (promise 6)."""
    async with acceptor() as seen:

        async def some() -> None:
            for _ in range(30):
                await released(seen)
                await aborted(seen)
            await seen.done()
            seen.associations.clear()
            seen.proposals.clear()
            seen.errors.clear()
            seen.addresses.clear()
            gc.collect()

        await some()
        assert not [found for found in gc.get_objects() if isinstance(found, Association)]
        tracemalloc.start()
        try:
            await some()
            before = tracemalloc.get_traced_memory()[0]
            await some()
            assert tracemalloc.get_traced_memory()[0] - before < 100_000
        finally:
            tracemalloc.stop()


async def test_a_server_that_stops_amid_everything_leaves_nothing_behind() -> None:
    """Cancelling the tasks of a server in any state closes every socket at once."""
    before = await settled()
    async with acceptor(timeouts=Timeouts(idle=60)) as seen:
        peers = [asyncio.create_task(kind(seen)) for kind in (half_open, half_open, cut_off)]
        storing = await seen.connect()
        peers.append(asyncio.create_task(_store_for_ever(storing)))
        await asyncio.sleep(0.2)
        started = asyncio.get_running_loop().time()
        for task in list(seen.tasks):
            task.cancel()
        await seen.done()
        assert asyncio.get_running_loop().time() - started < 20
        await asyncio.gather(*peers)
        await storing.abort()
    assert await settled() == before


async def _store_for_ever(association: Association) -> None:
    try:
        while True:
            await association.request(association.contexts[1], STORE, bytes(1_000_000))
    except AssociationError:
        pass
