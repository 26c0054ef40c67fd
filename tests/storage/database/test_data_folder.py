"""The lock on the data folder and what its holder publishes."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.database.data_folder import DataFolder
from storage.errors import InUse, Unavailable

HOLD = """
import sys, time
from storage.database.data_folder import DataFolder
folder = DataFolder(sys.argv[1])
folder.publish(database_url="postgresql://somewhere")
print("held", flush=True)
time.sleep(60)
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Patients' images are nobody else's business: the folders are made with mode 0700."""
    with DataFolder(tmp_path / "a" / "data") as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert folder.run.stat().st_mode & 0o777 == 0o700
        assert (folder.path / "lock").read_text() == f"{os.getpid()}\n"


def test_second_holder_is_refused_with_the_first_ones_process_id(tmp_path: Path) -> None:
    """Two servers never work on one folder, and the message says whom to stop."""
    with holder(tmp_path) as process:
        with pytest.raises(InUse, match=rf"process {process.pid}\b"):
            DataFolder(tmp_path)
        process.kill()
    DataFolder(tmp_path).close()


def test_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    """A second `DataFolder` of the same process is refused as well, and does not break the first one's lock."""
    with DataFolder(tmp_path):
        for _ in range(2):
            with pytest.raises(InUse, match=str(os.getpid())):
                DataFolder(tmp_path)


@pytest.mark.parametrize("removed", [["lock"], ["lock", "run/server.json"]])
def test_nothing_that_is_removed_in_the_folder_lets_a_second_holder_in(tmp_path: Path, removed: list[str]) -> None:
    """The lock is of the folder itself: `rm lock` opens it to nobody, nor do commands take it for free."""
    with holder(tmp_path) as process:
        for name in removed:
            (tmp_path / name).unlink()
        with pytest.raises(InUse):
            DataFolder(tmp_path)
        assert (DataFolder.running(tmp_path) is None) == (len(removed) > 1)
        process.kill()
    with DataFolder(tmp_path) as folder:
        assert (folder.path / "lock").read_text() == f"{os.getpid()}\n"


def test_another_path_to_the_folder_is_the_same_folder(tmp_path: Path) -> None:
    """A link, or a bind mount in a container, leads to the folder that is held."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with DataFolder(tmp_path / "data"), pytest.raises(InUse):
        DataFolder(tmp_path / "link")


def test_a_holder_of_the_file_alone_is_respected(tmp_path: Path) -> None:
    """On NFS, and of a program from before, only the lock of the file is seen."""
    with (tmp_path / "lock").open("w") as file:
        file.write("1\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InUse, match="process 1"):
            DataFolder(tmp_path)
    DataFolder(tmp_path).close()


def test_a_child_that_was_given_the_lock_keeps_the_folder(tmp_path: Path) -> None:
    """A worker that outlives its supervisor for a moment still writes: nobody else may."""
    folder = DataFolder(tmp_path)
    with subprocess.Popen(["sleep", "30"], pass_fds=(folder.descriptor,)) as child:
        folder.close()
        with pytest.raises(InUse):
            DataFolder(tmp_path)
        child.kill()
    DataFolder(tmp_path).close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_was_moved_is_noticed(tmp_path: Path, replaced: bool) -> None:
    """What is written by its path would go elsewhere; what another holder published there is not taken back."""
    folder = DataFolder(tmp_path / "data")
    assert not folder.is_moved()
    (tmp_path / "data" / "lock").unlink()
    assert not folder.is_moved()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    if not replaced:
        assert folder.is_moved()
        folder.close()
        return
    with DataFolder(tmp_path / "data") as other:
        (other.path / "lock").write_text("1\n")  # of another process
        other.publish()
        assert folder.is_moved()
        folder.close()
        assert (other.run / "server.json").exists()


def test_guests_find_the_running_server_and_only_while_it_runs(tmp_path: Path) -> None:
    """What was published is believed while its holder lives, however it dies."""
    assert DataFolder.running(tmp_path / "absent") is None
    with holder(tmp_path) as process:
        assert DataFolder.running(tmp_path) == {"pid": process.pid, "database_url": "postgresql://somewhere"}
        assert (tmp_path / "run" / "server.json").stat().st_mode & 0o777 == 0o600
        process.kill()
        process.wait()
        assert (tmp_path / "run" / "server.json").exists()
        assert DataFolder.running(tmp_path) is None
    with DataFolder(tmp_path):
        assert DataFolder.running(tmp_path) is None, "the new holder has not published yet"


def test_lock_is_not_inherited_by_programs_we_start(tmp_path: Path) -> None:
    """A child that outlives us must not keep the folder locked."""
    folder = DataFolder(tmp_path)
    with subprocess.Popen(["sleep", "30"], close_fds=False) as child:
        folder.close()
        with DataFolder(tmp_path) as again:
            assert child.poll() is None
            assert (again.path / "lock").read_text() == f"{os.getpid()}\n"
        child.kill()


def test_asking_does_not_disturb_a_starter(tmp_path: Path) -> None:
    """A guest looking at an unheld folder over and over does not make a starter believe that it is held."""
    DataFolder(tmp_path).close()
    done = threading.Event()
    told = []

    def ask() -> None:
        while not done.is_set():
            told.append(DataFolder.running(tmp_path))

    guest = threading.Thread(target=ask)
    guest.start()
    try:
        for _ in range(200):
            DataFolder(tmp_path).close()
    finally:
        done.set()
        guest.join()
    assert told and not any(told), "nobody has published anything"


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is a clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file/data"):
        DataFolder(tmp_path / "file" / "data")
