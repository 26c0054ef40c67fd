"""Overlay planes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dicomweb.rendering.overlays import draw, overlays_of
from dicomweb.rendering.pipeline import needed_bulk_data, render
from dicomweb.rendering.rendering_parameters import RenderingParameters
from tests.corpus import corpus_files, wheel_files
from tests.dicomweb.decoded import attributes_of, frame_in, grey_frame


def plane(group: int = 0x6000, *, data: bytes | None = b"\x09", **elements: Any) -> dict[str, Any]:
    """Return an overlay of 2 x 2 pixels; 0x09 sets the first and the last of them."""
    stated = {"0010": ("US", [2]), "0011": ("US", [2]), "0050": ("SS", [1, 1]), "0102": ("US", [0])} | {
        key.removeprefix("e"): value for key, value in elements.items()
    }
    found = {f"{group:04X}{element}": {"vr": vr, "Value": value} for element, (vr, value) in stated.items()}
    if data is not None:
        found |= {
            key: attribute | {"vr": "OW"}
            for key, attribute in attributes_of(PixelData=data).items()
            for key in (f"{group:04X}3000",)
        }
    return found


def test_bits_are_packed_from_the_least_significant() -> None:
    """The first pixel is bit 0 of the first byte (PS3.5 8.1.2)."""
    (overlay,) = overlays_of(plane(), 1, None, {})
    assert overlay.mask.tolist() == [[True, False], [False, True]]


def test_origin_places_and_cuts() -> None:
    """Origin is row, column from 1, negative or beyond the picture too (C.9.2.1.1)."""
    picture = np.zeros((3, 3), "u1")
    for origin, drawn in (([2, 3], [(1, 2)]), ([0, 0], [(0, 0)]), ([9, 9], []), ([-5, 1], [])):
        overlays = list(overlays_of(plane(e0050=("SS", origin)), 1, None, {}))
        assert [tuple(place) for place in np.argwhere(draw(picture, overlays))] == drawn
    assert not picture.any()


def test_frames_of_an_overlay() -> None:
    """Planes follow each other to the bit; Image Frame Origin is where the first belongs (C.9.3)."""
    elements = plane(data=bytes([0b0001_1000, 0b0000_0110]), e0015=("IS", [3]), e0051=("US", [2]))
    found = [list(overlays_of(elements, number, None, {})) for number in (1, 2, 3, 4, 5)]
    assert [len(overlays) for overlays in found] == [0, 1, 1, 1, 0]
    masks = [overlays[0].mask.astype(int).tolist() for overlays in found[1:4]]
    assert masks == [[[0, 0], [0, 1]], [[1, 0], [0, 0]], [[0, 1], [1, 0]]]
    single = plane()
    assert len(list(overlays_of(single, 7, None, {}))) == 1


def test_plane_in_unused_bits() -> None:
    """Overlay Bit Position 15 of 12-bit pixels (PS3.5 8.1.2, retired); a bit that is stored is no overlay."""
    frame = grey_frame([[0x8001, 2], [3, 0x8FFF]], BitsStored=12, HighBit=11)
    attributes = {**frame.attributes, **plane(data=None, e0102=("US", [15]))}
    (overlay,) = overlays_of(attributes, 1, frame.samples, {})
    assert overlay.mask.tolist() == [[True, False], [False, True]]
    assert not list(overlays_of({**attributes, **plane(data=None, e0102=("US", [11]))}, 1, frame.samples, {}))


def test_plane_in_bit_0() -> None:
    """Below values that end at bit 15, bit 0 is a plane; below others it is none (PS3.5 8.1.2, retired)."""
    frame = grey_frame([[0x8001, 0x10], [0xFFF0, 0x21]], BitsStored=12, HighBit=15)
    attributes = {**frame.attributes, **plane(data=None)}
    (overlay,) = overlays_of(attributes, 1, frame.samples, {})
    assert overlay.mask.tolist() == [[True, False], [False, True]]
    drawn = render(replace(frame, attributes=attributes), RenderingParameters(annotation=("technique",)))
    assert drawn.pixels[0, 0] == drawn.pixels[1, 1] == 255 and drawn.pixels[0, 1] == 0
    for stated in ({"BitsStored": 12, "HighBit": 11}, {"BitsStored": 12}, {"BitsStored": 16, "HighBit": 15}, {}):
        shallow = attributes_of(**stated) | plane(data=None)
        assert not list(overlays_of(shallow, 1, frame.samples, {})), stated


def test_overlay_data_goes_before_bit_0() -> None:
    """Overlay Data has Overlay Bit Position 0: it is drawn, and without it nothing of the pixels is (C.9.2)."""
    frame = grey_frame([[1, 1], [1, 1]], BitsStored=12, HighBit=15)
    (overlay,) = overlays_of(frame.attributes | plane(), 1, frame.samples, {})
    assert overlay.mask.tolist() == [[True, False], [False, True]]
    missing = frame.attributes | plane(data=None) | {"60003000": {"vr": "OW", "BulkDataURI": "60003000"}}
    assert not list(overlays_of(missing, 1, frame.samples, {}))


@pytest.mark.parametrize("elements", [{"e0010": ("US", [60000]), "e0011": ("US", [60000])}, {"e0010": ("US", [99])}])
def test_planes_that_are_too_short_are_left_out(elements: dict[str, Any]) -> None:
    """Overlay Data with fewer bits than rows x columns is none (D-164)."""
    assert not list(overlays_of(plane(**elements), 1, None, {}))


def test_overlays_come_with_annotation_only() -> None:
    """Overlays are drawn when annotation is asked for (8.3.5.1.1), those in unused bits with them."""
    frame = frame_in(next(path for path in corpus_files("objects/presentation-state") if path.name == "overlay.dcm"))
    plain = render(frame).pixels
    drawn = render(frame, RenderingParameters(annotation=("patient",))).pixels
    planes = {overlay.group: overlay for overlay in overlays_of(frame.attributes, 1, frame.samples, frame.bulk)}
    assert set(planes) == {0x6000, 0x6002, 0x6004, 0x6006}
    for overlay in planes.values():
        assert overlay.mask.any()
        assert drawn[100:][overlay.mask[100:]].all() and not plain[overlay.mask].all()


def test_overlays_of_a_real_file_against_pydicom() -> None:
    """Every plane of an MR is what pydicom unpacks."""
    from pydicom import dcmread

    path = next(path for path in wheel_files() if path.name == "MR-SIEMENS-DICOM-WithOverlays.dcm")
    frame, dataset = frame_in(path), dcmread(path)
    overlays = list(overlays_of(frame.attributes, 1, frame.samples, frame.bulk))
    assert overlays
    for overlay in overlays:
        assert np.array_equal(overlay.mask, dataset.overlay_array(overlay.group))
    assert "60003000" in needed_bulk_data(frame.attributes, overlays=True)
    assert "60003000" not in needed_bulk_data(frame.attributes)
    without = replace(frame, bulk={})
    assert not list(overlays_of(without.attributes, 1, None, without.bulk))
