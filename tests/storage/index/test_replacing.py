"""`replace`: the newest file of an instance wins in searches, in retrieval and in an index that is built anew."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.archive import Archive
from storage.blobs.local import LocalBlobs, blob_name
from storage.blobs.replacements import Replacement, Replacements, superseded
from storage.errors import ConflictingInstance
from storage.index import writer as index
from storage.matching.attributes import Level
from storage.matching.conditions import Query
from storage.policy import Policy
from storage.upkeep.reindex import reindex
from storage.upkeep.sweep import sweep
from storage.upkeep.verify import verify
from tests.builders import ct_slice
from tests.storage.indexed import tag

GIVEN_ANEW = ("id", "study", "series", "version", "created_at")


def slice_of(patient: str, instance: str = "1.4", **attributes: Any) -> bytes:
    """A small CT slice of a patient."""
    return ct_slice("1.2", "1.3", instance, rows=4, columns=4, PatientName=patient, PatientID=patient, **attributes)


@pytest.fixture(autouse=True)
def reading_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files in threads: starting a process for each of the many rebuilds would take minutes."""
    monkeypatch.setattr(
        "storage.upkeep.reindex.ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(count)
    )


@pytest.fixture
async def replacing(archive: Archive) -> Archive:
    """An archive that replaces."""
    return Archive(archive.pool, archive.blobs, Policy(duplicates="replace"))


async def patients(archive: Archive) -> dict[str, list[Any]]:
    """Whom searches at each level and the metadata name, by level."""
    found: dict[str, list[Any]] = {}
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        page = await archive.find(Query(level))
        found[level.name] = [row[tag("PatientID")]["Value"][0] for row in page.rows]
    return found


async def given_out(archive: Archive, instance: str = "1.4") -> bytes:
    """The file of an instance as it is now."""
    (found,) = await archive.instances("1.2", "1.3", instance)
    return archive.blobs.path(found.blob).read_bytes()


async def dump(archive: Archive) -> list[Any]:
    """The index without what a rebuild gives anew."""
    rows: list[Any] = []
    for table, order in (("studies", "1"), ("series", "series_instance_uid"), ("instances", "sop_instance_uid")):
        found = await archive.pool.fetch(f"SELECT * FROM {table} ORDER BY {order}")
        rows += [{key: value for key, value in row.items() if key not in GIVEN_ANEW} for row in found]
    return rows


async def rebuilt(archive: Archive) -> list[str]:
    """Build the index anew as in a new database: nothing but the files is known. Returns the problems."""
    for table in ("instances", "series", "studies", "discarded_blobs", "changes"):
        await archive.pool.execute(f"TRUNCATE {table} RESTART IDENTITY CASCADE")
    await archive.pool.execute("SELECT setval('versions', 1)")
    await sweep(archive.pool, archive.blobs)
    return [each.problem async for each in reindex(archive, processes=1) if each.problem]


async def test_the_only_instance_of_a_study_replaced_takes_patient_and_study_with_it(replacing: Archive) -> None:
    """QIDO and C-FIND say the patient of what is there, and match by it, not by who was there before."""
    await replacing.store(slice_of("old", StudyDescription="head", SeriesDescription="axial", StudyDate="20200101"))
    outcome = await replacing.store(
        slice_of("new", StudyDescription="knee", SeriesDescription="sagittal", StudyDate="20240101")
    )
    assert outcome.status == "replaced"
    assert await patients(replacing) == {"STUDY": ["new"], "SERIES": ["new"], "IMAGE": ["new"]}
    row = await replacing.pool.fetchrow("SELECT * FROM studies")
    assert (row["patient_id"], row["study_date"], row["sort_key"][:8]) == ("new", "20240101", "20240101")
    assert await replacing.pool.fetchval("SELECT series_description FROM series") == "sagittal"
    assert [change["kind"] for change in await replacing.changes()] == ["instance.stored", "instance.replaced"]


async def test_one_of_several_replaced_corrects_the_study_and_stray_ones_do_not(replacing: Archive) -> None:
    """The newest correction describes study and series; an instance that only comes later changes nothing."""
    for instance in ("1.4.1", "1.4.2", "1.4.3"):
        await replacing.store(slice_of("old", instance))
    await replacing.store(slice_of("stray", "1.4.4"))
    assert (await patients(replacing))["STUDY"] == ["old"]
    await replacing.store(slice_of("new", "1.4.2"))
    await replacing.store(slice_of("stray", "1.4.5"))
    assert (await patients(replacing))["STUDY"] == ["new"]
    row = await replacing.pool.fetchrow("SELECT number_of_instances, number_of_series, modalities FROM studies")
    assert tuple(row) == (5, 1, ["CT"])
    before = await dump(replacing)
    assert await rebuilt(replacing) == []
    assert await dump(replacing) == before


async def test_modalities_and_classes_that_are_gone_are_not_counted_on(replacing: Archive) -> None:
    """Modalities in Study (0008,0061) and SOP Classes in Study (0008,0062) are of what is there (PS3.4 C.3.4)."""
    mr_class = "1.2.840.10008.5.1.4.1.1.4"
    await replacing.store(slice_of("one"))
    await replacing.store(slice_of("one", Modality="MR", SOPClassUID=mr_class))
    row = await replacing.pool.fetchrow("SELECT modalities, sop_classes, number_of_instances FROM studies")
    assert tuple(row) == (["MR"], [mr_class], 1)
    assert [each async for each in verify(replacing) if not isinstance(each, int)] == []


async def test_metadata_and_its_etag_are_of_the_new_one(replacing: Archive) -> None:
    """A viewer that asks again gets the new metadata; that of a neighbour stays what it was."""
    await replacing.store(slice_of("old", "1.4.1"))
    await replacing.store(slice_of("old", "1.4.2"))
    before = [(await replacing.metadata("1.2", "1.3", uid)).etag for uid in ("1.4.1", "1.4.2")]
    whole = (await replacing.metadata("1.2")).etag
    await replacing.store(slice_of("new", "1.4.1"))
    after = [(await replacing.metadata("1.2", "1.3", uid)).etag for uid in ("1.4.1", "1.4.2")]
    assert after[0] != before[0] and after[1] == before[1]
    assert (await replacing.metadata("1.2")).etag != whole


@pytest.mark.parametrize("moved", [("1.22", "1.3"), ("1.2", "1.33")])
async def test_the_same_sop_instance_uid_elsewhere_replaces_nothing(replacing: Archive, moved: tuple[str, str]) -> None:
    """B-041: study, series and SOP Instance UID are the key; what is elsewhere stays, and the sender is told."""
    await replacing.store(slice_of("old"))
    outcome = await replacing.store(ct_slice(*moved, "1.4", rows=4, columns=4, PatientID="new"))
    assert outcome.status == "stored" and any("another series" in warning for warning in outcome.warnings)
    assert await given_out(replacing) == slice_of("old")
    assert await replacing.pool.fetchval("SELECT count(*) FROM instances") == 2


Event = Callable[[Archive], Awaitable[None]]


def stores(patient: str) -> Event:
    """A sender stores the instance of a patient."""

    async def event(archive: Archive) -> None:
        assert (await archive.store(slice_of(patient))).error is None

    return event


async def at_once(archive: Archive) -> None:
    """Two other senders store at once, each through a process of its own."""
    other = Archive(archive.pool, archive.blobs, archive.policy)
    outcomes = await asyncio.gather(archive.store(slice_of("B")), other.store(slice_of("C")))
    assert {outcome.status for outcome in outcomes} == {"replaced"}


async def clock_back(archive: Archive) -> None:
    """The clock was an hour ahead until now: what was stored seems to come later than all that follows."""
    for row in await archive.pool.fetch("SELECT blob FROM instances"):
        name = row["blob"]
        stem = Path(name).stem
        ahead = blob_name(f"{int(stem[:12], 16) + 3_600_000:012x}{stem[12:]}")
        archive.blobs.path(ahead).parent.mkdir(parents=True, exist_ok=True)
        archive.blobs.path(name).rename(archive.blobs.path(ahead))
        if archive.blobs.replacements.path(name).exists():
            note = archive.blobs.replacements.path(name)
            note.write_text(note.read_text().replace(name, ahead))
            note.rename(archive.blobs.replacements.path(ahead))
        await archive.pool.execute("UPDATE instances SET blob = $2 WHERE blob = $1", name, ahead)


async def restarted(archive: Archive) -> None:
    """The server is started again."""
    await sweep(archive.pool, archive.blobs)


async def reindexed(archive: Archive) -> None:
    """The index is built anew from the files."""
    assert await rebuilt(archive) == []


@pytest.mark.parametrize("policy", ["keep-first", "replace"])
@pytest.mark.parametrize(
    "events",
    [
        [stores("A"), stores("B")],
        [stores("A"), stores("B"), stores("C")],
        [stores("A"), stores("B"), stores("A")],
        [stores("A"), stores("B"), restarted],
        [stores("A"), stores("B"), restarted, stores("C")],
        [stores("A"), stores("B"), reindexed, stores("A")],
        [stores("A"), stores("B"), reindexed, restarted, stores("C"), reindexed],
        [stores("A"), clock_back, stores("B")],
        [stores("A"), stores("B"), clock_back, stores("A"), stores("C")],
        [stores("A"), at_once],
        [stores("A"), at_once, stores("A")],
    ],
)
async def test_an_index_built_anew_says_what_the_old_one_said(
    replacing: Archive, policy: Any, events: list[Event]
) -> None:
    """Promise 4, for each order of events, whatever the policy is by then: the newest wins, everywhere."""
    for event in events:
        await event(replacing)
    before, served = await dump(replacing), await given_out(replacing)
    rebuilding = Archive(replacing.pool, replacing.blobs, Policy(duplicates=policy))
    assert await rebuilt(rebuilding) == []
    assert await dump(rebuilding) == before and await given_out(rebuilding) == served
    assert served == slice_of((await patients(rebuilding))["STUDY"][0])
    await sweep(replacing.pool, replacing.blobs)
    assert len(list(replacing.blobs.names())) == 1, "what was replaced is let go of"
    assert await rebuilt(rebuilding) == [] and await dump(rebuilding) == before


@pytest.mark.parametrize("point", ["published", "noted", "rows written", "committed"])
async def test_killed_at_any_moment_of_a_replacement(
    replacing: Archive, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Promises 2 and 4: what was not acknowledged is the old one or the new one, and after a restart one of them only.

    A process that is killed runs no more code: nothing is settled, discarded or rolled back by it.
    """
    old, new = slice_of("old"), slice_of("new")
    await replacing.store(old)
    killed = asyncio.Event()

    async def die(*_: Any) -> Any:
        killed.set()
        await asyncio.Event().wait()

    async def die_after_rows(*arguments: Any) -> None:
        await write_rows(*arguments)
        await die()

    write_rows = index.write_rows
    if point == "published":
        monkeypatch.setattr(index.Index, "_transact", die)
    elif point == "noted":
        monkeypatch.setattr(index, "write_rows", die)
    elif point == "rows written":
        monkeypatch.setattr(index, "write_rows", die_after_rows)
    else:
        monkeypatch.setattr(index.Index, "_forget", die)
    victim = Archive(replacing.pool, replacing.blobs, replacing.policy)
    storing = asyncio.create_task(victim.store(new))
    await asyncio.wait_for(killed.wait(), 30)
    assert victim._index._rewriting is not None
    monkeypatch.setattr(index.Index, "_give_up", die)
    monkeypatch.setattr("storage.blobs.local.StagedBlob.discard", lambda self: None)
    for task in (victim._index._rewriting, storing):
        task.cancel()
    await asyncio.gather(victim._index._rewriting, storing, return_exceptions=True)
    monkeypatch.undo()
    expected = new if point == "committed" else old
    await sweep(replacing.pool, replacing.blobs)
    assert await given_out(replacing) == expected
    assert await rebuilt(replacing) == [] and await given_out(replacing) == expected
    assert len(list(replacing.blobs.names())) == 1
    assert (await replacing.store(new)).error is None and await given_out(replacing) == new
    assert await rebuilt(replacing) == [] and await given_out(replacing) == new


async def test_a_database_lost_with_the_process_gives_the_new_one(replacing: Archive) -> None:
    """Promise 4: with the note on disk and no index at all, the new file is taken, whole as it is."""
    await replacing.store(slice_of("old"))
    (old,) = replacing.blobs.names()
    blob = replacing.blobs.stage()
    blob.write(slice_of("new"))
    blob.publish()
    replacing.blobs.sync([blob.name])
    replacing.blobs.note_replacements(7, {blob.name: old}, {})
    assert await rebuilt(replacing) == []
    assert await given_out(replacing) == slice_of("new")
    assert await replacing.pool.fetchval("SELECT last_value FROM versions") >= 7


async def test_what_was_stored_while_the_index_was_lost_stays(replacing: Archive) -> None:
    """Promise 2: a file that was acknowledged on a new database is newer than one that once took a place."""
    await replacing.store(slice_of("A"))
    await replacing.store(slice_of("B"))
    await replacing.pool.execute("TRUNCATE instances, series, studies, discarded_blobs")
    await replacing.pool.execute("ALTER SEQUENCE versions RESTART WITH 1")
    await sweep(replacing.pool, replacing.blobs)
    assert (await replacing.store(slice_of("D"))).status == "stored"
    for policy in ("replace", "keep-first"):
        rebuilding = Archive(replacing.pool, replacing.blobs, Policy(duplicates=policy))
        (problem,) = await rebuilt(rebuilding)
        assert "newer file" in problem and await given_out(replacing) == slice_of("D")
    assert (await replacing.store(slice_of("E"))).status == "replaced"
    await rebuilt(replacing)
    assert await given_out(replacing) == slice_of("E")


@pytest.mark.parametrize("policy", ["keep-first", "replace"])
@pytest.mark.parametrize("healed", ["1.4.1", "1.4.2"])
async def test_what_heals_describes_nothing_anew(archive: Archive, policy: Any, healed: str) -> None:
    """The good copy of a stray instance, or of the first, leaves study and patient alone, in an index anew, too."""
    healing = Archive(archive.pool, archive.blobs, Policy(duplicates=policy))
    await healing.store(slice_of("first", "1.4.1"))
    await healing.store(slice_of("stray", "1.4.2"))
    (found,) = await healing.instances("1.2", "1.3", healed)
    path = healing.blobs.path(found.blob)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert (await healing.store(slice_of("first" if healed == "1.4.1" else "stray", healed))).status == "stored"
    assert (await patients(healing))["STUDY"] == ["first"]
    before = await dump(healing)
    assert await rebuilt(healing) == [] and await dump(healing) == before
    await sweep(healing.pool, healing.blobs)
    assert await rebuilt(healing) == [] and await dump(healing) == before


async def test_what_replaced_and_cannot_be_read_lets_nothing_go(replacing: Archive) -> None:
    """Nothing is lost: a new file that is damaged is told, the old one is neither shown nor removed."""
    await replacing.store(slice_of("old"))
    await replacing.store(slice_of("new"))
    (found,) = await replacing.instances("1.2")
    replacing.blobs.path(found.blob).write_bytes(b"damaged")
    (problem,) = await rebuilt(replacing)
    assert "DICOM" in problem or "file" in problem
    await sweep(replacing.pool, replacing.blobs)
    assert len(list(replacing.blobs.names())) == 2
    assert await replacing.pool.fetchval("SELECT count(*) FROM instances") == 0


async def test_files_of_one_instance_without_a_note_are_decided_by_the_policy(archive: Archive) -> None:
    """B-043: files put there by hand: the first one is kept, or the newest, and the other stays where it is."""
    await archive.store(slice_of("first"))
    blob = archive.blobs.stage()
    blob.write(slice_of("second"))
    blob.publish()
    blob.settle()
    (problem,) = await rebuilt(archive)
    assert "different file" in problem and await given_out(archive) == slice_of("first")
    assert isinstance((await archive.store(slice_of("third"))).error, ConflictingInstance)
    assert len(list(archive.blobs.names())) == 2


def test_notes_survive_a_copy_of_the_folder_and_go_with_their_file(tmp_path: Path) -> None:
    """A note is a small file of its own: neither times nor links matter."""
    blobs = LocalBlobs(tmp_path / "one", threads=1)
    staged = [blobs.stage() for _ in range(3)]
    for blob in staged:
        blob.write(blob.name.encode())
        blob.publish()
        blob.settle()
    first, second, third = (blob.name for blob in staged)
    blobs.note_replacements(3, {second: first}, {})
    blobs.note_replacements(4, {third: second}, {})
    copied = tmp_path / "two"
    for path in sorted((tmp_path / "one").rglob("*")):
        target = copied / path.relative_to(tmp_path / "one")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    notes = Replacements(copied).read()
    assert notes == [Replacement(3, second, first, second), Replacement(4, third, second, third)]
    assert superseded(notes) == {first: second, second: third}
    blobs.delete(second)
    assert blobs.replacements.read() == [Replacement(4, third, second, third)]
    blobs.delete(third)
    assert blobs.replacements.read() == [] and not list((tmp_path / "one" / ".replaced").iterdir())
    blobs.close()


def test_of_files_that_replaced_each_other_the_later_one_stays() -> None:
    """Stored by a commit whose answer was lost, replaced, and stored again: it has the higher number."""
    assert superseded([Replacement(1, "y", "x", "y"), Replacement(2, "x", "y", "x")]) == {"y": "x"}


def test_of_two_that_took_one_place_the_later_one_stays() -> None:
    """The first was never acknowledged: its commit failed, and nobody could remove it yet."""
    notes = [Replacement(1, "z", "x", "z"), Replacement(2, "y", "x", "y")]
    assert superseded(notes) == {"x": "y", "z": "y"}


def test_what_heals_stands_where_the_old_file_stood(tmp_path: Path) -> None:
    """Its note has number and place of the one it heals, however often that happens."""
    (tmp_path / ".replaced").mkdir()
    notes = Replacements(tmp_path)
    for name in "abcde":
        (tmp_path / name).touch()
    notes.note(5, {"b": "a"}, {})
    notes.note(6, {}, {"c": "b"})
    notes.note(7, {}, {"e": "d"})
    assert notes.read() == [Replacement(0, "e", "d", "d"), Replacement(5, "b", "a", "b"), Replacement(5, "c", "b", "b")]
    assert superseded(notes.read()) == {"a": "b", "b": "c", "d": "e"}


@pytest.mark.parametrize("text", ["", "7", "x a b c", "1 a", "1 a b", "1 a b c d", "\udcff"])
def test_a_note_that_says_nothing_is_none(tmp_path: Path, text: str) -> None:
    """A note that a crash cut off, or something else in the folder, replaces nothing."""
    (tmp_path / ".replaced").mkdir()
    (tmp_path / ".replaced" / "a").write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "a").touch()
    assert Replacements(tmp_path).read() == []
