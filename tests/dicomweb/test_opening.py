"""Opening the archive for a command."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dicomweb import opening
from dicomweb.opening import calling_facts, open_archive, with_calling_facts
from dicomweb.settings import Settings, SettingsError
from storage.database.data_folder import DataFolder
from storage.errors import ForeignFiles, InUse
from tests.builders import ct_slice
from tests.conftest import TEMPLATE, execute, with_database


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for a server that is starting."""
    monkeypatch.setattr(opening, "START_PATIENCE", 0.0)


async def test_alone_the_archive_is_made_and_swept(database_url: str, tmp_path: Path) -> None:
    """The holder cleans up what a crash left; the folder is locked as long as the archive is open."""
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url)
    async with open_archive(settings, create=True) as archive:
        assert (await archive.store(ct_slice(rows=8, columns=8))).status == "stored"
        left = archive.blobs.stage()
        left.write(b"never acknowledged")
        left.publish()
        with pytest.raises(InUse):
            DataFolder(tmp_path / "data")
    async with open_archive(settings) as archive:
        assert archive.blobs.staged() == []
        assert len(list(archive.blobs.names())) == 1


@pytest.mark.parametrize("staged", [False, True])
async def test_the_folder_of_one_archive_and_the_database_of_another_are_refused(
    database_url: str, postgres_url: str, tmp_path: Path, staged: bool
) -> None:
    """Promise 2: neither is cleared of what the other does not know; an index without rows may be that of any files."""
    other_url = with_database(postgres_url, f"other_{staged}".lower())
    await asyncio.to_thread(execute, postgres_url, f"CREATE DATABASE other_{staged} TEMPLATE {TEMPLATE}")
    ours = Settings(data_dir=tmp_path / "ours", database_url=database_url)
    theirs = Settings(data_dir=tmp_path / "theirs", database_url=other_url)
    for settings in (ours, theirs):
        async with open_archive(settings, create=True) as archive:
            assert (await archive.store(ct_slice(rows=8, columns=8))).status == "stored"
            (name,) = archive.blobs.names()
            if staged:  # as after a power cut
                (archive.blobs.root / ".staging" / Path(name).name).hardlink_to(archive.blobs.path(name))
    with pytest.raises(ForeignFiles, match="right one for this database"):
        async with open_archive(Settings(data_dir=tmp_path / "ours", database_url=other_url)):
            pass
    async with open_archive(ours) as archive:
        (file,) = await archive.instances((await archive.changes())[0]["study_instance_uid"])
        assert archive.blobs.path(file.blob).exists()


async def test_a_guest_uses_the_servers_database_and_is_noticed(database_url: str, tmp_path: Path) -> None:
    """A guest needs no settings of the server, sweeps nothing, and is seen by whoever would."""
    with DataFolder(tmp_path / "data") as folder:
        folder.publish(database_url=database_url)
        (tmp_path / "data" / "blobs").mkdir()
        async with open_archive(Settings(data_dir=tmp_path / "data")) as archive:
            staged = archive.blobs.stage()
            staged.write(b"on its way")
            assert folder.has_guests()
            async with open_archive(Settings(data_dir=tmp_path / "data")) as other:
                assert other.blobs.staged() == [staged.name]
        assert not folder.has_guests()


async def test_a_guest_does_not_mix_two_databases(database_url: str, tmp_path: Path) -> None:
    """Another --database-url than the server's would index the same files twice: refused."""
    with DataFolder(tmp_path / "data") as folder:
        folder.publish(database_url=database_url)
        (tmp_path / "data" / "blobs").mkdir()
        settings = Settings(data_dir=tmp_path / "data", database_url="postgresql://elsewhere/x")
        with pytest.raises(SettingsError, match="another database"):
            async with open_archive(settings):
                pass


async def test_who_must_be_alone_waits_for_guests_too(database_url: str, tmp_path: Path) -> None:
    """A guest whose server died may still commit: nothing is swept, and nobody reindexes meanwhile."""
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url)
    holder = DataFolder(tmp_path / "data")
    holder.publish(database_url=database_url)
    async with open_archive(settings, create=True) as guest:
        assert (await guest.store(ct_slice(rows=8, columns=8))).status == "stored"
        staged = guest.blobs.stage()
        staged.write(b"on its way")
        holder.close()
        async with open_archive(settings) as archive:
            assert archive.blobs.staged() == [staged.name]
        with pytest.raises(InUse, match="another dicomweb command"):
            async with open_archive(settings, exclusive=True):
                pass


async def test_a_folder_somebody_else_holds_is_one_clear_line(tmp_path: Path) -> None:
    """A holder that publishes nothing, such as reindex, cannot be joined."""
    with DataFolder(tmp_path / "data"), pytest.raises(InUse, match="stop that one first"):
        async with open_archive(Settings(data_dir=tmp_path / "data"), create=True):
            pass


def test_what_a_server_calls_with_is_told_with_absolute_paths_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command may be given in another folder than the server was started in."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(aet="ARCHIVE", dimse_tls_certificate=Path("we.pem"), dimse_timeout=7, database_url=None)
    facts = calling_facts(settings)
    assert (facts["aet"], facts["dimse_timeout"]) == ("ARCHIVE", 7)
    assert (facts["dimse_tls_certificate"], facts["dimse_tls_ca"]) == (str(tmp_path / "we.pem"), None)
    assert "database_url" not in facts
    joined = with_calling_facts(Settings(data_dir=tmp_path), facts)
    assert joined == Settings(
        data_dir=tmp_path, aet="ARCHIVE", dimse_tls_certificate=tmp_path / "we.pem", dimse_timeout=7
    )


def test_what_a_command_is_told_goes_before_what_the_server_has(tmp_path: Path) -> None:
    """A certificate and its key belong together: those of two sides are never mixed."""
    files = {name: tmp_path / name for name in ("dimse_tls_certificate", "dimse_tls_key", "dimse_tls_ca")}
    facts = calling_facts(Settings(aet="ARCHIVE", **files))
    own = Settings(aet="OTHER", dimse_tls_certificate=tmp_path / "both.pem")
    joined = with_calling_facts(own, facts)
    assert (joined.aet, joined.dimse_tls_ca) == ("OTHER", tmp_path / "dimse_tls_ca")
    assert (joined.dimse_tls_certificate, joined.dimse_tls_key) == (tmp_path / "both.pem", None)


@pytest.mark.parametrize("facts", [None, {}, {"pid": 1, "url": "http://127.0.0.1", "dimse": "127.0.0.1:11112"}])
def test_without_a_server_that_tells_them_the_settings_hold(facts: dict[str, Any] | None) -> None:
    """No server, or one of an earlier version."""
    assert with_calling_facts(Settings(dimse_timeout=5), facts) == Settings(dimse_timeout=5)
