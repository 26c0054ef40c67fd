"""Data folders of earlier versions are closed to others, and given to the server's user, never anything foreign."""

import logging
import os
from pathlib import Path

import pytest

from storage.database.data_folder import DataFolder
from storage.system.account import Account
from storage.system.folder_rights import hand_over

ACCOUNT = Account(23456, 23457)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def old_folder(folder: Path) -> Path:
    """A data folder as earlier versions left it where the umask was 022 and the administrator had made the top."""
    for name in ("blobs/.staging", "blobs/20261201/0411", "run", "incoming", "imports", "postgres/base", "viewer"):
        (folder / name).mkdir(parents=True)
    for name in ("blobs/20261201/0411/a.dcm", "lock", "run/server.json", "postgres/PG_VERSION", "postgres.log"):
        (folder / name).write_text("patient")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folder_of_an_earlier_version_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The top folder closes all below it; so do those in it, for who opens the top again."""
    caplog.set_level(logging.INFO)
    data = old_folder(tmp_path / "data")
    DataFolder(data).close()
    closed = ("", "blobs", "incoming", "imports", "run")
    assert {mode(data / name) for name in closed} == {0o700}
    assert mode(data / "lock") == 0o600
    assert all(f"{(data / name)} was open to other users (mode 755)" in caplog.text for name in closed)
    caplog.clear()
    DataFolder(data).close()
    assert not caplog.records


def test_folder_with_other_things_stays_open(tmp_path: Path) -> None:
    """What is ours is closed; a folder in which others keep their files is not."""
    data = old_folder(tmp_path / "data")
    (data / "website").mkdir(mode=0o755)
    DataFolder(data).close()
    assert {mode(data / name) for name in ("blobs", "incoming", "imports", "run")} == {0o700}
    assert {mode(data / name) for name in ("", "website")} == {0o755}


@needs_root
def test_folder_of_root_is_given_to_the_servers_user_once(tmp_path: Path) -> None:
    """Everything but the database, links as links; and what its owner lays there later stays whose it is."""
    data = old_folder(tmp_path / "data")
    (tmp_path / "of-root").write_text("")
    (data / "blobs" / "link").symlink_to(tmp_path / "of-root")
    assert hand_over(data, ACCOUNT) is None
    given = [path for path in (data, *data.rglob("*")) if not path.relative_to(data).parts[:1] or
             not path.relative_to(data).parts[0].startswith("postgres")]  # fmt: skip
    assert len(given) == 13
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in given} == {(23456, 23457)}
    kept = (tmp_path / "of-root", data / "postgres", data / "postgres" / "PG_VERSION", data / "postgres.log")
    assert {path.stat().st_uid for path in kept} == {0}
    (data / "incoming" / "later").write_text("")
    assert hand_over(data, ACCOUNT) is None
    assert (data / "incoming" / "later").stat().st_uid == 0


@needs_root
def test_nothing_foreign_is_given_away(tmp_path: Path) -> None:
    """A folder of another user, or with other things in it, stays whose it is; the reason is told."""
    for name, reason in (("of-somebody", "belongs to user 34567"), ("shared", "other things lie in it")):
        data = old_folder(tmp_path / name)
        if name == "shared":
            (data / "website").mkdir()
        else:
            os.chown(data, 34567, 34567)
        assert reason in str(hand_over(data, ACCOUNT))
        assert {path.stat().st_uid for path in data.rglob("*")} == {0}


@needs_root
def test_interrupted_giving_is_done_again(tmp_path: Path) -> None:
    """As long as the top folder is root's, everything below it is given."""
    data = old_folder(tmp_path / "data")
    os.chown(data / "blobs", 23456, 23457)
    assert hand_over(data, ACCOUNT) is None
    assert (data / "blobs" / "20261201" / "0411" / "a.dcm").stat().st_uid == 23456
