"""Mishaps of a night: the disk is full, the data folder moves, the database stops, a worker is killed."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from storage.database.postgres_processes import processes_on
from tests.builders import ct_slice
from tests.live.test_supervisor import alive, children, ready, wait_for
from tests.live_server import LiveServer, start_server

Serve = Callable[..., LiveServer]
HEADERS = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}

pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")


def test_a_full_disk_is_said_and_reading_goes_on(serve: Serve, database_url: str) -> None:
    """Whoever stores may go elsewhere; nobody takes the archive away from those who read."""
    server = serve("--database-url", database_url, "--min-free-bytes", str(2**60))
    ready = httpx2.get(f"{server.url}/health/ready")
    assert ready.status_code == 200 and "nearly full" in ready.json()["storing"]
    assert "nearly full" in httpx2.get(f"{server.url}/health").json()["storing"]
    storing = httpx2.get(f"{server.url}/health/ready/storing")
    assert storing.status_code == 503 and "nearly full" in storing.json()["failed"]
    assert httpx2.post(f"{server.root}/studies", content=ct_slice(), headers=HEADERS).status_code in (409, 507)
    assert httpx2.get(f"{server.root}/studies").status_code in (200, 204)


def test_a_data_folder_that_is_replaced_ends_the_server(serve: Serve, database_url: str) -> None:
    """Nothing is stored in a folder that is not the archive's."""
    server = serve("--database-url", database_url)
    supervisor = children(server)["supervisor"]["pid"]
    server.data_dir.rename(server.data_dir.with_name("elsewhere"))
    server.data_dir.mkdir()
    wait_for(lambda: not alive(supervisor))
    assert "was moved, removed or replaced" in server.log.read_text()
    assert not list(server.data_dir.rglob("*.dcm"))


def test_a_data_folder_that_is_replaced_ends_a_server_that_starts(tmp_path: Path, database_url: str) -> None:
    """Children that cannot start because of it do not hide the reason."""
    server = start_server(tmp_path / "data", "--database-url", database_url, "--workers", "4")
    try:
        wait_for(lambda: (server.data_dir / "run" / "children.json").exists())
        server.data_dir.rename(server.data_dir.with_name("elsewhere"))
        server.data_dir.mkdir()
        assert server.process.wait(60) == 1
        log = server.log.read_text()
        assert "was moved, removed or replaced" in log and "Traceback" not in log
    finally:
        server.stop()


def test_a_child_starts_though_the_account_of_children_cannot_be_written(serve: Serve, database_url: str) -> None:
    """A full disk takes nobody away who only reads."""
    server = serve("--database-url", database_url, "--workers", "1")
    worker = children(server)["worker-1"]["pid"]
    (server.data_dir / "run" / ".children.json").mkdir()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: "/metrics does not know" in server.log.read_text())
    wait_for(lambda: ready(server))
    assert not alive(worker) and httpx2.get(f"{server.root}/studies").status_code in (200, 204)


def test_what_a_killed_worker_was_receiving_is_removed_while_others_serve(serve: Serve, database_url: str) -> None:
    """Patients' pixels do not lie about until somebody restarts the server."""
    server = serve("--database-url", database_url, "--workers", "1")
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + ct_slice(rows=2048, columns=2048)
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {2 * len(body)}\r\n"
        'Content-Type: multipart/related; type="application/dicom"; boundary=b\r\n\r\n'
    )
    staging = server.data_dir / "blobs" / ".staging"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
        wait_for(lambda: any(staging.glob("*.dcm")))
        worker = children(server)["worker-1"]["pid"]
        left = server.data_dir / "incoming" / str(worker) / "request-x"
        left.mkdir(parents=True)
        (left / "pixels").write_bytes(b"x")
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not any(staging.glob("*.dcm")) and not left.exists())
    wait_for(lambda: children(server)["worker-1"]["pid"] not in (None, worker))
    assert not left.exists() and list(staging.iterdir()) == []


def test_a_stopped_database_is_a_503_in_seconds(serve: Serve) -> None:
    """It took 90; readiness says it, and all goes on when the database does."""
    server = serve("--workers", "1")
    assert httpx2.post(f"{server.root}/studies", content=ct_slice(), headers=HEADERS, timeout=60).status_code == 200
    stopped = processes_on(server.data_dir / "postgres")
    try:
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        begun = time.monotonic()
        answer = httpx2.post(f"{server.root}/studies", content=ct_slice(), headers=HEADERS, timeout=90)
        assert answer.status_code == 503 and time.monotonic() - begun < 30
        assert httpx2.get(f"{server.root}/studies", timeout=90).status_code == 503
        assert httpx2.get(f"{server.url}/health/ready", timeout=90).status_code == 503
    finally:
        for process in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
    wait_for(lambda: httpx2.get(f"{server.url}/health/ready", timeout=30).status_code == 200)
    assert httpx2.post(f"{server.root}/studies", content=ct_slice(), headers=HEADERS, timeout=60).status_code == 200
