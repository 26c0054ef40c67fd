"""Studies, series and instances as ZIP archives with a DICOMDIR."""

import asyncio
import gc
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pydicom
import pytest
from pydicom import Dataset

from dicomweb.http.wado import zip as wado_zip
from dicomweb.http.wado.zip import file_name
from storage.dicom.transfer_syntax import JPEG_2000_LOSSLESS, JPEG_BASELINE, RLE_LOSSLESS
from storage.retrieval import dicomdir_file
from storage.retrieval.dicomdir_file import DicomdirFile
from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ct_slice,
    dicom_file,
    encapsulated,
    new_uid,
    without_preamble,
)
from tests.dicomweb.http.wado.test_instances import named, stored
from tests.dicomweb.loopback import listening
from tests.dicomweb.stowing import read_back

ZIP = {"Accept": "application/zip"}
JPEG_2000_PART_2 = "1.2.840.10008.1.2.4.92"


def opened(answer: httpx2.Response) -> zipfile.ZipFile:
    """The archive of an answer; all of its checksums are right."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


def directory(archive: zipfile.ZipFile) -> Dataset:
    return pydicom.dcmread(io.BytesIO(archive.read("DICOMDIR")))


def leaves(archive: zipfile.ZipFile) -> list[Dataset]:
    return [record for record in directory(archive).DirectoryRecordSequence if "ReferencedFileID" in record]


def files(archive: zipfile.ZipFile) -> list[bytes]:
    """The files the DICOMDIR names, in its order; there are no others."""
    names = ["/".join(record.ReferencedFileID) for record in leaves(archive)]
    assert archive.namelist() == ["DICOMDIR", *names]
    return [archive.read(name) for name in names]


def dataset_of(file: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(file))


async def study_of_two_series(archive: Any) -> tuple[str, list[bytes], list[str]]:
    """A study, its files in order, and their paths."""
    study, first, second = new_uid(), new_uid(), new_uid()
    kept = [
        *(ct_slice(study, first, instance_number=number, SeriesNumber=1) for number in (1, 2, 3)),
        dicom_file(StudyInstanceUID=study, SeriesInstanceUID=second, SeriesNumber=2),
    ]
    paths = await stored(archive, *(kept[place] for place in (2, 0, 3, 1)))
    return study, kept, [paths[place] for place in (1, 3, 0, 2)]


async def test_a_study_is_an_archive_with_a_directory(archive: Any, client: httpx2.AsyncClient) -> None:
    """DICOMDIR in the root, every file byte for byte below DICOM, one folder a series (H-002, H-003, H-021)."""
    study, kept, _ = await study_of_two_series(archive)
    answer = await client.get(f"/dicom-web/studies/{study}", headers=ZIP)
    content = opened(answer)
    assert files(content) == kept
    assert content.namelist()[1:] == [f"DICOM/S0000001/I{n:07}" for n in (1, 2, 3)] + ["DICOM/S0000002/I0000001"]
    kinds = [record.DirectoryRecordType for record in directory(content).DirectoryRecordSequence]
    assert kinds == ["PATIENT", "STUDY", "SERIES", "IMAGE", "IMAGE", "IMAGE", "SERIES", "IMAGE"]
    assert [record.ReferencedSOPInstanceUIDInFile for record in leaves(content)] == [
        dataset_of(file).SOPInstanceUID for file in kept
    ]
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-location"] == f"http://archive.test/dicom-web/studies/{study}"


async def test_a_series_and_an_instance_are_archives_too(archive: Any, client: httpx2.AsyncClient) -> None:
    """What is asked for is in it and nothing else of the study."""
    _, kept, paths = await study_of_two_series(archive)
    series = await client.get(paths[0].split("/instances")[0], headers=ZIP)
    assert files(opened(series)) == kept[:3]
    instance = await client.get(paths[3], headers=ZIP)
    assert files(opened(instance)) == kept[3:]
    assert instance.headers["content-location"] == f"http://archive.test{paths[3]}"


@pytest.mark.parametrize(
    ("accept", "query"),
    [
        ("application/zip;q=0.9, */*;q=0.1", ""),
        ("application/x-zip-compressed", ""),
        ('application/zip; transfer-syntax="*"', ""),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "?accept=application/zip"),
        ("*/*", f"?accept=application/zip%3Btransfer-syntax%3D{EXPLICIT_LE}"),
        ("*/*", f"?accept=application/zip;transfer-syntax={EXPLICIT_LE}"),
    ],
)
async def test_the_ways_to_ask(archive: Any, client: httpx2.AsyncClient, accept: str, query: str) -> None:
    """By header or by link, with and without a transfer syntax (A-030 to A-034)."""
    file = ct_slice()
    (path,) = await stored(archive, file)
    for level in (path, path.split("/instances")[0], path.split("/series")[0]):
        assert files(opened(await client.get(level + query, headers={"Accept": accept}))) == [file]


@pytest.mark.parametrize("accept", ["*/*", 'multipart/related; type="application/dicom", */*;q=0.1'])
async def test_nobody_gets_an_archive_unasked(archive: Any, client: httpx2.AsyncClient, accept: str) -> None:
    """A wildcard means what the Standard says a study is (PS3.18 Table 10.4.4-1)."""
    (path,) = await stored(archive, ct_slice())
    for level in (path, path.split("/series")[0]):
        answer = await client.get(level, headers={"Accept": accept})
        assert "zip" not in answer.headers["content-type"]


async def test_an_archive_is_what_a_study_is_without_multipart(archive: Any, client: httpx2.AsyncClient) -> None:
    """`application/*` covers it, and nothing else that a study is; an instance is a file first (RFC 9110 12.5.1)."""
    (path,) = await stored(archive, ct_slice())
    opened(await client.get(path.split("/series")[0], headers={"Accept": "application/*"}))
    assert (
        (await client.get(path, headers={"Accept": "application/*"}))
        .headers["content-type"]
        .startswith("application/dicom")
    )


@pytest.mark.parametrize("sender", [IMPLICIT_LE, BIG_ENDIAN, DEFLATED, "headless"])
async def test_files_that_may_not_go_out_are_rewritten(archive: Any, client: httpx2.AsyncClient, sender: str) -> None:
    """Media hold Explicit VR Little Endian, as all that leaves the archive; the length is not promised then (A-045)."""
    file = without_preamble(ct_slice()) if sender == "headless" else ct_slice(transfer_syntax=sender)
    study = (await stored(archive, file))[0].split("/series")[0]
    answer = await client.get(study, headers=ZIP)
    content = opened(answer)
    (body,) = files(content)
    assert dataset_of(body).file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert body[:132] == bytes(128) + b"DICM"
    assert leaves(content)[0].ReferencedTransferSyntaxUIDInFile == EXPLICIT_LE
    assert "content-length" not in answer.headers and "accept-ranges" not in answer.headers


async def test_media_name_what_the_data_sets_are(archive: Any, client: httpx2.AsyncClient) -> None:
    """File meta information that names another instance is put right, as the DICOMDIR has it (PS3.10 7.1; B-040)."""
    instance = new_uid()
    file = named(ct_slice(instance=instance), "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4")
    study = (await stored(archive, file))[0].split("/series")[0]
    content = opened(await client.get(study, headers=ZIP))
    (body,) = files(content)
    assert dataset_of(body).file_meta.MediaStorageSOPInstanceUID == instance
    assert leaves(content)[0].ReferencedSOPInstanceUIDInFile == instance


async def test_a_transfer_syntax_is_that_of_every_file(archive: Any, client: httpx2.AsyncClient) -> None:
    """Compressed ones are decompressed, or others compressed; reports stay as they are (H-018, D-009)."""
    study = new_uid()
    report = dicom_file(StudyInstanceUID=study, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", SeriesNumber=9)
    path, _ = await stored(archive, ct_slice(study, rows=16, columns=16), report)
    compressed = await client.get(path, headers={"Accept": f"application/dicom; transfer-syntax={JPEG_2000_LOSSLESS}"})
    other = compressed.content.replace(path.rpartition("/")[2].encode(), path.rpartition("/")[2].encode()[:-1] + b"0")
    await archive.store(other)
    for uid in (EXPLICIT_LE, RLE_LOSSLESS, JPEG_2000_LOSSLESS):
        accept = {"Accept": f"application/zip; transfer-syntax={uid}"}
        content = opened(await client.get(f"/dicom-web/studies/{study}", headers=accept))
        *images, last = files(content)
        found = [dataset_of(image).file_meta.TransferSyntaxUID for image in images]
        assert found == [uid] * len(images) and last == report
        assert [record.ReferencedTransferSyntaxUIDInFile for record in leaves(content)] == [*found, EXPLICIT_LE]


async def test_what_is_lost_for_the_media_is_not_told_of_the_original(archive: Any, client: httpx2.AsyncClient) -> None:
    """Image Type of a file compressed with loss is another than the index has; the record leaves it out."""
    image = ct_slice(rows=16, columns=16, BitsAllocated=8, BitsStored=8, HighBit=7, ImageType=["ORIGINAL", "PRIMARY"])
    study = (await stored(archive, image))[0].split("/series")[0]
    plain = leaves(opened(await client.get(study, headers=ZIP)))[0]
    assert list(plain.ImageType) == ["ORIGINAL", "PRIMARY"]
    lossy = opened(await client.get(study, headers={"Accept": f"application/zip; transfer-syntax={JPEG_BASELINE}"}))
    assert "ImageType" not in leaves(lossy)[0]


async def test_a_study_is_never_given_in_part(archive: Any, client: httpx2.AsyncClient) -> None:
    """One file that cannot be had as asked is a 406 that says how many, and what would work (D-009, A-035)."""
    study = new_uid()
    await stored(
        archive, ct_slice(study), encapsulated([b"one"], transfer_syntax=JPEG_2000_PART_2, StudyInstanceUID=study)
    )
    accept = {"Accept": f"application/zip; transfer-syntax={EXPLICIT_LE}"}
    answer = await client.get(f"/dicom-web/studies/{study}", headers=accept)
    assert answer.status_code == 406
    assert "1 of 2 instances" in answer.json()["detail"] and JPEG_2000_PART_2 in answer.json()["detail"]
    assert f"application/zip; transfer-syntax={JPEG_2000_PART_2}" in answer.json()["available"]
    assert len(files(opened(await client.get(f"/dicom-web/studies/{study}", headers=ZIP)))) == 2
    refused = await client.get(f"/dicom-web/studies/{study}", headers={"Accept": "image/tiff"})
    assert f"application/zip; transfer-syntax={JPEG_2000_PART_2}" in refused.json()["available"]


async def test_nothing_there_is_a_404(client: httpx2.AsyncClient) -> None:
    """An unknown study has no archive."""
    assert (await client.get("/dicom-web/studies/1.2.3", headers=ZIP)).status_code == 404


async def test_the_same_files_are_the_same_archive(archive: Any, client: httpx2.AsyncClient) -> None:
    """A strong entity tag, a 304, and another tag after another file came (PS3.18 8.5)."""
    study, *_ = await study_of_two_series(archive)
    path = f"/dicom-web/studies/{study}"
    first, again = [await client.get(path, headers=ZIP) for _ in range(2)]
    assert first.content == again.content and first.headers["etag"] == again.headers["etag"]
    same = {"If-None-Match": first.headers["etag"]}
    unchanged = await client.get(path, headers=ZIP | same)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    other = await client.get(path, headers={"Accept": f"application/zip; transfer-syntax={RLE_LOSSLESS}"} | same)
    assert other.status_code == 200
    await stored(archive, ct_slice(study))
    changed = await client.get(path, headers=ZIP | same)
    assert changed.status_code == 200 and changed.headers["etag"] != first.headers["etag"]


async def test_checksums_come_first_where_they_can(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that cannot seek find length and checksum before each file; only large ones that are made lack them."""
    study = (await stored(archive, ct_slice(rows=256, columns=256)))[0].split("/series")[0]
    accept = {"Accept": f"application/zip; transfer-syntax={RLE_LOSSLESS}"}
    assert [entry.flag_bits for entry in opened(await client.get(study, headers=ZIP)).infolist()] == [0, 0]
    assert [entry.flag_bits for entry in opened(await client.get(study, headers=accept)).infolist()] == [0, 0]
    monkeypatch.setattr(wado_zip, "HELD", 2000)
    assert [entry.flag_bits for entry in opened(await client.get(study, headers=ZIP)).infolist()] == [0, 0]
    assert [entry.flag_bits for entry in opened(await client.get(study, headers=accept)).infolist()] == [0, 8]


async def test_a_download_that_broke_off_goes_on(archive: Any, client: httpx2.AsyncClient) -> None:
    """Any range is that of the whole archive (A-115)."""
    study, *_ = await study_of_two_series(archive)
    path = f"/dicom-web/studies/{study}"
    whole = await client.get(path, headers=ZIP)
    opened(whole)
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes" and whole.headers["content-length"] == str(size)
    starts = [place for place in range(size) if whole.content[place : place + 2] == b"PK"]
    edges = {edge for start in starts for edge in (start - 1, start, start + 1) if 0 <= edge < size}
    for start, end in [(0, 9), (1000, 9000), (size - 10, size - 1), *((edge, size - 1) for edge in edges)]:
        wanted = {"Range": f"bytes={start}-{end}", "If-Range": whole.headers["etag"]}
        part = await client.get(path, headers=ZIP | wanted)
        assert part.status_code == 206 and part.content == whole.content[start : end + 1]
        assert part.headers["content-range"] == f"bytes {start}-{end}/{size}"
    beyond = await client.get(path, headers=ZIP | {"Range": f"bytes={size}-"})
    assert beyond.status_code == 416 and beyond.headers["content-range"] == f"bytes */{size}"


async def test_the_name_tells_nothing_of_the_patient(archive: Any, client: httpx2.AsyncClient) -> None:
    """Kind, date and digits: no names, no numbers, nothing a sender could put into a header."""
    hostile = {"PatientName": 'x"\r\nEvil: 1', "AccessionNumber": '../"A', "StudyDate": None, "SeriesDate": "20240203"}
    (path,) = await stored(archive, ct_slice(**hostile))
    for level, kind in (
        (path, "instance"),
        (path.split("/instances")[0], "series"),
        (path.split("/series")[0], "study"),
    ):
        found = (await client.get(level, headers=ZIP)).headers["content-disposition"]
        start = f'attachment; filename="{kind}-20240203-'
        assert found.startswith(start) and len(found) == len(start) + len('0123abcd.zip"')
    assert file_name("1.2", None, None, study_date="") == file_name("1.2", None, None, study_date="")
    assert file_name("1.2", "1.3", None, study_date="").startswith("series-")


async def test_a_date_that_is_none_reaches_no_header(archive: Any, client: httpx2.AsyncClient) -> None:
    """What stands for a date in a file may be anything."""
    odd = ct_slice(StudyDate="20240115").replace(b"20240115", b'2024"\r\n;')
    study = (await stored(archive, odd))[0].split("/series")[0]
    answer = await client.get(study, headers=ZIP)
    assert answer.headers["content-disposition"].startswith('attachment; filename="study-')
    assert '2024"' not in answer.headers["content-disposition"] and "\n" not in answer.headers["content-disposition"]
    opened(answer)


async def test_names_beyond_ascii(archive: Any, client: httpx2.AsyncClient) -> None:
    """The directory says in Unicode, or what old readers know, what files say in their character sets (H-017)."""
    japanese = ct_slice(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
    german = ct_slice(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", StudyDescription="Schädel")
    for file, name, terms in (
        (japanese, "Yamada^Tarou=山田^太郎", "ISO_IR 192"),
        (german, "Müller^Jörg", "ISO_IR 100"),
    ):
        content = opened(await client.get((await stored(archive, file))[0].split("/series")[0], headers=ZIP))
        patient = directory(content).DirectoryRecordSequence[0]
        assert (str(patient.PatientName), patient.SpecificCharacterSet) == (name, terms)
        assert files(content) == [file]


async def test_what_was_given_out_can_be_stored_again(archive: Any, client: httpx2.AsyncClient) -> None:
    """The archive is a body that the store resource takes; DICOMDIR is passed over without a word."""
    study, kept, _ = await study_of_two_series(archive)
    body = (await client.get(f"/dicom-web/studies/{study}", headers=ZIP)).content
    answer = await client.post("/dicom-web/studies", content=body, headers={"Content-Type": "application/zip"})
    assert answer.status_code == 200, answer.text
    assert await read_back(archive, study) == kept


def damage(archive: Any, blob: str) -> None:
    """Turn one bit of a stored file."""
    path: Path = archive.blobs.path(blob)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.chmod(0o640)
    path.write_bytes(raw)


async def test_a_missing_file_is_told_before_anything_is_sent(archive: Any, client: httpx2.AsyncClient) -> None:
    """A study of which a file is gone, or shorter, is an error that says how many."""
    study, *_ = await study_of_two_series(archive)
    instances = await archive.instances(study)
    archive.blobs.path(instances[1].blob).unlink()
    os.truncate(archive.blobs.path(instances[2].blob), 100)
    answer = await client.get(f"/dicom-web/studies/{study}", headers=ZIP)
    assert answer.status_code == 404 and answer.json()["detail"].startswith("2 of 4 stored files are missing")
    rest = f"/dicom-web/studies/{study}/series/{instances[3].series_instance_uid}"
    assert len(files(opened(await client.get(rest, headers=ZIP)))) == 1


@pytest.mark.parametrize("held", [1 << 20, 1000])
@pytest.mark.parametrize("sender", [EXPLICIT_LE, IMPLICIT_LE])
async def test_a_damaged_file_cuts_the_connection(
    archive: Any, app: Any, monkeypatch: pytest.MonkeyPatch, held: int, sender: str
) -> None:
    """Bytes that are not those that were stored never end up in an archive that can be opened (A-114)."""
    monkeypatch.setattr(wado_zip, "HELD", held)
    study = new_uid()
    some = [
        ct_slice(study, "1.2.3", instance_number=n, rows=256, columns=256, transfer_syntax=sender) for n in range(9)
    ]
    await stored(archive, *some)
    damage(archive, (await archive.instances(study))[-1].blob)
    async with listening(app) as url, httpx2.AsyncClient(base_url=url) as client:
        received = b""
        with pytest.raises(httpx2.RemoteProtocolError):
            async with client.stream("GET", f"/dicom-web/studies/{study}", headers=ZIP) as answer:
                assert answer.status_code == 200
                async for chunk in answer.aiter_raw():
                    received += chunk
        assert received
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(io.BytesIO(received))


async def test_damage_at_the_beginning_is_an_error(archive: Any, client: httpx2.AsyncClient) -> None:
    """What is noticed before the first byte is sent is a status, as for everything else."""
    study = (await stored(archive, ct_slice()))[0].split("/series")[0]
    damage(archive, (await archive.instances(study.rpartition("/")[2]))[0].blob)
    answer = await client.get(study, headers=ZIP)
    assert answer.status_code == 500 and "dicomweb check" in answer.json()["detail"]


async def test_an_undecodable_file_is_a_406_when_it_comes_first(archive: Any, client: httpx2.AsyncClient) -> None:
    """That compressed pixels are damaged shows when they are decoded (D-010)."""
    study = (await stored(archive, encapsulated([b"\xff\xd8no\xff\xd9"])))[0].split("/series")[0]
    answer = await client.get(study, headers={"Accept": f"application/zip; transfer-syntax={EXPLICIT_LE}"})
    assert answer.status_code == 406 and "transfer-syntax=*" in answer.json()["detail"]


async def test_a_study_that_changes_meanwhile_is_asked_for_again(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of a directory are those of its files, or there is none (503)."""
    study, *_ = await study_of_two_series(archive)
    make = DicomdirFile.make

    async def late(pool: Any, *rest: Any) -> DicomdirFile:
        await pool.execute("UPDATE instances SET version = version + 1")
        return await make(pool, *rest)

    monkeypatch.setattr(DicomdirFile, "make", late)
    answer = await client.get(f"/dicom-web/studies/{study}", headers=ZIP)
    assert answer.status_code == 503 and "retry-after" in answer.headers


async def test_head_says_how_long_it_will_be(archive: Any, app: Any) -> None:
    """Length, tag and name without a body (PS3.18 8.4)."""
    study, *_ = await study_of_two_series(archive)
    async with listening(app) as url, httpx2.AsyncClient(base_url=url) as client:
        head = await client.head(f"/dicom-web/studies/{study}", headers=ZIP)
        body = await client.get(f"/dicom-web/studies/{study}", headers=ZIP)
    names = ("content-length", "etag", "content-type", "content-disposition", "accept-ranges")
    assert [head.headers[name] for name in names] == [body.headers[name] for name in names]
    assert head.headers["content-length"] == str(len(body.content)) and head.content == b""


def open_files() -> int:
    """How many files this process has open; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


async def test_a_client_that_leaves_stops_the_work(archive: Any, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more files are opened, nothing stays open, and the next one is served."""
    monkeypatch.setattr(dicomdir_file, "_IN_MEMORY", 0)
    study = new_uid()
    some = [ct_slice(study, "1.2.3", instance_number=n, rows=512, columns=512) for n in range(40)]
    await stored(archive, *some)
    asked: list[Any] = []
    intact = archive.intact

    async def counted(*arguments: Any) -> Any:
        asked.append(arguments)
        return await intact(*arguments)

    monkeypatch.setattr(archive, "intact", counted)
    before = open_files()
    async with listening(app) as url, httpx2.AsyncClient(base_url=url) as client:
        async with client.stream("GET", f"/dicom-web/studies/{study}", headers=ZIP) as answer:
            async for _ in answer.aiter_raw():
                break
        await asyncio.sleep(0.5)
        count = len(asked)
        assert count < 35
        await asyncio.sleep(0.5)
        assert len(asked) == count
        assert files(opened(await client.get(f"/dicom-web/studies/{study}", headers=ZIP))) == some
    gc.collect()
    assert open_files() <= before + 2


@pytest.mark.parametrize("method", ["HEAD", "GET", "304", "416"])
async def test_no_temporary_file_is_left_open(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The directory is dropped however the request ends."""
    monkeypatch.setattr(dicomdir_file, "_IN_MEMORY", 0)
    made: list[DicomdirFile] = []
    make = DicomdirFile.make

    async def kept(*arguments: Any) -> DicomdirFile:
        made.append(await make(*arguments))
        return made[-1]

    monkeypatch.setattr(DicomdirFile, "make", kept)
    study, *_ = await study_of_two_series(archive)
    extra = {"304": {"If-None-Match": "*"}, "416": {"Range": "bytes=999999999-"}}.get(method, {})
    answer = await client.request(
        "HEAD" if method == "HEAD" else "GET", f"/dicom-web/studies/{study}", headers=ZIP | extra
    )
    assert str(answer.status_code) == method or answer.status_code == 200
    assert [one._file.closed for one in made] == [True]
