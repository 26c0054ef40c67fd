"""The writer of the index: lost files, refused neighbours and disks that fail never cost a sender an instance."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest

from storage.archive import Archive
from storage.blobs.local import StagedBlob
from storage.dicom.loss import has_loss
from storage.dicom.part10 import file_meta_bytes
from storage.errors import ArchiveError, ConflictingInstance, OutOfSpace, Unavailable
from storage.index import writer as index
from storage.index.removal import remove_rows
from storage.ingest import Outcome
from storage.policy import Policy
from storage.upkeep.sweep import sweep
from tests.builders import DEFLATED, EXPLICIT_LE, IMPLICIT_LE, ct_slice, dataset_only, encapsulated

FLIPPED = b"flipped"
"""Stands for a file of which one bit is another."""


def lose(file: Path, left: bytes | None) -> None:
    """Leave something else of a stored file, or nothing."""
    if left == FLIPPED:
        data = file.read_bytes()
        left = data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]
    file.unlink()
    if left is not None:
        file.write_bytes(left)


async def stored_file(archive: Archive, instance: str = "1.4") -> Path:
    """Where the file of an instance lies."""
    (found,) = await archive.instances("1.2", "1.3", instance)
    return archive.blobs.path(found.blob)


async def store_together(archive: Archive, *instances: str) -> list[Outcome]:
    """Store slices of one series in one request."""

    async def chunks(instance: str) -> Any:
        yield ct_slice("1.2", "1.3", instance)

    async with archive.ingest() as ingest:
        for instance in instances:
            await ingest.add(chunks(instance))
        return await ingest.finish()


@pytest.mark.parametrize("left", [None, b"", b"cut short", FLIPPED])
async def test_an_instance_whose_file_was_lost_is_taken_again_when_it_is_sent_again(
    archive: Archive, left: bytes | None
) -> None:
    """Promise 2, B-042: "the same bytes are here already" is only said while they are."""
    data = ct_slice("1.2", "1.3", "1.4")
    await archive.store(data)
    file = await stored_file(archive)
    lose(file, left)
    assert (await archive.store(data)).status == "stored"
    assert (await stored_file(archive)).read_bytes() == data
    assert (await archive.store(data)).status == "duplicate"
    assert await archive.pool.fetchval("SELECT number_of_instances FROM studies") == 1


@pytest.mark.parametrize("policy", ["keep-first", "replace"])
@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, DEFLATED])
async def test_the_same_data_set_under_other_file_meta_information_is_the_same_instance(
    archive: Archive, policy: Literal["keep-first", "replace"], transfer_syntax: str
) -> None:
    """G-048, B-042: who wrote and who sent a file does not make another instance of it; nothing is written again."""
    archive = Archive(archive.pool, archive.blobs, Policy(duplicates=policy))
    first = ct_slice("1.2", "1.3", "1.4", transfer_syntax=transfer_syntax)
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.4", transfer_syntax_uid=transfer_syntax)
    again = meta + dataset_only(first)
    assert again != first
    assert (await archive.store(first)).status == "stored"
    assert (await archive.store(again)).status == "duplicate"
    assert (await stored_file(archive)).read_bytes() == first
    assert len(list(archive.blobs.names())) == 1 and archive.blobs.staged() == []
    assert len(await archive.changes()) == 1


async def test_two_senders_of_one_instance_at_once_both_succeed(archive: Archive) -> None:
    """G-048: the second of one request meets the row of the first, and is the same instance."""
    one = ct_slice("1.2", "1.3", "1.4")
    other = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.4", transfer_syntax_uid=EXPLICIT_LE)
    outcomes = await asyncio.gather(archive.store(one), archive.store(other + dataset_only(one)))
    assert sorted(outcome.status for outcome in outcomes) == ["duplicate", "stored"]


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, IMPLICIT_LE])
async def test_another_data_set_is_another_file(archive: Archive, transfer_syntax: str) -> None:
    """B-043: one byte, or another transfer syntax, is a conflict."""
    first = ct_slice("1.2", "1.3", "1.4")
    await archive.store(first)
    other = (
        first[:-1] + b"\x01"
        if transfer_syntax == EXPLICIT_LE
        else ct_slice("1.2", "1.3", "1.4", transfer_syntax=transfer_syntax)
    )
    assert isinstance((await archive.store(other)).error, ConflictingInstance)


@pytest.mark.parametrize("left", [None, b"cut short", FLIPPED])
async def test_a_lost_file_is_healed_by_its_data_set_from_whomever(archive: Archive, left: bytes | None) -> None:
    """Promise 2, G-048: sent again by another way, with other file meta information, it takes the lost file's place.

    Another data set does not: what the index still knows of the lost one disagrees (B-043).
    """
    first = ct_slice("1.2", "1.3", "1.4")
    await archive.store(first)
    file = await stored_file(archive)
    lose(file, left)
    other = ct_slice("1.2", "1.3", "1.4", PatientName="Doe^Jill")
    assert isinstance((await archive.store(other)).error, ConflictingInstance)
    pixels = first[:-1] + bytes([first[-1] ^ 1])
    assert isinstance((await archive.store(pixels)).error, ConflictingInstance)
    longer = ct_slice("1.2", "1.3", "1.4", rows=65)
    assert isinstance((await archive.store(longer)).error, ConflictingInstance)
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.4", transfer_syntax_uid=EXPLICIT_LE)
    healing = meta + dataset_only(first)
    assert (await archive.store(healing)).status == "stored"
    assert (await stored_file(archive)).read_bytes() == healing
    assert (await archive.store(first)).status == (await archive.store(healing)).status == "duplicate"
    assert await archive.pool.fetchval("SELECT number_of_instances FROM studies") == 1


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("cut", [-100, -1, 700])
async def test_the_whole_data_set_takes_the_place_of_one_that_was_cut_off(
    archive: Archive, transfer_syntax: str, cut: int
) -> None:
    """Promise 2: a sender that tries again after B007 makes good what is missing, whatever else is the policy."""
    whole = ct_slice("1.2", "1.3", "1.4", transfer_syntax=transfer_syntax)
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.4", transfer_syntax_uid=transfer_syntax)
    part = meta + dataset_only(whole)[:cut]
    assert (await archive.store(part)).warnings
    (before,) = await archive.instances("1.2", "1.3", "1.4")
    outcome = await archive.store(whole)
    assert (outcome.status, outcome.warnings) == ("stored", [])
    assert (await stored_file(archive)).read_bytes() == whole
    assert await archive.pool.fetchval("SELECT number_of_instances FROM studies") == 1
    assert [blob for (blob,) in await archive.pool.fetch("SELECT blob FROM discarded_blobs")] == [before.blob]


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("cut", [-200, -8, -4])
async def test_a_compressed_image_that_was_cut_off_is_made_whole(archive: Archive, frames: int, cut: int) -> None:
    """Promise 2: that its last frame, or only its end, is missing is a loss as well; frames say nothing of it."""
    streams = [b"\xff\xd8" + bytes([frame]) * 500 + b"\xff\xd9" for frame in range(frames)]
    whole = encapsulated(streams, StudyInstanceUID="1.2", SeriesInstanceUID="1.3", SOPInstanceUID="1.4")
    part = await archive.store(whole[:cut])
    assert has_loss(part.warnings)
    assert (await archive.store(whole)).status == "stored"
    replacing = Archive(archive.pool, archive.blobs, Policy(duplicates="replace"))
    assert isinstance((await replacing.store(whole[:cut])).error, ConflictingInstance)
    assert (await stored_file(archive)).read_bytes() == whole


@pytest.mark.parametrize("policy", ["keep-first", "replace"])
async def test_a_part_never_takes_the_place_of_the_whole(
    archive: Archive, policy: Literal["keep-first", "replace"]
) -> None:
    """Promise 2: a data set that is cut off is refused where the whole one is stored."""
    archive = Archive(archive.pool, archive.blobs, Policy(duplicates=policy))
    whole = ct_slice("1.2", "1.3", "1.4")
    await archive.store(whole)
    outcome = await archive.store(whole[:-100])
    assert isinstance(outcome.error, ConflictingInstance) and "cut off" in str(outcome.error)
    assert (await stored_file(archive)).read_bytes() == whole


async def test_what_is_no_part_of_it_stays_when_another_comes(archive: Archive) -> None:
    """B-043: neither a data set that was cut off and differs, nor a whole one that only begins alike, is replaced."""
    whole = ct_slice("1.2", "1.3", "1.4")
    part = ct_slice("1.2", "1.3", "1.4", PatientName="Doe^Jill")[:-100]
    await archive.store(part)
    assert isinstance((await archive.store(whole)).error, ConflictingInstance)
    short = ct_slice("1.2", "1.3", "1.5")
    await archive.store(short)
    longer = ct_slice("1.2", "1.3", "1.5", DataSetTrailingPadding=b"\0\0")
    assert longer.startswith(short)
    assert isinstance((await archive.store(longer)).error, ConflictingInstance)
    assert (await stored_file(archive)).read_bytes() == part
    assert (await stored_file(archive, "1.5")).read_bytes() == short


async def test_what_the_database_refuses_costs_only_itself(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: the neighbours of an instance that the index cannot hold are stored."""
    write_rows = index.write_rows

    async def refuse_one(connection: Any, studies: Any, arrivals: Any, *others: Any) -> None:
        if any(arrival.key[2] == "1.4.2" for arrival in arrivals):
            raise asyncpg.ProgramLimitExceededError("index row size exceeds btree maximum")
        await write_rows(connection, studies, arrivals, *others)

    monkeypatch.setattr(index, "write_rows", refuse_one)
    outcomes = await store_together(archive, "1.4.1", "1.4.2", "1.4.3")
    assert [outcome.status for outcome in outcomes] == ["stored", "failed", "stored"]
    assert len(await archive.instances("1.2")) == 2
    assert archive.blobs.staged() == []
    assert len(list(archive.blobs.names())) == 2


async def test_a_disk_that_lets_nothing_be_written_or_removed_is_an_answer(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that became read-only is a failure of each instance (503), never a request that hangs."""

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("storage.blobs.local.os.fsync", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    outcomes = await asyncio.wait_for(store_together(archive, "1.4.1", "1.4.2"), 20)
    assert [type(outcome.error) for outcome in outcomes] == [Unavailable, Unavailable]


async def test_an_error_nobody_foresaw_in_the_database_client_is_an_answer(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the index raises, even when asked what became of a commit, who waits gets a verdict."""

    async def broken(*_: object) -> None:
        raise asyncpg.InternalClientError("got result for unknown protocol state")

    monkeypatch.setattr(index, "_rows_of", broken)
    outcome = await asyncio.wait_for(archive.store(ct_slice("1.2", "1.3", "1.4")), 20)
    assert isinstance(outcome.error, Unavailable)


async def test_a_mistake_of_ours_costs_one_file_of_a_request(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: an unforeseen error while a file is read fails that file, and its neighbours are stored."""
    write = StagedBlob.write
    calls = iter(range(10))

    def fail_once(blob: StagedBlob, data: bytes | bytearray) -> None:
        if next(calls) == 0:
            raise KeyError("something of the patient")
        write(blob, data)

    monkeypatch.setattr(StagedBlob, "write", fail_once)
    outcomes = await store_together(archive, "1.4.1", "1.4.2")
    assert [outcome.status for outcome in outcomes] == ["failed", "stored"]
    assert isinstance(outcomes[0].error, ArchiveError)
    assert "patient" not in str(outcomes[0].error)


async def test_a_file_the_disk_lost_is_not_promised_when_the_disk_says_so_only_once(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 2: a failed flush is told once; whoever is written again because of a neighbour is not flushed again."""
    fsync, write_rows = os.fsync, index.write_rows
    refusals = iter([OSError(5, "Input/output error")])

    def fail_once(file: int) -> None:
        if ".staging" in str(Path(f"/proc/self/fd/{file}").readlink()) and (error := next(refusals, None)):
            raise error
        fsync(file)

    async def refuse(connection: Any, studies: Any, arrivals: Any, *others: Any) -> None:
        if len(arrivals) > 1 or arrivals[0].key[2] == "1.4.3":
            raise asyncpg.DataError("refused")
        await write_rows(connection, studies, arrivals, *others)

    monkeypatch.setattr("storage.blobs.local.os.fsync", fail_once)
    monkeypatch.setattr(index, "write_rows", refuse)
    outcomes = await store_together(archive, "1.4.1", "1.4.2", "1.4.3")
    assert sorted(outcome.status for outcome in outcomes) == ["failed", "failed", "stored"]
    assert len(await archive.instances("1.2")) == 1 and archive.blobs.staged() == []


async def test_a_full_disk_leaves_nothing_of_a_file_it_did_not_begin(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 6: a sender that tries again and again costs neither descriptors nor room."""

    def full(file: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.blobs.local.os.write", full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    large = ct_slice("1.2", "1.3", "1.4", rows=1024, columns=1024)
    for _ in range(10):
        assert isinstance((await archive.store(large)).error, OutOfSpace)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 5 and archive.blobs.staged() == []


async def test_a_file_that_another_replaced_before_it_was_known_to_be_stored_is_kept(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 2: stored by a commit whose answer was lost, replaced, and stored again, it is let go of by nobody."""
    first = Archive(archive.pool, archive.blobs, Policy(duplicates="replace"))
    second = Archive(archive.pool, archive.blobs, Policy(duplicates="replace"))
    transact = index.Index._transact
    answers_lost = iter([True])

    async def lose_one(self: index.Index, *arguments: Any) -> Any:
        written = await transact(self, *arguments)
        if self is first._index and next(answers_lost, False):
            await second.store(ct_slice("1.2", "1.3", "1.4", PatientName="Doe^Jill"))
            raise ConnectionResetError
        return written

    monkeypatch.setattr(index.Index, "_transact", lose_one)
    data = ct_slice("1.2", "1.3", "1.4")
    assert (await first.store(data)).status == "replaced"
    assert (await sweep(archive.pool, archive.blobs)).discarded == 1
    assert (await stored_file(archive)).read_bytes() == data
    assert (await first.store(ct_slice("1.2", "1.3", "1.4", PatientName="Doe^Jack"))).status == "replaced"


async def test_metadata_of_an_instance_removed_meanwhile_is_left_out_not_shifted(archive: Archive) -> None:
    """D-020: no instance's metadata ever appears under the URL of another."""
    await store_together(archive, "1.4.1", "1.4.2", "1.4.3")
    metadata = await archive.metadata("1.2")
    await archive.pool.execute("DELETE FROM instances WHERE sop_instance_uid = '1.4.2'")
    given = [(each.sop_instance_uid, each.json) async for each in metadata]
    assert [uid for uid, _ in given] == ["1.4.1", "1.4.3"]
    assert all(f'"{uid}"'.encode() in json for uid, json in given)


async def test_a_study_that_loses_its_last_instance_meanwhile_is_made_anew(archive: Archive) -> None:
    """Storing into a study while its only instance is removed stores, with exact counters."""
    await archive.store(ct_slice("1.2", "1.3", "1.4.1"))
    async with archive.pool.acquire() as remover, remover.transaction():
        row = await remover.fetchval("SELECT id FROM instances")
        await remover.execute("SELECT FROM studies FOR UPDATE")
        storing = asyncio.create_task(archive.store(ct_slice("1.2", "1.3", "1.4.2")))
        await asyncio.sleep(0.3)
        await remove_rows(remover, [row])
    assert (await storing).status == "stored"
    assert [each.sop_instance_uid for each in await archive.instances("1.2")] == ["1.4.2"]
    assert await archive.pool.fetchval("SELECT number_of_instances FROM studies") == 1


async def test_a_reader_of_the_change_feed_misses_nothing(archive: Archive) -> None:
    """Numbers become visible in their order, whichever transaction began first (design: ordered change feed)."""
    append = "INSERT INTO changes (kind, study_instance_uid) VALUES ('test', $1)"
    async with archive.pool.acquire() as older, archive.pool.acquire() as newer:
        first, second = older.transaction(), newer.transaction()
        await first.start()
        await older.execute("SELECT pg_current_xact_id()")
        await second.start()
        await newer.execute(append, "1.2")
        waiting = asyncio.create_task(older.execute(append, "1.1"))
        await asyncio.sleep(0.2)
        assert not waiting.done() and await archive.changes() == []
        await second.commit()
        await waiting
        seen = await archive.changes()
        assert [change["study_instance_uid"] for change in seen] == ["1.2"]
        await first.commit()
    missed = await archive.changes(seen[-1]["sequence"])
    assert [change["study_instance_uid"] for change in missed] == ["1.1"]


async def test_what_is_sent_again_holds_nobody_up(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored file of a duplicate is read before it is promised; who stores something new does not wait for that."""
    await archive.store(ct_slice("1.2", "1.3", "1.4"))
    reading, may_go_on = threading.Event(), threading.Event()
    damaged = archive.blobs.damaged

    def slowly(stored: Any) -> set[str]:
        reading.set()
        may_go_on.wait(60)
        return damaged(stored)

    monkeypatch.setattr(archive.blobs, "damaged", slowly)
    again = asyncio.create_task(archive.store(ct_slice("1.2", "1.3", "1.4")))
    try:
        await asyncio.to_thread(reading.wait, 60)
        assert (await archive.store(ct_slice("1.2", "1.3", "1.5"))).status == "stored"
        assert not again.done()
    finally:
        may_go_on.set()
    assert (await again).status == "duplicate"
