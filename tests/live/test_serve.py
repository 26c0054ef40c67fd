"""`dicomweb serve` as a user meets it: ready, refusals with a reason, demo, draining."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.builders import ct_slice, dicom_file
from tests.live_server import REPOSITORY, LiveServer, free_port, running_server

Serve = Callable[..., LiveServer]


def run_serve(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run `dicomweb serve` where it must refuse to start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DICOMWEB_")}
    return subprocess.run(
        [sys.executable, "-m", "dicomweb", "serve", *flags],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def log_with(server: LiveServer, text: str) -> str:
    """The log, as soon as it has the text (one worker may answer before the other is ready)."""
    deadline = time.monotonic() + 60
    while text not in (log := server.log.read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.05)
    return log


def test_health_says_ready_version_and_root(live_client: httpx2.Client, server: LiveServer) -> None:
    """Live, ready, and the DICOMweb root as this request sees it (design 2, user-pains 6)."""
    assert live_client.get("/health/live").json() == {"status": "live"}
    assert live_client.get("/health/ready").json() == {"status": "ready"}
    forwarded = {"Forwarded": "proto=https;host=pacs.example.org"}
    assert live_client.get("/health").json()["base_url"] == server.root
    assert live_client.get("/health", headers=forwarded).json()["base_url"] == "https://pacs.example.org/dicom-web"


def test_the_banner_says_what_to_do_next(server: LiveServer) -> None:
    """When all is ready: the root, the data folder, how to stop, a first curl line."""
    text = log_with(server, "stop  ")
    assert f"DICOMweb root  {server.root}" in text
    assert f"in a browser   {server.url}/" in text
    assert str(server.data_dir) in text
    assert f"kill {server.process.pid}" in text
    assert f"curl {server.root}/studies" in text


def test_metrics_tell_requests_and_workers(live_client: httpx2.Client) -> None:
    """`/metrics` adds up all workers and shows their memory."""
    live_client.get("/health/live")
    text = live_client.get("/metrics").text
    assert 'dicomweb_requests_total{method="GET",route="/health/live",status="200"}' in text
    assert 'dicomweb_process_resident_memory_bytes{child="worker-1"}' in text
    assert 'dicomweb_child_restarts_total{child="worker-2"} 0.0' in text


def test_every_response_tells_its_request_identifier(live_client: httpx2.Client) -> None:
    """Errors included."""
    assert live_client.get("/no/such/thing", headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"


def test_a_taken_port_is_said_before_anything_is_made(tmp_path: Path) -> None:
    """The message names the port and the flag; no folder is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run_serve(tmp_path, "--port", port)
    assert result.returncode == 2
    assert port in result.stderr and "--port" in result.stderr and "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "no.such.host.invalid"])
def test_an_address_for_others_is_refused(tmp_path: Path, host: str) -> None:
    """Without authentication only this machine may ask, unless --insecure-no-auth (design 2)."""
    result = run_serve(tmp_path, "--host", host, "--port", "0")
    assert result.returncode == 2
    assert host in result.stderr and "--host" in result.stderr
    assert host.endswith("invalid") or "--insecure-no-auth" in result.stderr


def test_an_address_for_others_is_served_when_told(serve: Serve, database_url: str) -> None:
    """--insecure-no-auth listens everywhere and says what that means."""
    server = serve("--host", "0.0.0.0", "--insecure-no-auth", "--database-url", database_url, "--workers", "1")
    assert "Traceback" not in log_with(server, "There is no authentication")
    assert httpx2.get(f"{server.url}/health/ready").status_code == 200


def test_a_data_folder_has_one_server(server: LiveServer, tmp_path: Path) -> None:
    """A second server on the same folder is refused; the first does not notice."""
    result = run_serve(tmp_path, "--port", str(free_port()), "--data-dir", str(server.data_dir))
    assert result.returncode == 4
    assert "used by another running dicomweb" in result.stderr and "Traceback" not in result.stderr
    assert httpx2.get(f"{server.url}/health/ready").status_code == 200


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A worker that cannot start ends the start; nothing hangs."""
    (tmp_path / "data").write_text("a file where the folder should be")
    result = run_serve(tmp_path, "--port", "0", "--data-dir", "data")
    assert result.returncode == 5
    assert "data" in result.stderr and "Traceback" not in result.stderr


def test_a_stop_lets_a_request_in_flight_finish(serve: Serve, database_url: str) -> None:
    """SIGTERM: no new connections, the upload under way is stored and answered, then the end (design 2)."""
    server = serve("--workers", "2", "--database-url", database_url)
    body = ct_slice()
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/dicom\r\n"
        f"Accept: application/dicom+json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as upload:
        upload.settimeout(20)
        upload.sendall(head + body[:100])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        assert server.process.poll() is None
        upload.sendall(body[100:])
        answer = b""
        while piece := upload.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(20) == 0


def test_a_second_signal_cuts_off(serve: Serve, database_url: str) -> None:
    """Who presses Ctrl-C twice does not wait for a client that sends nothing."""
    server = serve("--workers", "1", "--database-url", database_url)
    with socket.create_connection(("127.0.0.1", server.port)) as upload:
        upload.sendall(
            b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
            b"Content-Length: 1000\r\n\r\nhalf"
        )
        time.sleep(0.3)
        os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does it
        time.sleep(0.7)
        assert server.process.poll() is None
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(6) == 0


def test_the_grace_time_ends_a_stop(serve: Serve, database_url: str) -> None:
    """A client that never finishes holds the server up for `shutdown_grace_seconds` only."""
    server = serve("--workers", "1", "--database-url", database_url, "--shutdown-grace-seconds", "1")
    with socket.create_connection(("127.0.0.1", server.port)) as upload:
        upload.sendall(
            b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
            b"Content-Length: 1000\r\n\r\nhalf"
        )
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_the_demo_loads_once(serve: Serve, database_url: str) -> None:
    """`--demo` stores the sample files and says so; a second time nothing is stored twice."""
    counts = []
    for _ in range(2):
        server = serve("--demo", "--workers", "1", "--database-url", database_url)
        assert "Traceback" not in log_with(server, "sample files")
        metrics = httpx2.get(f"{server.url}/metrics").text
        assert "Loaded" in server.log.read_text()
        answer = httpx2.get(f"{server.root}/instances?limit=5000", timeout=60)
        counts.append(len(answer.json()))
        assert server.stop() == 0
        server.log.write_text("")
    assert counts[0] == counts[1] > 30
    assert 'dicomweb_instances_total{outcome="stored"}' not in metrics


def test_no_password_is_on_a_command_line_or_in_the_environment(serve: Serve, database_url: str) -> None:
    """What children are told goes through a pipe nobody else reads."""
    server = serve("--workers", "1", "--database-url", database_url)
    children = json.loads((server.data_dir / "run" / "children.json").read_text())
    process = Path(f"/proc/{children['worker-1']['pid']}")
    if not process.exists():
        pytest.skip("needs /proc")
    for part in ("cmdline", "environ"):
        assert database_url.encode() not in (process / part).read_bytes()


def test_no_process_runs_what_lies_in_the_current_folder(tmp_path: Path) -> None:
    """Neither the children of `dicomweb serve` nor the readers of `dicomweb reindex` import from where they start."""
    for name in ("storage", "dicomweb", "uvloop", "socket", "multiprocessing", "json"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\nraise SystemExit(9)\n"
        )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DICOMWEB_")}
    environment |= {"PYTHONPATH": str(REPOSITORY)}
    with running_server(tmp_path / "data") as server:
        answer = httpx2.post(
            f"{server.root}/studies", content=dicom_file(), headers={"Content-Type": "application/dicom"}
        )
        assert answer.status_code == 200, answer.text
    command = [sys.executable, "-P", "-m", "dicomweb", "reindex", "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "1 files indexed, 0 could not be.\n"), ended.stderr
    assert not (tmp_path / "ran").exists()
