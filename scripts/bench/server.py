"""The server under measurement: started on a folder of its own, its processes found, their memory read."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.database.data_folder import DataFolder
from tests.live_server import LiveServer, running_server


@dataclass
class BenchServer:
    """A running `dicomweb serve` and the memory of its processes."""

    live: LiveServer

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.live.port

    @property
    def database_url(self) -> str:
        """The URL of its embedded database, as it is published for commands beside the server."""
        for _ in range(100):
            if facts := DataFolder.running(self.live.data_dir):
                return str(facts["database_url"])
            time.sleep(0.1)
        raise RuntimeError("the server does not say where its database is")

    def processes(self) -> dict[int, str]:
        """Return the Python processes of the server by process id: "supervisor" first, then "worker 1", ..., and
        those in which codecs run, "codec 1", ..."""
        names = {self.live.process.pid: "supervisor"}
        kinds: Counter[str] = Counter()
        for pid in sorted(_descendants(self.live.process.pid)):
            program, *arguments = _command(pid)
            if program.rpartition("/")[2].startswith("python"):
                kind = "codec" if "storage.pixels.codec_process" in arguments else "worker"
                kinds[kind] += 1
                names[pid] = f"{kind} {kinds[kind]}"
        return names

    def reset_peaks(self) -> None:
        """Forget the peaks of memory so far."""
        for pid in self.processes():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peaks(self) -> dict[str, float]:
        """Return the peak resident memory of each process in MiB (VmHWM)."""
        return {name: _status_mebibytes(pid, "VmHWM") for pid, name in self.processes().items()}

    def print_peaks(self) -> None:
        """Print the peak resident memory of each process on one line."""
        listed = ", ".join(f"{name} {mebibytes:.0f} MiB" for name, mebibytes in self.peaks().items())
        print(f"peak memory: {listed}", flush=True)


@contextmanager
def bench_server(*flags: str, keep_in: Path | None = None) -> Iterator[BenchServer]:
    """Run a server on a temporary data folder (or on `keep_in`, which stays) until the end of the block."""
    folder = keep_in or Path(tempfile.mkdtemp(prefix="dicomweb-bench-"))
    try:
        with running_server(folder / "data", *flags) as live:
            yield BenchServer(live)
    finally:
        if keep_in is None:
            shutil.rmtree(folder, ignore_errors=True)


def _descendants(pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return [""]


def _status_mebibytes(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0
