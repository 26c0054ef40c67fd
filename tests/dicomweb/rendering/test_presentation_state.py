"""Presentation states as targets of rendering."""

from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from dicomweb.rendering.displayed_area import displayed_area
from dicomweb.rendering.graphics import outline
from dicomweb.rendering.grayscale import Levels
from dicomweb.rendering.overlays import overlays_of
from dicomweb.rendering.pipeline import Frame
from dicomweb.rendering.presentation_state import PresentationState, Reference, render_presentation
from dicomweb.rendering.rendering_parameters import RenderingParameters
from dicomweb.rendering.viewport import Viewport
from tests.corpus import corpus_files
from tests.dicomweb.decoded import attributes_in, attributes_of, frame_in, grey_frame

RAMP = np.arange(24, dtype="u1").reshape(4, 6) * 10


def corpus_file(name: str) -> Any:
    """Return the path of a file of the presentation state set."""
    return next(path for path in corpus_files("objects/presentation-state") if path.name == name)


def shown(frame: Frame, viewport: Viewport | None = None, **state: Any) -> Levels:
    """Return the picture of a frame by a state of these attributes."""
    return render_presentation(
        frame, PresentationState(attributes_of(**state)), RenderingParameters(viewport=viewport)
    ).pixels


def ramp(**more: Any) -> Frame:
    """Return a small frame in which every pixel is different."""
    return grey_frame(RAMP, "u1", SOPInstanceUID="1.2.3", **more)


def test_three_scrambled_tables() -> None:
    """Modality, VOI and Presentation LUT one after the other undo what was scrambled (PS3.4 N.2.1)."""
    frame = frame_in(corpus_file("imageForPrLUTs.dcm"))
    attributes, bulk = attributes_in(corpus_file("prLUTs.dcm"))
    picture = render_presentation(frame, PresentationState(attributes, bulk)).pixels
    state = dcmread(corpus_file("prLUTs.dcm"))
    modality = list(state.ModalityLUTSequence[0].LUTData)
    voi = list(state.SoftcopyVOILUTSequence[0].VOILUTSequence[0].LUTData)
    presentation = list(state.PresentationLUTSequence[0].LUTData)
    for stored in range(256):
        found = np.unique(picture[frame.samples == stored]).tolist()
        assert found in ([], [presentation[voi[modality[stored]]]])
    assert (np.diff(picture[100].astype(int)) >= 0).all() and picture[100, -1] == 255


def test_six_overlays() -> None:
    """Four planes of the image, two of them in unused bits, and two of the state are drawn (C.11.7)."""
    frame = frame_in(corpus_file("overlay.dcm"))
    attributes, bulk = attributes_in(corpus_file("prOverlay.dcm"))
    state = PresentationState(attributes, bulk)
    picture = render_presentation(frame, state).pixels
    of_image = list(overlays_of(frame.attributes, 1, frame.samples, frame.bulk))
    of_state = list(overlays_of(attributes, 1, None, bulk))
    assert [overlay.group for overlay in of_image + of_state] == [0x6000, 0x6002, 0x6004, 0x6006, 0x6008, 0x600A]
    for overlay in of_image + of_state:
        assert overlay.mask.any() and (picture[overlay.mask] == 255).all()
    hidden = {key: value for key, value in attributes.items() if not key.endswith("1001")}
    plain = render_presentation(frame, PresentationState(hidden, bulk)).pixels
    assert not (plain[of_state[0].mask] == 255).all()
    assert state.references() == [
        Reference("1.2.276.0.7230010.3.200.12.1", "1.2.840.10008.5.1.4.1.1.7", "1.2.276.0.7230010.3.200.12.1.1")
    ]


def test_pipeline_of_the_image_is_replaced() -> None:
    """Rescale, window and polarity of the image do not count; what the state lacks is the identity (N.2.1)."""
    frame = ramp(
        PhotometricInterpretation="MONOCHROME1", RescaleSlope=3, RescaleIntercept=9, WindowCenter=1, WindowWidth=2
    )
    assert np.array_equal(shown(frame), RAMP)
    assert np.array_equal(shown(frame, PresentationLUTShape="INVERSE"), 255 - RAMP)
    window = {"WindowCenter": 100.5, "WindowWidth": 101}
    picture = shown(frame, RescaleSlope=2, RescaleIntercept=-20, SoftcopyVOILUTSequence=[window])
    expected = np.floor(np.clip((RAMP * 2.0 - 20 - 100) / 100 + 0.5, 0, 1) * 255 + 0.5)
    assert np.array_equal(picture, expected)


def test_items_for_other_images_do_not_count() -> None:
    """An item is for the images and frames it refers to (C.10.3, C.11.8)."""
    other = {"ReferencedSOPInstanceUID": "9"}
    this = {"ReferencedSOPInstanceUID": "1.2.3", "ReferencedFrameNumber": [2, 3]}
    items = [
        {"ReferencedImageSequence": [other], "WindowCenter": 0.5, "WindowWidth": 1},
        {"ReferencedImageSequence": [other, this], "WindowCenter": 300, "WindowWidth": 1},
    ]
    frame = ramp()
    assert np.array_equal(shown(frame, SoftcopyVOILUTSequence=items), RAMP)
    second = Frame(frame.samples, "MONOCHROME2", frame.attributes, 2)
    assert not shown(second, SoftcopyVOILUTSequence=items).any()


@pytest.mark.parametrize(
    ("rotation", "flip", "expected"),
    [
        (0, "Y", RAMP[:, ::-1]),
        (90, "N", np.rot90(RAMP, -1)),
        (180, "N", RAMP[::-1, ::-1]),
        (270, "N", np.rot90(RAMP)),
        (90, "Y", np.rot90(RAMP, -1)[:, ::-1]),
    ],
)
def test_rotation_then_flip(rotation: int, flip: str, expected: Levels) -> None:
    """Clockwise, then left and right change places (C.10.6)."""
    assert np.array_equal(shown(ramp(), ImageRotation=rotation, ImageHorizontalFlip=flip), expected)


def area(left: int, top: int, right: int, bottom: int, **more: Any) -> dict[str, Any]:
    """Return a Displayed Area Selection Sequence."""
    corners = {
        "DisplayedAreaTopLeftHandCorner": [left, top],
        "DisplayedAreaBottomRightHandCorner": [right, bottom],
        "PresentationSizeMode": "SCALE TO FIT",
    }
    return {"DisplayedAreaSelectionSequence": [corners | more]}


def test_displayed_area() -> None:
    """Corners are column, row from 1, both inclusive; outside of the image is black (C.10.4)."""
    assert np.array_equal(shown(ramp(), **area(2, 1, 4, 3)), RAMP[0:3, 1:4])
    beyond = shown(ramp(), **area(-1, 0, 7, 5))
    assert beyond.shape == (6, 9) and np.array_equal(beyond[1:5, 2:8], RAMP)
    assert not beyond[0].any() and not beyond[:, :2].any() and not beyond[:, 8].any()
    turned = shown(ramp(), ImageRotation=180, ImageHorizontalFlip="N", **area(4, 3, 2, 1))  # corners as displayed
    assert np.array_equal(turned, RAMP[0:3, 1:4][::-1, ::-1])


def test_displayed_size() -> None:
    """The viewport is filled keeping the presentation aspect; MAGNIFY has a size of its own (C.10.4; D-102)."""
    assert shown(ramp(), Viewport(60, 60)).shape == (40, 60)
    assert shown(ramp(), Viewport(60, 60), **area(1, 1, 6, 4, PresentationPixelAspectRatio=[3, 1])).shape == (60, 30)
    assert shown(ramp(), **area(1, 1, 6, 4, PresentationPixelSpacing=[2, 1])).shape == (8, 6)
    magnified = area(1, 1, 6, 4, PresentationSizeMode="MAGNIFY", PresentationPixelMagnificationRatio=2.5)
    assert shown(ramp(), **magnified).shape == (10, 15)
    huge = area(1, 1, 6, 4, PresentationSizeMode="MAGNIFY", PresentationPixelMagnificationRatio=1e9)
    assert shown(ramp(), **huge).size <= 64 * 1024 * 1024
    assert shown(ramp(), **area(-99999, -99999, 99999, 99999)).shape == (4, 6)


def test_shutters() -> None:
    """What is outside of every shape is covered; edges are columns and rows from 1 (C.7.6.11)."""
    rectangle = {
        "ShutterLeftVerticalEdge": 2,
        "ShutterRightVerticalEdge": 5,
        "ShutterUpperHorizontalEdge": 2,
        "ShutterLowerHorizontalEdge": 3,
    }
    covered = shown(ramp(), ShutterShape="RECTANGULAR", ShutterPresentationValue=65535, **rectangle)
    assert np.array_equal(covered[1:3, 1:5], RAMP[1:3, 1:5])
    outside = np.ones((4, 6), bool)
    outside[1:3, 1:5] = False
    assert (covered[outside] == 255).all()
    circle = {"CenterOfCircularShutter": [2, 3], "RadiusOfCircularShutter": 1}
    visible = shown(ramp(), ShutterShape=["RECTANGULAR", "CIRCULAR"], **rectangle, **circle) > 0
    assert sorted(map(tuple, np.argwhere(visible).tolist())) == [(1, 1), (1, 2), (1, 3), (2, 2)]
    triangle = shown(ramp(), ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[1, 1, 1, 6, 4, 1])
    assert triangle[0, 1:].all() and not triangle[3, 2:].any()


def test_bitmap_shutter() -> None:
    """The overlay of the shutter's group covers where it is 1, and is not drawn as graphics (C.7.6.15)."""
    state = attributes_of(ShutterShape="BITMAP", ShutterOverlayGroup=0x6000, ShutterPresentationValue=25700)
    plane = {"0010": ("US", 4), "0011": ("US", 6), "1001": ("CS", "A"), "0102": ("US", 0)}
    state |= {f"6000{element}": {"vr": vr, "Value": [value]} for element, (vr, value) in plane.items()}
    state["60003000"] = {"vr": "OW", "InlineBinary": "AwAA"}  # 0x03: the first two pixels
    picture = render_presentation(ramp(), PresentationState(state)).pixels
    assert picture[0, :2].tolist() == [100, 100] and np.array_equal(picture[1:], RAMP[1:])


def graphic(kind: str, points: list[float], **more: Any) -> dict[str, Any]:
    """Return a graphic object."""
    return {"GraphicAnnotationUnits": "PIXEL", "GraphicType": kind, "GraphicData": points, "GraphicFilled": "N"} | more


def annotated(*graphics: dict[str, Any], viewport: Viewport | None = None, **state: Any) -> Levels:
    """Return a black picture of 100 x 100 pixels with graphics in a layer of level 200."""
    layer = {"GraphicLayer": "A", "GraphicLayerOrder": 1, "GraphicLayerRecommendedDisplayGrayscaleValue": 200 * 257}
    texts = [entry for entry in graphics if "UnformattedTextValue" in entry]
    objects = [entry for entry in graphics if entry not in texts]
    annotation = {"GraphicLayer": "A", "GraphicObjectSequence": objects, "TextObjectSequence": texts}
    frame = grey_frame(np.zeros((100, 100)), "u1", SOPInstanceUID="1")
    return shown(frame, viewport, GraphicLayerSequence=[layer], GraphicAnnotationSequence=[annotation], **state)


def box_of(picture: Levels) -> list[int]:
    """Return left, top, right, bottom of what is drawn."""
    rows, columns = np.nonzero(picture)
    return [int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())]


@pytest.mark.parametrize(
    ("drawn", "box"),
    [
        (graphic("POLYLINE", [10, 20, 50, 20, 50, 60]), [10, 20, 50, 60]),
        (graphic("CIRCLE", [50, 50, 70, 50]), [30, 30, 70, 70]),
        (graphic("ELLIPSE", [20, 50, 80, 50, 50, 40, 50, 60]), [20, 40, 80, 60]),
        (graphic("INTERPOLATED", [10, 10, 50, 30, 90, 10]), [10, 10, 90, 30]),
        (graphic("POINT", [50, 50]), [48, 48, 52, 52]),
        (graphic("POLYLINE", [0.1, 0.1, 0.5, 0.1], GraphicAnnotationUnits="DISPLAY"), [10, 10, 50, 10]),
    ],
)
def test_graphics(drawn: dict[str, Any], box: list[int]) -> None:
    """Every graphic type is where its points are, in the level of its layer (C.10.5.1.2)."""
    picture = annotated(drawn)
    assert picture.max() == 200
    assert np.abs(np.subtract(box_of(picture), box)).max() <= 1


def test_graphics_move_with_the_image() -> None:
    """PIXEL units turn and scale with the image, DISPLAY units do not (C.10.5, C.10.6)."""
    line = graphic("POLYLINE", [10, 20, 40, 20])
    turned = annotated(line, ImageRotation=90, ImageHorizontalFlip="N")
    assert np.abs(np.subtract(box_of(turned), [80, 10, 80, 40])).max() <= 1
    larger = annotated(line, viewport=Viewport(300, 300), ImageRotation=90, ImageHorizontalFlip="Y")
    assert np.abs(np.subtract(box_of(larger), [60, 30, 60, 120])).max() <= 2
    fixed = graphic("POLYLINE", [0.1, 0.2, 0.4, 0.2], GraphicAnnotationUnits="DISPLAY")
    assert np.abs(np.subtract(box_of(annotated(fixed, ImageRotation=90)), [10, 20, 40, 20])).max() <= 1


def test_filled_graphics() -> None:
    """Graphic Filled Y fills a closed shape (C.10.5)."""
    square = [20, 20, 60, 20, 60, 60, 20, 60, 20, 20]
    assert (annotated(graphic("POLYLINE", square, GraphicFilled="Y"))[25:55, 25:55] == 200).all()
    assert not annotated(graphic("POLYLINE", square))[25:55, 25:55].any()


def test_text_objects() -> None:
    """Text stands in its box, or at its anchor point, joined to it when that shall be seen (C.10.5)."""
    boxed = {
        "UnformattedTextValue": "Lesion\r\n12 mm",
        "BoundingBoxAnnotationUnits": "PIXEL",
        "BoundingBoxTopLeftHandCorner": [20, 30],
        "BoundingBoxBottomRightHandCorner": [90, 60],
        "BoundingBoxTextHorizontalJustification": "LEFT",
        "AnchorPoint": [5, 90],
        "AnchorPointAnnotationUnits": "PIXEL",
        "AnchorPointVisibility": "Y",
    }
    left, top, right, bottom = box_of(annotated(boxed))
    assert (left, bottom) == (5, 90) and 28 <= top <= 36 and right < 90
    hidden = box_of(annotated(boxed | {"AnchorPointVisibility": "N"}))
    assert hidden[0] >= 19 and hidden[3] < 60
    anchored = {"UnformattedTextValue": "x", "AnchorPoint": [0.5, 0.5], "AnchorPointAnnotationUnits": "DISPLAY"}
    assert 48 <= box_of(annotated(anchored))[0] <= 53


@pytest.mark.parametrize("kind", ["POLYLINE", "CIRCLE", "ELLIPSE", "INTERPOLATED", "POINT", "SPIRAL"])
@pytest.mark.parametrize("points", [[], [1.0], [1, 1], [1, 1, 1, 1], [1e30, -1e30, 1, 1, 0, 0, 5, 5]])
def test_broken_graphics_are_left_out(kind: str, points: list[float]) -> None:
    """Too few points, or points far away, do not keep the picture from being made (D-164)."""
    assert annotated(graphic(kind, points)).shape == (100, 100)


def test_closed_curve() -> None:
    """An interpolated curve goes through its points and closes (C.10.5.1.2)."""
    points = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 0.0)]
    curve = outline("INTERPOLATED", points)
    assert all(min(np.hypot(x - a, y - b) for a, b in curve) < 1e-9 for x, y in points)


def test_colours_and_profiles_stay() -> None:
    """A state over colours keeps them, only place, shutter and graphics are its (N.2.6)."""
    samples = np.zeros((4, 4, 3), "u1")
    samples[..., 0] = 255
    frame = Frame(samples, "RGB", attributes_of(BitsStored=8, SOPInstanceUID="1"))
    picture = shown(frame, ImageRotation=90, SoftcopyVOILUTSequence=[{"WindowCenter": 1, "WindowWidth": 1}])
    assert np.array_equal(picture, samples)


def test_state_without_anything() -> None:
    """An empty state shows the image as it is stored."""
    assert np.array_equal(shown(ramp()), RAMP)
    assert displayed_area({}, None, 6, 4, None).pixel_to_display((3, 2)) == (3, 2)
    assert PresentationState({}).references() == []
