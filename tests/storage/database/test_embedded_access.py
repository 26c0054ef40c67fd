"""Who can connect to the embedded PostgreSQL: the user it works for, with the password, by the socket; nobody else."""

import os
import pwd
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from storage.database.embedded import EmbeddedPostgres
from storage.system.account import Account, existing_user
from tests.storage.servers import open_folder, run, servers

CLIENT = 23456  # a user that this machine has no name for
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/bin/python3").exists(),
    reason="only root can become another user, which runs the system's own Python",
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Make servers that are stopped after the test."""
    with servers(tmp_path / "postgres") as made:
        yield made


def without_password(url: str) -> str:
    """The URL of a server as it would be if it trusted everybody."""
    shorter = re.sub(r":[^:@/]+@", "@", url)
    assert shorter != url
    return shorter


def connects(socket: Path, user: int) -> bool:
    """Whether a user of this machine reaches a socket at all."""
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    command = ["/usr/bin/python3", "-I", "-S", "-c", program, str(socket)]
    done = subprocess.run(command, user=user, group=user, extra_groups=[], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0 or "PermissionError" in done.stderr, done.stderr
    return done.returncode == 0


def assert_asks_for_the_password(url: str) -> None:
    for wrong in (without_password(url), re.sub(r":[^:@/]+@", ":guess@", url)):
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            run(wrong, "SELECT 1")
    assert run(url, "SELECT 42") == 42


def test_who_does_not_know_the_password_is_refused(make: Callable[..., EmbeddedPostgres]) -> None:
    """No rule trusts anybody; the password lies in a file of mode 0600 and only its SCRAM digest in the catalog."""
    server = make()
    url = server.start()
    assert_asks_for_the_password(url)
    rules = run(url, "SELECT array_agg(type || ' ' || auth_method) FROM pg_hba_file_rules")
    assert rules == ["local scram-sha-256"]
    secret = server.folder / "dicomweb.password"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert run(url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'dicomweb'").startswith("SCRAM-SHA-256$")
    server.stop()
    assert server.start() == url, "the password stays"


def test_folder_that_trusted_everybody_is_upgraded(make: Callable[..., EmbeddedPostgres]) -> None:
    """A data directory of an earlier version, killed while it ran, keeps its rows and trusts nobody any more."""
    server = make()
    url = server.start()
    run(url, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42) RETURNING x")
    (server.folder / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
    (server.folder / "dicomweb.password").unlink()
    assert run(url, "ALTER ROLE dicomweb PASSWORD NULL", "SELECT pg_reload_conf()")
    assert run(without_password(url), "SELECT x FROM kept") == 42, "as it was"
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    after = server.start()
    assert_asks_for_the_password(after)
    assert run(after, "SELECT x FROM kept") == 42


@needs_root
def test_socket_is_reached_by_the_user_it_is_for_alone(tmp_path: Path) -> None:
    """Root runs it for another user: that one connects, nobody else does, not even the database's own user later on."""
    with open_folder() as path, servers(path / "postgres") as make:
        server = make(client=Account(CLIENT, CLIENT))
        for _ in range(2):
            url = server.start()
            socket = server._socket_folder / ".s.PGSQL.5432"
            assert connects(socket, CLIENT)
            database = server.folder.stat().st_uid
            assert database not in (0, CLIENT)
            assert not any(connects(socket, user) for user in (pwd.getpwnam("nobody").pw_uid, database, 34567))
            assert run(url, "SELECT 42") == 42
            server.stop()
            assert not server._socket_folder.exists()


@needs_root
def test_folder_of_the_client_is_given_to_a_user_of_its_own(make: Callable[..., EmbeddedPostgres]) -> None:
    """Where an earlier version ran database and server as one user, the database gets one of its own."""
    server = make(client=Account(CLIENT, CLIENT))
    run(server.start(), "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42) RETURNING x")
    server.stop()
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, CLIENT, CLIENT)
    assert run(server.start(), "SELECT x FROM kept") == 42
    owners = {path.lstat().st_uid for path in (server.folder, *server.folder.rglob("*"))}
    expected = existing_user("dicomweb-db", "postgres", "nobody")
    assert expected is not None and owners == {expected.pw_uid}


@needs_root
def test_root_gives_nothing_away_that_is_no_database(make: Callable[..., EmbeddedPostgres], tmp_path: Path) -> None:
    """A link or a folder of root's in the place of the data directory, laid there by others, stays root's."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "shadow").write_text("root:...")
    (tmp_path / "postgres").symlink_to(tmp_path / "secrets")
    with pytest.raises(Exception, match="neither empty"):
        make().start()
    assert {path.lstat().st_uid for path in (tmp_path / "secrets", tmp_path / "secrets" / "shadow")} == {0}


def test_log_is_written_through_no_link(make: Callable[..., EmbeddedPostgres], tmp_path: Path) -> None:
    """A link in the place of the log is an error, not another file written by root."""
    (tmp_path / "postgres.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        make().start()
    assert not (tmp_path / "victim").exists()


@needs_root
def test_other_users_read_nothing_of_the_database(tmp_path: Path) -> None:
    """Tables, password, catalog and log are closed to every other user, though the folder above is open."""
    with open_folder() as path, servers(path / "postgres") as make:
        server = make(client=Account(CLIENT, CLIENT))
        server.start()
        for closed in ("postgres", "postgres/PG_VERSION", "postgres/dicomweb.password", "postgres.log"):
            done = subprocess.run(["cat", path / closed], user="nobody", cwd="/", capture_output=True)
            assert b"Permission denied" in done.stderr and not done.stdout, closed
