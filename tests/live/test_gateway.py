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
from dicomweb.dimse.errors import AssociationError, AssociationRejected
from dicomweb.dimse.requestor import Address, connect
from scripts.bench import soak
from tests.builders import ct_slice, dataset_only
from tests.dicomweb.gateway.querying import ask, matches
from tests.dicomweb.gateway.serving import CONTEXTS, echo, store
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


def readiness(server: LiveServer) -> tuple[int, dict[str, str]]:
    """What `/health/ready` says."""
    answer = httpx2.get(f"{server.url}/health/ready", timeout=10)
    return answer.status_code, answer.json()


async def test_each_side_sees_at_once_what_the_other_stored(server: LiveServer) -> None:
    """Issue 4: both languages on one storage layer: QIDO-RS and WADO-RS after C-STORE, C-FIND after STOW-RS."""
    headers = {"Content-Type": "application/dicom"}
    with httpx2.Client(base_url=server.root) as client:
        for data in (ct_slice(), ct_slice()):
            assert await send(server, data) == [0]
            study, series, instance = key_in(data)
            (found,) = client.get(f"studies/{study}/instances").json()
            assert (found["0020000E"]["Value"], found["00080018"]["Value"]) == ([series], [instance])
            (file,) = retrieve(client, path_of((study, series, instance)))
            assert dataset_only(file) == dataset_only(data)
            posted = ct_slice(study, series)
            assert client.post("studies", content=posted, headers=headers).status_code == 200
            keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study, "NumberOfStudyRelatedInstances": None}
            (match,) = matches(await ask(server.dimse_port, keys))
            assert match.NumberOfStudyRelatedInstances == 2
            assert await send(server, posted) == [0]


def test_the_greeting_says_where_it_is(serve: Serve) -> None:
    """A person reads at the start what to enter at a modality."""
    server = serve("--workers", "1", "--aet", "RADIOLOGY")
    wait_for(lambda: "is ready" in server.log.read_text())
    assert f"DIMSE          RADIOLOGY@127.0.0.1:{server.dimse_port}" in server.log.read_text()


def test_a_gateway_that_is_not_wanted_is_not_there(database_url: str, serve: Serve) -> None:
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


def statuses_until(server: LiveServer, ended: threading.Event) -> list[int]:
    """Search over HTTP again and again until the event; the statuses."""
    statuses = []
    with httpx2.Client(base_url=server.root) as client:
        while not ended.wait(0.05):
            statuses.append(client.get("studies").status_code)
    return statuses


async def test_kill_9_in_mid_c_store_loses_nothing_acknowledged(serve: Serve) -> None:
    """Issue 4: what was acknowledged is there, what was not leaves nothing, HTTP never notices, DIMSE is back soon."""
    server = serve("--workers", "1")
    acknowledged: list[bytes] = []
    begun, back = threading.Event(), threading.Event()
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
    asking = asyncio.create_task(asyncio.to_thread(statuses_until, server, back))
    await asyncio.to_thread(begun.wait, 60)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    await sending
    late = ct_slice("1.2", "1.3.9", "1.4.9")
    while True:
        try:
            assert await send(server, late) == [0]
            break
        except AssociationError:
            assert time.monotonic() - killed < 20
    back.set()
    assert set(await asking) == {200}
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


async def associate_in_turn(server: LiveServer) -> Association:
    """Open an association with a server that has one place, which its own question after its health may have."""
    for _ in range(100):
        try:
            return await associate(server)
        except AssociationRejected as error:
            assert error.result == 2, error  # for now
            await asyncio.sleep(0.05)
    raise AssertionError("there was never a place")


async def test_the_limit_of_associations_does_not_make_it_unready(serve: Serve, database_url: str) -> None:
    """G-005: a gateway that is full answers; a load balancer must not take HTTP away for that."""
    server = serve("--workers", "1", "--dimse-max-associations", "1", "--database-url", database_url)
    async with await associate_in_turn(server) as association:
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


async def test_associations_leave_no_socket_thread_or_memory(serve: Serve, database_url: str) -> None:
    """Issue 4: echoes, stores, searches, aborts, half-open ones and nonsense, as the long soak does them; in the end
    there is nothing of them (G-009, G-010)."""
    flags = ("--dimse-acse-timeout", str(soak.HALF_OPEN_SECONDS), "--database-url", database_url)
    server = serve("--workers", "1", *flags)
    address = Address("127.0.0.1", server.dimse_port, "DICOMWEB")
    pid = children(server)["gateway"]["pid"]
    assert await soak.run(address, 0, 200, at_once=20) == 0
    wait_for(lambda: no_associations(server))
    before, peak = soak.held(pid), memory_of(pid)
    assert await soak.run(address, 200, 400, at_once=20) == 0
    wait_for(lambda: no_associations(server))
    after = soak.held(pid)
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["threads"] <= before["threads"]
    assert memory_of(pid) - peak < 8 * MIB
    assert alive(pid)


def no_associations(server: LiveServer) -> bool:
    """Whether the metrics show none."""
    return "dicomweb_dimse_associations_live 0.0" in httpx2.get(f"{server.url}/metrics").text
