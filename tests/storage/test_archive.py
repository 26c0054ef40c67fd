"""The archive end to end: what goes in comes out, is counted exactly, and is never lost or doubled."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from storage.archive import Archive
from storage.errors import (
    ConflictingInstance,
    InvalidDicom,
    LimitExceeded,
    MissingIdentifier,
    NotFound,
    OutOfSpace,
    StudyMismatch,
)
from storage.policy import Policy
from storage.upkeep.sweep import sweep
from tests.builders import ABSENT, BIG_ENDIAN, DEFLATED, IMPLICIT_LE, ct_slice, dicom_file, encapsulated, multi_frame


async def whole(archive: Archive, study: str, series: str, instance: str) -> bytes:
    """The file as it is given out."""
    (file,) = await archive.instances(study, series, instance)
    part = await archive.part10(file)
    data = b"".join([chunk async for chunk in part.stream()])
    assert len(data) == part.length
    return data


async def counters(archive: Archive, study: str = "1.2") -> tuple[int, int, list[str], list[int]]:
    """The stored counters of a study: series, instances, modalities, instances of each series."""
    row = await archive.pool.fetchrow("SELECT * FROM studies WHERE study_instance_uid = $1", study)
    series = await archive.pool.fetch(
        "SELECT number_of_instances FROM series WHERE study = $1 ORDER BY series_instance_uid", row["id"]
    )
    counts = [each["number_of_instances"] for each in series]
    return row["number_of_series"], row["number_of_instances"], row["modalities"], counts


async def test_a_file_comes_back_byte_for_byte(archive: Archive) -> None:
    """Promise 3: bytes in, bytes out."""
    data = ct_slice("1.2", "1.2.3", "1.2.3.4")
    outcome = await archive.store(data)
    assert (outcome.status, outcome.error, outcome.size) == ("stored", None, len(data))
    assert await whole(archive, "1.2", "1.2.3", "1.2.3.4") == data


async def test_metadata_is_stored_json_with_paths_for_large_values(archive: Archive) -> None:
    """D-020, D-024: metadata is one JSON object an instance; Pixel Data is a BulkDataURI."""
    await archive.store(ct_slice("1.2", "1.2.3", "1.2.3.4"))
    found = [orjson.loads(each.json) async for each in await archive.metadata("1.2")]
    assert len(found) == 1
    assert found[0]["7FE00010"] == {"vr": "OW", "BulkDataURI": "7FE00010"}
    assert found[0]["00083002"] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    assert list(found[0]) == sorted(found[0])


async def test_frames_are_read_by_position(archive: Archive) -> None:
    """D-040, D-042: frames count from 1; one beyond the last is not found."""
    await archive.store(multi_frame(3, StudyInstanceUID="1.2", SeriesInstanceUID="1.3", SOPInstanceUID="1.4"))
    frames = await archive.frames("1.2", "1.3", "1.4", [3, 1])
    assert await frames.read(3) == b"\3\0" * 256
    assert await frames.read(1) == b"\1\0" * 256
    with pytest.raises(NotFound, match="3 frame"):
        await archive.frames("1.2", "1.3", "1.4", [4])


async def test_encapsulated_frames_of_several_fragments_are_joined(archive: Archive) -> None:
    """D-048: a compressed frame is the pure stream, fragments joined, no item tags."""
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
    await archive.store(encapsulated([[b"\xff\xd8ab", b"cd\xff\xd9"], [b"\xff\xd8ef\xff\xd9"]], **uids))
    frames = await archive.frames("1.2", "1.3", "1.4", [1, 2])
    assert await frames.read(1) == b"\xff\xd8abcd\xff\xd9"
    assert await frames.read(2) == b"\xff\xd8ef\xff\xd9"


@pytest.mark.parametrize("syntax", [BIG_ENDIAN, DEFLATED, IMPLICIT_LE])
async def test_legacy_encodings_are_given_out_in_explicit_little_endian(archive: Archive, syntax: str) -> None:
    """A-045, A-046, D-046, D-054: never Implicit VR, Big Endian or deflated; pixels, bulk data and file agree."""
    await archive.store(ct_slice("1.2", "1.3", "1.4", transfer_syntax=syntax))
    plain = ct_slice("1.2", "1.3", "1.4")
    (file,) = await archive.instances("1.2")
    assert (file.transfer_syntax_uid, file.retrieved_transfer_syntax_uid) == (syntax, "1.2.840.10008.1.2.1")
    frame = await (await archive.frames("1.2", "1.3", "1.4", [1])).read(1)
    assert frame == plain[-len(frame) :]
    value = await archive.bulk_data("1.2", "1.3", "1.4", "7FE00010")
    assert b"".join([chunk async for chunk in value.stream()]) == frame
    assert b"".join([chunk async for chunk in value.stream(101, 50)]) == frame[101:151]
    data = await whole(archive, "1.2", "1.3", "1.4")
    assert data[132 + 12 :].endswith(frame)
    assert data[128:132] == b"DICM"
    part = await archive.part10(file)
    assert b"".join([chunk async for chunk in part.stream(100, 1000)]) == data[100:1100]


async def test_a_compressed_syntax_without_compressed_pixels_is_given_out_as_what_it_is(archive: Archive) -> None:
    """A-050: a report whose file meta names JPEG-LS is Explicit VR Little Endian, and its file says so."""
    await archive.store(dicom_file(file_meta={"TransferSyntaxUID": "1.2.840.10008.1.2.4.80"}, StudyInstanceUID="1.2"))
    (file,) = await archive.instances("1.2")
    part = await archive.part10(file)
    data = b"".join([chunk async for chunk in part.stream()])
    assert part.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert b"1.2.840.10008.1.2.4.80" not in data[:400]


async def test_the_same_bytes_again_are_a_success_without_a_write(archive: Archive) -> None:
    """B-042: a duplicate with identical content is idempotent."""
    data = ct_slice("1.2", "1.3", "1.4")
    await archive.store(data)
    assert (await archive.store(data)).status == "duplicate"
    assert len(list(archive.blobs.names())) == 1
    assert archive.blobs.staged() == []
    assert await counters(archive) == (1, 1, ["CT"], [1])


async def test_other_bytes_under_a_stored_key_are_refused_and_the_first_kept(archive: Archive) -> None:
    """B-043: the default policy keeps the first and says so."""
    first = ct_slice("1.2", "1.3", "1.4")
    await archive.store(first)
    outcome = await archive.store(ct_slice("1.2", "1.3", "1.4", PatientName="Other"))
    assert outcome.status == "failed"
    assert isinstance(outcome.error, ConflictingInstance)
    assert await whole(archive, "1.2", "1.3", "1.4") == first
    assert len(list(archive.blobs.names())) == 1


async def test_the_replace_policy_switches_to_the_new_bytes_and_removes_the_old_later(
    archive: Archive, tmp_path: Path
) -> None:
    """B-043: with `replace` the new file is given out, counted once; the old one stays for its readers, then goes."""
    replacing = Archive(archive.pool, archive.blobs, Policy(duplicates="replace"))
    await replacing.store(ct_slice("1.2", "1.3", "1.4"))
    before = (await replacing.metadata("1.2")).etag
    second = ct_slice("1.2", "1.3", "1.4", PatientComments="corrected")
    assert (await replacing.store(second)).status == "replaced"
    assert await whole(replacing, "1.2", "1.3", "1.4") == second
    assert await counters(replacing) == (1, 1, ["CT"], [1])
    assert (await replacing.metadata("1.2")).etag != before
    assert len(list(archive.blobs.names())) == 2
    await archive.pool.execute("UPDATE discarded_blobs SET at = at - interval '1 hour'")
    await replacing.store(ct_slice("1.2", "1.3", "1.4", PatientComments="once more"))
    assert len(list(archive.blobs.names())) == 2
    swept = await sweep(archive.pool, archive.blobs)
    assert (swept.discarded, len(list(archive.blobs.names()))) == (1, 1)


async def test_one_sop_instance_uid_in_two_series_is_two_instances_with_a_warning(archive: Archive) -> None:
    """B-041: the key is study, series and SOP Instance UID; the one already there is never moved."""
    await archive.store(ct_slice("1.2", "1.3", "1.4"))
    outcome = await archive.store(ct_slice("1.2", "1.33", "1.4"))
    assert outcome.status == "stored"
    assert any("another series" in warning for warning in outcome.warnings)
    assert await counters(archive) == (2, 2, ["CT"], [1, 1])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InvalidDicom),
        (b"not dicom at all, but text of some length " * 20, InvalidDicom),
        (dicom_file(StudyInstanceUID=ABSENT), MissingIdentifier),
        (dicom_file(SeriesInstanceUID=None), MissingIdentifier),
        (dicom_file(elements={0x00080018: ("LO", "../../etc/passwd")}), MissingIdentifier),
        (dicom_file(elements={0x0020000D: ("LO", "..")}), MissingIdentifier),
        (dicom_file(elements={0x0020000D: ("LO", "1." * 40 + "1")}), MissingIdentifier),
        (dicom_file().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.1\r\nX-A: b\0\0"), InvalidDicom),
    ],
)
async def test_a_file_that_cannot_be_kept_is_refused_with_its_reason(
    archive: Archive, data: bytes, error: type[Exception]
) -> None:
    """B-030: absent, empty or ill-formed identifiers are refused, and nothing of the file stays."""
    outcome = await archive.store(data)
    assert outcome.status == "failed"
    assert isinstance(outcome.error, error)
    assert list(archive.blobs.names()) == archive.blobs.staged() == []


async def test_a_bad_file_costs_only_itself(archive: Archive) -> None:
    """Promise 7: the neighbours of a bad file are stored; outcomes come in order."""
    files = [ct_slice("1.2", "1.3", f"1.4.{n}") for n in range(5)]
    files[2] = b"rubbish"
    async with archive.ingest() as ingest:
        for data in files:
            await ingest.add(pieces(data))
        outcomes = await ingest.finish()
    assert [outcome.status for outcome in outcomes] == ["stored", "stored", "failed", "stored", "stored"]
    assert await counters(archive) == (1, 4, ["CT"], [4])


async def test_two_versions_of_one_instance_in_a_request_meet_each_other(archive: Archive) -> None:
    """B-042, B-043: within one request the first is stored, its copy a duplicate, another version a conflict."""
    first, second = ct_slice("1.2", "1.3", "1.4"), ct_slice("1.2", "1.3", "1.4", PatientID="P2")
    async with archive.ingest() as ingest:
        for data in (first, first, second):
            await ingest.add(pieces(data))
        outcomes = await ingest.finish()
    assert sorted(outcome.status for outcome in outcomes) == ["duplicate", "failed", "stored"]
    assert await whole(archive, "1.2", "1.3", "1.4") in (first, second)


async def test_an_instance_of_another_study_fails_alone(archive: Archive) -> None:
    """B-001, B-034: the study in the path binds every instance."""
    async with archive.ingest(study_instance_uid="1.2") as ingest:
        await ingest.add(pieces(ct_slice("1.2", "1.3", "1.4")))
        await ingest.add(pieces(ct_slice("1.99", "1.3", "1.5")))
        outcomes = await ingest.finish()
    assert outcomes[0].status == "stored"
    assert isinstance(outcomes[1].error, StudyMismatch)
    assert outcomes[1].sop_instance_uid == "1.5"


async def test_a_file_over_the_limit_is_refused_and_its_neighbour_stored(archive: Archive) -> None:
    """B-019: the size limit is checked while streaming and named."""
    small = Archive(archive.pool, archive.blobs, Policy(max_instance_bytes=20_000))
    async with small.ingest() as ingest:
        await ingest.add(pieces(ct_slice("1.2", "1.3", "1.4", rows=256, columns=256)))
        await ingest.add(pieces(ct_slice("1.2", "1.3", "1.5")))
        outcomes = await ingest.finish()
    assert isinstance(outcomes[0].error, LimitExceeded)
    assert "max_instance_bytes" in str(outcomes[0].error)
    assert outcomes[1].status == "stored"


async def test_a_broken_stream_leaves_nothing(archive: Archive) -> None:
    """B-020: an upload that breaks off stores nothing of the file, and what was not finished is discarded."""

    async def broken() -> AsyncIterator[bytes]:
        yield ct_slice("1.2", "1.3", "1.5")[:5000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        async with archive.ingest() as ingest:
            await ingest.add(pieces(ct_slice("1.2", "1.3", "1.4")))
            await ingest.add(broken())
    assert list(archive.blobs.names()) == archive.blobs.staged() == []


async def test_a_full_disk_is_a_refusal_and_leaves_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """B-036: no room is an A700 refusal of that file; the archive goes on when there is room again."""
    import os

    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.blobs.local.os.fsync", full)
    outcome = await archive.store(ct_slice("1.2", "1.3", "1.4"))
    assert isinstance(outcome.error, OutOfSpace)
    monkeypatch.setattr("storage.blobs.local.os.fsync", real)
    assert list(archive.blobs.names()) == archive.blobs.staged() == []
    assert (await archive.store(ct_slice("1.2", "1.3", "1.4"))).status == "stored"


async def test_nothing_is_taken_when_the_disk_is_nearly_full(archive: Archive) -> None:
    """B-036: a reserve is kept, so that the database never runs out of room because of files."""
    frugal = Archive(archive.pool, archive.blobs, Policy(min_free_bytes=2**60))
    outcome = await frugal.store(ct_slice("1.2", "1.3", "1.4"))
    assert isinstance(outcome.error, OutOfSpace)
    assert list(archive.blobs.names()) == archive.blobs.staged() == []


async def test_eight_writers_into_one_study_count_exactly(archive: Archive) -> None:
    """Counters and modalities are exact after parallel writers in several connections (no lost update, no deadlock)."""
    writers = [Archive(archive.pool, archive.blobs) for _ in range(8)]

    async def write(writer: int) -> None:
        for n in range(12):
            series = f"1.3.{(n + writer) % 4}"
            data = ct_slice(
                "1.2", series, f"1.4.{writer}.{n}", rows=8, columns=8, Modality=["CT", "MR"][(n + writer) % 2]
            )
            assert (await writers[writer].store(data)).status == "stored"

    await asyncio.gather(*(write(writer) for writer in range(8)))
    assert await counters(archive) == (4, 96, ["CT", "MR"], [24, 24, 24, 24])
    changes = await archive.changes()
    assert len(changes) == 96
    assert [change["sequence"] for change in changes] == sorted({change["sequence"] for change in changes})


async def test_writers_of_crossing_studies_do_not_deadlock(archive: Archive) -> None:
    """Batches that touch the same studies in different orders all commit."""
    writers = [Archive(archive.pool, archive.blobs) for _ in range(6)]

    async def write(writer: int) -> None:
        async with writers[writer].ingest() as ingest:
            for n in range(10):
                study = f"1.2.{(n * (1 if writer % 2 else -1)) % 5}"
                await ingest.add(pieces(ct_slice(study, f"{study}.3", f"{study}.4.{writer}.{n}", rows=8, columns=8)))
            assert {outcome.status for outcome in await ingest.finish()} == {"stored"}

    await asyncio.gather(*(write(writer) for writer in range(6)))
    assert [(await counters(archive, f"1.2.{n}"))[1] for n in range(5)] == [12] * 5


async def test_the_digest_of_a_streamed_file_is_that_of_its_bytes(archive: Archive) -> None:
    """A file larger than the buffer is written in pieces and read back whole."""
    data = ct_slice("1.2", "1.3", "1.4", rows=1024, columns=1024)
    async with archive.ingest() as ingest:
        await ingest.add(pieces(data, 100_000))
        (outcome,) = await ingest.finish()
    assert outcome.status == "stored"
    (file,) = await archive.instances("1.2")
    assert file.sha256 == hashlib.sha256(data).digest()
    assert await whole(archive, "1.2", "1.3", "1.4") == data


async def test_what_is_not_there_is_not_found(archive: Archive) -> None:
    """D-007: unknown study, series or instance, also under another study's path."""
    await archive.store(ct_slice("1.2", "1.3", "1.4"))
    for uids in (("9",), ("1.2", "9"), ("1.2", "1.3", "9"), ("9", "1.3", "1.4")):
        with pytest.raises(NotFound):
            await archive.instances(*uids)
        with pytest.raises(NotFound):
            await archive.metadata(*uids)
    with pytest.raises(NotFound):
        await archive.bulk_data("1.2", "1.3", "1.4", "00091001")


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    """Yield the data as a network would bring it."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
