"""The pages as they are served: where, how long they are kept, and what they may do."""

import json
import re
from typing import cast

import httpx2
import pytest

from dicomweb.http.app import create_app
from dicomweb.http.ui.assets import FOLDER, assets, version
from dicomweb.settings import Settings
from storage.archive import Archive


@pytest.fixture
def browser() -> httpx2.AsyncClient:
    """A client of an application without an archive: nothing of the pages needs one."""
    app = create_app(cast(Archive, None), Settings())
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8080")


async def test_the_page_is_asked_for_again_and_what_it_names_never(browser: httpx2.AsyncClient) -> None:
    """The page names every file with the hash of all; these are kept for a year (RFC 8246), the page is revalidated."""
    page = await browser.get("/ui/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    again = await browser.get("/ui/", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    named = set(re.findall(r'(?:href|src)="([^"#]+)"', page.text))
    assert named == {f"{version()}/{name}" for name in assets() if name != "dictionary.json"}
    for reference in named:
        answer = await browser.get(f"/ui/{reference}")
        assert answer.status_code == 200, reference
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_page_older_than_the_server_gets_the_files_of_today(browser: httpx2.AsyncClient) -> None:
    """Of another version comes what there is, not to be kept; what there is not is a 404; `/ui` leads to `/ui/`."""
    old = await browser.get("/ui/0123456789abcdef/main.js")
    assert old.status_code == 200 and old.headers["cache-control"] == "no-cache"
    for path in ("nothing.js", "../routes.py", "%2e%2e/routes.py", "index.html", ""):
        assert (await browser.get(f"/ui/{version()}/{path}")).status_code == 404
    led = await browser.get("/ui")
    assert led.status_code == 308 and led.headers["location"] == "ui/"


async def test_nothing_but_our_own_files_may_run(browser: httpx2.AsyncClient) -> None:
    """The policy lets scripts and styles in from this server only, and the page holds none itself (CSP Level 3)."""
    page = await browser.get("/ui/")
    policy = dict(part.partition(" ")[::2] for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["form-action"] == policy["frame-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "<style" not in page.text and not re.search(r"<script(?![^>]* src=)", page.text)
    assert not re.search(r'\s(on\w+|style)="', page.text)


def test_no_text_becomes_markup() -> None:
    """No file uses what parses text as markup or code, or loads anything from another server."""
    for path in FOLDER.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"):
            assert forbidden not in text, f"{path.name}: {forbidden}"
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path.name
    for path in FOLDER.rglob("*.css"):
        assert "url(" not in path.read_text(encoding="utf-8"), path.name


def test_modules_stay_small() -> None:
    """What the pages are made of can be read: no file over 500 lines, no line over 140; a module says what it is."""
    for path in (*FOLDER.rglob("*.js"), *FOLDER.rglob("*.css")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 500, path.name
        assert max(map(len, lines)) <= 140, path.name
        assert lines[0].startswith("//") or path.suffix == ".css", f"{path.name} says what it is for"


async def test_the_dictionary_names_attributes_and_uids(browser: httpx2.AsyncClient) -> None:
    """Names are those of PS3.6, repeating groups included."""
    answer = await browser.get(f"/ui/{version()}/dictionary.json")
    assert answer.headers["content-type"] == "application/json" and "immutable" in answer.headers["cache-control"]
    names = json.loads(answer.content)
    assert names["attributes"]["00100010"] == ["PN", "Patient's Name", "PatientName", "1"]
    assert names["repeated"]["60xx3000"][1] == "Overlay Data"
    assert names["uids"]["1.2.840.10008.5.1.4.1.1.2"] == "CT Image Storage"
    assert names["uids"]["1.2.840.10008.1.2.1"] == "Explicit VR Little Endian"
