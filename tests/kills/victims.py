"""Who is killed."""

import json
import os
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.live_server import LiveServer

CODEC = b"storage.pixels.codec_process"


def child(server: LiveServer, name: str) -> list[int]:
    """Return the process of the supervisor's table with this name, or one that begins so."""
    listed = json.loads((server.data_dir / "run" / "children.json").read_text())
    return [each["pid"] for found, each in sorted(listed.items()) if found.startswith(name) and each["pid"]]


def running(server: LiveServer, part: bytes) -> list[int]:
    """Return the processes of the server with this in their command line."""
    return [pid for pid in server.processes() if part in _command(pid)]


def postmaster(server: LiveServer) -> list[int]:
    """Return the first process of PostgreSQL."""
    return [pid for pid in server.processes() if _program(pid).startswith("postgres")][:1]


def backends(server: LiveServer) -> list[int]:
    """Return the other processes of PostgreSQL."""
    return [pid for pid in server.processes() if _program(pid).startswith("postgres")][1:]


VICTIMS: Mapping[str, Callable[[LiveServer], list[int]]] = {
    "worker": lambda server: child(server, "worker"),
    "supervisor": lambda server: [server.process.pid],
    "gateway": lambda server: child(server, "gateway"),
    "postmaster": postmaster,
    "backend": backends,
    "job worker": lambda server: child(server, "jobs"),
    "codec child": lambda server: running(server, CODEC),
    "all": LiveServer.processes,
}
RESTARTED = ("supervisor", "all")
"""After which somebody must start the server again."""


def kill(server: LiveServer, victim: str, chance: random.Random) -> bool:
    """Kill one process of a kind, or all; False when there is none of the kind."""
    if victim == "all":
        server.kill()
        return True
    pids = VICTIMS[victim](server)
    if not pids:
        return False
    with suppress(ProcessLookupError):
        os.kill(chance.choice(pids), signal.SIGKILL)
    return True


def _program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
