"""Waveforms over HTTP: `/rendered`, `/thumbnail` and WADO-URI (PS3.18 8.7.4, 10.4.3.3.3)."""

import gzip
import io
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from dicomweb.rendering.encoders import encode
from dicomweb.rendering.sheet_picture import sheet_picture
from dicomweb.rendering.sheet_svg import sheet_svg
from dicomweb.rendering.thumbnail import SIZE, icon
from dicomweb.rendering.viewport import Viewport
from tests.builders import dicom_file
from tests.dicomweb.drawings import drawing_of, sheet_in
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.parts import parts_of
from tests.waveforms import GENERAL_ECG, channel, multiplex_group, waveform_file

SVG = "image/svg+xml"


def real_ecg() -> bytes:
    """Return a real 12-lead ECG, whose samples are bulk data."""
    return Path(str(get_testdata_file("waveform_ecg.dcm", download=False))).read_bytes()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", SVG),
        ("text/html,application/xhtml+xml,image/avif,*/*;q=0.8", SVG),
        ("image/svg+xml", SVG),
        ("image/png", "image/png"),
        ("image/jpeg, image/png;q=0.5", "image/jpeg"),
        ("image/gif", "image/gif"),
    ],
)
async def test_media_types(archive: Any, client: httpx2.AsyncClient, accept: str, expected: str) -> None:
    """SVG unless something else is asked for; the bytes are those of the drawing."""
    (path,) = await stored(archive, real_ecg())
    answer = await client.get(f"{path}/rendered", headers={"Accept": accept})
    assert answer.status_code == 200 and answer.headers["content-type"] == expected
    assert answer.headers["content-location"] == f"http://archive.test{path}/rendered"
    sheet = sheet_in(real_ecg())
    drawn = sheet_svg(sheet) if expected == SVG else encode(sheet_picture(sheet), expected)
    assert answer.content == drawn


async def test_other_media_types_are_refused_by_name(archive: Any, client: httpx2.AsyncClient) -> None:
    """Neither text nor video; the problem says what there is."""
    (path,) = await stored(archive, real_ecg())
    answer = await client.get(f"{path}/rendered", headers={"Accept": "text/html"})
    assert answer.status_code == 406
    assert SVG in answer.json()["available"] and "image/png" in answer.json()["available"]
    parts = parts_of(await client.get(f"{path}/rendered", headers={"Accept": f'multipart/related; type="{SVG}"'}))
    assert [part.body for part in parts] == [sheet_svg(sheet_in(real_ecg()))]


async def test_a_drawing_that_is_opened_as_a_page_can_do_nothing(archive: Any, client: httpx2.AsyncClient) -> None:
    """It loads nothing, runs nothing, and comes compressed (D-116)."""
    (path,) = await stored(archive, real_ecg())
    async with client.stream("GET", f"{path}/rendered", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == sheet_svg(sheet_in(real_ecg()))
    assert len(raw) < 80_000


async def test_parameters(archive: Any, client: httpx2.AsyncClient) -> None:
    """Viewport, quality and annotation do what they do for pictures; a wrong one is a 400 (8.3.5.1)."""
    (path,) = await stored(archive, real_ecg())
    small = await client.get(f"{path}/rendered?accept=image/png&viewport=640,480")
    assert Image.open(io.BytesIO(small.content)).size[1] == 480
    sheet = sheet_in(real_ecg())
    rough = await client.get(f"{path}/rendered?accept=image/jpeg&viewport=640,480&quality=20")
    assert rough.content == encode(sheet_picture(sheet, Viewport(640, 480)), "image/jpeg", 20)
    named = await client.get(f"{path}/rendered?annotation=patient,weather")
    assert "Anonymous" in drawing_of(named.content).texts and "weather" in named.headers["warning"]
    parts = await client.get(f"{path}/rendered?annotation=weather", headers={"Accept": "multipart/related"})
    assert parts_of(parts) and "weather" in parts.headers["warning"]
    assert (await client.get(f"{path}/rendered?viewport=0,1")).status_code == 400


async def test_an_unchanged_drawing_is_a_304(archive: Any, client: httpx2.AsyncClient) -> None:
    """Tags differ by form and parameters (A-117, A-119)."""
    (path,) = await stored(archive, real_ecg())
    one = await client.get(f"{path}/rendered")
    tag = {"If-None-Match": one.headers["etag"]}
    assert (await client.get(f"{path}/rendered", headers=tag)).status_code == 304
    for other in ("?accept=image/png", "?annotation=patient"):
        assert (await client.get(f"{path}/rendered{other}", headers=tag)).status_code == 200


async def test_wado_uri(archive: Any, client: httpx2.AsyncClient) -> None:
    """The same by query parameters, whose names are others (PS3.18 9.4, 9.5)."""
    (path,) = await stored(archive, real_ecg())
    _, _, _, study, _, series, _, instance = path.split("/")
    named = {"requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": instance}
    drawn = await client.get("/wado", params=named)
    assert drawn.headers["content-type"] == SVG and drawn.content == sheet_svg(sheet_in(real_ecg()))
    small = await client.get("/wado", params=named | {"contentType": "image/png", "columns": "320"})
    assert Image.open(io.BytesIO(small.content)).size[0] == 320
    assert (await client.get("/wado", params=named | {"rows": "x"})).status_code == 400


async def test_short_samples_are_in_the_metadata_itself(archive: Any, client: httpx2.AsyncClient) -> None:
    """What is no bulk data is drawn as well, of big endian files too."""
    samples = (np.arange(100) * 10).astype("i2")[:, None]
    data = waveform_file(multiplex_group(samples, [channel("Lead II")], 100))
    big = np.asarray(samples, ">i2").tobytes()
    swapped = waveform_file(
        multiplex_group(samples, [channel("Lead II")], 100, WaveformData=big),
        transfer_syntax="1.2.840.10008.1.2.2",
    )
    paths = await stored(archive, data, swapped)
    drawn = [drawing_of((await client.get(f"{path}/rendered")).content).curves[0].runs[0] for path in paths]
    assert np.ptp(drawn[0][:, 1]) == pytest.approx(9.9)
    assert (drawn[0] == drawn[1]).all()


async def test_long_samples_of_big_endian_files(archive: Any, client: httpx2.AsyncClient) -> None:
    """Bulk data is little endian, whatever the file is in."""
    samples = np.round(1000 * np.sin(np.arange(5000) / 40)).astype("i2")[:, None]
    data = waveform_file(
        multiplex_group(samples, [channel("Lead II")], WaveformData=np.asarray(samples, ">i2").tobytes()),
        transfer_syntax="1.2.840.10008.1.2.2",
    )
    (path,) = await stored(archive, data)
    (run,) = drawing_of((await client.get(f"{path}/rendered")).content).curves[0].runs
    assert np.ptp(run[:, 1]) == pytest.approx(20, abs=0.02)


async def test_what_cannot_be_drawn_says_why(archive: Any, client: httpx2.AsyncClient) -> None:
    """A 406 with the reason; the thumbnail is a sign then, and a curve otherwise (D-124)."""
    group = multiplex_group(np.zeros((100, 1), "i2"), [channel()])
    broken = waveform_file(group | {"WaveformSampleInterpretation": "XX"})
    empty = dicom_file(SOPClassUID=GENERAL_ECG, Modality="ECG", WaveformSequence=[])
    paths = await stored(archive, broken, empty)
    for path, said in zip(paths, ("'XX' is not known", "General ECG Waveform"), strict=True):
        refused = await client.get(f"{path}/rendered")
        assert refused.status_code == 406 and said in refused.json()["detail"]
        sign = await client.get(f"{path}/thumbnail?accept=image/png")
        assert (np.asarray(Image.open(io.BytesIO(sign.content))) == icon("ECG").pixels).all()


async def test_thumbnails(archive: Any, client: httpx2.AsyncClient) -> None:
    """A square of paper with a curve, at all levels."""
    (path,) = await stored(archive, real_ecg())
    series, _, _ = path.partition("/instances/")
    for place in (path, series, series.partition("/series/")[0]):
        answer = await client.get(f"{place}/thumbnail?accept=image/png")
        pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert pixels.shape == (SIZE, SIZE, 3)
        dark = pixels.max(axis=2) < 100
        assert dark.any(axis=0).mean() > 0.9, "the curve goes from side to side"


async def test_capabilities_name_the_drawing(client: httpx2.AsyncClient) -> None:
    """The description of the service promises what is answered (PS3.18 8.9)."""
    answer = await client.request("OPTIONS", "/dicom-web/")
    assert answer.status_code == 200 and SVG in answer.text
