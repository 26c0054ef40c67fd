"""What the archive writes is for its owner alone, whatever the umask, and whoever runs the command."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.blobs.local import LocalBlobs
from storage.database.data_folder import DataFolder
from storage.system.private_path import make_folder, open_file

OWNER = 23456
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that forbids nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes_below(folder: Path) -> set[tuple[str, int]]:
    """What lies below a folder: "folder" or "file", and its mode."""
    return {("folder" if path.is_dir() else "file", path.stat().st_mode & 0o777) for path in folder.rglob("*")}


def store(folder: Path) -> None:
    """Publish a blob, quarantine another."""
    blobs = LocalBlobs(folder / "blobs")
    for _ in range(2):
        staged = blobs.stage()
        staged.write(b"patient")
        staged.publish()
    blobs.quarantine(staged.name)
    blobs.close()


@pytest.mark.usefixtures("open_umask")
def test_files_are_0600_and_folders_0700(tmp_path: Path) -> None:
    """Stored files, staging, quarantine, the lock and what is published: nothing for anybody else."""
    with DataFolder(tmp_path / "data") as folder, DataFolder.guest(folder.path):
        store(folder.path)
        folder.publish(database_url="postgresql://user:secret@/somewhere")
        assert modes_below(folder.path) == {("folder", 0o700), ("file", 0o600)}


@needs_root
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    """A command of root's beside a server of another user leaves nothing that the server could not read."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, OWNER, OWNER)
    with DataFolder(data) as folder, DataFolder.guest(data):
        store(data)
        folder.publish(url="http://127.0.0.1")
        make_folder(data / "incoming" / "deeper")
        os.close(open_file(data / "incoming" / "deeper" / "file", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        assert {(path.stat().st_uid, path.stat().st_gid) for path in data.rglob("*")} == {(OWNER, OWNER)}
