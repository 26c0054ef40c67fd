"""The gateway as a process among others: killed, stopped, filled, and asked by everybody whether it is well."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dicomweb.dimse.association import Association
from dicomweb.dimse.errors import AssociationError
from dicomweb.dimse.requestor import Address, connect
from storage.transfer_syntax import EXPLICIT_LE, IMPLICIT_LE
from tests.builders import ct_slice, dataset_only
from tests.dicomweb.gateway.serving import CONTEXTS, CT, ECHO, echo, store
from tests.live.exchange import key_in, path_of, retrieve
from tests.live.test_supervisor import alive, children, wait_for
from tests.live_server import LiveServer

Serve = Callable[..., LiveServer]
MIB = 1 << 20


async def associate(server: LiveServer, **more: Any) -> Association:
    """Open an association with a server."""
    address = Address("127.0.0.1", server.dimse_port, "DICOMWEB")
    return await connect(address, calling_ae_title="CT1", contexts=more.pop("contexts", CONTEXTS), **more)


async def send(server: LiveServer, *files: bytes) -> list[int]:
    """Store files on one association; the statuses."""
    async with await associate(server) as association:
        return [(await store(association, file)).status for file in files]


def memory_of(pid: int) -> int:
    """Peak resident memory of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def descriptors_of(pid: int) -> int:
    """How many sockets and files a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def readiness(server: LiveServer) -> tuple[int, dict[str, str]]:
    """What `/health/ready` says."""
    answer = httpx2.get(f"{server.url}/health/ready", timeout=10)
    return answer.status_code, answer.json()


async def test_what_came_by_dimse_is_at_once_visible_by_http(server: LiveServer) -> None:
    """Issue 4: both languages on one storage layer, in both directions."""
    data = ct_slice()
    assert await send(server, data) == [0]
    with httpx2.Client(base_url=server.root) as client:
        (file,) = retrieve(client, path_of(key_in(data)))
        assert dataset_only(file) == dataset_only(data)
        headers = {"Content-Type": "application/dicom"}
        assert client.post("studies", content=data, headers=headers).status_code == 200
        posted = ct_slice()
        assert client.post("studies", content=posted, headers=headers).status_code == 200
    assert await send(server, posted) == [0]


def test_the_greeting_says_where_it_is(serve: Serve) -> None:
    """A person reads at the start what to enter at a modality."""
    server = serve("--workers", "1", "--aet", "RADIOLOGY")
    wait_for(lambda: "is ready" in server.log.read_text())
    assert f"DIMSE          RADIOLOGY@127.0.0.1:{server.dimse_port}" in server.log.read_text()


def test_a_gateway_that_is_not_wanted_is_not_there(serve: Serve, database_url: str) -> None:
    """`--no-dimse` starts HTTP alone, and readiness does not ask for more."""
    server = serve("--workers", "1", "--no-dimse", "--database-url", database_url)
    assert readiness(server) == (200, {"status": "ready"})
    assert "gateway" not in children(server)
    assert "DIMSE" not in server.log.read_text()


async def test_readiness_wants_the_gateway_and_http_goes_on_without_it(serve: Serve) -> None:
    """Design 2: a gateway that hangs is not ready, and costs HTTP nothing; when it answers again, all is well."""
    server = serve("--workers", "1")
    pid = children(server)["gateway"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: readiness(server)[0] == 503)
        assert readiness(server)[1]["failed"] == "The DIMSE gateway does not answer."
        assert httpx2.get(f"{server.root}/studies").status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: readiness(server)[0] == 200)


async def test_kill_9_in_mid_c_store_loses_nothing_acknowledged(serve: Serve) -> None:
    """Issue 4: what was acknowledged is there, what was not leaves nothing, HTTP never notices, DIMSE is back soon."""
    server = serve("--workers", "1")
    acknowledged: list[bytes] = []
    begun = threading.Event()
    pid = children(server)["gateway"]["pid"]

    async def senders() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(one(number))

    async def one(number: int) -> None:
        association = await associate(server)
        try:
            for instance in range(10_000):
                data = ct_slice("1.2", f"1.3.{number}", f"1.4.{number}.{instance}")
                if (await store(association, data)).status == 0:
                    acknowledged.append(data)
                if len(acknowledged) > 40:
                    begun.set()
        except AssociationError:
            return

    sending = asyncio.create_task(senders())
    await asyncio.to_thread(begun.wait, 60)
    os.kill(pid, signal.SIGKILL)
    assert httpx2.get(f"{server.root}/studies").status_code == 200
    await sending
    killed = time.monotonic()
    late = ct_slice("1.2", "1.3.9", "1.4.9")
    while True:
        try:
            assert await send(server, late) == [0]
            break
        except AssociationError:
            assert time.monotonic() - killed < 10
    with httpx2.Client(base_url=server.root, timeout=60) as client:
        stored = {dataset_only(file) for file in retrieve(client, "studies/1.2")}
        listed = client.get("studies/1.2/instances", params={"limit": 5000}).json()
        (study,) = client.get("studies", params={"StudyInstanceUID": "1.2"}).json()
    assert {dataset_only(data) for data in [*acknowledged, late]} <= stored
    assert study["00201208"]["Value"] == [len(listed)] == [len(stored)]
    assert children(server)["gateway"]["restarts"] == 1


async def test_a_stop_lets_a_store_finish(serve: Serve) -> None:
    """Design 2: SIGTERM while a modality sends: it gets its answer, and then the server ends with status 0."""
    server = serve("--workers", "1")
    data = ct_slice(rows=1024, columns=1024)
    going_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        whole = dataset_only(data)
        for start in range(0, len(whole), 300_000):
            yield whole[start : start + 300_000]
            going_on.set()
            await asyncio.sleep(0.2)

    association = await associate(server)
    storing = asyncio.create_task(store(association, data, data=slowly()))
    await going_on.wait()
    server.process.send_signal(signal.SIGTERM)
    assert (await storing).status == 0
    await association.abort()
    assert await asyncio.to_thread(server.process.wait, 30) == 0
    assert "cut off" not in server.log.read_text()


async def test_a_large_instance_goes_through_in_bounded_memory(serve: Serve, database_url: str) -> None:
    """Design 1.6, G-052: a data set larger than what the gateway may take goes to disk as it comes in."""
    server = serve("--workers", "1", "--database-url", database_url)
    pid = children(server)["gateway"]["pid"]
    small = ct_slice("1.2", "1.3", "1.4")
    assert await send(server, small) == [0]
    before = memory_of(pid)
    template = dataset_only(ct_slice("1.2", "1.3", "1.5", rows=2, columns=2))
    frames = 384  # of one MiB
    head = template[: template.rindex(b"\xe0\x7f\x10\x00OW")]

    async def chunks() -> AsyncIterator[bytes]:
        yield head + b"\xe0\x7f\x10\x00OW\0\0" + (frames * MIB).to_bytes(4, "little")
        for _ in range(frames):
            yield bytes(MIB)

    async with await associate(server) as association:
        answer = await store(association, b"", data=chunks(), AffectedSOPInstanceUID="1.5")
        assert answer.status == 0
    assert memory_of(pid) - before < 64 * MIB
    (listed,) = httpx2.get(f"{server.root}/studies/1.2/instances", params={"SOPInstanceUID": "1.5"}).json()
    assert listed["00080018"]["Value"] == ["1.5"]


async def test_the_limit_of_associations_does_not_make_it_unready(serve: Serve, database_url: str) -> None:
    """G-005: a gateway that is full answers; a load balancer must not take HTTP away for that."""
    server = serve("--workers", "1", "--dimse-max-associations", "1", "--database-url", database_url)
    async with await associate(server) as association:
        await asyncio.sleep(1.1)
        assert readiness(server)[0] == 200
        assert await echo(association) == 0


async def test_an_allow_list_is_in_force_where_others_can_reach_us(serve: Serve, database_url: str) -> None:
    """G-004, G-006: unknown calling AE titles are rejected, and readiness works all the same."""
    flags = ("--dimse-host", "0.0.0.0", "--insecure-no-auth", "--database-url", database_url)
    server = serve("--workers", "1", *flags)
    assert readiness(server)[0] == 200
    with pytest.raises(AssociationError, match="calling AE title not recognized"):
        await associate(server)
    peer = {"host": "127.0.0.1", "port": 104}
    assert httpx2.put(f"{server.url}/api/peers/CT1", json=peer).status_code in (200, 201, 204)
    async with await associate(server) as association:
        assert await echo(association) == 0


async def test_a_thousand_associations_leave_no_socket_task_or_memory(serve: Serve, database_url: str) -> None:
    """Issue 4: released, aborted, half-open and nonsense ones; the metrics stay flat. The long soak is in the bench."""
    server = serve("--workers", "1", "--database-url", database_url)
    pid = children(server)["gateway"]["pid"]
    contexts = [(ECHO, [IMPLICIT_LE]), (CT, [EXPLICIT_LE])]

    async def one(number: int) -> None:
        if number % 5 == 0:
            _, writer = await asyncio.open_connection("127.0.0.1", server.dimse_port)
            writer.write(b"\x01\0\0\0\0\x10" if number % 2 else b"GET / HTTP/1.0\r\n\r\n")
            writer.close()
            return
        association = await associate(server, contexts=contexts)
        assert await echo(association) == 0
        await (association.abort() if number % 5 == 1 else association.release())

    async def many(count: int) -> None:
        for start in range(0, count, 20):
            await asyncio.gather(*(one(number) for number in range(start, start + 20)))

    await many(200)
    await asyncio.sleep(0.5)
    descriptors, memory = descriptors_of(pid), memory_of(pid)
    await many(1000)
    await asyncio.sleep(0.5)
    assert descriptors_of(pid) <= descriptors + 2
    assert memory_of(pid) - memory < 8 * MIB
    assert alive(pid)
    wait_for(lambda: "dicomweb_dimse_associations_live 0.0" in httpx2.get(f"{server.url}/metrics").text)
