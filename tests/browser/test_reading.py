"""Reading in the archive's own pages while things come in: the focus stays, everything fits, pictures come first, and
a picture, its name and its numbers belong to each other.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.looking import disc, eventually, held_back, store, wait_for_frame
from tests.browser.pages import PHONE, open_study
from tests.builders import ct_slice, dicom_file, multi_frame, new_uid
from tests.live_server import LiveServer

LONG_ID = "0123456789abcdef" * 4
LONG_WORD = "Thorax_" * 9 + "T"
FOCUSED_ROW = "document.activeElement.closest('tbody tr')?.dataset.uid"
FOCUSED_SERIES = "document.activeElement.dataset.uid"
LEVEL = "document.querySelector('.corner.bottom-right').textContent"
BLANK = "!document.querySelector('canvas.picture').getContext('2d').getImageData(40, 40, 1, 1).data[3]"
TROUBLE = "That did not work"
STRUCTURES: dict[str, Any] = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "Modality": "RTSTRUCT"}


def rows(page: Any) -> list[str]:
    """The studies of the list, by their UIDs."""
    found: list[str] = page.evaluate("[...document.querySelectorAll('table.studies tbody tr')].map(x => x.dataset.uid)")
    return found


def listed(page: Any, archive: LiveServer, name: str, number: int = 3) -> list[str]:
    """Store studies of one instance each and search the list for them; returns their UIDs as the list has them."""
    page.locator("#live-state[data-state=on]").wait_for()
    for place in range(number):
        store(archive, ct_slice(PatientName=f"{name}^{place}", StudyDate=f"2030010{place + 1}"))
    page.get_by_role("searchbox", name="Patient name").fill(name)
    eventually(page, f"document.querySelectorAll('table.studies tbody tr').length === {number}")
    page.wait_for_timeout(1_000)
    return rows(page)


def test_the_focus_stays_on_its_study_when_another_comes_in(page: Any, archive: LiveServer) -> None:
    """A newer study is put above; arrows go on from where one was."""
    before = listed(page, archive, "Focus", 4)
    page.keyboard.press("/")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert page.evaluate(FOCUSED_ROW) == before[2]
    store(archive, ct_slice(PatientName="Focus^Newer", StudyDate="20310101"))
    page.get_by_role("row").filter(has_text="Focus, Newer").wait_for()
    assert page.evaluate(FOCUSED_ROW) == before[2]
    page.keyboard.press("ArrowDown")
    assert page.evaluate(FOCUSED_ROW) == before[3]


@pytest.mark.parametrize("focused", [0, 2])
def test_the_focus_stays_on_its_study_when_one_grows_and_moves(page: Any, archive: LiveServer, focused: int) -> None:
    """Sorted by instances the last study becomes the first: the focus goes with it, or stays on the other one."""
    name = f"Grow{focused}"
    before = listed(page, archive, name)
    for _ in range(2):
        page.get_by_role("button", name="Instances").click()
        page.wait_for_timeout(300)
    page.locator("th[aria-sort=descending]").wait_for()
    before = rows(page)
    page.locator("table.studies tbody a").nth(focused).focus()
    patient = page.locator("table.studies tbody a").nth(2).inner_text().split(", ")
    store(archive, ct_slice(before[2], PatientName="^".join(patient)))
    page.locator("table.studies tbody tr .s-images").first.filter(has_text="2").wait_for()
    assert rows(page)[0] == before[2]
    assert page.evaluate(FOCUSED_ROW) == before[focused]


def test_the_focus_stays_on_its_series_when_another_comes_in(page: Any, archive: LiveServer) -> None:
    """Before the one that is focused, or behind it; what is focused in the head stays so, too."""
    study, uids = new_uid(), [new_uid(), new_uid()]
    for place, uid in enumerate(uids):
        store(archive, disc(study, uid, 3, SeriesNumber=5 + place))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    page.locator(".series-item").nth(1).wait_for()
    page.locator("#live-state[data-state=on]").wait_for()
    page.get_by_role("button", name="Send").focus()
    store(archive, disc(study, new_uid(), 3, SeriesNumber=9))
    page.locator(".series-item").nth(2).wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Send"
    page.locator(".series-item").nth(1).focus()
    for number, total in ((1, 4), (8, 5)):
        store(archive, disc(study, new_uid(), 3, SeriesNumber=number))
        page.locator(".series-item").nth(total - 1).wait_for()
        assert page.evaluate(FOCUSED_SERIES) == uids[1]
    shown = page.locator(".series-text .small").all_inner_texts()
    assert [each.partition(" ·")[0] for each in shown] == ["No. 1", "No. 5", "No. 6", "No. 8", "No. 9"]


@pytest.mark.parametrize("width", [320, PHONE["width"]])
def test_long_words_fit_a_phone(open_page: Callable[..., Any], archive: LiveServer, width: int) -> None:
    """An ID of 64 digits and descriptions without spaces are wrapped; nothing is wider than the screen."""
    page = open_page(viewport=PHONE | {"width": width}, has_touch=True, is_mobile=True)
    long: dict[str, Any] = {"PatientName": "Long^Lea", "PatientID": LONG_ID, "StudyDescription": LONG_WORD}
    study = new_uid()
    store(archive, disc(study, new_uid(), 3, **long, SeriesDescription=LONG_WORD, AccessionNumber="A" * 16))
    for each in (study, archive.study):  # type: ignore[attr-defined]
        for path in (f"studies/{each}", f"studies/{each}?tab=metadata", "studies"):
            page.goto(f"{archive.url}/ui/#/{path}")
            page.get_by_role("heading", level=1).wait_for()
            page.wait_for_timeout(500)
            # A phone would zoom out for what does not fit, and then call the wider page its window.
            assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [width, width], path


def test_what_is_cut_can_be_read(page: Any, archive: LiveServer) -> None:
    """In the list a title has all of it; the page of the study wraps it."""
    store(archive, ct_slice(PatientName="Cut^Carla", PatientID=LONG_ID, StudyDescription=LONG_WORD))
    row = page.get_by_role("row").filter(has_text="Cut, Carla")
    row.wait_for()
    assert LONG_ID in row.locator(".s-patient .second").get_attribute("title")
    assert row.locator(".s-description .clip").first.get_attribute("title") == LONG_WORD
    row.get_by_role("link").click()
    page.locator(".study-who .dotted").filter(has_text=LONG_ID).wait_for()
    cut = "[...document.querySelectorAll('.study-head p')].filter(x => x.scrollWidth > x.clientWidth).length"
    assert page.evaluate(cut) == 0


def test_a_study_opens_on_its_first_picture(page: Any, archive: LiveServer) -> None:
    """Structures and masks may have the lowest numbers: they come first in the list, the picture is what is shown."""
    study, picture, structures = new_uid(), new_uid(), new_uid()
    named: dict[str, Any] = {"StudyInstanceUID": study, "PatientName": "First^Fay"}
    store(archive, dicom_file(**named, **STRUCTURES, SeriesInstanceUID=structures, SeriesNumber=1))
    store(archive, ct_slice(study, PatientName="First^Fay", Modality="SEG", SeriesNumber=2))
    store(archive, disc(study, picture, 3, PatientName="First^Fay", SeriesNumber=3))
    store(archive, disc(study, new_uid(), 3, PatientName="First^Fay", SeriesNumber=4))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    page.locator(".series-item[aria-current]").wait_for()
    assert page.locator(".series-item[aria-current]").get_attribute("data-uid") == picture
    assert page.locator(".series-item .badge").all_inner_texts() == ["RTSTRUCT", "SEG", "CT", "CT"]
    page.goto(f"{archive.url}/ui/#/studies")
    page.get_by_role("heading", name="Studies").wait_for()
    page.goto(f"{archive.url}/ui/#/studies/{study}?series={structures}")
    page.locator(".series-item[aria-current]").wait_for()
    assert page.locator(".series-item[aria-current]").get_attribute("data-uid") == structures


def test_metadata_is_found_by_words(page: Any, archive: LiveServer) -> None:
    """In any order, without the apostrophe; keywords, tags and values are found as ever."""
    open_study(page, archive)
    page.get_by_role("tab", name="Metadata").click()
    view = page.locator(".metadata")
    view.get_by_text("Patient's Name", exact=True).wait_for()
    search = page.get_by_role("searchbox", name="Search the metadata")
    name = "[...document.querySelectorAll('.metadata .m-name')].map(x => x.textContent).join()"
    for words in ("patient name", "NAME patient's", "Patient’s", "PatientName", "(0010,0010)", "00100010", "doe, jane"):
        search.fill("no such attribute")
        eventually(page, f"{name} === ''")
        search.fill(words)
        eventually(page, f'{name}.includes("Patient\'s Name")')
    eventually(page, f'{name} === "Patient\'s Name"')


def two_series(page: Any, archive: LiveServer) -> list[Any]:
    """Show the first series of a study of two; returns the buttons of both."""
    study, uids = new_uid(), [new_uid(), new_uid()]
    for place, uid in enumerate(uids):
        for number in (2, 8, 14):
            store(archive, disc(study, uid, number, SeriesNumber=place + 1, SeriesDescription=f"Series {'AB'[place]}"))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 2)
    return [page.locator(f".series-item[data-uid='{uid}']") for uid in uids]


def test_no_picture_stands_under_the_name_of_another_series(page: Any, archive: LiveServer) -> None:
    """While pictures of the series that was chosen come in, that of the one before is gone."""
    _, second = two_series(page, archive)
    release = held_back(page, f"**/series/{second.get_attribute('data-uid')}/**/rendered*")
    second.click()
    page.locator(".corner.top-left").get_by_text("Series B").wait_for()
    eventually(page, BLANK)
    assert page.locator("canvas.picture[data-shown]").count() == 0
    page.locator(".picture-wait").wait_for()
    release()
    wait_for_frame(page, 2)


def test_a_series_that_fails_late_troubles_nobody(page: Any, archive: LiveServer) -> None:
    """The note of a series that cannot be opened belongs to it: not to the one that is looked at by then."""
    first, second = two_series(page, archive)
    page.watched.excused = ("503",)
    held: list[Any] = []
    pattern = f"**/series/{second.get_attribute('data-uid')}/instances?*"
    page.route(pattern, lambda route: held.append(route))
    second.click()
    page.locator(".corner.top-left").get_by_text("Series B").wait_for()
    first.click()
    wait_for_frame(page, 2)
    with page.expect_response(pattern):
        held[0].fulfill(status=503)
    page.wait_for_timeout(300)
    assert page.get_by_text(TROUBLE).count() == 0
    page.unroute(pattern)
    page.route(pattern, lambda route: route.fulfill(status=503))
    second.click()
    page.get_by_text(TROUBLE).wait_for()
    assert page.locator("canvas.picture[data-shown]").count() == 0
    page.unroute(pattern)
    page.get_by_role("button", name="Try again").click()
    wait_for_frame(page, 2)
    assert page.locator(".corner.top-left").inner_text().endswith("Series B")


def test_numbers_are_those_of_the_picture(page: Any, archive: LiveServer) -> None:
    """Each slice of an MR has a window of its own: the corner says it, and a drag begins with it."""
    study, series = new_uid(), new_uid()
    for number in (1, 2, 3):
        window: dict[str, Any] = {"WindowCenter": 100 * number, "WindowWidth": 200 * number}
        store(archive, ct_slice(study, series, instance_number=number, Modality="MR", **window))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 2)
    page.locator(".stage").focus()
    for key, shown in (("Home", "C 100  W 200"), ("End", "C 300  W 600")):
        page.keyboard.press(key)
        eventually(page, f"{LEVEL} === '{shown}'")
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    with page.expect_request("**/rendered?window=*") as asked:
        page.mouse.move(box["x"] + 204, box["y"] + 200)
    page.mouse.up()
    assert "window=300,609" in asked.value.url


def test_frames_have_numbers_of_their_own(page: Any, archive: LiveServer) -> None:
    """Windows of functional groups are those of their frames; where nothing says one, the corner says none."""
    study = new_uid()
    groups = [{"FrameVOILUTSequence": [{"WindowCenter": 10 * frame, "WindowWidth": 20 * frame}]} for frame in (1, 2)]
    framed: dict[str, Any] = {"StudyInstanceUID": study, "PerFrameFunctionalGroupsSequence": [*groups, {}]}
    store(archive, multi_frame(3, **framed))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 2)
    eventually(page, f"{LEVEL} === 'C 20  W 40'")
    page.locator(".stage").focus()
    for key, shown in (("Home", "C 10  W 20"), ("End", "")):
        page.keyboard.press(key)
        eventually(page, f"{LEVEL} === '{shown}'")


def test_a_series_that_grows_keeps_what_the_reader_set(page: Any, archive: LiveServer) -> None:
    """One more instance in the series that is looked at: window and cine go on."""
    study, series = new_uid(), new_uid()
    for number in (2, 8, 14):
        store(archive, disc(study, series, number))
    page.goto(f"{archive.url}/ui/#/studies/{study}")
    wait_for_frame(page, 2)
    page.locator("#live-state[data-state=on]").wait_for()
    page.get_by_role("combobox", name="Window preset").select_option(label="Lung (2)")
    page.get_by_role("combobox", name="Frames a second").select_option("5")
    page.get_by_role("button", name="Play").click()
    store(archive, disc(study, series, 15))
    eventually(page, "document.querySelector('.corner.bottom-left').textContent.endsWith('/ 4')")
    assert page.evaluate(LEVEL) == "C -600  W 1500"
    assert page.get_by_role("combobox", name="Frames a second").input_value() == "5"
    page.get_by_role("button", name="Stop").click()
    assert page.evaluate(LEVEL) == "C -600  W 1500"
