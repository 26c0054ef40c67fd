"""Which PostgreSQL processes work on a data directory, and the end of those that were left behind.

Whether a process belongs to a data directory is told by its working directory, not by the number in postmaster.pid,
which may be another process's by now.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from storage.database.postgres_binaries import CannotStart

logger = logging.getLogger(__name__)

ON_LINUX = sys.platform.startswith("linux")
SOCKET = ".s.PGSQL.5432"
PATIENCE = (20.0, 10.0, 10.0)  # seconds for a server left behind after SIGINT, SIGQUIT, SIGKILL


def postmaster_lines(folder: Path) -> list[str]:
    """The lines of postmaster.pid: process id first, the server's state eighth; none without the file."""
    try:
        text = (folder / "postmaster.pid").read_text("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines()]


def processes_on(folder: Path) -> list[int]:
    """The PostgreSQL processes whose working directory is the data directory."""
    if not ON_LINUX:
        lines = postmaster_lines(folder)
        listed = subprocess.run(
            ["/bin/ps", "-p", lines[0] if lines else "0", "-o", "comm="], capture_output=True, text=True, check=False
        )
        return [int(lines[0])] if lines and "postgres" in listed.stdout else []
    lines = postmaster_lines(folder)
    here = folder.stat()
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if not (process / "comm").read_text().startswith("postgres"):
                continue
            there = (process / "cwd").stat()
        except PermissionError:  # root in a container may not look at other users' processes
            if lines and _belongs_to(process, lines[0], here.st_uid):
                found.append(int(process.name))
        except OSError:  # gone meanwhile
            continue
        else:
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                found.append(int(process.name))
    return found


def _belongs_to(process: Path, postmaster: str, owner: int) -> bool:
    """Whether a process is, by what everybody may know of it, the given postmaster or a child of it."""
    with contextlib.suppress(OSError):
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        return process.stat().st_uid == owner and postmaster in (process.name, parent)
    return False


def stop_orphans(folder: Path) -> None:
    """Stop a server that outlived its holder, wait for the backends of a killed one, clear their lock files."""
    lines = postmaster_lines(folder)
    for number, patience in zip((signal.SIGINT, signal.SIGQUIT, signal.SIGKILL), PATIENCE, strict=True):
        running = processes_on(folder)
        if not running:
            break
        postmaster = [pid for pid in running if lines and str(pid) == lines[0]]
        logger.warning("a database server was left behind on %s (process %s); stopping it", folder, running)
        for pid in postmaster or running:
            gentle = signal.SIGTERM if number == signal.SIGINT and not postmaster else number
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, gentle)
        deadline = time.monotonic() + patience
        while processes_on(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
    else:
        if processes_on(folder):
            raise CannotStart(f"the server left behind on {folder} does not stop: processes {processes_on(folder)}")
    for stale in ("postmaster.pid", SOCKET, f"{SOCKET}.lock"):
        (folder / stale).unlink(missing_ok=True)
