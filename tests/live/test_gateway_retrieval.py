"""Searches and moves through the gateway process: many matches in bounded memory, and its end amid a C-MOVE."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2

from dicomweb.dimse.requestor import Address, connect
from dicomweb.scu.find import search
from dicomweb.scu.identifier import identifier
from storage.archive import Archive
from storage.dicom.transfer_syntax import IMPLICIT_LE
from tests.builders import ct_slice
from tests.dicomweb.gateway.querying import STUDY_ROOT, store_many
from tests.dicomweb.gateway.retrieving import concluded, move
from tests.dicomweb.jobs.storage_peer import StoragePeer, storage_peer
from tests.live.test_gateway import MIB, memory_of, send
from tests.live.test_peers import put, stored
from tests.live.test_supervisor import children, wait_for
from tests.live_server import LiveServer

Serve = Callable[..., LiveServer]
INSTANCES = 60
BACK_WITHIN = 20.0
ALL_WELL = (0x0000, {"Completed": INSTANCES, "Failed": 0, "Warning": 0}, [])


async def test_ten_thousand_matches_cost_the_gateway_no_memory(
    serve: Serve, archive: Archive, database_url: str
) -> None:
    """Issue 4, G-072: all of them are answered, and the process is no larger than after the first thousand."""
    server = serve("--workers", "1", "--database-url", database_url)
    pid = children(server)["gateway"]["pid"]
    assert await send(server, ct_slice()) == [0]
    await store_many(archive, 10_000)
    keys = identifier("STUDY", {"AccessionNumber": "MANY", "PatientName": "", "StudyDescription": ""})
    address = Address("127.0.0.1", server.dimse_port, "DICOMWEB")
    found, early = 0, 0
    async with await connect(address, calling_ae_title="WS1", contexts=[(STUDY_ROOT, [IMPLICIT_LE])]) as association:
        async for _ in search(association, keys):
            found += 1
            if found == 1000:
                early = memory_of(pid)
    assert found == 10_000
    assert memory_of(pid) - early < 8 * MIB


def begin_move(server: LiveServer, destination: StoragePeer, threads: ThreadPoolExecutor) -> tuple[str, Future[Any]]:
    """Store a study, make a slow destination known, ask for the move in a thread and wait until some have arrived."""

    def slowly(uid: str) -> int:
        time.sleep(0.03)
        return 0

    study, _ = stored(server, INSTANCES)
    destination.answer = slowly
    put(server, destination.peer)
    moving = threads.submit(move, server.dimse_port, keys_of(study), destination.peer.ae_title)
    wait_for(lambda: len(destination.received) >= 5)
    return study, moving


def keys_of(study: str) -> dict[str, Any]:
    """The identifier of a move of a study."""
    return {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}


def test_a_gateway_that_is_killed_amid_a_move_is_back_in_seconds(serve: Serve) -> None:
    """Issue 4: the requester sees that its association is lost, HTTP goes on, and the same move succeeds at once."""
    server = serve("--workers", "1")
    with storage_peer() as destination, ThreadPoolExecutor(1) as threads:
        study, moving = begin_move(server, destination, threads)
        os.kill(children(server)["gateway"]["pid"], signal.SIGKILL)
        killed = time.monotonic()
        assert httpx2.get(f"{server.root}/studies").status_code == 200
        answers = moving.result(BACK_WITHIN)
        assert "Status" not in answers[-1][0]  # how pynetdicom tells of an association that was lost
        arrived = len(destination.received)
        assert 5 <= arrived < INSTANCES
        destination.answer = lambda uid: 0
        again = move(server.dimse_port, keys_of(study), destination.peer.ae_title)
        assert time.monotonic() - killed < BACK_WITHIN
    assert concluded(again, INSTANCES) == ALL_WELL
    assert len(destination.received) == arrived + INSTANCES
    assert children(server)["gateway"]["restarts"] == 1


def test_a_gateway_that_is_restarted_ends_its_moves_first(serve: Serve) -> None:
    """Design 2: on SIGTERM a move goes on to its end, with exact counters; the next gateway takes the port over."""
    server = serve("--workers", "1")
    with storage_peer() as destination, ThreadPoolExecutor(1) as threads:
        study, moving = begin_move(server, destination, threads)
        os.kill(children(server)["gateway"]["pid"], signal.SIGTERM)
        assert concluded(moving.result(30), INSTANCES) == ALL_WELL
        wait_for(lambda: children(server)["gateway"]["restarts"] == 1)
        destination.answer = lambda uid: 0
        again = move(server.dimse_port, keys_of(study), destination.peer.ae_title)
    assert concluded(again, INSTANCES) == ALL_WELL


def test_moves_of_a_thousand_instances_at_once_are_counted_exactly(serve: Serve, database_url: str) -> None:
    """Issue 4, G-092, G-095: two moves of one study to two destinations through the gateway process."""
    server = serve("--workers", "1", "--database-url", database_url)
    study = "1.2.77"
    files = [ct_slice(study, f"{study}.1", f"{study}.1.{number}", rows=4, columns=4) for number in range(1000)]
    assert set(asyncio.run(send(server, *files))) == {0}
    whole = (0x0000, {"Completed": 1000, "Failed": 0, "Warning": 0}, [])
    with storage_peer("ONE") as one, storage_peer("OTHER") as other, ThreadPoolExecutor(2) as threads:
        for destination in (one, other):
            put(server, destination.peer)
        titles = ("ONE", "OTHER")
        moves = [threads.submit(move, server.dimse_port, keys_of(study), title) for title in titles]
        assert [concluded(each.result(60), 1000) for each in moves] == [whole, whole]
        assert len(set(one.received)) == len(set(other.received)) == len(one.received) == len(other.received) == 1000
