"""What dies is started again; what must not outlive the supervisor does not."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from storage.database.data_folder import DataFolder
from tests.builders import ct_slice
from tests.conftest import with_database
from tests.live_server import LiveServer, start_server

pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")


@pytest.fixture
def own_server(serve: Callable[..., LiveServer]) -> LiveServer:
    """A server with its own database, to be mistreated."""
    server = serve("--workers", "2")
    wait_for(lambda: "is ready" in server.log.read_text())
    return server


def children(server: LiveServer) -> dict[str, dict[str, int]]:
    """The supervisor's account."""
    account: dict[str, dict[str, int]] = json.loads((server.data_dir / "run" / "children.json").read_text())
    return account


def postgres_of(server: LiveServer) -> list[int]:
    """Process ids of the database servers on the data folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink() == server.data_dir.resolve() / "postgres":
                found.append(int(process.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def ready(server: LiveServer) -> bool:
    """Whether the archive answers."""
    try:
        return httpx2.get(f"{server.url}/health/ready", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


def store(server: LiveServer) -> int:
    """Store one new instance; the status of the answer."""
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    return httpx2.post(f"{server.root}/studies", content=ct_slice(), headers=headers, timeout=30).status_code


def test_a_killed_worker_is_replaced(own_server: LiveServer) -> None:
    """kill -9 of a worker: another one starts, the supervisor and the other worker serve on (design 2)."""
    before = children(own_server)
    os.kill(before["worker-1"]["pid"], signal.SIGKILL)
    wait_for(lambda: children(own_server)["worker-1"]["restarts"] == 1)
    wait_for(lambda: children(own_server)["worker-1"]["pid"] is not None)
    after = children(own_server)
    assert after["worker-2"] == before["worker-2"]
    assert after["supervisor"] == before["supervisor"]
    assert all(ready(own_server) for _ in range(10))
    metrics = httpx2.get(f"{own_server.url}/metrics").text
    assert 'dicomweb_child_restarts_total{child="worker-1"} 1.0' in metrics


def test_all_workers_killed_at_once_costs_no_connection(own_server: LiveServer) -> None:
    """The supervisor holds the socket: who comes while no worker lives waits and is answered."""
    pids = [children(own_server)[name]["pid"] for name in ("worker-1", "worker-2")]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids))  # a dying one could still take the connection
    assert httpx2.get(f"{own_server.url}/health/live", timeout=20).status_code == 200


def test_a_killed_database_is_started_again(own_server: LiveServer) -> None:
    """kill -9 of PostgreSQL: it recovers, and the archive stores again without a restart (design 2)."""
    assert store(own_server) == 200
    for pid in postgres_of(own_server):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "the database died" in own_server.log.read_text())
    wait_for(lambda: ready(own_server))
    assert store(own_server) == 200
    assert own_server.process.poll() is None


def test_nothing_outlives_a_killed_supervisor(own_server: LiveServer, serve: Callable[..., LiveServer]) -> None:
    """kill -9 of the supervisor: workers and database go, and the next start finds everything (promise 2)."""
    assert store(own_server) == 200
    account = children(own_server)
    databases = postgres_of(own_server)
    assert databases
    own_server.process.kill()
    own_server.process.wait()
    left = [account["worker-1"]["pid"], account["worker-2"]["pid"], *databases]
    wait_for(lambda: not any(alive(pid) for pid in left))
    again = serve(data_dir=own_server.data_dir)
    assert len(httpx2.get(f"{again.root}/studies").json()) == 1


def test_a_stop_leaves_nothing_behind(own_server: LiveServer) -> None:
    """SIGTERM ends every process, the database last and in order (design 2)."""
    left = [child["pid"] for child in children(own_server).values()] + postgres_of(own_server)
    assert own_server.stop() == 0
    assert not any(alive(pid) for pid in left)
    log = (own_server.data_dir / "postgres.log").read_text()
    assert "database system is shut down" in log
    assert "Traceback" not in own_server.log.read_text()


def test_who_waited_for_readiness_finds_the_server(tmp_path: Path, database_url: str) -> None:
    """When /health/ready is 200, `run/server.json` is there: a command started then joins the server."""
    server = start_server(tmp_path / "data", "--workers", "4", "--database-url", database_url)
    try:
        deadline = time.monotonic() + 60
        while not ready(server):
            assert time.monotonic() < deadline and server.process.poll() is None, server.log_tail()
        facts = DataFolder.running(server.data_dir)
        assert facts is not None and facts["url"] == server.url
    finally:
        server.stop()


async def test_a_lost_database_holds_up_nobody(serve: Callable[..., LiveServer], database_url: str) -> None:
    """Requests are answered 503, and a child that waits for the database ends as soon as it is asked to."""
    server = serve("--workers", "1", "--database-url", database_url)
    connection = await asyncpg.connect(with_database(database_url, "postgres"))
    name = urlsplit(database_url).path.strip("/")
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        os.kill(children(server)["jobs"]["pid"], signal.SIGKILL)
        wait_for(lambda: children(server)["jobs"]["restarts"] == 1 and bool(children(server)["jobs"]["pid"]))
        assert httpx2.get(f"{server.root}/studies").status_code == 503
        await asyncio.sleep(3)  # the new child waits by now
        asked = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - asked < 20
        assert '"error":' not in server.log.read_text()  # no traceback: no mistake of ours
    finally:
        await connection.execute(f"CREATE DATABASE {name}")  # for who drops it at the end
        await connection.close()
