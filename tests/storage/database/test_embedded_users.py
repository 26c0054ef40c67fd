"""Who runs the embedded PostgreSQL: an ordinary user as itself, root as another user, whoever owns the folder."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.database.embedded import EmbeddedPostgres
from storage.database.postgres_binaries import wheel_binaries
from tests.storage.servers import HOLD, open_folder, ordinary_python, run, servers


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Make servers that are stopped after the test."""
    with servers(tmp_path / "postgres") as made:
        yield made


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A temporary folder that every user may pass through, unlike `tmp_path`."""
    with open_folder() as path:
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; the other tests ran as one")
def test_as_an_ordinary_user(open_path: Path) -> None:
    """Without root nothing else is needed, and a folder of somebody else's is refused clearly."""
    python = ordinary_python()
    nobody = pwd.getpwnam("nobody")
    os.chown(open_path, nobody.pw_uid, nobody.pw_gid)

    def start_and_stop() -> "subprocess.CompletedProcess[str]":
        command = [*python, "-c", HOLD.replace("sys.stdin.read()", "server.stop()"), str(open_path)]
        return subprocess.run(command, user=nobody.pw_uid, group=nobody.pw_gid, cwd="/", capture_output=True, text=True)

    for _ in range(2):
        done = start_and_stop()
        assert done.returncode == 0, done.stderr
    os.chown(open_path / "postgres", 12345, -1)
    assert "belongs to user 12345" in start_and_stop().stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")
def test_root_runs_it_as_another_user_without_opening_folders(
    make: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    """PostgreSQL refuses root: it runs as a system user, and the folders above the data stay closed to that user."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = make(closed / "postgres")
    assert run(server.start(), "SELECT 42") == 42
    assert server.process is not None
    assert Path(f"/proc/{server.process.pid}").stat().st_uid == server.folder.stat().st_uid != 0
    assert closed.stat().st_mode & 0o777 == 0o700
    assert closed.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")
def test_folder_given_to_root_by_a_copy_is_given_back(make: Callable[..., EmbeddedPostgres]) -> None:
    """A data folder restored from a backup as root's own still starts."""
    server = make()
    run(server.start(), "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (42) RETURNING x")
    server.stop()
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, 0, 0)
    assert run(server.start(), "SELECT x FROM kept") == 42


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")
def test_owner_without_a_name_on_this_machine(make: Callable[..., EmbeddedPostgres]) -> None:
    """A data folder brought from another machine runs as its owner, although nobody here has that number."""
    server = make()
    server.start()
    server.stop()
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, 54321, 54321)
    assert run(server.start(), "SELECT 42") == 42
    assert server.process is not None
    assert Path(f"/proc/{server.process.pid}").stat().st_uid == 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")
def test_programs_out_of_reach_are_opened(
    make: Callable[..., EmbeddedPostgres], open_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A virtual environment below a closed folder: each folder that has to be passed is opened and named.

    Not below `tmp_path`: other runs of pytest close the folder above it again.
    """
    closed = open_path / "closed"
    closed.mkdir(mode=0o700)
    install = wheel_binaries().parent
    libraries = f"{install.parent.name}.libs"
    shutil.copytree(install, closed / install.parent.name / install.name, symlinks=True)
    shutil.copytree(install.parent.with_name(libraries), closed / libraries)
    for path in closed.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    server = make(binaries=closed / install.parent.name / install.name / "bin")
    assert run(server.start(), "SELECT 42") == 42
    assert closed.stat().st_mode & 0o777 == 0o701
    assert f"chmod o+x {closed}" in caplog.text
