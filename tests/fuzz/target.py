"""The server under attack, and what tells that an attack had an effect.

Facts this module keeps:

- A serving process is one of the supervisor's table (workers, gateway, jobs) and the supervisor itself; who works for
  them, such as a process that decodes, may end and be replaced.
- The log is written at level warning. A line of level error or worse is something nobody foresaw, for bad input is no
  error of the server; so is a line that is no JSON and tells of a crash.
- Memory is that of every process at its peak, and of all of them together, shared pages counted once.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.live_server import LiveServer, running_server, runs, wait_until_ready

MIB = 1 << 20
PROCESS_BOUND = 1536 * MIB
"""Most resident memory of one process: a frame of the largest size that is decoded, and pictures made of it."""
TOTAL_BOUND = 3072 * MIB
"""Most proportional memory of all processes of the server together, the database included."""
SETTLED_WITHIN = 180.0
ALL_EVERY = 2.0
"""Seconds between two looks at the memory of all processes."""

_CRASH = re.compile(r"Traceback|Fatal Python|Segmentation|free\(\)|malloc|corrupted|terminate called|Assertion")
_DROPPED = re.compile(r"^Exception ignored in: 'imagecodecs.*\nTraceback.*\n(?: .*\n)*", re.MULTILINE)
"""What Cython writes of an error of OpenJPH, of which `storage.pixels.decoders` knows by what the samples are."""


class Fault(Exception):
    """The server answered what it never should, or not at all."""


@dataclass
class Target:
    """A server under attack.

    Attributes
    ----------
    server : LiveServer
        It.
    peak : int
        Most bytes of one process so far.
    total : int
        Most bytes of all processes together so far.
    deaths : int
        Serving processes that ended.
    """

    server: LiveServer
    peak: int = 0
    total: int = 0
    deaths: int = 0
    _read: int = 0
    _lives: dict[str, tuple[int, int]] = field(default_factory=dict)
    _looked: float = 0.0

    def __post_init__(self) -> None:
        self._settle()

    @property
    def port(self) -> int:
        """The port of HTTP."""
        return self.server.port

    def troubles(self) -> Iterator[str]:
        """Yield what has gone wrong since the last time, and be ready for the next attack."""
        yield from self._complaints()
        now = self._children()
        gone = [name for name, life in self._lives.items() if now.get(name) != life or not runs(life[0])]
        for name in gone:
            self.deaths += 1
            yield f"{name} ended"
        yield from self._memory()
        if gone:
            self._settle()

    def _settle(self) -> None:
        """Wait until every serving process runs; what happened up to then is no trouble."""
        deadline = time.monotonic() + SETTLED_WITHIN
        wait_until_ready(self.server, within=SETTLED_WITHIN)
        while not all(pid and runs(pid) for pid, _ in self._children().values()):
            assert time.monotonic() < deadline, self.server.log_tail()
            time.sleep(0.05)
        self._lives = self._children()
        self._read = self.server.log.stat().st_size

    def _complaints(self) -> Iterator[str]:
        if self.server.log.stat().st_size == self._read:
            return
        with self.server.log.open("rb") as log:
            log.seek(self._read)
            fresh = log.read()
        whole = fresh.rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        yield from (f"log: {line[:3000]}" for line in troubles_in(whole.decode(errors="replace")))

    def _children(self) -> dict[str, tuple[int, int]]:
        """Process id and number of restarts of each serving process."""
        written = self.server.data_dir / "run" / "children.json"
        listed = json.loads(written.read_text())
        return {name: (each["pid"] or 0, each["restarts"]) for name, each in listed.items()}

    def _memory(self) -> Iterator[str]:
        everybody = time.monotonic() - self._looked > ALL_EVERY
        pids = self.server.processes() if everybody else [pid for pid, _ in self._lives.values()]
        for pid in pids:
            peak = _field(pid, "status", "VmHWM")
            self.peak = max(self.peak, peak)
            if peak > PROCESS_BOUND:
                yield f"a process took {peak // MIB} MiB"
                with suppress(OSError):
                    Path(f"/proc/{pid}/clear_refs").write_text("5")  # so that each excess is told once
        if everybody:
            self._looked = time.monotonic()
            total = sum(_field(pid, "smaps_rollup", "Pss") for pid in pids)
            self.total = max(self.total, total)
            if total > TOTAL_BOUND:
                yield f"all processes together take {total // MIB} MiB"


def troubles_in(log: str) -> list[str]:
    """Return the lines of a log that tell of something that nobody foresaw."""
    return [line for line in _DROPPED.sub("", log).splitlines() if _is_trouble(line)]


def _is_trouble(line: str) -> bool:
    try:
        told = json.loads(line)
    except ValueError:
        return _CRASH.search(line) is not None
    return told.get("level") in ("error", "critical") or "unforeseen" in line or "Traceback" in line


def _field(pid: int, file: str, name: str) -> int:
    """Bytes that a file of /proc tells of a process; 0 when it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def under_attack(folder: Path) -> Iterator[Target]:
    """Run a server with its own database until the end of the block."""
    with running_server(folder / "data", "--workers", "2", "--log-level", "warning") as server:
        yield Target(server)
