"""Retrieving thumbnails (PS3.18 10.4.1.1.4)."""

import errno
import io
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from dicomweb.rendering.encoders import encode
from dicomweb.rendering.thumbnail import QUALITY, SIZE, icon, thumbnail
from dicomweb.rendering.viewport import Viewport
from tests.builders import ct_slice, dicom_file, encapsulated, multi_frame, new_uid
from tests.corpus import corpus_files, wheel_files
from tests.dicomweb.decoded import frame_in
from tests.dicomweb.http.wado.test_instances import stored

JPEG_LS = "1.2.840.10008.1.2.4.80"


def picture(answer: httpx2.Response) -> Any:
    """Return the pixels of an answer that is one picture."""
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


async def test_the_middle_of_the_middle_at_all_levels(archive: Any, client: httpx2.AsyncClient) -> None:
    """Study, series, instance and frame have one, JPEG by default, of the middle (D-120, D-121)."""
    study, series = new_uid(), new_uid()
    paths = await stored(
        archive, *(ct_slice(study, series, instance_number=number, rows=256, columns=256) for number in (1, 2, 3))
    )
    root = f"/dicom-web/studies/{study}"
    expected = (await client.get(f"{paths[1]}/thumbnail")).content
    for place in (root, f"{root}/series/{series}", paths[1], f"{paths[1]}/frames/1"):
        answer = await client.get(f"{place}/thumbnail")
        assert answer.content == expected and answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["content-location"] == f"http://archive.test{place}/thumbnail"
        assert picture(answer).shape == (SIZE, SIZE)
    others = [(await client.get(f"{paths[place]}/thumbnail")).content for place in (0, 2)]
    assert expected not in others


async def test_the_middle_frame(archive: Any, client: httpx2.AsyncClient) -> None:
    """Of five frames the third, of a list its middle one (D-121)."""
    (path,) = await stored(archive, multi_frame(5, WindowCenter=3, WindowWidth=6))
    third = (await client.get(f"{path}/frames/3/thumbnail")).content
    assert (await client.get(f"{path}/thumbnail")).content == third
    assert (await client.get(f"{path}/frames/1,3,5/thumbnail")).content == third
    assert (await client.get(f"{path}/frames/1/thumbnail")).content != third
    assert (await client.get(f"{path}/frames/6/thumbnail")).status_code == 404


async def test_a_real_image_at_the_size_asked_for(archive: Any, client: httpx2.AsyncClient) -> None:
    """The bytes are those of the pipeline; only a width and a height may be given (D-102, D-123; OHIF)."""
    file = next(path for path in corpus_files("series") if path.suffix != ".json")
    (path,) = await stored(archive, file.read_bytes())
    answer = await client.get(f"{path}/thumbnail?viewport=256%2C256&accept=image%2Fjpeg")
    assert answer.content == encode(thumbnail(frame_in(file), Viewport(256, 256)), "image/jpeg", QUALITY)
    assert (await client.get(f"{path}/thumbnail?viewport=9,9,0,0,5,5")).status_code == 400
    png = await client.get(f"{path}/thumbnail", headers={"Accept": "image/png"})
    assert (picture(png) == thumbnail(frame_in(file)).pixels).all()
    refused = await client.get(f"{path}/thumbnail", headers={"Accept": "application/dicom"})
    assert refused.status_code == 406 and "image/jpeg" in refused.json()["available"]


async def test_what_has_no_picture_gets_a_sign(archive: Any, client: httpx2.AsyncClient) -> None:
    """Reports and damaged images have a thumbnail with their modality, at all levels (D-124)."""
    report = dicom_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    damaged = encapsulated([b"damaged!"], transfer_syntax=JPEG_LS, Modality="CR")
    paths = await stored(archive, report, damaged)
    for path, modality in zip(paths, ("SR", "CR"), strict=True):
        study = path.partition("/series/")[0]
        for place in (path, study):
            answer = await client.get(f"{place}/thumbnail?accept=image/png&viewport=200,100")
            assert (picture(answer) == icon(modality, Viewport(200, 100)).pixels).all()
    assert (await client.get(f"{paths[0]}9/thumbnail")).status_code == 404


async def test_what_passes_leaves_no_sign(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk that fails once is a 503; no icon stands for the image from then on."""
    file = tmp_path / "slice.dcm"
    file.write_bytes(ct_slice())
    (path,) = await stored(archive, file.read_bytes())

    async def failing(*_: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("storage.blobs.local.LocalReader._read", failing)
        assert (await client.get(f"{path}/thumbnail")).status_code == 503
    answer = await client.get(f"{path}/thumbnail?accept=image/png")
    assert (picture(answer) == thumbnail(frame_in(file)).pixels).all()


async def test_images_go_before_reports(archive: Any, client: httpx2.AsyncClient) -> None:
    """A study with one image among reports shows the image."""
    study = new_uid()
    image = ct_slice(study)
    reports = [dicom_file(StudyInstanceUID=study, Modality="SR", SeriesNumber=9) for _ in range(4)]
    path, *_ = await stored(archive, image, *reports)
    shown = await client.get(f"/dicom-web/studies/{study}/thumbnail")
    assert shown.content == (await client.get(f"{path}/thumbnail")).content


async def test_nothing_in_it_names_the_patient(archive: Any, client: httpx2.AsyncClient) -> None:
    """Annotations cannot be asked for (D-122)."""
    (path,) = await stored(archive, ct_slice(rows=256, columns=256))
    plain = await client.get(f"{path}/thumbnail")
    assert (await client.get(f"{path}/thumbnail?annotation=patient")).content == plain.content


async def test_an_unchanged_thumbnail_is_a_304(archive: Any, client: httpx2.AsyncClient) -> None:
    """Until the middle image is another one (A-117)."""
    study, series = new_uid(), new_uid()
    await stored(archive, ct_slice(study, series, instance_number=2))
    place = f"/dicom-web/studies/{study}/thumbnail"
    first = await client.get(place)
    tag = {"If-None-Match": first.headers["etag"]}
    assert (await client.get(place, headers=tag)).status_code == 304
    await stored(archive, ct_slice(study, series, instance_number=1))
    assert (await client.get(place, headers=tag)).status_code == 200


def some_wheel_files() -> list[Path]:
    """Return files of every kind that are small enough for a quick test."""
    return [path for path in wheel_files() if path.stat().st_size < 300_000][::4]


async def test_every_kind_of_file_has_a_thumbnail(archive: Any, client: httpx2.AsyncClient) -> None:
    """Whatever could be stored is answered with a picture, never with an error (D-124)."""
    shown = 0
    for file in some_wheel_files():
        outcome = await archive.store(file.read_bytes())
        if outcome.status != "stored":
            continue
        series = f"/dicom-web/studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
        answer = await client.get(f"{series}/instances/{outcome.sop_instance_uid}/thumbnail")
        assert answer.status_code == 200, file
        picture(answer)
        shown += 1
    assert shown > 10


@pytest.mark.parametrize("place", ["", "/series/1.2.3", "/series/1.2.3/instances/1.2.3"])
async def test_what_is_not_there_is_a_404(client: httpx2.AsyncClient, place: str) -> None:
    """Of nothing there is no thumbnail."""
    assert (await client.get(f"/dicom-web/studies/1.2.3{place}/thumbnail")).status_code == 404
