"""The archive's own pages in a real browser: upload, find, look, download; by mouse, keyboard and touch."""

import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.looking import drop, eventually, hold, picture, store, wait_for_frame
from tests.browser.pages import HOSTILE, PHONE, SLICES, open_study
from tests.builders import ct_slice, dicom_file, new_uid
from tests.corpus import corpus_files
from tests.live_server import LiveServer


def test_a_folder_that_is_dropped_is_stored_found_and_looked_through(page: Any, tmp_path: Path) -> None:
    """Folders in folders are walked through; what is not DICOM is skipped and counted; typing finds the study."""
    folder = tmp_path / "disc"
    (folder / "deep" / "er").mkdir(parents=True)
    files = corpus_files("series/ct-philips-phantom-28")
    for place, file in enumerate(files):
        shutil.copy(file, folder / "deep" / "er" / f"IM{place}")
    (folder / "README.txt").write_text("no image")
    (folder / "deep" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    drop(page, folder)
    panel = page.get_by_role("region", name="Uploads")
    panel.get_by_role("heading", name="Upload finished").wait_for()
    assert panel.get_by_text(f"{len(files)} stored", exact=True).is_visible()
    assert "2 files that are not DICOM were skipped" in panel.inner_text()
    page.get_by_role("searchbox", name="Patient name").fill("hea")
    row = page.get_by_role("row").filter(has_text="PLASTIC")
    row.wait_for()
    eventually(page, "document.querySelectorAll('table.studies tbody tr').length === 1")
    assert str(len(files)) in row.inner_text()
    assert "hea" not in page.url.partition("#")[2], "what is typed does not stand in the address"
    row.get_by_role("link").click()
    first = wait_for_frame(page, 14)
    page.locator(".stage").hover()
    page.mouse.wheel(0, 100)
    assert wait_for_frame(page, 15) != first


def test_files_are_chosen_by_a_button_and_refusals_are_readable(page: Any, tmp_path: Path) -> None:
    """A ZIP archive goes in whole; a file that conflicts is refused in words (PS3.18 10.5.3) and can be retried."""
    study, series, instance = new_uid(), new_uid(), new_uid()
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w") as made:
        made.writestr("a", ct_slice(study, series, instance, PatientName="Zip^Zoe"))
        made.writestr("b", ct_slice(study, series, PatientName="Zip^Zoe"))
    other = tmp_path / "other.dcm"
    other.write_bytes(ct_slice(study, series, instance, PatientName="Zip^Zora"))
    page.watched.excused = ("409",)
    page.get_by_role("button", name="Upload", exact=True).click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(bundle)
    panel = page.get_by_role("region", name="Uploads")
    panel.get_by_text("2 stored").first.wait_for()
    page.locator("#choose-files").set_input_files(other)
    panel.get_by_text("1 refused", exact=False).first.wait_for()
    assert re.search("different|other|already", panel.locator("li.refused p").inner_text())
    panel.get_by_role("button", name="Retry what failed").click()
    panel.get_by_text("1 refused", exact=False).first.wait_for()
    assert panel.get_by_role("link", name="Open the study").get_attribute("href") == f"#/studies/{study}"


def test_everything_is_done_by_keyboard(page: Any) -> None:
    """A slash leads to the search, arrows through the rows, Enter opens; arrows turn frames; Esc clears the search."""
    page.get_by_role("row").filter(has_text="Thorax").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("jane doe")
    eventually(page, "document.querySelectorAll('table.studies tbody tr').length === 1")
    page.keyboard.press("ArrowDown")
    assert "Doe, Jane" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    before = wait_for_frame(page, 6)
    assert page.evaluate("document.activeElement.tagName") == "H1"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "stage":
            break
    page.keyboard.press("ArrowDown")
    after = wait_for_frame(page, 7)
    assert after != before
    page.keyboard.press("End")
    wait_for_frame(page, SLICES)
    page.keyboard.press("3")
    eventually(page, "document.querySelector('.bottom-right').textContent.includes('W 1800')")
    page.get_by_role("link", name="All studies").press("Enter")
    page.get_by_role("searchbox", name="Patient name").wait_for()
    assert page.get_by_role("searchbox", name="Patient name").input_value() == "jane doe"
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    eventually(page, "document.querySelectorAll('table.studies tbody tr').length >= 3")


def test_who_types_while_a_page_loads_is_not_interrupted(page: Any) -> None:
    """The focus goes to where one was, or to the heading, but not away from a field that was gone to meanwhile."""
    page.get_by_role("row").filter(has_text="Thorax").click()
    wait_for_frame(page, 6)
    waiting: list[Any] = []
    page.route("**/dicom-web/studies?*", lambda request: waiting.append(request))
    page.get_by_role("link", name="All studies").click()
    page.get_by_role("searchbox", name="Patient name").wait_for()
    page.keyboard.press("/")
    page.wait_for_timeout(500)
    for request in waiting:
        request.continue_()
    page.unroute("**/dicom-web/studies?*")
    page.get_by_role("row").filter(has_text="Thorax").wait_for()
    page.keyboard.type("jane doe")
    eventually(page, "document.querySelectorAll('table.studies tbody tr').length === 1")
    assert waiting and page.evaluate("document.activeElement.value") == "jane doe"


def test_a_double_click_opens_as_a_click_does(page: Any) -> None:
    """Who clicks twice finds the study open, and nothing of it marked."""
    page.get_by_role("row").filter(has_text="Thorax").dblclick()
    wait_for_frame(page, 6)
    assert page.evaluate("getSelection().toString()") == ""


def test_windows_are_chosen_typed_and_dragged(page: Any, archive: LiveServer) -> None:
    """Presets, numbers and a drag of the mouse each change what is painted."""
    open_study(page, archive)
    seen = {picture(page)}
    eventually(page, "document.querySelector('.bottom-right').textContent.includes('C 40  W 400')")

    def changed() -> None:
        eventually(page, "!document.querySelector('.picture-wait:not([hidden])')")
        for _ in range(50):
            if picture(page) not in seen:
                break
            page.wait_for_timeout(100)
        assert picture(page) not in seen
        seen.add(picture(page))

    page.get_by_role("combobox", name="Window preset").select_option(label="Brain (4)")
    changed()
    width = page.get_by_role("spinbutton", name="Window width")
    width.fill("20")
    width.press("Enter")
    changed()
    shown = page.locator(".corner.bottom-right").inner_text()
    width.fill("-5")
    width.press("Enter")
    assert width.evaluate("input => input.matches(':invalid') && input === document.activeElement")
    assert page.locator(".corner.bottom-right").inner_text() == shown, "what cannot be a width changes nothing"
    width.fill("20")
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 420, box["y"] + 160, steps=6)
    page.mouse.up()
    changed()
    assert (
        page.get_by_role("combobox", name="Window preset").evaluate("box => box.selectedOptions[0].text")
        == "Own window"
    )


def test_cine_plays_and_stops(page: Any) -> None:
    """Frames follow each other by themselves, and stop when told; a frame of many is one of the series."""
    page.get_by_role("link", name="Cine, Carl").click()
    wait_for_frame(page, 4)
    page.get_by_role("button", name="Play").click()
    eventually(page, "['6', '7', '8'].includes(document.querySelector('canvas.picture').dataset.shown)")
    page.get_by_role("button", name="Stop").click()
    at = page.get_by_role("slider", name="Frame").input_value()
    page.wait_for_timeout(300)
    assert page.get_by_role("slider", name="Frame").input_value() == at


def test_metadata_is_named_searched_and_downloaded(page: Any, archive: LiveServer, tmp_path: Path) -> None:
    """Attributes have the names of PS3.6; a search finds names, tags and values; the file comes as it was stored."""
    open_study(page, archive)
    page.get_by_role("tab", name="Metadata").click()
    view = page.locator(".metadata")
    view.get_by_text("Patient's Name", exact=True).wait_for()
    assert view.get_by_text("Doe, Jane").is_visible() and view.get_by_text("CT Image Storage").is_visible()
    search = page.get_by_role("searchbox", name="Search the metadata")
    search.fill("window")
    view.get_by_text("Window Center", exact=True).wait_for()
    eventually(page, "document.querySelectorAll('.metadata .m-row').length < 6")
    search.fill("00100020")
    view.get_by_text("P-1", exact=True).wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="DICOM file").click()
    data = Path(download.value.path()).read_bytes()
    assert data[128:132] == b"DICM" and b"Doe^Jane" in data
    with page.expect_download() as download:
        page.get_by_role("link", name="ZIP").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archived:
        names = archived.namelist()
    assert len([name for name in names if not name.endswith(("/", "DICOMDIR"))]) >= SLICES


def test_markup_in_values_is_text(page: Any, archive: LiveServer) -> None:
    """Names of patients come from anywhere: they are shown letter by letter, in list, study and metadata."""
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    link = page.get_by_role("link").filter(has_text="<b>bold</b>")
    link.wait_for()
    assert link.inner_text() == '"><b>bold</b>, <script>alert(3)</script>'
    assert HOSTILE in page.get_by_role("row").filter(has=link).inner_text()
    link.click()
    wait_for_frame(page, 1)
    assert "<script>" in page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("tab", name="Metadata").click()
    page.locator(".metadata").get_by_text(HOSTILE).first.wait_for()
    assert page.locator("main img[src='x'], main script, main b").count() == 0
    assert said == [] and page.title() == "Study · dicomweb"


def test_what_comes_in_appears_by_itself(page: Any, archive: LiveServer) -> None:
    """A study that is stored elsewhere shows up without a reload (server-sent events), and its count grows."""
    page.locator("#live-state[data-state=on]").wait_for()
    study, series = new_uid(), new_uid()
    named = {"PatientName": "New^Nora", "StudyDate": "20270101"}
    store(archive, ct_slice(study, series, **named))
    row = page.get_by_role("row").filter(has_text="New, Nora")
    row.wait_for()
    store(archive, ct_slice(study, series, instance_number=2, **named))
    row.locator(".s-images").filter(has_text="2").wait_for()


def test_filters_stand_in_the_address_and_names_do_not(page: Any, archive: LiveServer) -> None:
    """An address can be passed on: it holds modality, dates and order; names, IDs and numbers stay in the browser.

    What people type has whatever case they like.
    """
    page.get_by_role("row").filter(has_text="Thorax").wait_for()
    page.get_by_role("button", name="CT", exact=True).click()
    page.get_by_role("combobox", name="Date").select_option("between")
    page.get_by_role("textbox", name="From").fill("2026-01-01")
    page.get_by_role("textbox", name="To").fill("2026-01-31")
    page.get_by_role("searchbox", name="Patient ID").fill("p-1")
    page.get_by_role("button", name="Patient", exact=True).click()
    eventually(page, "location.hash.includes('sort=PatientName')")
    eventually(page, "document.querySelectorAll('table.studies tbody tr').length === 1")
    assert page.url.endswith("#/studies?period=between&from=2026-01-01&to=2026-01-31&modality=CT&sort=PatientName")
    page.reload()
    page.get_by_role("row").filter(has_text="Thorax").wait_for()
    assert page.get_by_role("searchbox", name="Patient ID").input_value() == "p-1"
    assert page.get_by_role("button", name="CT", exact=True).get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone(open_page: Callable[..., Any], archive: LiveServer, scheme: str) -> None:
    """At 390 pixels nothing is wider than the screen; every page has its heading; nothing complains."""
    page = open_page(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    study = archive.study  # type: ignore[attr-defined]
    names = ("studies", f"studies/{study}", f"studies/{study}?tab=metadata")
    for name in (*names, "worklist", "steps", "peers", "jobs", "commitments", "system"):
        page.goto(f"{archive.url}/ui/#/{name}")
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(14, 17, 21)") == (scheme == "dark")


def test_a_finger_turns_frames(open_page: Callable[..., Any], archive: LiveServer) -> None:
    """A swipe over the picture goes through the frames."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    open_study(page, archive)
    box = page.locator(".stage").bounding_box()
    session = page.context.new_cdp_session(page)
    at = {"x": box["x"] + 100, "y": box["y"] + 200}
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    for step in range(1, 5):
        point = {"x": at["x"], "y": at["y"] - 14 * step}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for_frame(page, 10)


def test_colours_are_chosen_and_kept(page: Any) -> None:
    """The button goes round: system, light, dark; the choice outlives a reload without a flash."""
    toggle = page.get_by_role("button", name=re.compile("Colours"))
    toggle.click()
    toggle.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_an_object_without_a_picture_says_so(page: Any, archive: LiveServer) -> None:
    """No broken picture, no error: a sentence, and the metadata."""
    study = new_uid()
    plan = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "Modality": "RTSTRUCT"}
    store(archive, dicom_file(StudyInstanceUID=study, PatientName="Struct^Stan", **plan))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    page.get_by_text("This object is not a picture.").wait_for()


def test_a_page_of_thousands_of_files_stays_alive(page: Any, archive: LiveServer, tmp_path: Path) -> None:
    """Two thousand files that are no DICOM, and some that are: nothing holds the page up for half a second."""
    folder = tmp_path / "many"
    for part in range(20):
        (folder / f"{part}").mkdir(parents=True)
        for number in range(100):
            (folder / f"{part}" / f"{number}.txt").write_text("no image")
    study, series = new_uid(), new_uid()
    for number in range(60):
        (folder / "0" / f"{number}.dcm").write_bytes(ct_slice(study, series, instance_number=number, StudyDate=""))
    page.evaluate(
        "() => { window.longest = 0; new PerformanceObserver((list) => { for (const each of list.getEntries())"
        " window.longest = Math.max(window.longest, each.duration); }).observe({ type: 'longtask' }); }"
    )
    drop(page, folder)
    panel = page.get_by_role("region", name="Uploads")
    panel.get_by_text("60 stored").wait_for(timeout=60_000)
    panel.get_by_text("2,000 files that are not DICOM were skipped").wait_for(timeout=60_000)
    assert page.evaluate("window.longest") < 500
    assert panel.locator("li").count() <= 60


def test_a_study_opens_in_the_viewer_when_there_is_one(page: Any, archive: LiveServer) -> None:
    """Only then is there a link to it; it names the study and nothing else."""
    open_study(page, archive)
    assert page.get_by_role("link", name="Open in OHIF").count() == 0
    told = httpx2.get(f"{archive.url}/api/status").json() | {"viewer": True}
    page.route("**/api/status", lambda route: route.fulfill(json=told))
    page.reload()
    link = page.get_by_role("link", name="Open in OHIF")
    link.wait_for()
    study = archive.study  # type: ignore[attr-defined]
    assert link.evaluate("link => link.href") == f"{archive.url}/viewer?StudyInstanceUIDs={study}"


def test_results_are_paged_and_counted(page: Any, archive: LiveServer) -> None:
    """Fifty at a time, by the cursor of the Link header; the total is that of all pages (PS3.18 8.3.4.4)."""
    for number in range(53):
        store(archive, ct_slice(PatientID=f"PAGE-{number:02}", PatientName=f"Paged^{number:02}", StudyDate="20200101"))
    page.get_by_role("searchbox", name="Patient ID").fill("PAGE-")
    page.get_by_text("53 found").wait_for()
    pages = page.get_by_role("navigation", name="Pages of results")
    pages.get_by_text("1–50 of 53").wait_for()
    page.get_by_role("button", name="Patient", exact=True).click()
    page.get_by_role("row").filter(has_text="Paged, 00").wait_for()
    pages.get_by_role("button", name="Next").click()
    pages.get_by_text("51–53 of 53").wait_for()
    assert "Paged, 50" in page.evaluate("document.activeElement.textContent")
    assert pages.get_by_role("button", name="Next").is_disabled()
    page.keyboard.press("Enter")
    wait_for_frame(page, 1)
    page.go_back()
    pages.get_by_text("51–53 of 53").wait_for()
    eventually(page, "document.activeElement.textContent.includes('Paged, 50')")
    pages.get_by_role("button", name="Previous").click()
    pages.get_by_text("1–50 of 53").wait_for()


def test_a_drag_that_is_given_up_leaves_nothing_behind(page: Any) -> None:
    """While files are held over the page it says what a drop does; when they are gone, so is that."""
    page.get_by_role("heading", name="Studies").wait_for()
    veil = page.locator(".drop-veil")
    hold(page, Path(__file__))
    assert veil.text_content() == "Drop files, folders or ZIP archives to store them"
    veil.wait_for(state="hidden")
