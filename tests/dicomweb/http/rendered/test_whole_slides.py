"""Whole slides as pictures and thumbnails (PS3.18 10.4.1.1.4, 10.4.3.3.3; PS3.3 C.8.12.4)."""

import io
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.builders import ct_slice, new_uid
from tests.corpus import corpus_files
from tests.dicomweb.http.wado.test_instances import stored
from tests.whole_slides import colours, slide_level

PNG = {"Accept": "image/png"}


def pixels(answer: httpx2.Response) -> Any:
    """The pixels of an answer that is one picture."""
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


@pytest.mark.parametrize("sparse", [False, True])
async def test_a_level_is_one_picture(archive: Any, client: httpx2.AsyncClient, sparse: bool) -> None:
    """Every tile at its place, cut at the edges; each frame alone is its tile, and none is left out of multipart."""
    (path,) = await stored(archive, slide_level(50, 70, 16, sparse=sparse))
    whole = await client.get(f"{path}/rendered", headers=PNG)
    assert np.array_equal(pixels(whole), colours(50, 70))
    first = colours(50, 70)[48:, 64:] if sparse else colours(50, 70)[:16, :16]
    tile = pixels(await client.get(f"{path}/frames/1/rendered", headers=PNG))
    assert tile.shape == (16, 16, 3) and np.array_equal(tile[: first.shape[0], : first.shape[1]], first)
    halved = pixels(await client.get(f"{path}/rendered?viewport=35,35", headers=PNG))
    assert halved.shape == (25, 35, 3)
    assert np.abs(halved.astype(int) - colours(50, 70)[::2, ::2]).max() <= 8
    parts = await client.get(f"{path}/rendered", headers={"Accept": 'multipart/related; type="image/png"'})
    assert parts.content.count(b"\x89PNG") == 20


async def test_the_thumbnail_of_a_slide_is_its_smallest_level(archive: Any, client: httpx2.AsyncClient) -> None:
    """Of series and study; a label names the patient, an overview may show it (D-122); each instance has its own."""
    study, series = new_uid(), new_uid()
    same = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    made = [
        slide_level(16, 16, 16, kind="LABEL", InstanceNumber=1, **same),
        slide_level(20, 48, 24, kind="OVERVIEW", InstanceNumber=2, **same),
        slide_level(96, 64, 16, InstanceNumber=3, **same),
        slide_level(48, 32, 16, InstanceNumber=4, **same),
    ]
    paths = await stored(archive, *made)
    for place in (f"/dicom-web/studies/{study}", f"/dicom-web/studies/{study}/series/{series}", paths[3]):
        found = pixels(await client.get(f"{place}/thumbnail?viewport=32,48", headers=PNG))
        assert np.array_equal(found, colours(48, 32)), place
    overview = pixels(await client.get(f"{paths[1]}/thumbnail?viewport=48,20", headers=PNG))
    assert np.array_equal(overview, colours(20, 48))
    tile = pixels(await client.get(f"{paths[2]}/frames/2/thumbnail?viewport=16,16", headers=PNG))
    assert np.array_equal(tile, colours(96, 64)[:16, 16:32])


async def test_an_overview_goes_before_a_label(archive: Any, client: httpx2.AsyncClient) -> None:
    """Where there is no level; what is in another series does not count."""
    study, series = new_uid(), new_uid()
    same = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    label = slide_level(16, 16, 16, kind="LABEL", InstanceNumber=1, **same)
    overview = slide_level(20, 48, 24, kind="OVERVIEW", InstanceNumber=2, **same)
    await stored(archive, label, overview, ct_slice(study))
    place = f"/dicom-web/studies/{study}/series/{series}/thumbnail?viewport=48,20"
    assert np.array_equal(pixels(await client.get(place, headers=PNG)), colours(20, 48))


async def test_a_slide_that_cannot_be_put_together_is_not_its_first_tile(
    archive: Any, client: httpx2.AsyncClient
) -> None:
    """One picture of it is a 406 that says why; its frames and a thumbnail can be had all the same."""
    lacking = slide_level(50, 70, 16, NumberOfFrames=20, TotalPixelMatrixColumns=100)
    large = slide_level(64, 64, 16, TotalPixelMatrixColumns=1 << 20)
    for path, word in zip(await stored(archive, lacking, large), ("belong", "too large"), strict=True):
        answer = await client.get(f"{path}/rendered", headers=PNG)
        assert answer.status_code == 406 and word in answer.json()["detail"]
        assert (await client.get(f"{path}/frames/1/rendered")).status_code == 200
        assert (await client.get(f"{path}/thumbnail")).status_code == 200


@pytest.mark.parametrize("name", ["sm_image.dcm", "sm_image_numbers.dcm"])
async def test_real_slides(archive: Any, client: httpx2.AsyncClient, name: str) -> None:
    """Of 25 tiles each; the picture is what their samples say, put together by hand."""
    (file,) = (path for path in corpus_files("objects/highdicom-sm-seg-sr") if path.name == name)
    (path,) = await stored(archive, file.read_bytes())
    tiles = [pixels(await client.get(f"{path}/frames/{number}/rendered", headers=PNG)) for number in range(1, 26)]
    rows = [np.concatenate(tiles[5 * row : 5 * row + 5], axis=1) for row in range(5)]
    whole = pixels(await client.get(f"{path}/rendered", headers=PNG))
    assert np.array_equal(whole, np.concatenate(rows))
