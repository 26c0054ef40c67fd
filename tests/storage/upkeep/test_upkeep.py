"""The administrator's night: sweep, check, repair and reindex."""

import asyncio
from pathlib import Path

import pytest

from storage.archive import Archive
from storage.blobs.local import LocalBlobs
from storage.database.pool import connect, sql
from storage.errors import Unavailable
from storage.policy import Policy
from storage.upkeep.reindex import reindex
from storage.upkeep.sweep import sweep
from storage.upkeep.verify import Finding, repair, verify
from storage.work import completion
from storage.work.peers import Peer
from tests.builders import ct_slice
from tests.waiting import PATIENCE

GIVEN_ANEW = ("id", "study", "series", "version", "created_at")


async def findings(archive: Archive) -> list[Finding]:
    """Everything `verify` finds."""
    return [each async for each in verify(archive) if isinstance(each, Finding)]


async def fill(archive: Archive) -> list[Path]:
    """Store two series of one study; returns the files."""
    for n in range(4):
        await archive.store(
            ct_slice("1.2", f"1.3.{n % 2}", f"1.4.{n}", rows=8, columns=8, Modality=["CT", "MR"][n % 2])
        )
    return [archive.blobs.path(name) for name in archive.blobs.names()]


async def dump(archive: Archive) -> list[object]:
    """The index without what a rebuild gives anew."""
    rows: list[object] = []
    for table, order in (("studies", "1"), ("series", "series_instance_uid"), ("instances", "sop_instance_uid")):
        found = await archive.pool.fetch(f"SELECT * FROM {table} ORDER BY {order}")
        rows += [{key: value for key, value in row.items() if key not in GIVEN_ANEW} for row in found]
    return rows


async def test_a_healthy_archive_has_no_findings(archive: Archive) -> None:
    """`check` is silent when files and index agree."""
    await fill(archive)
    assert await findings(archive) == []


async def test_a_missing_and_a_damaged_file_are_found_and_can_be_sent_again(archive: Archive) -> None:
    """A lost or garbled file is named; after the repair its row is gone and the good bytes are taken again."""
    files = await fill(archive)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"\x7f")
    found = await findings(archive)
    assert sorted(each.kind for each in found) == ["damaged", "missing"]
    for each in found:
        assert "send the instance again" in await repair(archive, each)
    assert await findings(archive) == []
    assert len(await archive.instances("1.2")) == 2
    for n in (0, 1):
        data = ct_slice("1.2", f"1.3.{n}", f"1.4.{n}", rows=8, columns=8, Modality=["CT", "MR"][n])
        assert (await archive.store(data)).status == "stored"
    assert len(await archive.instances("1.2")) == 4
    assert await findings(archive) == []


@pytest.mark.parametrize("still", [False, True])
async def test_a_file_that_cannot_be_read_now_is_not_taken_out(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, still: bool
) -> None:
    """Promise 2: a network file system that stumbles once costs no instance; what cannot be read is left to people."""
    await archive.store(ct_slice("1.2", "1.3", "1.4"))
    digest = LocalBlobs.digest
    errors = iter([OSError(116, "Stale file handle")] * (2 if still else 1))

    def stumble(blobs: LocalBlobs, name: str) -> tuple[int, bytes]:
        if error := next(errors, None):
            raise error
        return digest(blobs, name)

    monkeypatch.setattr(LocalBlobs, "digest", stumble)
    (found,) = await findings(archive)
    assert found.kind == "unreadable"
    if still:
        with pytest.raises(Unavailable, match="nothing was done"):
            await repair(archive, found)
    else:
        assert await repair(archive, found) == "in order again"
    assert len(await archive.instances("1.2")) == 1 and await findings(archive) == []


async def test_a_repair_leaves_alone_what_is_sent_again_at_that_moment(archive: Archive) -> None:
    """Promise 2: the sender was told that the instance is stored; the row of the lost file is its row now."""
    data = ct_slice("1.2", "1.3", "1.4")
    await archive.store(data)
    archive.blobs.path(next(archive.blobs.names())).unlink()
    (missing,) = await findings(archive)
    async with archive.pool.acquire() as writer, writer.transaction():
        await writer.execute("SELECT FROM studies FOR UPDATE")
        sending = asyncio.create_task(archive.store(data))
        await _waiting(archive, 1)
        repairing = asyncio.create_task(repair(archive, missing))
        await _waiting(archive, 2)
    assert (await sending).status == "stored"
    assert await repairing == "replaced or removed meanwhile"
    assert len(await archive.instances("1.2")) == 1 and await findings(archive) == []


async def _waiting(archive: Archive, count: int) -> None:
    """Wait until so many statements wait for a lock."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(PATIENCE):
        while await archive.pool.fetchval(statement) < count:
            await asyncio.sleep(0.01)


async def test_a_file_without_a_row_is_indexed_by_the_repair(archive: Archive) -> None:
    """A complete file that lost its row is adopted, not deleted."""
    files = await fill(archive)
    await archive.pool.execute("DELETE FROM instances WHERE sop_instance_uid = '1.4.3'")
    found = await findings(archive)
    assert sorted(each.kind for each in found) == ["miscounted", "unindexed"]
    for each in found:
        await repair(archive, each)
    found = await findings(archive)
    for each in found:
        await repair(archive, each)
    assert await findings(archive) == []
    assert len(await archive.instances("1.2")) == len(files)


async def test_a_stray_file_that_is_not_dicom_is_put_aside_not_deleted(archive: Archive) -> None:
    """Nothing that lies in the store is ever thrown away by a repair."""
    stray = archive.blobs.path("20260101/0000/0199aaaaaaaa7000800000000000aaaa.dcm")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"what is this?")
    (found,) = await findings(archive)
    assert ".quarantine" in await repair(archive, found)
    assert not stray.exists()
    assert (archive.blobs.root / ".quarantine" / stray.name).read_bytes() == b"what is this?"
    assert await findings(archive) == []


async def test_the_sweep_keeps_what_was_committed_and_removes_what_was_not(archive: Archive) -> None:
    """Promise 2: after a crash at any moment nothing half-made is left and nothing acknowledged is lost."""
    (first, *_) = await fill(archive)
    committed = archive.blobs.root / ".staging" / first.name
    committed.hardlink_to(first)
    published = archive.blobs.stage()
    published.write(b"published, never committed")
    published.publish()
    half = archive.blobs.stage()
    half.write(b"half")
    swept = await sweep(archive.pool, archive.blobs)
    assert (swept.committed, swept.unacknowledged) == (1, 2)
    assert archive.blobs.staged() == []
    assert first.exists()
    assert not archive.blobs.path(published.name).exists()
    assert await findings(archive) == []


async def test_reindex_builds_the_same_index_from_the_files_alone(archive: Archive) -> None:
    """Promise 4: the files are the truth; the rebuilt index equals the one that was lost."""
    files = await fill(archive)
    before = await dump(archive)
    await archive.pool.execute("TRUNCATE instances, series, studies")
    results = [each async for each in reindex(archive, processes=1)]
    assert len(results) == len(files)
    assert all(each.problem is None for each in results)
    assert await dump(archive) == before


async def test_what_is_indexed_again_is_not_announced_again(archive: Archive) -> None:
    """After a reindex, one cut short included, no peer is told of studies it was told of; of new ones it is (G-180)."""
    await archive.peers.put(Peer("RIS", "127.0.0.1", 104, availability=True))
    await fill(archive)
    await completion.follow(archive.pool)
    assert await completion.announce(archive.pool, 0) == 1
    await archive.store(ct_slice("1.9"))
    async for _ in reindex(archive, processes=1):
        break
    await completion.follow(archive.pool)
    assert await completion.announce(archive.pool, 0) == 1, "the study stored meanwhile is news"
    assert [each.problem async for each in reindex(archive, processes=1)] == [None] * 5
    await completion.follow(archive.pool)
    assert await completion.announce(archive.pool, 0) == 0


async def test_reindex_goes_on_past_a_file_it_cannot_read(archive: Archive) -> None:
    """One bad file is reported and costs only itself."""
    files = await fill(archive)
    files[2].write_bytes(b"garbled")
    results = [each async for each in reindex(archive, processes=1)]
    assert [each.problem is None for each in results] == [True, True, False, True]
    assert len(await archive.instances("1.2")) == 3


async def test_a_repair_never_brings_a_replaced_file_back(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 2: a replaced file that could not be deleted yet is neither a finding nor put in place of the new one."""
    replacing = Archive(archive.pool, archive.blobs, Policy(duplicates="replace"))
    old = await stored(replacing, "old")
    with monkeypatch.context() as broken:
        broken.setattr(replacing.blobs, "delete", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
        new = await stored(replacing, "new")
    assert await findings(replacing) == []
    assert "different file" in await repair(replacing, Finding("unindexed", old, ""))
    (kept,) = await replacing.instances("1.2")
    assert kept.blob == new
    assert replacing.blobs.path(new).exists()


async def test_a_file_that_went_away_meanwhile_needs_no_repair(archive: Archive) -> None:
    """A file that was on its way in while `check` ran, and was refused, is nothing to stumble over."""
    gone = "20260101/0000/0199aaaaaaaa7000800000000000aaaa.dcm"
    assert await repair(archive, Finding("unindexed", gone, "")) == "gone by itself"


async def stored(archive: Archive, patient_id: str) -> str:
    """Store a version of one instance; returns the name of its file."""
    await archive.store(ct_slice("1.2", "1.3", "1.4", PatientID=patient_id))
    (found,) = await archive.instances("1.2")
    return found.blob


async def test_statements_over_the_whole_index_may_take_long(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting everything again and emptying the index are not cut off after the minute that others have."""
    slow = {
        "wrong_counters": "SELECT pg_sleep(2)::text || 'slow' AS study_instance_uid",
        "forget_index": "SELECT pg_sleep(2)",
    }
    for module in ("storage.upkeep.verify", "storage.upkeep.reindex"):
        monkeypatch.setattr(f"{module}.sql", lambda name: slow.get(name) or sql(name))
    pool = await connect(database_url, command_within=1.5)
    archive = Archive(pool, LocalBlobs(tmp_path / "blobs"))
    assert [each.what for each in await findings(archive)] == ["slow"]
    assert [each async for each in reindex(archive, processes=1)] == []
    await archive.close()
