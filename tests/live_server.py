"""A real `dicomweb serve` process for the tests, on a free port of the loopback interface."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
READY_WITHIN = 60.0  # seconds; the first start makes a database cluster
GONE_WITHIN = 30.0


@dataclass
class LiveServer:
    """A running server.

    Attributes
    ----------
    url : str
        Such as http://127.0.0.1:43021, without a slash at the end.
    root : str
        The DICOMweb root below it.
    data_dir : Path
        Its data folder.
    process : subprocess.Popen
        The supervisor; signal it to try a crash or a shutdown.
    log : Path
        What it wrote to standard output and standard error.
    """

    url: str
    root: str
    port: int
    data_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def dimse_port(self) -> int:
        """The port it speaks DIMSE on; once it is ready."""
        return self._port("dimse")

    @property
    def dimse_tls_port(self) -> int:
        """The port it speaks DIMSE over TLS on; once it is ready."""
        return self._port("dimse_tls")

    def _port(self, listener: str) -> int:
        facts = json.loads((self.data_dir / "run" / "server.json").read_text())
        return int(facts[listener].rpartition(":")[2])

    def log_tail(self, lines: int = 60) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send the signal, wait for the end and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(GONE_WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"the server did not end in {GONE_WITHIN} s:\n{self.log_tail()}") from None

    def processes(self) -> list[int]:
        """Every process of the server: the supervisor and all that descend from it, the database included."""
        parents = dict(_parents())
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would.

        They are stopped first, parents before children, until no new one shows up: PostgreSQL would shut down in
        order, and a worker finish, if they saw their parent die.
        """
        stopped: list[int] = []
        while new := [pid for pid in self.processes() if pid not in stopped]:
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped += new
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + GONE_WITHIN
        while any(map(runs, stopped)):
            assert time.monotonic() < deadline, "killed processes are still there"
            time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _parents() -> Iterator[tuple[int, int]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(process.name), int((process / "stat").read_text().rpartition(")")[2].split()[1])


def free_port() -> int:
    """A port nobody listens on, from below those the kernel gives to whoever asks for any: it stays free."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    while True:
        port = 10_000 + secrets.randbelow(int(given[0]) - 10_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running_server(
    data_dir: Path,
    *flags: str,
    environment: dict[str, str] | None = None,
    port: int | None = None,
    python: Sequence[str] = (sys.executable,),
) -> Iterator[LiveServer]:
    """Start a server, wait until it is ready, and end it by SIGTERM afterwards."""
    server = start_server(data_dir, *flags, environment=environment, port=port, python=python)
    try:
        wait_until_ready(server)
        yield server
    finally:
        server.stop()


def start_server(
    data_dir: Path,
    *flags: str,
    environment: dict[str, str] | None = None,
    port: int | None = None,
    python: Sequence[str] = (sys.executable,),
) -> LiveServer:
    """Start a server in a process group of its own, without waiting for it."""
    port = port or free_port()
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.parent / f"{data_dir.name}.log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DICOMWEB_")}
    command = [
        *python,
        "-P",  # as the installed command does, look for no modules in the current folder
        "-m",
        "dicomweb.cli",
        "serve",
        "--port",
        str(port),
        "--dimse-port",  # any free one: servers of parallel tests must not meet
        "0",
        "--data-dir",
        str(data_dir),
        *flags,
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=data_dir.parent,
            env=inherited | {"PYTHONPATH": str(REPOSITORY)} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    return LiveServer(url, f"{url}/dicom-web", port, data_dir, process, log)


def wait_until_ready(server: LiveServer, within: float = READY_WITHIN) -> None:
    """Return when /health/ready answers 200; fail with the log when it does not come."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise AssertionError(f"the server ended with {server.process.returncode}:\n{server.log_tail()}")
        try:
            with urllib.request.urlopen(f"{server.url}/health/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"the server was not ready in {within} s:\n{server.log_tail()}")
