"""The archive's own pages when it is busy or away, and when what was typed cannot be meant."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.looking import drop
from tests.builders import ct_slice
from tests.live_server import LiveServer

STOW = "**/dicom-web/studies"
QIDO = "**/dicom-web/studies?*"
JOBS = "**/api/jobs?*"
EVENTS = "**/api/changes/events*"


def drop_while_busy(page: Any, tmp_path: Path) -> Any:
    """Drop a file while the archive is busy; returns the panel, which says that it waits."""
    page.watched.excused = ("503",)
    page.route(STOW, lambda route: route.fulfill(status=503))
    file = tmp_path / "one.dcm"
    file.write_bytes(ct_slice(PatientName="Busy^Bea"))
    drop(page, file)
    panel = page.get_by_role("region", name="Uploads")
    panel.get_by_role("heading", name="Waiting for the archive").wait_for()
    panel.get_by_text("tried again in").wait_for()
    return panel


def test_an_upload_waits_for_a_busy_archive(page: Any, tmp_path: Path) -> None:
    """What will be tried again is not over: who leaves is warned, and the file is stored when the archive is back."""
    panel = drop_while_busy(page, tmp_path)
    assert page.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))"), "who leaves is warned"
    assert panel.get_by_role("button", name="Clear").count() == 0
    page.unroute(STOW)
    panel.get_by_role("heading", name="Upload finished").wait_for()
    assert panel.get_by_text("1 stored", exact=True).is_visible()


def test_an_upload_that_waits_is_cancelled(page: Any, tmp_path: Path) -> None:
    """Cancel holds for what would be tried again; it can be sent after all."""
    panel = drop_while_busy(page, tmp_path)
    panel.get_by_role("button", name="Cancel").click()
    panel.get_by_role("heading", name="Upload finished").wait_for()
    assert panel.get_by_text("1 not sent", exact=True).is_visible()
    sent = [request for request in page.watched.requests if request.startswith("POST")]
    page.wait_for_timeout(2500)
    assert [request for request in page.watched.requests if request.startswith("POST")] == sent
    page.unroute(STOW)
    panel.get_by_role("button", name="Retry what failed").click()
    panel.get_by_text("1 stored", exact=True).wait_for()


def test_an_answer_that_is_not_of_the_archive_stores_nothing(page: Any, tmp_path: Path) -> None:
    """A proxy's page to sign in is a success by its status alone: the file is said to have failed, and sent again."""
    page.route(STOW, lambda route: route.fulfill(status=200, content_type="text/html", body="<html>Sign in</html>"))
    file = tmp_path / "one.dcm"
    file.write_bytes(ct_slice(PatientName="Proxy^Pia"))
    drop(page, file)
    panel = page.get_by_role("region", name="Uploads")
    panel.get_by_text("1 failed", exact=True).wait_for()
    panel.get_by_text("The answer did not come from the archive. Are you still signed in?").wait_for()
    page.unroute(STOW)
    panel.get_by_role("button", name="Retry what failed").click()
    panel.get_by_text("1 stored", exact=True).wait_for()


def test_what_cannot_be_read_is_said_to_be(page: Any, tmp_path: Path) -> None:
    """A file on a disc that gives errors is not passed off as something other than DICOM."""
    panel = page.get_by_role("region", name="Uploads")
    fails = "() => Promise.reject(new DOMException('', 'NotReadableError'))"
    page.evaluate(f"() => {{ Blob.prototype.arrayBuffer = {fails}; }}")
    file = tmp_path / "one.dcm"
    file.write_bytes(ct_slice())
    drop(page, file)
    panel.get_by_text("1 file could not be read", exact=True).wait_for()
    assert panel.get_by_text("skipped").count() == 0


def test_a_new_peer_does_not_replace_another(page: Any, archive: LiveServer) -> None:
    """An AE title that is taken is refused in the dialog, and the peer stays as it was."""
    url = f"{archive.url}/api/peers/TAKEN"
    httpx2.put(url, json={"host": "192.0.2.1", "port": 104})
    page.goto(f"{archive.url}/ui/#/peers")
    page.get_by_role("button", name="Add a peer").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("AE title").fill("TAKEN")
    dialog.get_by_label("Host").fill("192.0.2.2")
    dialog.get_by_role("button", name="Add").click()
    dialog.get_by_text("There is a peer of that AE title already.").wait_for()
    assert httpx2.get(url).json()["host"] == "192.0.2.1"
    dialog.get_by_label("AE title").fill("FREE")
    dialog.get_by_role("button", name="Add").click()
    page.get_by_role("row").filter(has_text="FREE").wait_for()
    for title in ("TAKEN", "FREE"):
        httpx2.delete(f"{archive.url}/api/peers/{title}")


def test_dates_are_asked_for_when_they_can_be_meant(page: Any) -> None:
    """Neither the beginnings of a year nor a range that ends before it begins become a search, which would fail."""
    page.get_by_role("row").filter(has_text="Thorax").wait_for()
    page.get_by_role("combobox", name="Date").select_option("between")
    first, last = page.get_by_role("textbox", name="From"), page.get_by_role("textbox", name="To")
    with page.expect_request(QIDO) as asked:
        first.focus()
        page.keyboard.type("01022026")
    assert first.input_value() == "2026-01-02" and "StudyDate=20260102-" in asked.value.url
    note = page.get_by_text("The last day is before the first one.")
    with page.expect_request(QIDO) as asked:
        last.fill("2025-01-01")
        note.wait_for()
        assert last.get_attribute("aria-invalid") == "true"
        last.fill("2026-01-31")
    assert "StudyDate=20260102-20260131" in asked.value.url
    note.wait_for(state="hidden")
    page.get_by_role("row").filter(has_text="Thorax").wait_for()
    assert page.get_by_text("That did not work").count() == 0


def test_a_day_that_is_none_is_said_to_be_wrong(page: Any) -> None:
    """31 February has no value: nothing is asked for without it, and a note says why, typing done or field left."""
    page.get_by_role("row").filter(has_text="Thorax").wait_for()
    page.get_by_role("combobox", name="Date").select_option("between")
    first = page.get_by_role("textbox", name="From")
    first.focus()
    page.keyboard.type("02312026")
    assert first.evaluate("input => [input.value, input.validity.badInput]") == ["", True]
    note = page.get_by_text("A day is not complete, or there is no such day.")
    note.wait_for()
    asked = list(page.watched.requests)
    page.get_by_role("searchbox", name="Patient ID").fill("P-1")
    page.wait_for_timeout(500)
    assert note.is_visible() and first.get_attribute("aria-invalid") == "true"
    assert [each for each in page.watched.requests[len(asked) :] if "PatientID" in each] == []
    with page.expect_request(QIDO) as request:
        first.fill("2026-01-02")
    assert "StudyDate=20260102-" in request.value.url and "P-1" in request.value.url
    note.wait_for(state="hidden")


@pytest.mark.parametrize(
    ("place", "asked", "shown"), [("", QIDO, "Thorax"), ("#/peers", "**/api/peers", "BACK"), ("#/jobs", JOBS, "Jobs")]
)
def test_a_list_that_failed_is_back_with_the_archive(
    page: Any, archive: LiveServer, place: str, asked: str, shown: str
) -> None:
    """When changes are heard again after an outage, what failed is asked for again, though nothing has changed."""
    httpx2.put(f"{archive.url}/api/peers/BACK", json={"host": "192.0.2.1", "port": 104})
    page.watched.excused = ("ERR_CONNECTION_REFUSED",)
    page.goto(f"{archive.url}/ui/{place}")
    page.get_by_role("main").get_by_text(shown).first.wait_for()
    for pattern in (asked, EVENTS):
        page.route(pattern, lambda route: route.abort("connectionrefused"))
    page.reload()
    page.get_by_text("That did not work").wait_for()
    page.locator("#live-state[data-state=off]").wait_for()
    for pattern in (asked, EVENTS):
        page.unroute(pattern)
    page.locator("#live-state[data-state=on]").wait_for()
    page.get_by_text("That did not work").wait_for(state="hidden")
    page.get_by_role("main").get_by_text(shown).first.wait_for()
    httpx2.delete(f"{archive.url}/api/peers/BACK")
