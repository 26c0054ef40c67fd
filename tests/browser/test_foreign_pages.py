"""What a page of another site can do in a real browser: with its name made to point here, and from its own address."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from tests.browser.chromium import FLAGS, chromium_path
from tests.browser.looking import store
from tests.builders import ct_slice, dicom_file, new_uid
from tests.live_server import LiveServer, free_port, running_server

# Asks as a page's own scripts do, and tells the status and the beginning of what came, or that nothing did.
ASK = """async ([path, method, type, text]) => {
  const headers = type ? {'Content-Type': type} : {};
  try {
    const answer = await fetch(path, {method, headers, body: text ? new TextEncoder().encode(text) : undefined});
    return [answer.status, (await answer.text()).slice(0, 2000)];
  } catch (error) { return [0, String(error)]; }
}"""
# Loads a URL as an element of a page, and tells whether it came.
LOAD = """([kind, url]) => new Promise((done) => {
  const element = document.createElement(kind);
  element.onload = () => done(true);
  element.onerror = () => done(false);
  if (kind === 'link') { element.rel = 'stylesheet'; element.href = url; } else { element.src = url; }
  document.head.append(element);
})"""
DIMENSION = {"PatientName": "Secret^Sam"}
SCRIPT = b"globalThis.mine = 1;".ljust(6000)


@pytest.fixture(scope="module")
def listening_everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The documented Docker way: listening on every address, reached through a published port."""
    flags = ("--workers", "1", "--host", "0.0.0.0", "--insecure-no-auth", "--no-dimse")
    with running_server(tmp_path_factory.mktemp("everywhere"), *flags) as running:
        store(running, ct_slice(**DIMENSION))
        yield running


@pytest.fixture
def rebound(listening_everywhere: LiveServer) -> Iterator[Any]:
    """Chromium to which evil.example and the archive's address are one, as after DNS rebinding."""
    yield from _browser("--host-resolver-rules=MAP evil.example 127.0.0.1")


@pytest.fixture
def elsewhere() -> Iterator[Any]:
    """Chromium for a page of another site, without the protection that newer ones have for addresses of a network."""
    off = "--disable-features=BlockInsecurePrivateNetworkRequests,LocalNetworkAccessChecks"
    yield from _browser("--host-resolver-rules=MAP evil.example 127.0.0.1", off)


def _browser(*flags: str) -> Iterator[Any]:
    path = chromium_path()
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, headless=True, args=[*FLAGS, *flags])
        yield browser.new_page()
        browser.close()


@contextmanager
def foreign_site() -> Iterator[str]:
    """A web server of somebody else's: one empty page, at evil.example."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><title>evil</title>")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://evil.example:{server.server_port}"
    server.shutdown()
    server.server_close()


def metadata_of(study: str) -> str:
    """A STOW message of metadata."""
    uids = {"00080016": "1.2.840.10008.5.1.4.1.1.7", "00080018": new_uid(), "0020000D": study, "0020000E": new_uid()}
    return json.dumps([{tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}])


def test_a_rebound_name_reads_and_stores_nothing(rebound: Any, listening_everywhere: LiveServer) -> None:
    """The page's own name points to the archive: to the browser all is of one origin, and every door is shut (421)."""
    archive, study = listening_everywhere, new_uid()
    rebound.goto(f"http://evil.example:{archive.port}/health/live")
    assert rebound.evaluate("location.hostname") == "evil.example"
    for path in (
        "/",
        "/ui/",
        "/health",
        "/metrics",
        "/api/peers",
        "/dicom-web/studies",
        "/viewer/",
        "/wado?requestType=WADO",
    ):
        status, text = rebound.evaluate(ASK, [path, "GET", "", ""])
        assert (path, status) == (path, 421)
        assert "Secret" not in text and "--allowed-hosts evil.example" in text
    status, _ = rebound.evaluate(ASK, ["/dicom-web/studies", "POST", "application/dicom+json", metadata_of(study)])
    assert status == 421
    peer = json.dumps({"host": "192.0.2.7", "port": 104})
    assert rebound.evaluate(ASK, ["/api/peers/EVIL", "PUT", "application/json", peer])[0] == 421
    assert httpx2.get(f"{archive.root}/studies?StudyInstanceUID={study}").json() == []
    assert httpx2.get(f"{archive.url}/api/peers").json() == []


def test_the_published_port_is_answered_by_name_and_address(rebound: Any, listening_everywhere: LiveServer) -> None:
    """Out of the box: localhost and addresses; there the page's own scripts read and store."""
    study = new_uid()
    for host in ("localhost", "127.0.0.1"):
        rebound.goto(f"http://{host}:{listening_everywhere.port}/ui/")
        status, text = rebound.evaluate(ASK, ["/dicom-web/studies", "GET", "", ""])
        assert status == 200 and "Secret" in text
    status, _ = rebound.evaluate(ASK, ["/dicom-web/studies", "POST", "application/dicom+json", metadata_of(study)])
    assert status in (200, 202)


def test_a_page_of_another_site_gets_nothing_to_see(elsewhere: Any, listening_everywhere: LiveServer) -> None:
    """Neither by fetch (CORS), nor as a picture, script or style of its own page (CORP); not even of this machine."""
    archive = listening_everywhere
    study = httpx2.get(f"{archive.root}/studies?PatientName=Secret*").json()[0]["0020000D"]["Value"][0]
    thumbnail = f"{archive.root}/studies/{study}/thumbnail"
    assert httpx2.get(thumbnail).status_code == 200
    with foreign_site() as site:
        for page in (site, site.replace("evil.example", "localhost")):
            elsewhere.goto(page)
            assert elsewhere.evaluate(ASK, [f"{archive.root}/studies", "GET", "", ""])[0] == 0
            assert elsewhere.evaluate(LOAD, ["img", thumbnail]) is False
    elsewhere.goto(f"{archive.url}/ui/")
    assert elsewhere.evaluate(LOAD, ["img", thumbnail]) is True


def test_a_stored_script_is_not_run(elsewhere: Any, listening_everywhere: LiveServer) -> None:
    """Not even by a page of our own origin, which may run scripts of its own origin; opened, it is saved."""
    archive, study = listening_everywhere, new_uid()
    for mime in ("text/javascript", "text/css", "text/html"):
        described = {"MIMETypeOfEncapsulatedDocument": mime, "EncapsulatedDocument": SCRIPT}
        store(archive, dicom_file(StudyInstanceUID=study, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", **described))
    elsewhere.goto(f"{archive.url}/health/live")  # of our origin, and without a policy for scripts
    for instance in httpx2.get(f"{archive.root}/studies/{study}/metadata").json():
        url = instance["00420011"]["BulkDataURI"]
        rendered = url.partition("/bulkdata")[0] + "/rendered"
        kind = "link" if instance["00420012"]["Value"] == ["text/css"] else "script"
        for place in (url, rendered):
            assert httpx2.get(place).content == SCRIPT
            assert elsewhere.evaluate(LOAD, [kind, place]) is False
            with elsewhere.expect_download() as download:
                elsewhere.evaluate("url => { location.href = url; }", place)
            assert download.value.url == place
    assert elsewhere.evaluate("globalThis.mine") is None
