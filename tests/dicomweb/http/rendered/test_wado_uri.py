"""WADO-URI (PS3.18 chapter 9)."""

import io
from typing import Any
from urllib.parse import urlencode

import httpx2
import numpy as np
import pydicom
import pytest
from PIL import Image

from dicomweb.rendering.encoders import encode
from dicomweb.rendering.pipeline import render
from dicomweb.rendering.presentation_state import PresentationState, render_presentation
from dicomweb.rendering.rendering_parameters import parse_rendering_parameters
from storage.pixels.pixel_data import encode_frame
from tests.builders import IMPLICIT_LE, ct_slice, dicom_file, encapsulated, multi_frame
from tests.corpus import corpus_files
from tests.dicomweb.decoded import attributes_in, frame_in
from tests.dicomweb.http.wado.test_instances import stored

RLE = "1.2.840.10008.1.2.5"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"


def url_of(path: str, **parameters: Any) -> str:
    """Return the query for the instance at a path of WADO-RS."""
    _, _, _, study, _, series, _, instance = path.split("/")
    named = {"requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": instance}
    return "/wado?" + urlencode({name: value for name, value in (named | parameters).items() if value is not None})


def picture(answer: httpx2.Response) -> Any:
    """Return the pixels of an answer that is one picture."""
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


async def test_a_picture_is_what_comes_without_content_type(archive: Any, client: httpx2.AsyncClient) -> None:
    """image/jpeg unless something else is named (E-001, E-005, E-016, E-017)."""
    file = next(path for path in corpus_files("series") if path.suffix != ".json")
    (path,) = await stored(archive, file.read_bytes())
    answer = await client.get(url_of(path))
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content == encode(render(frame_in(file)), "image/jpeg")
    for media_type in ("image/png", "image/gif", "image/jp2"):
        for named in (media_type, f"image/jpeg;q=0.5, {media_type}"):
            answer = await client.get(url_of(path, contentType=named))
            assert answer.content == encode(render(frame_in(file)), media_type)


@pytest.mark.parametrize(
    ("parameters", "as_rendered"),
    [
        ({"windowCenter": 300, "windowWidth": 500}, {"window": "300,500,linear"}),
        ({"rows": 40, "columns": 90}, {"viewport": "90,40"}),
        ({"rows": 40}, {"viewport": "65535,40"}),
        ({"imageQuality": 20}, {"quality": "20"}),
        ({"annotation": "technique"}, {"annotation": "technique"}),
        ({"frameNumber": 1}, {}),
    ],
    ids=str,
)
async def test_parameters_rule_the_picture(
    archive: Any, client: httpx2.AsyncClient, parameters: dict[str, Any], as_rendered: dict[str, str]
) -> None:
    """They do what those of `/rendered` do (E-010, E-011, E-013, E-014)."""
    file = next(path for path in corpus_files("series") if path.suffix != ".json")
    (path,) = await stored(archive, file.read_bytes())
    asked = parse_rendering_parameters(as_rendered) if "65535" not in str(as_rendered) else None
    answer = await client.get(url_of(path, **parameters))
    if asked is None:
        assert picture(answer).shape[0] == 40
    else:
        assert answer.content == encode(render(frame_in(file), asked), "image/jpeg", asked.quality)


async def test_a_region_is_cut_out(archive: Any, client: httpx2.AsyncClient) -> None:
    """Fractions of the picture from its top left corner, scaled to rows and columns (E-012)."""
    (path,) = await stored(archive, ct_slice())
    whole = picture(await client.get(url_of(path, contentType="image/png")))
    part = picture(await client.get(url_of(path, contentType="image/png", region="0.25,0.5,0.75,1")))
    assert (part == whole[32:64, 16:48]).all()
    scaled = picture(await client.get(url_of(path, region="0.25,0.5,0.75,1", rows=64, columns=99)))
    assert scaled.shape == (64, 64)


async def test_a_file_comes_uncompressed_or_as_named(archive: Any, client: httpx2.AsyncClient) -> None:
    """Explicit VR Little Endian by default, another transfer syntax by name, `*` as stored (E-004, E-007, E-008)."""
    file = ct_slice()
    pixels = pydicom.dcmread(io.BytesIO(file)).pixel_array
    frame = encode_frame(pixels, RLE, photometric_interpretation="MONOCHROME2", bits_stored=12).data
    grey = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "Rows": 64, "Columns": 64}
    compressed = encapsulated([frame], transfer_syntax=RLE, **grey)
    paths = await stored(archive, file, ct_slice(transfer_syntax=IMPLICIT_LE), compressed)
    as_stored = await client.get(url_of(paths[0], contentType="application/dicom"))
    assert as_stored.content == file
    assert as_stored.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    for path, wanted, expected in (
        (paths[1], None, EXPLICIT_LE),
        (paths[2], None, EXPLICIT_LE),
        (paths[2], EXPLICIT_LE, EXPLICIT_LE),
        (paths[2], "*", RLE),
        (paths[2], RLE, RLE),
        (paths[0], RLE, RLE),
    ):
        answer = await client.get(url_of(path, contentType="application/dicom", transferSyntax=wanted))
        dataset = pydicom.dcmread(io.BytesIO(answer.content))
        assert dataset.file_meta.TransferSyntaxUID == expected
        assert (dataset.pixel_array == pixels).all()
        assert len(answer.content) == int(answer.headers["content-length"])
    accepted = await client.get(url_of(paths[0]), headers={"Accept": "application/dicom"})
    assert accepted.content == file
    tag = {"If-None-Match": as_stored.headers["etag"]}
    assert (await client.get(url_of(paths[0], contentType="application/dicom"), headers=tag)).status_code == 304


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"requestType": None}, 400),
        ({"requestType": "wado"}, 400),
        ({"studyUID": None}, 400),
        ({"objectUID": ""}, 400),
        ({"objectUID": "1.2 OR 1"}, 400),
        ({"objectUID": "1.2.3"}, 404),
        ({"contentType": "application/dicom", "transferSyntax": "JPEG"}, 400),
        ({"contentType": "application/dicom", "transferSyntax": "1.2.3"}, 406),
        ({"contentType": "application/dicom", "windowCenter": 1, "windowWidth": 2}, 400),
        ({"contentType": "application/dicom,image/jpeg"}, 400),
        ({"contentType": "application/dicom;transfer-syntax=1.2"}, 400),
        ({"contentType": "multipart/related"}, 400),
        ({"contentType": "image/webp"}, 406),
        ({"anonymize": "yes", "contentType": "application/dicom"}, 501),
        ({"anonymize": "no"}, 400),
        ({"frameNumber": 0}, 400),
        ({"frameNumber": 2}, 400),
        ({"windowCenter": 1}, 400),
        ({"windowCenter": 1, "windowWidth": 0}, 400),
        ({"region": "0,0,1"}, 400),
        ({"region": "0.5,0,0.5,1"}, 400),
        ({"imageQuality": 0}, 400),
        ({"rows": -1}, 400),
        ({"presentationUID": "1.2.3"}, 400),
        ({"presentationUID": "1.2.3", "presentationSeriesUID": "1.2"}, 400),
    ],
    ids=str,
)
async def test_wrong_requests(archive: Any, client: httpx2.AsyncClient, parameters: Any, status: int) -> None:
    """Each is refused with a problem that says why (E-002 to E-015)."""
    (path,) = await stored(archive, ct_slice())
    answer = await client.get(url_of(path, **parameters))
    assert answer.status_code == status
    assert answer.json()["detail"]


async def test_frames(archive: Any, client: httpx2.AsyncClient) -> None:
    """One by number, the first without, all of them in an animation (E-010)."""
    (path,) = await stored(archive, multi_frame(3, WindowCenter=2, WindowWidth=4))
    second = await client.get(url_of(path, frameNumber=2))
    assert second.content == (await client.get(f"{path}/frames/2/rendered")).content
    assert (await client.get(url_of(path))).content == (await client.get(f"{path}/frames/1/rendered")).content
    assert (await client.get(url_of(path, frameNumber=4))).status_code == 400
    animated = await client.get(url_of(path, contentType="image/gif"))
    assert Image.open(io.BytesIO(animated.content)).n_frames == 3


async def test_a_picture_by_a_presentation_state(archive: Any, client: httpx2.AsyncClient) -> None:
    """The image as the state says, not together with a window (E-013, E-015)."""
    files = {path.name: path for path in corpus_files("objects/presentation-state")}
    image, state = files["imageForPrLUTs.dcm"], files["prLUTs.dcm"]
    path, state_path = await stored(archive, image.read_bytes(), state.read_bytes())
    _, _, _, _, _, series, _, uid = state_path.split("/")
    named = {"presentationSeriesUID": series, "presentationUID": uid, "contentType": "image/png"}
    expected = render_presentation(frame_in(image), PresentationState(*attributes_in(state)))
    assert (picture(await client.get(url_of(path, **named))) == expected.pixels).all()
    refused = await client.get(url_of(path, **named, windowCenter=1, windowWidth=2))
    assert refused.status_code == 400
    alone = await client.get(url_of(state_path, contentType="image/png"))
    assert (picture(alone) == expected.pixels).all()


async def test_the_object_alone_will_do_behind_a_switch(archive: Any, app: Any, client: httpx2.AsyncClient) -> None:
    """E-003: study and series may be left out or empty where the objectUID is in one series only."""
    one, two, other = await stored(
        archive, ct_slice("1.2", "1.3", "1.4"), ct_slice("1.2", "1.5", "1.4"), ct_slice("1.2", "1.3", "1.6")
    )
    forms: list[dict[str, Any]] = [{"studyUID": None, "seriesUID": None}, {"studyUID": "", "seriesUID": ""}]
    for left_out in (*forms, {"seriesUID": None}):
        assert (await client.get(url_of(other, **left_out))).status_code == 400
    app.state.settings = app.state.settings.model_copy(update={"lenient_retrieve": True})
    for left_out in (*forms, {"seriesUID": None}):
        file = await client.get(url_of(other, **left_out, contentType="application/dicom"))
        assert pydicom.dcmread(io.BytesIO(file.content)).SOPInstanceUID == "1.6"
    for left_out in forms:
        answer = await client.get(url_of(one, **left_out))
        assert answer.status_code == 400 and "more than one series" in answer.json()["detail"]
    found = await client.get(url_of(two, studyUID=None, contentType="application/dicom"))
    assert pydicom.dcmread(io.BytesIO(found.content)).SeriesInstanceUID == "1.5"
    assert (await client.get(url_of(other, **forms[0], objectUID="1.9"))).status_code == 404
    assert (await client.get(url_of(other, **forms[0], objectUID="none"))).status_code == 400


async def test_a_report_is_a_page(archive: Any, client: httpx2.AsyncClient) -> None:
    """text/html by default, text/plain by name (E-005, E-017)."""
    (path,) = await stored(archive, dicom_file(SOPClassUID=BASIC_TEXT_SR, Modality="SR", ValueType="CONTAINER"))
    assert (await client.get(url_of(path))).headers["content-type"] == "text/html; charset=utf-8"
    plain = await client.get(url_of(path, contentType="text/plain"))
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
