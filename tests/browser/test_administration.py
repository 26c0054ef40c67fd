"""The pages of peers, worklist and commitments, and how lists are turned, searched and redrawn, in a real browser."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.browser.looking import PARKED, eventually, module, store
from tests.browser.pages import SLICES, open_study
from tests.builders import ct_slice
from tests.live_server import LiveServer

QIDO = "**/dicom-web/studies?*"
FOCUSED = "document.activeElement.textContent"
TWICE = "button => { button.click(); button.click(); }"
SIZE = 50


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


def json_model(**attributes: tuple[str, Any]) -> dict[str, Any]:
    """Return a data set of DICOM JSON: tags with an x before them to VR and value."""
    return {tag[1:]: {"vr": vr, "Value": [value]} for tag, (vr, value) in attributes.items()}


def answer_search(route: Any) -> None:
    """Answer a search for 170 studies, or for 60 when a name is asked for, as the archive does."""
    query = parse_qs(urlsplit(route.request.url).query)
    kind, total = ("Found", 60) if "search" in query else ("All", 170)
    cursor = query.get("cursor", [f"{kind} 0"])[0]
    first = int(cursor.removeprefix(kind))  # a cursor of another search is an error
    uids = query.get("StudyInstanceUID") or [f"1.2.{place}" for place in range(first, min(first + SIZE, total))]
    found = [json_model(x0020000D=("UI", uid), x00100010=("PN", {"Alphabetic": f"{kind} {uid}"})) for uid in uids]
    headers = {"X-Total-Count": str(total), "Content-Type": "application/dicom+json"}
    if first + SIZE < total:
        headers["Link"] = f'<http://any/studies?cursor={kind} {first + SIZE}>; rel="next"'
    route.fulfill(json=found, headers=headers)


def first_row(page: Any) -> str:
    """The name in the first row of the list of studies."""
    return str(page.locator("table.studies tbody a").first.inner_text())


def open_results(page: Any, archive: LiveServer) -> Any:
    """Show a list of 170 studies; returns its pager."""
    page.route(QIDO, answer_search)
    page.reload()
    pager = page.get_by_role("navigation", name="Pages of results")
    pager.get_by_text("1–50 of 170").wait_for()
    return pager


def test_presses_in_a_row_turn_to_pages_that_are_there(page: Any, archive: LiveServer) -> None:
    """A double click on Next or Previous leads to the page whose range is shown, and never beyond the ends."""
    pager = open_results(page, archive)
    later, earlier = pager.get_by_role("button", name="Next"), pager.get_by_role("button", name="Previous")
    for button, shown, first in (
        (later, "51–100 of 170", "All 1.2.50"),
        (earlier, "1–50 of 170", "All 1.2.0"),
        (later, "51–100 of 170", "All 1.2.50"),
        (later, "101–150 of 170", "All 1.2.100"),
        (later, "151–170 of 170", "All 1.2.150"),
    ):
        button.evaluate(TWICE)
        pager.get_by_text(shown, exact=True).wait_for()
        assert first_row(page) == first


def test_pages_of_one_search_are_not_those_of_another(page: Any, archive: LiveServer) -> None:
    """Who opens a study from the second page of a search, and then all studies, sees the first page of them."""
    page.watched.excused = ("404",)
    pager = open_results(page, archive)
    page.get_by_role("searchbox", name="Patient name").fill("found")
    pager.get_by_text("1–50 of 60", exact=True).wait_for()
    pager.get_by_role("button", name="Next").click()
    pager.get_by_text("51–60 of 60", exact=True).wait_for()
    page.get_by_role("link", name="Found 1.2.52").click()
    page.get_by_role("link", name="All studies").wait_for()
    page.locator(".sections a[data-section=studies]").click()
    pager.get_by_text("1–50 of 170", exact=True).wait_for()
    assert first_row(page) == "All 1.2.0"
    assert pager.get_by_role("button", name="Previous").is_disabled()


def test_a_search_is_not_given_up_for_news(page: Any, archive: LiveServer) -> None:
    """A study that comes in while the reader's search goes on leaves no other patients under what was typed."""
    page.watched.excused = ("503",)
    page.locator("#live-state[data-state=on]").wait_for()
    page.get_by_role("row").filter(has_text="Cine").wait_for()
    asked: list[Any] = []
    page.route(
        "**/dicom-web/studies?*search=Doe*",
        lambda route: route.fulfill(status=503) if asked else asked.append(route),
    )
    page.get_by_role("searchbox", name="Patient name").fill("Doe")
    page.locator(".study-list[aria-busy=true]").wait_for()
    store(archive, ct_slice(PatientName="News^Ned"))
    page.wait_for_timeout(1_500)
    asked[0].continue_()
    eventually(page, "document.querySelectorAll('table.studies tbody tr').length === 1")
    assert first_row(page) == "Doe, Jane"
    page.locator(".study-list:not([aria-busy])").wait_for()


def test_the_worklist_is_turned_within_its_ends(page: Any, archive: LiveServer) -> None:
    """No offset is below nothing, or beyond the items; who turns by keyboard goes on from the same button."""
    offsets: list[int] = []

    def answer(route: Any) -> None:
        offsets.append(int(parse_qs(urlsplit(route.request.url).query)["offset"][0]))
        places = range(offsets[-1], min(offsets[-1] + SIZE + 1, 2 * SIZE + 10))
        named = [(f"http://any/worklist/{place}", {"Alphabetic": f"Order {place}"}) for place in places]
        route.fulfill(json=[json_model(x00081190=("UR", url), x00100010=("PN", name)) for url, name in named])

    page.route("**/api/worklist?*", answer)
    page.goto(f"{archive.url}/ui/#/worklist")
    pager = page.get_by_role("navigation", name="Pages")
    names = page.locator("table.cards tbody .strong")
    for button, first in (("Next", 50), ("Previous", 0)):
        pager.get_by_role("button", name=button).evaluate(TWICE)
        names.first.get_by_text(f"Order {first}", exact=True).wait_for()
    assert set(offsets) == {0, 50}
    pager.get_by_role("button", name="Next").focus()
    for first, focused in ((50, "Next"), (100, "Previous")):
        page.keyboard.press("Enter")
        names.first.get_by_text(f"Order {first}", exact=True).wait_for()
        assert page.evaluate(FOCUSED) == focused


def test_a_table_that_is_kept_current_leaves_the_reader_alone(page: Any, archive: LiveServer) -> None:
    """The focus stays on its link while the row changes, and what is selected in another row stays selected."""
    common = {"kind": "send", "state": "running", "attempts": 1, "error": None, "created_at": "2026-11-20T08:30:00Z"}
    what = {"peer": "PX", "entities": [{"study_instance_uid": "1.2.3"}]}
    done: list[int] = []

    def answer(route: Any) -> None:
        done.append(min(len(done), 2))
        progress = [{"total": 9, "done": number, "failed": 0, "failures": []} for number in (done[-1], 4)]
        jobs = [common | {"id": 8 - at, "parameters": what, "progress": each} for at, each in enumerate(progress)]
        route.fulfill(json=jobs)

    page.route("**/api/jobs?*", answer)
    page.goto(f"{archive.url}/ui/#/jobs")
    links = page.locator("table.cards tbody a")
    links.first.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('tbody tr:last-child .strong'))")
    page.get_by_text("2 of 9").wait_for()
    assert page.evaluate(FOCUSED) == "1 study"
    assert links.first.evaluate("link => link === document.activeElement")
    assert page.evaluate("getSelection().toString().trim()") == "Send"


def test_what_has_not_changed_is_not_told_again(page: Any) -> None:
    """Status is asked for every few seconds: what is marked or read out stays while it says the same."""
    tell = """async (address) => {
        const { server } = await import(address);
        let told = 0;
        server.addEventListener("told", () => (told += 1));
        for (const advice of ["Do this.", "Do this.", ""]) server.tell({ advice });
        return told;
    }"""
    assert page.evaluate(tell, module(page, "server.js")) == 2
