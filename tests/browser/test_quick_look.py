"""The quick look of the archive's own pages: letters at the edges, zoom, pictures as files, names in full screen."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.looking import disc, eventually, module, store, wait_for_frame
from tests.browser.pages import PHONE, SLICES, open_study
from tests.builders import ABSENT, ct_slice, dicom_file, multi_frame, new_uid
from tests.live_server import LiveServer
from tests.whole_slides import colours, slide_level

BOX = """(() => { const plane = document.querySelector('.plane').getBoundingClientRect();
    const stage = document.querySelector('.stage').getBoundingClientRect();
    return [plane.left - stage.left, plane.top - stage.top, plane.width, plane.height]; })()"""
EDGES = "['left', 'right', 'top', 'bottom'].map(side => document.querySelector(`.edge.${side}`).textContent).join(' ')"
HALF = 0.5**0.5
PIXELS = """(() => { const canvas = document.querySelector('canvas.picture');
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    return { width, height, data: [...data] }; })()"""
IMAGE, DIRECTIONS = "00200037", "00200020"
ANIMAL = {"00102210": {"vr": "CS", "Value": ["QUADRUPED"]}}


def directions(*cosines: float) -> dict[str, Any]:
    """Image Orientation (Patient) in the DICOM JSON Model."""
    return {IMAGE: {"vr": "DS", "Value": list(cosines)}}


def written(*values: str | None) -> dict[str, Any]:
    """Patient Orientation in the DICOM JSON Model."""
    return {DIRECTIONS: {"vr": "CS", "Value": list(values)}}


LETTERS: list[tuple[dict[str, Any], str]] = [
    # what the attributes say, and the letters at the left, right, top and bottom
    (directions(1, 0, 0, 0, 1, 0), "R L A P"),  # axial, from the feet
    (directions(-1, 0, 0, 0, -1, 0), "L R P A"),  # axial, prone
    (directions(0, 1, 0, 0, 0, -1), "A P H F"),  # sagittal
    (directions(1, 0, 0, 0, 0, -1), "R L H F"),  # coronal
    (directions(0.8, 0.6, 0, 0, 0, -1), "RA LP H F"),
    (directions(HALF, 0, -HALF, 0, 1, 0), "RH LF A P"),  # equal parts: x before z
    (directions(0.64, 0.6, -0.48, -0.6, 0.8, 0.2), ""),  # not at right angles
    (directions(2 / 3, 2 / 3, -1 / 3, -1 / 3, 2 / 3, 2 / 3), "RAH LPF AFL PHR"),
    (directions(0.9994, 0.0349, 0, -0.0349, 0.9994, 0), "R L A P"),  # two degrees
    (directions(0, 0, 0, 0, 0, 0), ""),
    (directions(1, 0, 0, 1, 0, 0), ""),
    (directions(2, 0, 0, 0, 2, 0), ""),
    (directions(1, 0, 0, 0, 1), ""),
    (written("L", "F"), "R L H F"),
    (written("P", "FR"), "A P HL FR"),
    (written("AL", "F"), "PR AL H F"),
    (written(None, "F"), "  H F"),
    (written("LR", "X"), ""),
    (written("LP"), "RA LP  "),
    (directions(1, 0, 0, 0, 1, 0) | written("A", "F"), "R L A P"),  # the image's own goes first
    ({}, ""),
    (ANIMAL | written("RT", "D"), "LE RT  D"),  # opposite of dorsal: ventral, palmar or plantar
    (ANIMAL | written("CD", "V"), " CD D V"),  # opposite of caudal: cranial or rostral
    (ANIMAL | written("DI", "PA"), "PR DI D PA"),
    (ANIMAL | written("LE-CR", "V"), " LE-CR D V"),
    (ANIMAL | directions(1, 0, 0, 0, 1, 0), "RT LE  "),  # what y and z mean depends on the part of the body
    (ANIMAL | directions(0, 1, 0, 0, 0, -1), ""),
    (ANIMAL | written("Q", "Z"), ""),
]


def test_letters_say_where_each_side_points(page: Any) -> None:
    """Rows point to the right side, columns to the bottom; what is not known has none (PS3.3 C.7.6.1.1.1)."""
    call = f"""async (all) => {{ const {{ edgesOf }} = await import({module(page, "orientation.js")!r});
        return all.map(each => edgesOf(each)).map(({{ left, right, top, bottom }}) => [left, right, top, bottom]); }}"""
    found = page.evaluate(call, [said for said, _ in LETTERS])
    expected = [letters.split(" ") if letters else ["", "", "", ""] for _, letters in LETTERS]
    assert found == expected


def test_letters_are_those_of_the_frame_that_is_shown(page: Any, archive: LiveServer) -> None:
    """Frames of an enhanced object have planes of their own, others share one; a slide is in no patient."""
    study = new_uid()
    cosines = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]]
    groups = [{"PlaneOrientationSequence": [{"ImageOrientationPatient": each}]} for each in cosines]
    store(archive, multi_frame(3, StudyInstanceUID=study, PerFrameFunctionalGroupsSequence=[*groups, {}]))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 2)
    eventually(page, f"{EDGES} === 'A P H F'")
    page.locator(".stage").focus()
    for key, letters in (("Home", "R L A P"), ("End", "   ")):
        page.keyboard.press(key)
        eventually(page, f"{EDGES} === '{letters}'")


def test_letters_go_with_the_picture(page: Any, archive: LiveServer) -> None:
    """In a study whose slices have different planes, each has its letters without a look at its metadata."""
    study, series = new_uid(), new_uid()
    for number, cosines in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], ABSENT), 1):
        store(archive, ct_slice(study, series, instance_number=number, ImageOrientationPatient=cosines))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 2)
    assert page.evaluate(EDGES) == "A P H F"
    page.locator(".stage").focus()
    for key, number, letters in (("Home", 1, "R L A P"), ("End", 3, "   ")):
        page.keyboard.press(key)
        wait_for_frame(page, number)
        assert page.evaluate(EDGES) == letters


def middle(page: Any) -> tuple[float, float]:
    """Where the middle of the stage is."""
    box = page.locator(".stage").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def under(page: Any, x: float, y: float) -> tuple[float, float]:
    """What part of the picture, from 0 to 1, is under a point of the page."""
    stage = page.locator(".stage").bounding_box()
    left, top, width, height = page.evaluate(BOX)
    return (x - stage["x"] - left) / width, (y - stage["y"] - top) / height


def test_a_wheel_with_ctrl_zooms_where_it_points(page: Any, archive: LiveServer) -> None:
    """What is under the pointer stays there; without Ctrl it turns frames; a double click fits again."""
    open_study(page, archive)
    fitting = page.evaluate(BOX)
    x, y = middle(page)
    x, y = x + 90, y - 60
    before = under(page, x, y)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    for _ in range(4):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    eventually(page, f"Math.abs({BOX}[2] / {fitting[2]} - {np.e}) < 0.01")
    assert under(page, x, y) == pytest.approx(before, abs=0.002)
    page.mouse.wheel(0, 100)
    wait_for_frame(page, 7)
    assert page.evaluate(BOX)[2] == pytest.approx(fitting[2] * np.e, rel=0.01)
    page.mouse.dblclick(x, y)
    eventually(page, f"{BOX}.join() === '{','.join(map(str, fitting))}'")
    before = under(page, x, y)
    page.mouse.dblclick(x, y)
    eventually(page, f"Math.abs({BOX}[2] / {fitting[2]} - 2) < 0.01")
    assert under(page, x, y) == pytest.approx(before, abs=0.002)


def test_zoom_by_buttons_and_keys(page: Any, archive: LiveServer) -> None:
    """Larger, smaller, one to one, fit; arrows with Shift move; without, they turn frames."""
    open_study(page, archive)
    fitting = page.evaluate(BOX)
    page.get_by_role("button", name="Larger").click()
    assert page.evaluate(BOX)[2] == pytest.approx(fitting[2] * 1.25, abs=0.1)
    page.locator(".stage").focus()
    page.keyboard.press("a")
    assert page.evaluate(BOX)[2:] == pytest.approx([128, 128], abs=0.1)
    assert page.get_by_role("button", name="Fit").inner_text() == "100 %"
    for _ in range(40):
        page.keyboard.press("+")
    assert page.evaluate(BOX)[2] == pytest.approx(32 * 128, abs=1), "a pixel is never larger than 32"
    left = page.evaluate(BOX)[0]
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate(BOX)[0] == pytest.approx(left - page.locator(".stage").bounding_box()["width"] / 8, abs=1)
    for _ in range(40):
        page.keyboard.press("Shift+ArrowDown")
    edge = page.evaluate(BOX)
    assert edge[1] + edge[3] == pytest.approx(page.locator(".stage").bounding_box()["height"] / 2, abs=1)
    page.keyboard.press("f")
    assert page.evaluate(BOX) == fitting
    page.keyboard.press("ArrowDown")
    wait_for_frame(page, 7)
    assert page.evaluate("document.querySelector('.told-apart')") is None


def test_a_picture_is_moved_by_the_middle_button_or_a_tool(page: Any, archive: LiveServer) -> None:
    """Neither changes the window; a drag without the tool still does."""
    open_study(page, archive)
    x, y = middle(page)
    for button, tool in (("middle", None), ("left", "Move")):
        if tool:
            page.get_by_role("button", name=tool).click()
        left, top, width, height = page.evaluate(BOX)
        page.mouse.move(x, y)
        page.mouse.down(button=button)
        page.mouse.move(x + 40, y + 25, steps=4)
        page.mouse.up(button=button)
        assert page.evaluate(BOX) == pytest.approx([left + 40, top + 25, width, height], abs=0.1)
    assert page.locator(".corner.bottom-right").inner_text() == "C 40  W 400"
    page.get_by_role("button", name="Move").click()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 60, steps=4)
    page.mouse.up()
    assert page.locator(".corner.bottom-right").inner_text() != "C 40  W 400"


def touch(session: Any, kind: str, *points: tuple[float, float]) -> None:
    """Send an event of fingers."""
    at = [{"x": x, "y": y, "id": place} for place, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})


def test_two_fingers_zoom_and_one_moves(open_page: Callable[..., Any], archive: LiveServer) -> None:
    """A pinch doubles; then a finger moves the picture; fitted again, it turns frames as before."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    open_study(page, archive)
    session = page.context.new_cdp_session(page)
    fitting = page.evaluate(BOX)
    x, y = middle(page)
    touch(session, "touchStart", (x - 40, y), (x + 40, y))
    for apart in (50, 60, 70, 80):
        touch(session, "touchMove", (x - apart, y), (x + apart, y))
    touch(session, "touchEnd")
    eventually(page, f"Math.abs({BOX}[2] / {fitting[2]} - 2) < 0.02")
    before = page.evaluate(BOX)
    touch(session, "touchStart", (x, y))
    touch(session, "touchMove", (x + 30, y + 20))
    touch(session, "touchEnd")
    eventually(page, f"Math.abs({BOX}[0] - {before[0] + 30}) < 1 && Math.abs({BOX}[1] - {before[1] + 20}) < 1")
    assert page.locator("canvas.picture").get_attribute("data-shown") == str((SLICES + 1) // 2)
    page.get_by_role("button", name="Fit").click()
    x, y = middle(page)
    touch(session, "touchStart", (x, y))
    touch(session, "touchMove", (x, y - 28))
    touch(session, "touchEnd")
    wait_for_frame(page, 8)


def test_a_larger_picture_is_fetched_when_it_is_shown_larger(page: Any, archive: LiveServer) -> None:
    """Fitted it is no larger than the stage; zoomed in all of its pixels are there."""
    study = new_uid()
    store(archive, ct_slice(study, rows=1500, columns=1800))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 1)
    assert page.evaluate("document.querySelector('canvas.picture').width") == 1024
    page.get_by_role("button", name="Actual size").click()
    eventually(page, "document.querySelector('canvas.picture').width === 1800")
    assert page.evaluate(BOX)[2:] == pytest.approx([1800, 1500], abs=0.1)


def test_pixels_that_are_not_square_are_not_shown_so(page: Any, archive: LiveServer) -> None:
    """Rows that are twice as far apart as columns make the picture of a square matrix twice as high (PS3.3 10.7.1.3).

    Of frames, too, whose spacing is in their functional groups.
    """
    spaced: dict[str, Any] = {"SharedFunctionalGroupsSequence": [{"PixelMeasuresSequence": [{"PixelSpacing": [1, 2]}]}]}
    one, many = new_uid(), new_uid()
    store(archive, ct_slice(one, PixelSpacing=[1, 0.5]))
    store(archive, multi_frame(2, StudyInstanceUID=many, **spaced))
    for study, aspect in ((one, 2.0), (many, 0.5)):
        page.goto(f"{archive.url}/ui/#/studies/{study}")
        wait_for_frame(page, 1)
        eventually(page, f"Math.abs({BOX}[3] / {BOX}[2] - {aspect}) < 0.01")


def test_a_picture_is_saved_as_it_is_shown(page: Any, archive: LiveServer) -> None:
    """As PNG, with the reader's window, every pixel, and a name that says nothing of the patient."""
    study, series = new_uid(), new_uid()
    named: dict[str, Any] = {"PatientName": "Secret^Sam", "SeriesNumber": 4, "SeriesDescription": "Sam"}
    store(archive, disc(study, series, 7, **named))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 1)
    page.get_by_role("combobox", name="Window preset").select_option(label="Brain (4)")
    page.get_by_role("button", name="Larger").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "CT-4-7.png"
    image = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    rows, columns = np.mgrid[:128, :128]
    units = np.where((rows - 64) ** 2 + (columns - 64) ** 2 < 28**2, 60.0, -40.0 + columns // 2)
    levels = np.clip(((units - 39.5) / 79 + 0.5) * 255, 0, 255)  # C 40, W 80: PS3.3 C.11.2.1.2.1
    assert image.format == "PNG" and image.size == (128, 128)
    assert np.abs(np.asarray(image.convert("L")) - levels).max() <= 1


def test_names_of_saved_frames_tell_them_apart(page: Any) -> None:
    """Of an instance of many frames the number of the frame is in it; what cannot stand in a name is left out."""
    call = f"""async (all) => {{ const {{ fileName }} = await import({module(page, "picture_file.js")!r});
        return all.map(each => fileName(...each)); }}"""
    number = {"00200011": {"vr": "IS", "Value": [3]}}
    frame = {"instanceNumber": "12", "frames": 20, "number": 5}
    cases = [[frame, "MR", number], [frame | {"frames": 1, "instanceNumber": ""}, "", {}], [frame, "../C T", {}]]
    assert page.evaluate(call, cases) == ["MR-3-12-frame-5.png", "picture.png", "-C-T-12-frame-5.png"]


def test_full_screen_says_whose_pictures_they_are(page: Any, archive: LiveServer) -> None:
    """Name, ID, birth date, sex, date and series, as the head of the page is not there; title and address say none."""
    study = new_uid()
    named: dict[str, Any] = {"PatientName": "Full^Fiona", "PatientID": "F-1", "PatientBirthDate": "19700203"}
    when = {"StudyDate": "20260304", "StudyTime": "101500", "StudyDescription": "Phantom", "AccessionNumber": "A-7"}
    store(archive, disc(study, new_uid(), 7, **named, **when, PatientSex="F", SeriesNumber=4))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 1)
    who = page.locator(".quick-look .who")
    assert not who.is_visible()
    page.get_by_role("button", name="Full screen").click()
    who.wait_for()
    assert who.inner_text().splitlines() == [
        "Full, Fiona",
        "F-1 · born 1970-02-03 · Female",
        "2026-03-04 10:15 · Phantom · Accession A-7",
    ]
    assert page.locator(".corner.top-left").inner_text() == "4 · Discs"
    assert "Fiona" not in page.title() and "Fiona" not in page.url and "F-1" not in page.url


def test_a_slide_is_shown_by_its_levels(page: Any, archive: LiveServer) -> None:
    """It begins with the smallest that is neither label nor overview; each is whole; one too large says so."""
    same: dict[str, Any] = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid(), "SeriesNumber": 2}
    levels = [(6000, 6000, "VOLUME"), (96, 64, "VOLUME"), (48, 32, "VOLUME"), (16, 16, "LABEL")]
    for number, (rows, columns, kind) in enumerate(levels, 1):
        size = {"TotalPixelMatrixRows": rows, "TotalPixelMatrixColumns": columns}
        small = min(rows, 96), min(columns, 64)
        store(archive, slide_level(*small, 16, kind=kind, InstanceNumber=number, **size, **same))
    page.goto(f"{archive.url}/ui/#/studies/{same['StudyInstanceUID']}")
    for number, key in ((3, ""), (2, "ArrowUp")):
        if key:
            page.locator(".stage").focus()
            page.keyboard.press(key)
        wait_for_frame(page, number)
        rows, columns, _ = levels[number - 1]
        found = page.evaluate(PIXELS)
        assert (found["height"], found["width"]) == (rows, columns)
        shown = np.array(found["data"], np.uint8).reshape(rows, columns, 4)[:, :, :3]
        assert np.abs(shown.astype(int) - colours(rows, columns)).max() <= 12, "as a JPEG has it"
    page.keyboard.press("ArrowUp")
    page.get_by_text("This level of 6,000 × 6,000 pixels is too large for a quick look.").wait_for()
    assert page.locator(".corner.bottom-left").inner_text() == "1 / 4"
    page.keyboard.press("End")
    wait_for_frame(page, 4)
    page.keyboard.press("ArrowUp")
    wait_for_frame(page, 3)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "SM-2-3.png"
    saved = Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).convert("RGB")
    assert np.array_equal(np.asarray(saved), colours(48, 32))


def test_nothing_is_saved_of_what_is_no_picture(page: Any, archive: LiveServer) -> None:
    """There is no button for it, and none that changes a picture."""
    study = new_uid()
    plan: dict[str, Any] = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "Modality": "RTSTRUCT"}
    store(archive, dicom_file(StudyInstanceUID=study, **plan))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    page.get_by_text("This object is not a picture.").wait_for()
    assert not page.locator(".for-pictures").filter(visible=True).count()
    assert page.get_by_role("button", name="Full screen").is_visible()
