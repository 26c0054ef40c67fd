"""The pages of peers, worklist and commitments in a real browser."""

import re
from typing import Any

import httpx2

from tests.browser.looking import PARKED
from tests.browser.pages import SLICES, open_study
from tests.live_server import LiveServer


def test_a_peer_is_added_asked_sent_to_and_deleted(page: Any, archive: LiveServer) -> None:
    """Our own gateway as a peer: it answers C-ECHO; a study sent to it is a job that gets done."""
    page.get_by_role("link", name="Peers").click()
    page.get_by_role("button", name="Add a peer").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("AE title").fill("DICOMWEB")
    dialog.get_by_label("Host").fill("127.0.0.1")
    dialog.get_by_role("spinbutton", name="Port").fill(str(archive.dimse_port))
    dialog.get_by_label("Description").fill("<b>ourselves</b>")
    dialog.get_by_role("button", name="Add").click()
    row = page.get_by_role("row").filter(has_text="DICOMWEB")
    row.get_by_text("<b>ourselves</b>").wait_for()
    row.get_by_role("button", name="Echo").click()
    row.get_by_text("Answers in").wait_for()
    url = f"{archive.url}/api/peers/DICOMWEB"
    kept = {"availability": True, "commitment_delivery": ["next", "new"], "username": "u", "our_username": "us"}
    httpx2.put(url, json=httpx2.get(url).json() | kept | {"passcode": "secret"})
    page.reload()
    row.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Description").fill("changed")
    dialog.get_by_role("button", name="Save").click()
    row.get_by_text("changed").wait_for()
    shown = httpx2.get(url).json()
    assert kept.items() <= shown.items() and shown["has_passcode"] is True
    httpx2.put(url, json=shown | {"username": "", "our_username": "", "availability": False, "passcode": ""})
    open_study(page, archive)
    page.get_by_role("button", name="Send").click()
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    page.get_by_role("link", name="Watch it").click()
    page.get_by_role("row").filter(has_text=f"{SLICES} of {SLICES}").get_by_text("done").wait_for()
    page.get_by_role("link", name="Peers").click()
    page.get_by_role("button", name="Delete DICOMWEB").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    page.get_by_role("heading", name="No peers yet").wait_for()


def test_a_worklist_item_is_added_changed_and_deleted(page: Any, archive: LiveServer) -> None:
    """What the form does not show stays as it was; the change is refused when somebody was faster (If-Match)."""
    page.get_by_role("link", name="Worklist").click()
    page.get_by_role("button", name="Add", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Family name").fill("Order")
    dialog.get_by_label("Given name").fill("Olga")
    dialog.get_by_label("Patient ID").fill("W-1")
    dialog.get_by_label("Station AE title").fill("CT1")
    dialog.get_by_role("button", name="Add").click()
    row = page.get_by_role("row").filter(has_text="Order, Olga")
    row.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Accession number").fill("ACC-77")
    dialog.get_by_role("button", name="Save").click()
    row.get_by_text("Accession ACC-77").wait_for()
    (item,) = httpx2.get(f"{archive.url}/api/worklist?PatientID=W-1").json()
    assert item["00100010"]["Value"] == [{"Alphabetic": "Order^Olga"}]
    row.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="Nothing on the worklist").wait_for()


def test_a_parked_commitment_is_looked_into_and_sent_again(page: Any, archive: LiveServer) -> None:
    """What could not be delivered says why; sending it again is a POST of JSON, as every change."""
    uid = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": "1.2.3.4", "failure_reason": "0112"}
    instances = [uid | {"outcome": "failed", "meaning": "No such object instance"}]
    sent: list[Any] = []

    def answer(route: Any) -> None:
        if route.request.method == "POST":
            sent.append((route.request.url, route.request.headers["content-type"]))
            route.fulfill(status=202, json=PARKED | {"state": "reporting"})
        else:
            alone = "/commitments/7" in route.request.url
            route.fulfill(json=PARKED | {"instances": instances} if alone else [PARKED])

    page.route(re.compile("/api/commitments"), answer)
    page.goto(f"{archive.url}/ui/#/commitments")
    row = page.get_by_role("row").filter(has_text="CT1 cannot be reached.")
    row.get_by_role("button", name="Details").click()
    page.get_by_role("dialog").get_by_text("No such object instance").wait_for()
    page.keyboard.press("Escape")
    row.get_by_role("button", name="Send again").click()
    page.get_by_text("The report is on its way to CT1.").first.wait_for()
    assert sent == [(f"{archive.url}/api/commitments/7/resend", "application/json")]
