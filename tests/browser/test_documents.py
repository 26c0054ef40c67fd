"""What is no picture, in the place of one: reports, documents, curves and videos in the archive's own pages."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from tests.browser.files import pdf_text
from tests.browser.looking import disc, eventually, store, wait_for_frame
from tests.browser.pages import DESKTOP, PHONE
from tests.browser.watched import Watched
from tests.builders import dicom_file, encapsulated, new_uid
from tests.dicomweb.drawings import drawing_of
from tests.live_server import LiveServer
from tests.waveforms import channel, multiplex_group, waveform_file

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
ENCAPSULATED_CDA = "1.2.840.10008.5.1.4.1.1.104.2"
ENCAPSULATED_STL = "1.2.840.10008.5.1.4.1.1.104.3"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
VIDEO_ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
MPEG2, H264 = "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102"
FINDING = "No acute finding <script>alert(1)</script>"
SHOWN = "document.querySelector('.document')"


def finding(words: str) -> dict[str, Any]:
    """A content item of a report."""
    code = {"CodeValue": "121071", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Finding"}
    item: dict[str, Any] = {"RelationshipType": "CONTAINS", "ValueType": "TEXT"}
    return item | {"ConceptNameCodeSequence": [code], "TextValue": words}


def report(study: str, **attributes: Any) -> bytes:
    """A structured report of one finding, which looks like markup."""
    title = {"CodeValue": "126000", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Imaging Report"}
    stated: dict[str, Any] = {
        "StudyInstanceUID": study,
        "SOPClassUID": COMPREHENSIVE_SR,
        "Modality": "SR",
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": [title],
        "ContentSequence": [finding(FINDING)],
    }
    return dicom_file(**stated | attributes)


def document(study: str, sop_class: str, mime: str, body: bytes) -> bytes:
    """An Encapsulated Document."""
    return dicom_file(
        StudyInstanceUID=study,
        SOPClassUID=sop_class,
        Modality="DOC",
        MIMETypeOfEncapsulatedDocument=mime,
        EncapsulatedDocument=body + b"\0" * (len(body) % 2),
        EncapsulatedDocumentLength=len(body),
    )


def real_ecg() -> tuple[str, bytes]:
    """A real 12-lead ECG and its study."""
    path = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))
    return "1.3.76.13.65829.2.20130125082826.1072139.2", path.read_bytes()


def video(folder: Path, codec: str, container: str) -> bytes:
    """A second of moving bars, by ffmpeg."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed (Debian: apt install ffmpeg)")
    made = folder / f"bars.{container}"
    bars = ["-f", "lavfi", "-i", "testsrc=duration=1:size=320x240:rate=25", "-c:v", codec, "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *bars, str(made)], check=True)
    return made.read_bytes()


def recorded(study: str, stream: bytes, syntax: str) -> bytes:
    """A video in a study."""
    described: dict[str, Any] = {"Rows": 240, "Columns": 320, "Modality": "ES", "NumberOfFrames": 25}
    pixels: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_PARTIAL_420", "FrameTime": 40}
    named: dict[str, Any] = {"SOPClassUID": VIDEO_ENDOSCOPIC, "StudyInstanceUID": study}
    return encapsulated([[stream]], transfer_syntax=syntax, **named, **described, **pixels)


def look_at(page: Any, archive: LiveServer, study: str) -> None:
    """Show a study."""
    page.goto(f"{archive.url}/ui/#/studies/{study}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_read_in_its_place(open_page: Callable[..., Any], archive: LiveServer, scheme: str) -> None:
    """In a frame that can run nothing; in the colours of the page; a link opens it in a tab of its own."""
    page = open_page(color_scheme=scheme)
    study = new_uid()
    store(archive, report(study))
    look_at(page, archive, study)
    frame = page.frame_locator("iframe[title='Report']")
    frame.get_by_role("heading", name="Imaging Report").wait_for()
    assert FINDING in frame.locator("main").inner_text()
    assert page.locator("iframe").get_attribute("sandbox") == ""
    light = frame.locator("body").evaluate("x => getComputedStyle(x).color === 'rgb(34, 34, 34)'")
    assert light is (scheme == "light")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open").click()
    shown = Watched(opened.value)
    shown.page.get_by_text("No acute finding").wait_for()
    assert shown.problems == []


def test_a_report_is_reached_by_keys(page: Any, archive: LiveServer) -> None:
    """Arrows turn to the next report; Tab goes into the frame, where they scroll."""
    study = new_uid()
    shared: dict[str, Any] = {"SeriesInstanceUID": new_uid(), "ContentSequence": [finding("Paragraph")] * 90}
    for number in (1, 2, 3):
        store(archive, report(study, InstanceNumber=number, ContentDate=f"2026010{number}", **shared))
    look_at(page, archive, study)
    frame = page.frame_locator("iframe[title='Report']")
    frame.get_by_text("2026-01-02").wait_for()
    page.locator(".stage").focus()
    page.keyboard.press("ArrowDown")
    frame.get_by_text("2026-01-03").wait_for()
    assert page.locator("iframe").count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.localName") == "iframe"
    for _ in range(100):
        page.keyboard.press("End")
        if frame.locator("html").evaluate("x => x.scrollTop") > 100:
            return
        page.wait_for_timeout(50)
    raise AssertionError("the report never scrolled")


def test_a_report_among_pictures_leaves_them_as_they_were(page: Any, archive: LiveServer) -> None:
    """Nothing that zooms or moves does so behind a report; a cine that comes to one ends; the picture is as before."""
    study, series = new_uid(), new_uid()
    for number in (1, 2):
        store(archive, disc(study, series, number))
    store(archive, report(study, SeriesInstanceUID=series, InstanceNumber=3))
    look_at(page, archive, study)
    page.get_by_role("slider", name="Frame").wait_for()
    stage, player = page.locator(".stage"), page.get_by_role("button", name="Play")
    stage.focus()
    page.keyboard.press("Home")
    wait_for_frame(page, 1)
    for key in ("+", "+", "Shift+ArrowRight"):
        page.keyboard.press(key)
    place = "document.querySelector('.plane').style.cssText"
    before, percent = page.evaluate(place), page.locator(".percent").inner_text()
    page.keyboard.press("End")
    page.frame_locator("iframe[title='Report']").get_by_text("No acute finding").wait_for()
    assert not page.locator(".for-pictures").filter(visible=True).count()
    for key in ("+", "a", "f", "Shift+ArrowLeft", " "):
        page.keyboard.press(key)
    page.locator(".document-bar span").dblclick()
    assert player.get_attribute("aria-pressed") == "false"
    page.keyboard.press("Home")
    wait_for_frame(page, 1)
    eventually(page, f"{place} === {json.dumps(before)}")
    assert page.locator(".percent").inner_text() == percent
    player.click()
    page.frame_locator("iframe[title='Report']").get_by_text("No acute finding").wait_for()
    player.wait_for()
    assert page.locator(".corner.bottom-left").text_content() == "3 / 3"


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_full_screen_says_whose_report_it_is(
    open_page: Callable[..., Any], archive: LiveServer, viewport: dict[str, int]
) -> None:
    """Name and ID stand above the report, and cover nothing of it."""
    page = open_page(viewport=viewport)
    study = new_uid()
    store(archive, report(study, PatientName="Read^Rita", PatientID="R-1"))
    look_at(page, archive, study)
    page.frame_locator("iframe[title='Report']").get_by_text("No acute finding").wait_for()
    page.get_by_role("button", name="Full screen").click()
    who = page.locator(".quick-look .who")
    who.wait_for()
    assert who.inner_text().split("\n")[0] == "Read, Rita" and "R-1" in who.inner_text()
    above, below = who.bounding_box(), page.locator(".document").bounding_box()
    assert above["y"] == 0 and above["y"] + above["height"] <= below["y"] + 0.5
    assert below["height"] > viewport["height"] / 2


def test_what_is_read_goes_on_when_its_series_grows(page: Any, archive: LiveServer) -> None:
    """One more report comes in: the frame of the one that is shown is not loaded again."""
    study = new_uid()
    shared: dict[str, Any] = {"SeriesInstanceUID": new_uid()}
    store(archive, report(study, ContentDate="20260101", InstanceNumber=1, **shared))
    look_at(page, archive, study)
    page.frame_locator("iframe[title='Report']").get_by_text("2026-01-01").wait_for()
    page.locator("#live-state[data-state=on]").wait_for()
    page.evaluate("document.querySelector('iframe').dataset.mine = 'yes'")
    store(archive, report(study, ContentDate="20260102", InstanceNumber=2, **shared))
    eventually(page, "document.querySelector('.slider').max === '2'")
    page.wait_for_timeout(500)
    assert page.locator("iframe").get_attribute("data-mine") == "yes"


def test_a_pdf_is_shown_in_its_place(page: Any, archive: LiveServer) -> None:
    """Where the browser shows PDFs it does so here; where it does not, a sentence says so, and a link opens it."""
    study = new_uid()
    store(archive, document(study, ENCAPSULATED_PDF, "application/pdf", pdf_text("A letter")))
    look_at(page, archive, study)
    link = page.get_by_role("link", name="Open")
    link.wait_for()
    assert link.get_attribute("href").endswith("/rendered")
    if page.evaluate("navigator.pdfViewerEnabled"):
        assert page.locator("iframe[title='Document']").get_attribute("src") == link.get_attribute("href")
    else:
        page.get_by_text("This browser shows no PDF in a page.").wait_for()


def test_a_browser_without_pdfs_says_so(open_page: Callable[..., Any], archive: LiveServer) -> None:
    """As on most phones: no frame that stays empty."""
    page = open_page(viewport=PHONE)
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'pdfViewerEnabled', { get: () => false })")
    study = new_uid()
    store(archive, document(study, ENCAPSULATED_PDF, "application/pdf", pdf_text("A letter")))
    page.reload()
    look_at(page, archive, study)
    page.get_by_text("This browser shows no PDF in a page. Open it in a tab of its own.").wait_for()
    assert page.locator("iframe").count() == 0


def test_other_documents(page: Any, archive: LiveServer) -> None:
    """A CDA is shown in a sandbox; what could run scripts is saved; what browsers do not show is opened or fetched."""
    study, active, other = new_uid(), new_uid(), new_uid()
    cda = b"<ClinicalDocument xmlns='urn:hl7-org:v3'><title>Discharge</title></ClinicalDocument>"
    store(archive, document(study, ENCAPSULATED_CDA, "text/xml", cda))
    look_at(page, archive, study)
    page.frame_locator("iframe[title='Document']").get_by_text("Discharge").wait_for()
    body = b"<html xmlns='http://www.w3.org/1999/xhtml'><body><p>Discharge</p><script>alert(1)</script></body></html>"
    store(archive, document(active, ENCAPSULATED_CDA, "text/xml", body))
    look_at(page, archive, active)
    page.get_by_text("This document could run scripts, so it is not shown.").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Open").click()
    assert Path(download.value.path()).read_bytes() == body
    store(archive, document(other, ENCAPSULATED_STL, "model/stl", b"solid nothing"))
    look_at(page, archive, other)
    page.get_by_text("This browser shows no model/stl in a page.").wait_for()
    assert page.locator("iframe").count() == 0


def test_an_electrocardiogram_is_drawn_in_its_place(page: Any, archive: LiveServer) -> None:
    """The drawing of the archive, as wide as there is room; wheel and keys scroll it and turn nothing."""
    study, data = real_ecg()
    store(archive, data)
    look_at(page, archive, study)
    image = page.locator(".paper img")
    image.wait_for()
    eventually(page, "document.querySelector('.paper img').naturalWidth > 0")
    width, height = image.evaluate("x => [x.naturalWidth, x.naturalHeight]")
    size = drawing_of(httpx2.get(image.get_attribute("src")).content).size
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    box, room = image.bounding_box(), page.locator(".paper").bounding_box()
    assert box["width"] == pytest.approx(room["width"], abs=16) and box["height"] > room["height"]
    page.locator(".paper").focus()
    page.keyboard.press("End")
    eventually(page, "document.querySelector('.paper').scrollTop > 100")
    page.mouse.move(room["x"] + 200, room["y"] + 200)
    page.mouse.wheel(0, -5000)
    eventually(page, "document.querySelector('.paper').scrollTop === 0")
    assert page.locator(".paper").count() == 1
    alone = httpx2.get(page.get_by_role("link", name="Open").get_attribute("href"), timeout=60)
    assert "642341" in alone.text, "by itself it says whose it is"
    eventually(page, "document.querySelector('.series-item .thumbnail').naturalWidth === 144")


def test_curves_fit_a_phone(open_page: Callable[..., Any], archive: LiveServer) -> None:
    """They keep a size that can be read and are moved by finger; the page itself gets no wider."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, color_scheme="dark")
    study, data = real_ecg()
    store(archive, data)
    look_at(page, archive, study)
    page.locator(".paper img").wait_for()
    assert page.locator(".paper img").bounding_box()["width"] == 860
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [PHONE["width"]] * 2
    assert page.locator(".paper").evaluate("x => getComputedStyle(x).touchAction") == "auto"


def test_what_the_archive_cannot_draw_is_told_in_its_words(page: Any, archive: LiveServer) -> None:
    """No broken picture: the reason."""
    page.watched.excused = ("406",)
    study = new_uid()
    group = multiplex_group(np.zeros((100, 1), "i2"), [channel()]) | {"WaveformSampleInterpretation": "XX"}
    store(archive, waveform_file(group, StudyInstanceUID=study))
    look_at(page, archive, study)
    page.get_by_text("the sample interpretation 'XX' is not known").wait_for()


def test_a_video_plays_in_its_place(page: Any, archive: LiveServer, tmp_path: Path) -> None:
    """It is loaded where the browser can play it, and ends when another series is looked at."""
    study, picture = new_uid(), new_uid()
    store(archive, recorded(study, video(tmp_path, "libx264", "mp4"), H264))
    store(archive, disc(study, picture, 3, SeriesNumber=2))
    look_at(page, archive, study)
    page.locator("video").wait_for()
    if not page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.640028\"')"):
        pytest.skip("this Chromium plays no H.264")
    eventually(page, "document.querySelector('video').readyState >= 2")
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(1, abs=0.1)
    page.evaluate("window.player = document.querySelector('video')")
    page.locator(f".series-item[data-uid='{picture}']").click()
    wait_for_frame(page, 1)
    assert not page.evaluate("window.player.isConnected")
    assert page.locator(".document").count() == 0


def test_a_video_that_no_browser_plays_says_so(page: Any, archive: LiveServer, tmp_path: Path) -> None:
    """MPEG2, and what calls itself H.264 and is none."""
    study, broken = new_uid(), new_uid()
    store(archive, recorded(study, video(tmp_path, "mpeg2video", "mpg"), MPEG2))
    look_at(page, archive, study)
    page.get_by_text("This browser cannot play this video.").wait_for()
    assert page.get_by_role("link", name="Open").get_attribute("href").endswith("/rendered")
    store(archive, recorded(broken, b"no movie at all", H264))
    look_at(page, archive, broken)
    eventually(page, f"{SHOWN}?.textContent.includes('cannot play')")
