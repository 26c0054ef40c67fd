"""Outlines of segments and regions over their image in the quick look (PS3.3 A.51, A.19): where they must be."""

import re
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, RTStructureSetStorage, SegmentationStorage

from tests.browser.looking import eventually, module, store, wait_for_frame
from tests.browser.pages import open_study
from tests.builders import IMPLICIT_LE, ct_slice, dicom_file, new_uid
from tests.corpus import corpus_files
from tests.live_server import LiveServer

DRAWN = """(() => [...document.querySelectorAll('.outlines path')].map(path => ({ name: path.dataset.name,
    d: path.getAttribute('d'), matrix: (path.getAttribute('transform') ?? '').match(/[-+.e0-9]+/g)
    ?.map(Number) ?? null, stroke: path.style.stroke })))()"""
NAMES = "[...document.querySelectorAll('.outlines path')].map(path => path.dataset.name).sort().join()"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
REFERENCE = "1.2.3.4"
IMAGE: dict[str, Any] = {"ImagePositionPatient": [-30, -20, 5], "PixelSpacing": [0.5, 0.8]}
TILTED = [0, 0.6, -0.8, 1, 0, 0]  # rows of the image go back and down, columns to the left
Edges = set[tuple[float, float, float, float]]


def outlined(page: Any, archive: LiveServer, study: str, frame: int, names: str) -> list[dict[str, Any]]:
    """Open a study, switch the outlines on, and return what is drawn once it is of these names."""
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, frame)
    page.get_by_role("button", name="Outlines").click()
    eventually(page, f"{NAMES} === '{names}'")
    drawn: list[dict[str, Any]] = page.evaluate(DRAWN)
    return drawn


def unit_edges(d: str) -> Edges:
    """The edges of pixels that a path of straight strokes goes along, one by one."""
    found: Edges = set()
    for x, y, kind, to in re.findall(r"M([-.\d]+) ([-.\d]+)([HV])([-.\d]+)", d):
        x0, y0, end = int(x), int(y), int(to)
        for place in range(x0 if kind == "H" else y0, end):
            found.add((place, y0, place + 1, y0) if kind == "H" else (x0, place, x0, place + 1))
    return found


def edges_of(mask: NDArray[Any]) -> Edges:
    """The edges between what is in a mask and what is not, pixels from 0 at the left upper corner."""
    padded = np.pad(mask.astype(bool), 1)
    down, across = padded[1:] ^ padded[:-1], padded[:, 1:] ^ padded[:, :-1]
    flat = {(int(x) - 1, int(y), int(x), int(y)) for y, x in np.argwhere(down)}
    steep = {(int(x), int(y) - 1, int(x), int(y)) for y, x in np.argwhere(across)}
    return {(float(a), float(b), float(c), float(d)) for a, b, c, d in flat | steep}


def test_real_segments_are_outlined_where_their_masks_are(page: Any, archive: LiveServer) -> None:
    """Five overlapping segments over three slices: on each slice the edges of those that pydicom finds there."""
    files = corpus_files("series/ct-janct-3slice-with-seg")
    for file in files:
        store(archive, file.read_bytes())
    datasets = [pydicom.dcmread(file) for file in files]
    (segmentation,) = (each for each in datasets if each.Modality == "SEG")
    slices = sorted((each for each in datasets if each.Modality == "CT"), key=lambda each: int(each.InstanceNumber))
    labels = {each.SegmentNumber: each.SegmentLabel for each in segmentation.SegmentSequence}
    expected: list[dict[str, Edges]] = [{} for _ in slices]
    for frame, groups in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        (at,) = (place for place, image in enumerate(slices) if image.SOPInstanceUID == source)
        if frame.any():
            label = labels[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
            expected[at][label] = edges_of(frame)
    outlined(page, archive, segmentation.StudyInstanceUID, 2, ",".join(sorted(expected[1])))
    page.locator(".stage").focus()
    for place, key in ((1, "Shift"), (0, "Home"), (2, "End")):
        page.keyboard.press(key)
        wait_for_frame(page, place + 1)
        eventually(page, f"{NAMES} === '{','.join(sorted(expected[place]))}'")
        drawn = page.evaluate(DRAWN)
        assert {each["name"]: unit_edges(each["d"]) for each in drawn} == expected[place]
        assert all(each["matrix"] == pytest.approx([1, 0, 0, 1, -0.5, -0.5], abs=1e-3) for each in drawn)
    box = "JSON.stringify(document.querySelector('{}').getBoundingClientRect())"
    assert page.evaluate(box.format(".outlines")) == page.evaluate(box.format("canvas.picture"))


def affine(position: Any, directions: Any, spacing: Any) -> NDArray[Any]:
    """From column, row, slice and 1 to millimetres: Equation C.7.6.2.1-1, with the normal for the third axis."""
    row, column = np.array(directions[:3], float), np.array(directions[3:], float)
    made = np.eye(4)
    made[:3, 0], made[:3, 1] = row * spacing[1], column * spacing[0]
    made[:3, 2], made[:3, 3] = np.cross(row, column), position
    return made


def segmentation(study: str, kind: str, frames: list[NDArray[Any]], places: list[Any], **more: Any) -> bytes:
    """A segmentation of planes with rows and columns the other way round than the image, and pixels of 1 x 2 mm."""
    bits = 1 if kind == "BINARY" else 8
    samples = np.stack(frames).reshape(-1).astype("u1")
    pixels = np.packbits(samples, bitorder="little") if bits == 1 else samples
    labelmap = kind == "LABELMAP"
    groups = [
        {"PlanePositionSequence": [{"ImagePositionPatient": place}]}
        | ({} if labelmap else {"SegmentIdentificationSequence": [{"ReferencedSegmentNumber": number % 2 + 1}]})
        for number, place in enumerate(places)
    ]
    shared = {
        "PlaneOrientationSequence": [{"ImageOrientationPatient": [*TILTED[3:], *TILTED[:3]]}],
        "PixelMeasuresSequence": [{"PixelSpacing": [1, 2]}],
    }
    named = [{"SegmentNumber": 1, "SegmentLabel": "one"}, {"SegmentNumber": 2, "SegmentLabel": "two"}]
    described: dict[str, Any] = {
        "SOPClassUID": LABELMAP if labelmap else str(SegmentationStorage),
        "StudyInstanceUID": study,
        "SeriesInstanceUID": new_uid(),
        "Modality": "SEG",
        "SegmentationType": kind,
        "FrameOfReferenceUID": REFERENCE,
        "SegmentSequence": named,
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": groups,
        "NumberOfFrames": len(frames),
        "Rows": frames[0].shape[0],
        "Columns": frames[0].shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
    }
    data = pixels.tobytes()
    return dicom_file(pixels=data + b"\0" * (len(data) % 2), **described | more)


def masks(kind: str) -> tuple[list[NDArray[Any]], dict[str, NDArray[Any]]]:
    """Two frames of 5 x 7 pixels, and what of the second is in each segment (of 35 bits: it begins within a byte)."""
    value = np.random.default_rng(5).integers(0, 3, (2, 5, 7))
    if kind == "BINARY":
        return [value[0] > 0, value[1] > 0], {"two": value[1] > 0}
    if kind == "FRACTIONAL":
        return [value[0] * 50, value[1] * 50], {"two": value[1] * 50 >= 50}
    return list(value), {"one": value[1] == 1, "two": value[1] == 2}


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_masks_are_laid_over_images_of_another_grid(page: Any, archive: LiveServer, kind: str) -> None:
    """Rows and columns swapped, other spacing, another origin: edges are where the patient's millimetres say."""
    study, series = new_uid(), new_uid()
    at = [np.array([-30, -20, 5.0]) + shift * np.cross(TILTED[:3], TILTED[3:]) for shift in (0, 3)]
    for number, place in enumerate(at, 1):
        more = {"ImageOrientationPatient": TILTED, "FrameOfReferenceUID": REFERENCE, "Modality": "MR"}
        store(
            archive,
            ct_slice(study, series, instance_number=number, **IMAGE | more | {"ImagePositionPatient": [*place]}),
        )
    frames, expected = masks(kind)
    # The second frame is 0.2 mm off the second image, and its first pixel elsewhere in the plane.
    shifted = [place + 4 * np.array(TILTED[:3]) + 7.5 * np.array(TILTED[3:]) for place in (at[0] + 30, at[1])]
    shifted[1] = shifted[1] + 0.2 * np.cross(TILTED[:3], TILTED[3:])
    store(archive, segmentation(study, kind, frames, [[*place] for place in shifted], MaximumFractionalValue=100))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 1)
    page.get_by_role("button", name="Outlines").click()
    page.locator(".legend label").first.wait_for()
    assert page.evaluate(NAMES) == "", "nothing lies in the first image"
    page.locator(".stage").focus()
    page.keyboard.press("End")
    wait_for_frame(page, 2)
    eventually(page, f"{NAMES} === '{','.join(sorted(expected))}'")
    drawn = {each["name"]: each for each in page.evaluate(DRAWN)}
    to_image = np.linalg.inv(affine(at[1], TILTED, IMAGE["PixelSpacing"])) @ affine(
        shifted[1], [*TILTED[3:], *TILTED[:3]], [1, 2]
    )
    for name, mask in expected.items():
        assert unit_edges(drawn[name]["d"]) == edges_of(mask)
        a, b, c, d, e, f = drawn[name]["matrix"]
        for column, row in ((0, 0), (7, 0), (0, 5), (3, 2)):
            wanted = to_image @ [column - 0.5, row - 0.5, 0, 1]
            assert [a * column + c * row + e, b * column + d * row + f] == pytest.approx(wanted[:2], abs=1e-6)


def test_real_contours_are_where_their_points_are(page: Any, archive: LiveServer) -> None:
    """Points in millimetres, by position and spacing of the image; each with its colour and its name in the legend."""
    files = {path.name: path for path in corpus_files("objects/rt-utils-ct-rtstruct")}
    for name in ("ct_1.dcm", "ct_2.dcm", "dummy_rt.dcm"):
        store(archive, files[name].read_bytes())
    structures = pydicom.dcmread(files["dummy_rt.dcm"])
    images = sorted((pydicom.dcmread(files[f"ct_{n}.dcm"]) for n in (1, 2)), key=lambda each: int(each.InstanceNumber))
    image = images[0]
    names = {each.ROINumber: each.ROIName for each in structures.StructureSetROISequence}
    expected = {}
    for region in structures.ROIContourSequence:
        for contour in region.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3) - np.array(image.ImagePositionPatient, float)
            if np.abs(points[:, 2]).max() < 0.1:
                spacing = [float(each) for each in image.PixelSpacing]
                colour = "rgb({}, {}, {})".format(*region.ROIDisplayColor)
                expected[names[region.ReferencedROINumber]] = (points[:, :2] / [spacing[1], spacing[0]], colour)
    page.goto(f"{archive.url}/ui/#/studies/{structures.StudyInstanceUID}")
    wait_for_frame(page, 1)
    page.get_by_role("button", name="Outlines").click()
    eventually(page, f"{NAMES} === '{','.join(sorted(expected))}'")
    for each in page.evaluate(DRAWN):
        points, colour = expected[each["name"]]
        found = np.array(re.findall(r"[ML]([-.\d]+) ([-.\d]+)", each["d"]), float)
        assert found == pytest.approx(points, abs=2e-3) and each["d"].endswith("Z")
        assert each["stroke"] == colour and each["matrix"] is None
    page.get_by_role("checkbox", name="ROI-2").uncheck()
    eventually(page, f"{NAMES} === 'ROI-1,ROI-3,ROI-4'")
    page.get_by_role("button", name="Outlines").click()
    eventually(page, f"{NAMES} === ''")
    assert not page.locator(".legend").is_visible()


def structures(study: str, contours: list[dict[str, Any]], **more: Any) -> bytes:
    """A structure set of one region."""
    reference = more.pop("reference", REFERENCE)
    region = {"ROINumber": 1, "ROIName": "Target", "ReferencedFrameOfReferenceUID": reference}
    return dicom_file(
        **{
            "SOPClassUID": str(RTStructureSetStorage),
            "StudyInstanceUID": study,
            "SeriesInstanceUID": new_uid(),
            "Modality": "RTSTRUCT",
            "FrameOfReferenceUID": REFERENCE,
            "StructureSetROISequence": [region],
            "ROIContourSequence": [{"ReferencedROINumber": 1, "ContourSequence": contours}],
        }
        | more
    )


def contour(points: list[list[float]], kind: str = "CLOSED_PLANAR", **more: Any) -> dict[str, Any]:
    """One contour."""
    data = [round(value, 10) for point in points for value in point]
    return {"ContourGeometricType": kind, "NumberOfContourPoints": len(points), "ContourData": data, **more}


def test_contours_of_other_slices_and_frames_of_reference_are_not_drawn(page: Any, archive: LiveServer) -> None:
    """In the plane and in the image's frame of reference, or of the image by reference; half a slice away is elsewhere.

    A contour of thousands of points, which metadata has as bulk data, is there like any other.
    """
    study, series, instance = new_uid(), new_uid(), new_uid()
    placed: dict[str, Any] = {"FrameOfReferenceUID": REFERENCE, "ImagePositionPatient": [0, 0, 10]}
    store(archive, ct_slice(study, series, instance, **placed))
    store(archive, ct_slice(study, series, instance_number=2, **placed | {"ImagePositionPatient": [0, 0, 13]}))
    circle = [[10 + 5 * np.cos(turn), 10 + 5 * np.sin(turn), 10] for turn in np.linspace(0, 6.28, 3000)]
    image = [{"ReferencedSOPClassUID": str(CTImageStorage), "ReferencedSOPInstanceUID": instance}]
    near = [
        contour([[1, 1, 11.4], [2, 1, 11.4], [2, 2, 11.4]]),
        contour([[1, 1, 11.6], [2, 1, 11.6], [2, 2, 11.6]]),
        contour([[1, 1, 10], [2, 1, 10], [2, 2, 14]]),  # not in a plane of the image
        contour([[4, 5, 10]], "POINT"),
        contour([[4, 5, 10], [6, 7, 10]], "OPEN_PLANAR"),
        contour([[1, 1], [2, 1]]),  # broken
        contour(circle),
    ]
    store(archive, structures(study, near, transfer_syntax=IMPLICIT_LE))
    other = [
        contour([[8, 8, 10], [9, 8, 10], [9, 9, 10]], ContourImageSequence=image),
        contour([[7, 7, 10], [9, 8, 10], [9, 9, 10]]),
    ]
    store(archive, structures(study, other, reference="1.2.3.5"))
    drawn = outlined(page, archive, study, 1, ",".join(["Target"] * 5))
    shapes = sorted((each["d"] for each in drawn), key=len)
    assert shapes[:4] == ["M8 10L8 10", "M8 10L12 14", "M2 2L4 2L4 4Z", "M16 16L18 16L18 18Z"]
    found = np.array(re.findall(r"[ML]([-.\d]+) ([-.\d]+)", shapes[4]), float)
    assert found == pytest.approx(np.array(circle)[:, :2] / 0.5, abs=1e-3)


def test_outlines_are_offered_where_there_are_some(page: Any, archive: LiveServer) -> None:
    """No button for a study without; what is drawn on another series is said not to be on this one."""
    open_study(page, archive)
    assert not page.get_by_role("button", name="Outlines").is_visible()
    study = new_uid()
    store(archive, ct_slice(study, FrameOfReferenceUID=REFERENCE))
    elsewhere = {"FrameOfReferenceUID": "1.2.3.5", "reference": "1.2.3.5"}
    store(archive, structures(study, [contour([[8, 8, 2.5], [9, 8, 2.5], [9, 9, 2.5]])], **elsewhere))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 1)
    page.get_by_role("button", name="Outlines").click()
    page.get_by_text("Nothing in this study is drawn on this series.").wait_for()
    assert page.evaluate(NAMES) == ""


def test_an_outline_is_all_edges_and_no_other(page: Any) -> None:
    """Of random masks, with holes and at the rim, against the edges that numpy finds."""
    generator = np.random.default_rng(7)
    cases = [generator.random(shape) < 0.5 for shape in ((1, 1), (3, 8), (9, 2), (16, 16))]
    cases += [np.ones((4, 5), bool), np.zeros((4, 5), bool)]
    call = f"""async (all) => {{ const {{ outlineOf }} = await import({module(page, "mask_outline.js")!r});
        return all.map(([mask, rows, columns]) => outlineOf(place => mask[place], rows, columns)); }}"""
    given = [[mask.reshape(-1).astype(int).tolist(), *mask.shape] for mask in cases]
    for mask, d in zip(cases, page.evaluate(call, given), strict=True):
        assert unit_edges(d) == edges_of(mask)
