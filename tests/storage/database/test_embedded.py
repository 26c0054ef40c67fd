"""The embedded PostgreSQL: starts anywhere, keeps what was committed, goes away with us, comes back after any death."""

import asyncio
import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from storage.database.embedded import CannotStart, EmbeddedPostgres, _cap
from storage.errors import SchemaMismatch
from tests.storage.servers import HOLD, REPOSITORY, run, servers

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and prctl")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Make servers that are stopped after the test."""
    with servers(tmp_path / "postgres") as made:
        yield made


def hold(path: Path, *prefix: str) -> "tuple[subprocess.Popen[str], str, int]":
    """A process of its own that holds the data folder and runs its server."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    url, pid = process.stdout.readline().split()
    return process, url, int(pid)


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.02)
    return False


def test_what_was_committed_is_there_after_a_restart(make: Callable[..., EmbeddedPostgres]) -> None:
    """Stop and start keep the data; stopping leaves no process and no socket."""
    server = make()
    assert not server.alive()
    url = server.start()
    assert server.alive()
    assert server.start() == url, "starting twice is starting once"
    run(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42) RETURNING x")
    server.stop()
    assert not server.alive()
    assert not (server.folder / ".s.PGSQL.5432").exists()
    server.stop()
    assert run(server.start(), "SELECT x FROM kept") == 42


def test_server_is_durable_private_and_in_unicode(make: Callable[..., EmbeddedPostgres]) -> None:
    """No TCP, a private socket, every commit flushed, UTF-8, and no statements or values in the log."""
    server = make()
    url = server.start()
    shown = {
        name: run(url, f"SHOW {name}")
        for name in ("listen_addresses", "fsync", "synchronous_commit", "full_page_writes", "server_encoding", "jit")
    }
    assert shown == {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "server_encoding": "UTF8",
        "jit": "off",
    }
    assert server.folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(asyncpg.UniqueViolationError):
        run(url, "CREATE TABLE p (name text UNIQUE)", "INSERT INTO p VALUES ('Secret'), ('Secret') RETURNING name")
    log = server.log.read_text()
    assert "duplicate key" in log
    assert "Secret" not in log
    assert server.log.stat().st_mode & 0o777 == 0o600


def test_administrators_settings_survive(make: Callable[..., EmbeddedPostgres]) -> None:
    """ALTER SYSTEM wins over our settings; those given in code win over all."""
    server = make(settings={"fsync": "off"})
    run(server.start(), "ALTER SYSTEM SET work_mem = '33MB'", "SELECT 1")
    server.stop()
    url = server.start()
    assert run(url, "SHOW work_mem") == "33MB"
    assert run(url, "SHOW fsync") == "off"


@linux_only
def test_killed_server_is_noticed_and_starts_again(make: Callable[..., EmbeddedPostgres]) -> None:
    """After `kill -9` of the postmaster, with a backend too busy to notice, nothing committed is lost."""
    server = make()
    url = server.start()
    run(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42) RETURNING x")
    busy = subprocess.Popen(
        [sys.executable, "-c", "import asyncio, asyncpg, sys\n"
         "async def m():\n"
         "    c = await asyncpg.connect(sys.argv[1]); print('in', flush=True)\n"
         "    await c.execute('SELECT count(*) FROM generate_series(1, 1000000000000)')\n"
         "asyncio.run(m())", url],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert busy.stdout is not None
    assert busy.stdout.readline() == b"in\n"
    time.sleep(0.2)
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert not server.alive()
    assert run(server.start(), "SELECT x FROM kept") == 42
    busy.kill()
    busy.communicate()


@linux_only
def test_server_goes_away_with_its_killed_holder(tmp_path: Path) -> None:
    """Five times `kill -9` of the holder: PostgreSQL is gone within seconds and every commit is there afterwards."""
    for turn in range(5):
        process, url, pid = hold(tmp_path)
        run(url, "CREATE TABLE IF NOT EXISTS kept (x int)", f"INSERT INTO kept VALUES ({turn}) RETURNING x")
        assert run(url, "SELECT count(*) FROM kept") == turn + 1
        kill(process)
        if turn % 2 == 0:  # otherwise start again while the old one is still going
            assert gone_within(pid, 10)
    process, url, _ = hold(tmp_path)
    assert run(url, "SELECT array_agg(x ORDER BY x) FROM kept") == [0, 1, 2, 3, 4]
    kill(process)


@linux_only
def test_kill_of_everything_at_once(tmp_path: Path) -> None:
    """`kill -9` of holder and postmaster together, as by the out-of-memory killer, and an immediate start."""
    for turn in range(3):
        process, url, pid = hold(tmp_path)
        run(url, "CREATE TABLE IF NOT EXISTS kept (x int)", f"INSERT INTO kept VALUES ({turn}) RETURNING x")
        os.kill(pid, signal.SIGKILL)
        kill(process)
    process, url, _ = hold(tmp_path)
    assert run(url, "SELECT count(*) FROM kept") == 3
    kill(process)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.parametrize("victim", ["holder", "postmaster", "nobody"])
def test_kills_in_a_container(tmp_path: Path, make: Callable[..., EmbeddedPostgres], victim: str) -> None:
    """Root without the right to look at other users' processes, as in most containers, gets over any death too."""
    server = make(tmp_path / "postgres")
    url = server.start()
    run(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42) RETURNING x")
    assert server.process is not None
    if victim == "postmaster":
        server.process.kill()
        server.process.wait()
    elif victim == "holder":
        server.stop()
        process, url, _ = hold(tmp_path, "setpriv", "--bounding-set", "-sys_ptrace")
        kill(process)
    process, url, _ = hold(tmp_path, "setpriv", "--bounding-set", "-sys_ptrace")
    assert run(url, "SELECT x FROM kept") == 42
    kill(process)


@linux_only
def test_kill_while_the_folder_is_being_made(tmp_path: Path) -> None:
    """Killed at any moment of the first start, the next start works and leaves no leftovers."""
    for turn in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=REPOSITORY,
        )  # fmt: skip
        time.sleep(random.Random(turn).uniform(0.1, 0.8))
        kill(process)
    process, url, _ = hold(tmp_path / "data")
    assert run(url, "SELECT 42") == 42
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["lock", "postgres", "postgres.log", "run"]
    kill(process)


@linux_only
def test_orphan_is_stopped(make: Callable[..., EmbeddedPostgres], caplog: pytest.LogCaptureFixture) -> None:
    """A server found running on the folder was left behind: it is stopped, and what it committed is there."""
    first = make()
    run(first.start(), "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42) RETURNING x")
    second = make()
    assert run(second.start(), "SELECT x FROM kept") == 42
    assert not first.alive()
    assert "left behind" in caplog.text


@linux_only
def test_frozen_orphan_is_stopped(make: Callable[..., EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan that does not react to requests is killed."""
    monkeypatch.setattr("storage.database.postgres_processes.PATIENCE", (0.2, 0.2, 10.0))
    first = make()
    first.start()
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    assert run(make().start(), "SELECT 42") == 42


@linux_only
def test_stale_lock_files_with_a_living_foreign_process(make: Callable[..., EmbeddedPostgres]) -> None:
    """The number in postmaster.pid may be another process's by now; that process is left in peace."""
    server = make()
    server.start()
    lines = (server.folder / "postmaster.pid").read_text().splitlines()
    server.stop()
    owner = server.folder.stat().st_uid
    with subprocess.Popen(["sleep", "60"], cwd="/", user=owner if os.geteuid() == 0 else None) as stranger:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            path = server.folder / name
            path.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            os.chown(path, owner, -1)
        with socket.socket(socket.AF_UNIX) as left, contextlib.chdir(server.folder):  # its whole path may be too long
            left.bind(".s.PGSQL.5432")
        assert run(server.start(), "SELECT 42") == 42
        assert stranger.poll() is None
        stranger.kill()


@linux_only
def test_ctrl_c_in_the_terminal_does_not_reach_the_database(make: Callable[..., EmbeddedPostgres]) -> None:
    """The database is in a session of its own: it is stopped last, by us."""
    server = make()
    server.start()
    assert server.process is not None
    assert os.getsid(server.process.pid) == server.process.pid


@linux_only
def test_server_outlives_the_thread_that_started_it(make: Callable[..., EmbeddedPostgres]) -> None:
    """The kernel's death signal follows the parent thread, so `asyncio.to_thread(server.start)` must not be it."""
    server = make()

    async def start() -> str:
        return await asyncio.to_thread(server.start)

    url = asyncio.run(start())  # ends its threads
    time.sleep(0.3)
    assert server.alive()
    assert run(url, "SELECT 42") == 42


def test_path_longer_than_a_socket_path_may_be(
    make: Callable[..., EmbeddedPostgres], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data folder deeper than 107 bytes works, through a private folder for the socket."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "with space, comma & ümlaut %41" / "postgres"
    server = make(deep)
    url = server.start()
    assert run(url, "SELECT 42") == 42
    assert server._socket_folder.stat().st_mode & 0o777 == 0o700
    server.stop()
    assert not server._socket_folder.exists()


def test_temporary_folder_with_a_long_path(
    make: Callable[..., EmbeddedPostgres], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the folders for such sockets have long paths as well, the socket lies in a private folder in /tmp."""
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setattr("storage.database.embedded.RUNTIME_FOLDER", str(long))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    server = make(long / "data" / "postgres")
    assert run(server.start(), "SELECT 42") == 42
    assert server._socket_folder.parent == Path("/tmp")
    server.stop()
    assert not server._socket_folder.exists()


def test_path_with_odd_characters(make: Callable[..., EmbeddedPostgres], tmp_path: Path) -> None:
    """Spaces, commas, quotes, percent signs and umlauts in the path hurt neither server nor URL."""
    server = make(tmp_path / "a b,c'd %41 ü?#&" / "postgres")
    assert run(server.start(), "SELECT 42") == 42


def test_folder_of_another_postgresql_is_named(make: Callable[..., EmbeddedPostgres]) -> None:
    """A data directory of another major version is refused with the ways out."""
    server = make()
    server.start()
    server.stop()
    (server.folder / "PG_VERSION").write_text("16\n")
    with pytest.raises(SchemaMismatch, match=r"PostgreSQL 16.*pg_upgrade.*reindex"):
        server.start()


def test_folder_with_something_else_is_left_alone(make: Callable[..., EmbeddedPostgres], tmp_path: Path) -> None:
    """A folder with foreign files in it is not made into a database."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "thesis.txt").write_text("important")
    if os.geteuid() == 0:
        os.chown(tmp_path / "postgres", pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(CannotStart, match="neither empty"):
        make().start()
    assert (tmp_path / "postgres" / "thesis.txt").read_text() == "important"


def test_failure_shows_what_postgresql_said(make: Callable[..., EmbeddedPostgres]) -> None:
    """A server that cannot start says why in the error, and leaves no process."""
    server = make(settings={"wal_level": "nonsense"})
    with pytest.raises(CannotStart, match="wal_level"):
        server.start()
    assert not server.alive()
    damaged = make()
    (damaged.folder / "global" / "pg_control").unlink()
    with pytest.raises(CannotStart, match="pg_control"):
        damaged.start()


@pytest.mark.parametrize("depth", [0, 3])
def test_too_little_shared_memory_is_made_do_with(
    make: Callable[..., EmbeddedPostgres], caplog: pytest.LogCaptureFixture, tmp_path: Path, depth: int
) -> None:
    """When the usual shared memory cannot be had, the server starts with little, also where its socket lies apart."""
    server = make(tmp_path.joinpath(*["a-folder-with-a-long-name"] * depth) / "postgres")
    run(server.start(), "ALTER SYSTEM SET shared_buffers = '7TB'", "SELECT 1")
    server.stop()
    assert run(server.start(), "SHOW shared_buffers") == "16MB"
    assert "less shared memory" in caplog.text


def test_log_does_not_grow_without_end(tmp_path: Path) -> None:
    """A log over its cap becomes `.1`, while the server goes on appending."""
    log = tmp_path / "postgres.log"
    with log.open("ab", buffering=0) as server_side:
        server_side.write(b"x" * 1000)
        _cap(log, 1000)
        assert log.stat().st_size == 1000
        server_side.write(b"y")
        _cap(log, 1000)
        server_side.write(b"z")
    assert log.read_bytes() == b"z"
    assert (tmp_path / "postgres.log.1").stat().st_size == 1001


def test_two_servers_start_at_once(make: Callable[..., EmbeddedPostgres], tmp_path: Path) -> None:
    """Servers on different folders do not meet each other."""

    async def both() -> list[str]:
        servers = [make(tmp_path / name / "postgres") for name in ("a", "b")]
        return await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))

    first, second = asyncio.run(both())
    run(first, "CREATE TABLE only_here (x int)", "SELECT 1")
    assert run(second, "SELECT to_regclass('only_here')") is None
