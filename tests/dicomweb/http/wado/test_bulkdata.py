"""Retrieving bulk data and pixel data (PS3.18 10.4.1.5)."""

from typing import Any

import httpx2
import numpy as np
import pytest

from tests.builders import (
    BIG_ENDIAN,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ct_slice,
    dicom_file,
    encapsulated,
    multi_frame,
    new_uid,
)
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.parts import parts_of

OCTETS = f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
MULTIPART = {"Accept": 'multipart/related; type="application/octet-stream"'}
STORED = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
JPEG_LS = "1.2.840.10008.1.2.4.80"
PDF = b"%PDF-1.4 " + b"x" * 6000  # 6009 bytes: the value needs a pad byte


def document(media_type: str, content: bytes = PDF, **attributes: Any) -> bytes:
    return dicom_file(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        Modality="DOC",
        MIMETypeOfEncapsulatedDocument=media_type,
        EncapsulatedDocument=content + b"\0" * (len(content) % 2),
        **attributes,
    )


async def test_a_bulk_data_uri_answers_without_preference(archive: Any, client: httpx2.AsyncClient) -> None:
    """`*/*` gets a single part, multipart what it asks for (D-070, D-075, D-072)."""
    (path,) = await stored(archive, multi_frame(4))
    single = await client.get(f"{path}/bulkdata/7FE00010")
    assert single.headers["content-type"] == OCTETS and len(single.content) == 4 * 16 * 16 * 2
    for accept in (MULTIPART["Accept"], STORED["Accept"], 'multipart/related; type="*/*"'):
        (part,) = parts_of(await client.get(f"{path}/bulkdata/7FE00010", headers={"Accept": accept}))
        assert part.body == single.content and part.headers["Content-Type"] == OCTETS
        assert part.headers["Content-Location"] == f"http://archive.test{path}/bulkdata/7FE00010"


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN])
async def test_values_at_any_depth_are_little_endian(
    archive: Any, client: httpx2.AsyncClient, transfer_syntax: str
) -> None:
    """A vector grid inside a sequence, by the URL the metadata gives (D-026, D-054; user pain 10)."""
    grid = np.arange(3000, dtype="<f4")
    wire = grid.byteswap() if transfer_syntax == BIG_ENDIAN else grid
    file = dicom_file(
        transfer_syntax=transfer_syntax,
        DeformableRegistrationSequence=[{"DeformableRegistrationGridSequence": [{"VectorGridData": wire.tobytes()}]}],
    )
    (path,) = await stored(archive, file)
    (dataset,) = (await client.get(f"{path}/metadata")).json()
    registration = dataset["00640002"]["Value"][0]
    url = registration["00640005"]["Value"][0]["00640009"]["BulkDataURI"]
    assert url.endswith("/bulkdata/00640002/1/00640005/1/00640009")
    assert np.array_equal(np.frombuffer((await client.get(url)).content, "<f4"), grid)
    part = await client.get(url, headers={"Range": "bytes=402-405"})
    assert part.status_code == 206 and part.content == grid.tobytes()[402:406]


async def test_compressed_pixel_data_is_one_part_per_frame(archive: Any, client: httpx2.AsyncClient) -> None:
    """All frames under the location of the pixel data; what cannot be uncompressed is a 406 (D-074, D-059)."""
    frames = [b"first!", b"second"]
    (path,) = await stored(archive, encapsulated(frames, transfer_syntax=JPEG_LS))
    for headers in (STORED, {}, {"Accept": 'multipart/related; type="image/jls"'}):
        parts = parts_of(await client.get(f"{path}/bulkdata/7FE00010", headers=headers))
        assert [part.body for part in parts] == frames
        assert {part.headers["Content-Type"] for part in parts} == {f"image/jls; transfer-syntax={JPEG_LS}"}
        assert {part.headers["Content-Location"] for part in parts} == {f"http://archive.test{path}/bulkdata/7FE00010"}
    assert (await client.get(f"{path}/bulkdata/7FE00010", headers=MULTIPART)).status_code == 406
    (only,) = await stored(archive, encapsulated([b"single"], transfer_syntax=JPEG_LS))
    single = await client.get(f"{only}/bulkdata/7FE00010")
    assert single.content == b"single" and single.headers["content-type"].startswith("image/jls")


@pytest.mark.parametrize("accept", ["*/*", "application/pdf", "application/*"])
@pytest.mark.parametrize("attributes", [{}, {"EncapsulatedDocumentLength": len(PDF)}])
async def test_a_pdf_comes_as_a_pdf(
    archive: Any, client: httpx2.AsyncClient, accept: str, attributes: dict[str, int]
) -> None:
    """Its own media type, without the pad byte (D-076; user pain 17)."""
    (path,) = await stored(archive, document("application/pdf", **attributes))
    answer = await client.get(f"{path}/bulkdata/00420011", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/pdf" and answer.content == PDF
    assert "content-security-policy" not in answer.headers


async def test_a_pdf_comes_as_ohif_asks_for_it(archive: Any, client: httpx2.AsyncClient) -> None:
    """Multipart with the true type when that is accepted, octet-stream otherwise (D-076)."""
    (path,) = await stored(archive, document("application/pdf"))
    ohif = 'multipart/related; type="application/pdf", multipart/related; type="application/octet-stream"'
    (part,) = parts_of(await client.get(f"{path}/bulkdata/00420011", headers={"Accept": ohif}))
    assert part.headers["Content-Type"] == "application/pdf" and part.body == PDF
    (part,) = parts_of(await client.get(f"{path}/bulkdata/00420011", headers=MULTIPART))
    assert part.headers["Content-Type"] == OCTETS and part.body == PDF


async def test_a_document_cannot_attack_the_page(archive: Any, client: httpx2.AsyncClient) -> None:
    """Active content is bytes to be saved; a media type with a line break is no media type (security)."""
    html, forged = await stored(
        archive, document("text/html", b"<script>" * 1000), document("text/html\tX-Evil: 1", b"y" * 5000)
    )
    answer = await client.get(f"{html}/bulkdata/00420011")
    assert answer.headers["content-type"] == OCTETS and answer.content == b"<script>" * 1000
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    refused = await client.get(f"{html}/bulkdata/00420011", headers={"Accept": "text/html"})
    assert refused.status_code == 406
    assert (await client.get(f"{forged}/bulkdata/00420011")).headers["content-type"] == OCTETS


@pytest.mark.parametrize("path", ["00100010", "7FE0", "7FE00010/1", "00640002/0/00640009", "7FE00010%00", "x" * 5000])
async def test_a_path_that_names_nothing_is_a_404(archive: Any, client: httpx2.AsyncClient, path: str) -> None:
    """BulkDataURIs are opaque: a wrong one is not found (D-070)."""
    (instance,) = await stored(archive, ct_slice())
    answer = await client.get(f"{instance}/bulkdata/{path}")
    assert answer.status_code == 404


async def test_pixel_data_of_a_study(archive: Any, client: httpx2.AsyncClient) -> None:
    """Top-level pixel data of every instance that has some, one value or one part per frame (D-071, D-073, D-074)."""
    study = new_uid()
    await stored(
        archive,
        ct_slice(study, InstanceNumber=1),
        encapsulated([b"first!", b"second"], transfer_syntax=JPEG_LS, StudyInstanceUID=study, SeriesNumber=2),
        dicom_file(StudyInstanceUID=study, SeriesNumber=3),
    )
    for resource in ("pixeldata", "bulkdata"):
        parts = parts_of(await client.get(f"/dicom-web/studies/{study}/{resource}", headers=STORED))
        assert sorted(len(part.body) for part in parts) == [6, 6, 64 * 64 * 2]
        refused = await client.get(f"/dicom-web/studies/{study}/{resource}", headers=MULTIPART)
        assert refused.status_code == 406


async def test_pixel_data_of_objects_without(archive: Any, client: httpx2.AsyncClient) -> None:
    """No pixel data, or no bulk data at all, is a 404 (D-073)."""
    (path,) = await stored(archive, dicom_file())
    for target in (f"{path}/pixeldata", f"{path}/bulkdata", path):
        assert (await client.get(target, headers=MULTIPART)).status_code == 404


async def test_unchanged_bulk_data_is_a_304(archive: Any, client: httpx2.AsyncClient) -> None:
    """Bulk data is kept by caches for long (A-117, A-119)."""
    (path,) = await stored(archive, ct_slice())
    first = await client.get(f"{path}/bulkdata/7FE00010")
    assert first.headers["cache-control"] == "private, max-age=31536000"
    tag = {"If-None-Match": first.headers["etag"]}
    assert (await client.get(f"{path}/bulkdata/7FE00010", headers=tag)).status_code == 304


async def test_bulk_data_of_a_study_are_asked_for_again(archive: Any, client: httpx2.AsyncClient) -> None:
    """A study grows: what it had yesterday is not all it has (A-119)."""
    study = new_uid()
    await stored(archive, ct_slice(study))
    for resource in ("pixeldata", "bulkdata"):
        first = await client.get(f"/dicom-web/studies/{study}/{resource}", headers=STORED)
        assert first.headers["cache-control"] == "private, no-cache"
