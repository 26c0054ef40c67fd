"""The list of studies: one box for whatever people have in hand, what has come in, and what was refused of a ZIP."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.looking import eventually, store
from tests.browser.pages import PHONE
from tests.builders import ct_slice, new_uid
from tests.live_server import LiveServer

ROWS = "document.querySelectorAll('table.studies tbody tr:not(.waiting)').length"


@pytest.fixture(scope="module")
def known(archive: LiveServer) -> LiveServer:
    """The archive with a few patients more."""
    for number, name in enumerate(("Kanji^Ken=山田^太郎", "Kanji^Ken=山田^花子", "Plus^Petra")):
        known = {"PatientID": f"HOSP-{number}", "AccessionNumber": f"ACC+{number} X", "PatientBirthDate": "19700102"}
        store(archive, ct_slice(PatientName=name, SpecificCharacterSet="ISO_IR 192", Modality="CT", **known))
    return archive


@pytest.mark.parametrize(
    ("text", "rows"),
    [("山田太郎", 1), ("山田 太郎", 1), ("山田", 2), ("hosp-2", 1), ("ACC+1 X", 1), ("osp-", 3), ("petra", 1)],
)
def test_one_box_finds_names_ids_and_accession_numbers(page: Any, known: LiveServer, text: str, rows: int) -> None:
    """Whatever is typed first; nothing that is found that way is marked as if it had just come in."""
    page.get_by_role("row").filter(has_text="Plus, Petra").wait_for()
    page.get_by_role("searchbox", name="Patient name").fill(text)
    eventually(page, f"{ROWS} === {rows}")
    page.get_by_role("searchbox", name="Patient name").fill("")
    page.get_by_role("row").filter(has_text="Plus, Petra").wait_for()
    assert page.locator("tr.new, tr.changed").count() == 0


def test_a_barcode_reader_needs_no_hand_on_the_mouse(page: Any, known: LiveServer) -> None:
    """It types fast and ends with Enter, wherever the page is; the next barcode takes the place of the last."""
    page.get_by_role("row").filter(has_text="Plus, Petra").wait_for()
    for number in (1, 2):
        page.keyboard.type(f"ACC+{number} X\n")
        eventually(page, f"{ROWS} === 1")
        page.get_by_role("row").filter(has_text=f"HOSP-{number}").wait_for()
    assert page.get_by_role("searchbox", name="Patient name").input_value() == "ACC+2 X"


def test_what_has_come_in_is_marked_and_nothing_else(page: Any, known: LiveServer) -> None:
    """Among the rows of a list that somebody looks at."""
    page.locator("#live-state[data-state=on]").wait_for()
    page.get_by_role("row").filter(has_text="Plus, Petra").wait_for()
    store(known, ct_slice(PatientName="Arrived^Ann", StudyDate="20270102"))
    page.locator("tr.new").filter(has_text="Arrived, Ann").wait_for()
    assert page.locator("tr.new, tr.changed").count() == 1


def test_modalities_are_those_of_the_archive_with_their_counts(page: Any, known: LiveServer) -> None:
    """The most frequent first; one that is chosen narrows the list; a new one appears by itself."""
    page.locator(".chip .chip-count").first.wait_for()
    counts = [int(text) for text in page.locator(".chip-count").all_inner_texts()]
    assert counts == sorted(counts, reverse=True)
    assert page.locator(".chip").count() == len(counts)
    store(known, ct_slice(PatientName="Eye^Eva", Modality="OPT", StudyInstanceUID=new_uid()))
    chip = page.get_by_role("button", name="OPT", exact=True)
    chip.wait_for()
    assert chip.inner_text() == "OPT 1"
    chip.click()
    eventually(page, f"{ROWS} === 1")
    assert page.url.endswith("modality=OPT")


def test_a_phone_shows_when_somebody_was_born(open_page: Callable[..., Any], known: LiveServer) -> None:
    """The whole line below the name, on as many lines as it takes."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    line = page.get_by_role("row").filter(has_text="Plus, Petra").locator(".s-patient .second")
    line.wait_for()
    assert "born 1970-01-02" in line.inner_text()
    assert line.evaluate("each => each.scrollWidth <= each.clientWidth && each.scrollHeight <= each.clientHeight + 1")


def test_of_a_zip_each_instance_is_counted(page: Any, known: LiveServer, tmp_path: Path) -> None:
    """Of six instances and two other files six are stored and two refused; the ZIP is stored in part, and says why."""
    study, bundle = new_uid(), tmp_path / "mixed.zip"
    with zipfile.ZipFile(bundle, "w") as made:
        for number in range(6):
            made.writestr(f"{number}.dcm", ct_slice(study, PatientName="Mixed^Mia"))
        for number in range(2):
            made.writestr(f"broken{number}.dcm", bytes(128) + b"DICM" + bytes(40))
    page.locator("#choose-files").set_input_files(bundle)
    panel = page.get_by_role("region", name="Uploads")
    panel.get_by_role("heading", name="Upload finished").wait_for()
    assert panel.locator(".upload-sum p").first.inner_text() == "6 stored · 2 refused"
    assert panel.locator(".badge").inner_text() == "Partly stored"
    assert panel.locator("li.partly p").inner_text().startswith("6 stored, 2 refused: ")


def test_what_people_carry_elsewhere_is_copied_and_said_to_be(page: Any, known: LiveServer) -> None:
    """With the browser's clipboard and, where it has none (plain http from elsewhere), without."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for has_clipboard in (True, False):
        page.goto(f"{known.url}/ui/#/system")
        if not has_clipboard:
            page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()); }")
        page.get_by_role("button", name="Copy the address").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == f"{known.root}"
        page.get_by_role("button", name="Copied").wait_for(state="hidden")


def test_the_system_page_says_once_what_is_wrong_and_comes_back(page: Any, known: LiveServer) -> None:
    """While the archive is away there is one note in the place of numbers that may be true no longer."""
    page.watched.excused = ("ERR_CONNECTION_REFUSED",)
    page.goto(f"{known.url}/ui/#/system")
    page.get_by_role("heading", name="DIMSE gateway").wait_for()
    page.route("**/api/status", lambda route: route.abort("connectionrefused"))
    page.get_by_text("That did not work").wait_for()
    assert not page.get_by_role("heading", name="DIMSE gateway").is_visible()
    page.unroute("**/api/status")
    known_status = page.request.get(f"{known.url}/api/status").json()
    unknown = {
        "archive": None,
        "database": {"ok": False, "version": None, "bytes": None},
        "jobs": {},
        "commitments": {},
    }
    disk = {"ok": False, "total_bytes": None, "free_bytes": None, "least_free_bytes": 1}
    page.route("**/api/status", lambda route: route.fulfill(json={**known_status, **unknown, "storage": disk}))
    page.get_by_text("does not answer").first.wait_for()
    assert page.get_by_role("main").inner_text().count("not known") == 4, "nothing is said to be in order"
    assert "%" not in page.get_by_role("main").inner_text()
    page.unroute("**/api/status")
    page.get_by_role("heading", name="DIMSE gateway").wait_for()
    page.get_by_text("That did not work").wait_for(state="hidden")
