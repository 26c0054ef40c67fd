"""Retrieving DICOM files of a study, a series or an instance (PS3.18 10.4.1.1)."""

import io
from typing import Any

import httpx2
import pydicom
import pytest
from pydicom.uid import CTImageStorage, MRImageStorage

from storage.dicom.part10 import file_meta_bytes
from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ct_slice,
    dataset_only,
    dicom_file,
    encapsulated,
    new_uid,
    without_preamble,
)
from tests.dicomweb.loopback import listening
from tests.dicomweb.parts import parts_of

MULTIPART = 'multipart/related; type="application/dicom"'
BULK = 'multipart/related; type="application/octet-stream"'
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000_PART_2 = "1.2.840.10008.1.2.4.92"


async def stored(archive: Any, *files: bytes) -> list[str]:
    """Store the files and return the path of each instance below the root."""
    paths = []
    for file in files:
        outcome = await archive.store(file)
        assert outcome.status == "stored", outcome.error
        paths.append(
            f"/dicom-web/studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
            f"/instances/{outcome.sop_instance_uid}"
        )
    return paths


async def test_a_stored_file_comes_back_byte_for_byte(archive: Any, client: httpx2.AsyncClient) -> None:
    """`*/*` on one instance is the file itself, with its name (D-004, D-003)."""
    file = ct_slice()
    (path,) = await stored(archive, file)
    answer = await client.get(path)
    assert answer.status_code == 200 and answer.content == file
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    assert answer.headers["content-length"] == str(len(file))
    assert answer.headers["content-location"] == f"http://archive.test{path}"
    assert answer.headers["content-disposition"].endswith('.dcm"')


async def test_a_study_is_one_part_per_instance_in_order(archive: Any, client: httpx2.AsyncClient) -> None:
    """Parts come by instance number, each with its type, length and location (D-002, D-012, A-080 to A-086)."""
    study, series = new_uid(), new_uid()
    files = [ct_slice(study, series, instance_number=number) for number in (3, 1, 2)]
    paths = await stored(archive, *files)
    answer = await client.get(f"/dicom-web/studies/{study}", headers={"Accept": MULTIPART})
    parts = parts_of(answer)
    assert [part.body for part in parts] == [files[1], files[2], files[0]]
    assert [part.headers["Content-Location"] for part in parts] == [
        f"http://archive.test{paths[index]}" for index in (1, 2, 0)
    ]
    assert all(part.headers["Content-Length"] == str(len(part.body)) for part in parts)
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("level", ["study", "series", "instance"])
async def test_the_three_levels_answer_multipart(archive: Any, client: httpx2.AsyncClient, level: str) -> None:
    """The default media type is multipart at every level (D-001, D-002)."""
    file = ct_slice()
    (path,) = await stored(archive, file)
    target = {"study": path.split("/series")[0], "series": path.split("/instances")[0], "instance": path}[level]
    (part,) = parts_of(await client.get(target, headers={"Accept": MULTIPART}))
    assert part.body == file


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("accept", ["*/*", "application/dicom", "application/dicom; transfer-syntax=*", MULTIPART])
async def test_only_explicit_little_endian_goes_out(
    archive: Any, client: httpx2.AsyncClient, transfer_syntax: str, accept: str
) -> None:
    """Implicit, big endian and deflated files are re-encoded, even under `*` (A-045, A-046, B-039)."""
    (path,) = await stored(archive, ct_slice(transfer_syntax=transfer_syntax))
    answer = await client.get(path, headers={"Accept": accept})
    assert answer.status_code == 200
    body = parts_of(answer)[0].body if accept == MULTIPART else answer.content
    assert len(answer.content) == int(answer.headers["content-length"])
    dataset = pydicom.dcmread(io.BytesIO(body))
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT_LE
    expected = pydicom.dcmread(io.BytesIO(ct_slice(transfer_syntax=EXPLICIT_LE, instance=dataset.SOPInstanceUID)))
    assert dataset.PixelData == expected.PixelData


async def test_a_range_of_a_reencoded_file_is_right(archive: Any, client: httpx2.AsyncClient) -> None:
    """Ranges count the bytes that are sent, not those that are stored (A-115)."""
    (path,) = await stored(archive, ct_slice(transfer_syntax=IMPLICIT_LE))
    whole = (await client.get(path)).content
    answer = await client.get(path, headers={"Range": "bytes=100-299"})
    assert answer.status_code == 206 and answer.content == whole[100:300]


async def test_a_file_without_preamble_gets_one(archive: Any, client: httpx2.AsyncClient) -> None:
    """What goes out is a PS3.10 file, whatever came in (A-128)."""
    (path,) = await stored(archive, without_preamble(ct_slice()))
    body = (await client.get(path)).content
    assert body[:132] == b"\0" * 128 + b"DICM"
    assert pydicom.dcmread(io.BytesIO(body)).Modality == "CT"


async def test_a_compressed_file_comes_as_stored_or_not_at_all(archive: Any, client: httpx2.AsyncClient) -> None:
    """`*` gives the stored file; what cannot be decompressed is a 406 that says so (A-042, A-044, D-059)."""
    file = encapsulated([b"one frame"], transfer_syntax=JPEG_LS)
    (path,) = await stored(archive, file)
    for accept in ("*/*", "application/dicom; transfer-syntax=*", f"application/dicom;transfer-syntax={JPEG_LS}"):
        answer = await client.get(path, headers={"Accept": accept})
        assert answer.content == file, accept
        assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={JPEG_LS}"
    refused = await client.get(path, headers={"Accept": "application/dicom"})
    problem = refused.json()
    assert refused.status_code == 406
    assert f"stored in transfer syntax {JPEG_LS}" in problem["detail"] and "transfer-syntax=*" in problem["detail"]
    assert f"application/dicom; transfer-syntax={JPEG_LS}" in problem["available"]


async def test_a_forged_transfer_syntax_reaches_no_header(archive: Any, client: httpx2.AsyncClient) -> None:
    """A sender chose the transfer syntax UID; line breaks in it end no header (security)."""
    file = encapsulated([b"one frame"], transfer_syntax=JPEG_LS)
    forged = file.replace(JPEG_LS.encode(), b"1.2\r\nX-Evil: 1;;;;;;;;")
    outcome = await archive.store(forged)
    if outcome.status != "stored":
        return
    path = (
        f"/dicom-web/studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
        f"/instances/{outcome.sop_instance_uid}"
    )
    wanted = {"Accept": f"{MULTIPART}; transfer-syntax=*, {BULK}; transfer-syntax=*"}
    for target in (path, f"{path}/frames/1", f"{path}/bulkdata/7FE00010", f"{path}/pixeldata"):
        for headers in ({}, wanted):
            answer = await client.get(target, headers=headers)
            assert answer.status_code == 200
            assert all(b"\n" not in value for _, value in answer.headers.raw)
            assert b"\nX-Evil" not in answer.content or answer.content == forged or target == path


async def test_the_type_agrees_with_the_file_meta(archive: Any, client: httpx2.AsyncClient) -> None:
    """An object without pixels that names a compressed syntax is labelled as its bytes are (A-050)."""
    (path,) = await stored(archive, dicom_file(file_meta={"TransferSyntaxUID": JPEG_LS}))
    answer = await client.get(path, headers={"Accept": "application/dicom"})
    sent = pydicom.dcmread(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={sent.file_meta.TransferSyntaxUID}"


def named(file: bytes, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """The file with file meta information that names such an instance."""
    meta = file_meta_bytes(
        sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=EXPLICIT_LE
    )
    return meta + dataset_only(file)


@pytest.mark.parametrize("wrong", [("", "1.2.3.4"), (str(MRImageStorage), ""), (str(MRImageStorage), "1.2.3.4")])
async def test_file_meta_that_names_another_instance_is_put_right(
    archive: Any, client: httpx2.AsyncClient, wrong: tuple[str, str]
) -> None:
    """What is given out agrees with the data set, the file that is stored stays as it came (PS3.10 7.1; B-040)."""
    study, series, instance = new_uid(), new_uid(), new_uid()
    file = named(ct_slice(study, series, instance), *wrong)
    outcome = await archive.store(file)
    assert [warning for warning in outcome.warnings if "file meta information" in warning] != []
    path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
    single = await client.get(path, headers={"Accept": "application/dicom"})
    (part,) = parts_of(await client.get(f"/dicom-web/studies/{study}", headers={"Accept": MULTIPART}))
    uri = await client.get(
        "/wado",
        params={"requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": instance}
        | {"contentType": "application/dicom"},
    )
    for body in (single.content, part.body, uri.content):
        meta = pydicom.dcmread(io.BytesIO(body)).file_meta
        assert (meta.MediaStorageSOPInstanceUID, meta.MediaStorageSOPClassUID) == (instance, CTImageStorage)
        assert dataset_only(body) == dataset_only(file)
    (stored_file,) = await archive.instances(study, series, instance)
    assert archive.blobs.path(stored_file.blob).read_bytes() == file


async def test_a_study_is_never_given_in_part(archive: Any, client: httpx2.AsyncClient) -> None:
    """One file that cannot be had as asked refuses the request, and the answer counts them (D-009, D-010)."""
    study = new_uid()
    files = [ct_slice(study), encapsulated([b"frame"], transfer_syntax=JPEG_2000_PART_2, StudyInstanceUID=study)]
    await stored(archive, *files)
    refused = await client.get(f"/dicom-web/studies/{study}", headers={"Accept": MULTIPART})
    assert refused.status_code == 406 and refused.json()["detail"].startswith("1 of 2 instances")
    answer = await client.get(f"/dicom-web/studies/{study}", headers={"Accept": MULTIPART + "; transfer-syntax=*"})
    types = {part.headers["Content-Type"] for part in parts_of(answer)}
    assert types == {f"application/dicom; transfer-syntax={uid}" for uid in (EXPLICIT_LE, JPEG_2000_PART_2)}
    assert {part.body for part in parts_of(answer)} == set(files)


async def test_nothing_there_is_a_404(archive: Any, client: httpx2.AsyncClient) -> None:
    """Also when the instance exists under another series (D-007)."""
    (path,) = await stored(archive, ct_slice())
    study, instance = path.split("/")[3], path.split("/")[-1]
    for target in ("1.2.3", f"{study}/series/1.2", f"{study}/series/1.2/instances/{instance}"):
        answer = await client.get(f"/dicom-web/studies/{target}")
        assert answer.status_code == 404 and answer.json()["title"] == "Not Found"


async def test_an_unchanged_file_is_a_304(archive: Any, client: httpx2.AsyncClient) -> None:
    """The tag is the content's; files may be corrected, so a cache asks again (A-117, A-119)."""
    (path,) = await stored(archive, ct_slice())
    first = await client.get(path)
    assert first.headers["cache-control"] == "private, no-cache"
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == first.headers["etag"]
    other = await client.get(path, headers={"If-None-Match": first.headers["etag"], "Accept": MULTIPART})
    assert other.status_code == 200 and other.headers["etag"] != first.headers["etag"]


async def test_ranges_of_a_file(archive: Any, client: httpx2.AsyncClient) -> None:
    """206 with Content-Range, 416 beyond the end, the whole file when If-Range is stale (A-115)."""
    file = ct_slice()
    (path,) = await stored(archive, file)
    part = await client.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, file[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(file)}"
    beyond = await client.get(path, headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416 and beyond.headers["content-range"] == f"bytes */{len(file)}"
    stale = await client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"old"'})
    assert stale.status_code == 200 and stale.content == file
    several = await client.get(path, headers={"Range": "bytes=0-9", "Accept": MULTIPART})
    assert several.status_code == 200


async def test_the_same_tag_means_the_same_multipart_bytes(archive: Any, client: httpx2.AsyncClient) -> None:
    """The boundary follows from the tag (A-116)."""
    (path,) = await stored(archive, ct_slice())
    one, two = [await client.get(path, headers={"Accept": MULTIPART}) for _ in range(2)]
    assert one.content == two.content and one.headers["etag"] == two.headers["etag"]


async def test_octet_stream_asks_for_the_bulk_data_of_all(archive: Any, client: httpx2.AsyncClient) -> None:
    """Bulk data of every instance, named as the metadata names it (D-005, D-072)."""
    study = new_uid()
    await stored(archive, ct_slice(study), dicom_file(StudyInstanceUID=study), ct_slice(study))
    accept = {"Accept": 'multipart/related; type="application/octet-stream"'}
    parts = parts_of(await client.get(f"/dicom-web/studies/{study}", headers=accept))
    assert [len(part.body) for part in parts] == [64 * 64 * 2] * 2
    assert all(part.headers["Content-Location"].endswith("/bulkdata/7FE00010") for part in parts)
    assert {part.headers["Content-Type"] for part in parts} == {
        f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
    }


async def test_head_and_broken_connections_over_a_socket(archive: Any, app: Any) -> None:
    """HEAD names the length without a body; a client that leaves does not disturb the next (A-120)."""
    file = ct_slice(rows=1024, columns=2048)
    (path,) = await stored(archive, file)
    async with listening(app) as url, httpx2.AsyncClient(base_url=url) as client:
        head = await client.head(path)
        assert head.headers["content-length"] == str(len(file)) and head.content == b""
        async with client.stream("GET", path) as answer:
            async for _ in answer.aiter_raw():
                break
        assert (await client.get(path)).content == file
