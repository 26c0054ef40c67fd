"""Values that metadata leaves out for their length, in pictures and pages (PS3.18 10.4.3.3.3)."""

import html
import io
import math
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image, ImageCms
from pydicom import dcmread
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from storage.dicom import dicomxml
from tests.builders import IMPLICIT_LE, dicom_file, new_uid
from tests.dicomweb.http.rendered.test_resource import BASIC_TEXT_SR, picture
from tests.dicomweb.http.wado.test_instances import stored

FINDING = "Größe unverändert, kein Erguß. " * 2400
SIDE = 200


def code(meaning: str) -> list[dict[str, Any]]:
    return [{"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": meaning}]


def report(*items: dict[str, Any], **more: Any) -> bytes:
    """Return a report with content items."""
    content = [{"RelationshipType": "CONTAINS", "ConceptNameCodeSequence": code("Finding")} | item for item in items]
    tree = {"ValueType": "CONTAINER", "ConceptNameCodeSequence": code("Report"), "ContentSequence": content}
    return dicom_file(**{"SOPClassUID": BASIC_TEXT_SR, "Modality": "SR"} | tree | more)


async def page(client: httpx2.AsyncClient, path: str, media_type: str) -> str:
    answer = await client.get(f"{path}/rendered", headers={"Accept": media_type})
    assert answer.status_code == 200, answer.text
    return answer.content.decode()


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192"])
async def test_a_long_finding_is_in_the_report(archive: Any, client: httpx2.AsyncClient, character_set: str) -> None:
    """74 400 letters of a finding are on the page, in the text and in the XML, every one (D-094)."""
    assert len(FINDING) > 72_000
    text = {"ValueType": "TEXT", "TextValue": FINDING}
    (path,) = await stored(archive, report(text, SpecificCharacterSet=character_set))
    shown = html.unescape(await page(client, path, "text/html"))
    assert FINDING.rstrip() in shown and "not shown" not in shown.lower()
    assert FINDING.rstrip() in await page(client, path, "text/plain")
    model = dicomxml.decode((await page(client, path, "text/xml")).encode())
    assert model["0040A730"]["Value"][0]["0040A160"]["Value"] == [FINDING.rstrip()]


async def test_a_long_outline_is_counted_in_the_report(archive: Any, client: httpx2.AsyncClient) -> None:
    """The first four of 10 000 points are written, and how many more there are."""
    points = [float(number) for number in range(20_000)]
    outline = {"ValueType": "SCOORD", "GraphicType": "POLYLINE", "GraphicData": points}
    (path,) = await stored(archive, report(outline, transfer_syntax=IMPLICIT_LE))
    assert "polyline (0, 1) (2, 3) (4, 5) (6, 7) and 9996 more points" in await page(client, path, "text/plain")


async def test_a_report_says_what_it_is_without(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finding that is too long, and points that are no numbers, are said to be missing, at the top and in place."""
    monkeypatch.setattr("dicomweb.http.rendered.renderer._MOST_LONG_BYTES", 80_000)
    text = {"ValueType": "TEXT", "TextValue": FINDING}
    outline = {"ValueType": "SCOORD", "GraphicType": "POINT", "GraphicData": [1.0, math.nan]}
    (path,) = await stored(archive, report({**text, "TextValue": "x" * 70_000}, text, outline))
    shown = await page(client, path, "text/plain")
    assert "x" * 70_000 in shown
    assert "Not shown: Text Value, Graphic Data" in shown
    assert "Finding: [This value is not shown" in shown
    assert "Finding: point [This value is not shown" in shown
    assert "Text Value, Graphic Data" in await page(client, path, "text/html")


def annotated(image: bytes, data: list[float], **more: Any) -> bytes:
    """Return a presentation state that draws a line on an image."""
    shown = dcmread(io.BytesIO(image))
    graphic = {
        "GraphicAnnotationUnits": "PIXEL",
        "GraphicDimensions": 2,
        "NumberOfGraphicPoints": len(data) // 2,
        "GraphicData": data,
        "GraphicType": "POLYLINE",
        "GraphicFilled": "N",
    }
    reference = {"ReferencedSOPClassUID": shown.SOPClassUID, "ReferencedSOPInstanceUID": shown.SOPInstanceUID}
    series = {"SeriesInstanceUID": shown.SeriesInstanceUID, "ReferencedImageSequence": [reference]}
    return dicom_file(
        transfer_syntax=IMPLICIT_LE,
        **{
            "SOPClassUID": str(GrayscaleSoftcopyPresentationStateStorage),
            "Modality": "PR",
            "StudyInstanceUID": shown.StudyInstanceUID,
            "PresentationLUTShape": "IDENTITY",
            "ReferencedSeriesSequence": [series],
            "GraphicAnnotationSequence": [{"GraphicLayer": "A", "GraphicObjectSequence": [graphic]}],
            "GraphicLayerSequence": [{"GraphicLayer": "A", "GraphicLayerOrder": 1}],
        }
        | more,
    )


def black_image(**more: Any) -> bytes:
    """Return an image of zeros."""
    return dicom_file(pixels=bytes(SIDE * SIDE), Rows=SIDE, Columns=SIDE, **more)


async def test_a_long_graphic_is_drawn(archive: Any, client: httpx2.AsyncClient) -> None:
    """A line of 10 000 points along row 100 is drawn there and nowhere else (PS3.3 C.10.5)."""
    image = black_image()
    line = [number / 10_000 * SIDE if place == 0 else 100.5 for number in range(10_000) for place in range(2)]
    _, path = await stored(archive, image, annotated(image, line))
    pixels = picture(await client.get(f"{path}/rendered?accept=image/png"))
    assert (pixels[100, : SIDE - 1] == 255).all()
    assert not np.delete(pixels, [100], axis=0).any()


async def test_a_graphic_that_cannot_be_drawn_is_named_on_the_picture(archive: Any, client: httpx2.AsyncClient) -> None:
    """Points that are no numbers leave the image as it is, and a notice at the top right."""
    image = black_image()
    _, path = await stored(archive, image, annotated(image, [1.0, math.nan, 5.0, 5.0]))
    pixels = picture(await client.get(f"{path}/rendered?accept=image/png"))
    assert pixels[: SIDE // 2, SIDE // 2 :].any()
    assert not pixels[SIDE // 2 :].any()
    assert not pixels[:, : SIDE // 8].any()


async def test_a_table_that_is_too_large_is_named_on_the_picture(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ICC profile in a value of its own is applied; one there is no room for is named (D-107)."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    padded = profile + bytes(6000)
    rgb = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "ICCProfile": padded}
    grey = np.full((SIDE, SIDE, 3), 7, np.uint8)
    file = dicom_file(pixels=grey.tobytes(), Rows=SIDE, Columns=SIDE, **rgb)
    other = dicom_file(pixels=grey.tobytes(), Rows=SIDE, Columns=SIDE, **rgb | {"InstanceNumber": 2})
    path, without = await stored(archive, file, other)
    answer = await client.get(f"{path}/rendered?accept=image/png")
    assert (picture(answer) == grey).all()
    assert Image.open(io.BytesIO(answer.content)).info["icc_profile"].startswith(profile[:100])
    monkeypatch.setattr("dicomweb.http.rendered.renderer._MOST_BULK_BYTES", 5000)
    changed = (picture(await client.get(f"{without}/rendered?accept=image/png")) != grey).any(axis=2)
    assert changed[: SIDE // 2, SIDE // 2 :].any() and not changed[SIDE // 2 :].any()


async def test_long_texts_off_the_picture_cost_nothing(archive: Any, client: httpx2.AsyncClient) -> None:
    """A text of a million letters is drawn as far as it is on the picture."""
    image = black_image()
    label = {
        "AnchorPointAnnotationUnits": "PIXEL",
        "AnchorPoint": [10.0, 100.0],
        "AnchorPointVisibility": "N",
        "UnformattedTextValue": "W" * 1_000_000,
    }
    annotation = [{"GraphicLayer": "A", "TextObjectSequence": [label]}]
    short = [{"GraphicLayer": "A", "TextObjectSequence": [label | {"UnformattedTextValue": "W" * 100}]}]
    _, path, same = await stored(
        archive,
        image,
        annotated(image, [], GraphicAnnotationSequence=annotation),
        annotated(image, [], GraphicAnnotationSequence=short, SOPInstanceUID=new_uid()),
    )
    pixels = picture(await client.get(f"{path}/rendered?accept=image/png"))
    assert pixels[:, 20:].any()
    assert (pixels == picture(await client.get(f"{same}/rendered?accept=image/png"))).all()


async def test_the_values_of_a_file_that_is_gone_are_said_to_be_missing(
    archive: Any, client: httpx2.AsyncClient
) -> None:
    """A page is made of what the index has, and says what it is without; never a 500."""
    (path,) = await stored(archive, report({"ValueType": "TEXT", "TextValue": FINDING}))
    (instance,) = await archive.instances(path.split("/")[3])
    archive.blobs.path(instance.blob).unlink()
    assert "Not shown: Text Value" in await page(client, path, "text/plain")
