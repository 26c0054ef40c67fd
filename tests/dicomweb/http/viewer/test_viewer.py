"""The viewer over HTTP: its page, its files, its configuration, their headers."""

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx2
import pytest

from dicomweb.http.app import create_app
from dicomweb.http.viewer import installation
from dicomweb.http.viewer.app_config import app_config
from dicomweb.http.viewer.headers import FOREVER, caching, media_type
from dicomweb.settings import Settings
from storage.archive import Archive
from tests.dicomweb.viewer_package import FILES, PAGE, SCRIPT, packed, pin

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
BUNDLE = "/app.bundle.0f6159c501addfe9.js"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a viewer installed."""
    content = packed()
    pin(monkeypatch, content)
    (tmp_path / "viewer.tgz").write_bytes(content)
    installation.install(tmp_path / "viewer", package=tmp_path / "viewer.tgz")
    return tmp_path / "viewer"


def client(folder: Path, **settings: object) -> httpx2.AsyncClient:
    app = create_app(cast(Archive, None), Settings(viewer_dir=folder, **settings))  # type: ignore[arg-type]
    transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 1))
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


@pytest.fixture
async def opened(folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application with default settings."""
    async with client(folder) as made:
        yield made


@pytest.mark.parametrize(
    "path",
    ["/", "/viewer", "/viewer/dicomweb", "/segmentation", "/tmtv", "/notfoundstudy", "/index.html", "/viewer/1.2.3"],
)
async def test_every_address_of_the_viewer_is_its_page(opened: httpx2.AsyncClient, path: str) -> None:
    """Whatever a browser opens, with whatever query, shows the viewer, which knows its own addresses."""
    answer = await opened.get(path, params={"StudyInstanceUIDs": "1.2"}, headers={"Accept": BROWSER})
    assert answer.status_code == 200 and answer.content == PAGE
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache" and answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/missing.bundle.0000000000000000.js", "*/*"),
        ("/missing.js", BROWSER),
        ("/assets/missing.png", "image/png"),
        ("/viewer", "application/json"),
        ("/health/nothing", BROWSER),
        ("/wado/nothing", BROWSER),
        ("/api/nothing", BROWSER),
        ("/dicom-web/nothing", BROWSER),
        ("/fhir/Patient", BROWSER),
    ],
)
async def test_what_is_not_there_is_a_404(opened: httpx2.AsyncClient, path: str, accept: str) -> None:
    """A missing file is never answered with the page, and neither is anything of the archive's own."""
    answer = await opened.get(path, headers={"Accept": accept})
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/../files.json",
        "/files.json",
        "/files/index.html",
        "/..%2ffiles.json",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/app.bundle.css.gz",
        "/assets/../../files.json",
        "/assets",
        "/assets/",
    ],
)
async def test_only_the_files_listed_can_be_had(opened: httpx2.AsyncClient, path: str) -> None:
    """A path is looked up, never followed."""
    assert (await opened.get(path, headers={"Accept": "*/*"})).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_viewer_is_for_reading(opened: httpx2.AsyncClient, method: str) -> None:
    """Nothing can be changed there."""
    assert (await opened.request(method, BUNDLE)).status_code == 404


async def test_files_are_sent_compressed_and_kept(opened: httpx2.AsyncClient) -> None:
    """As they lie on disk; a hash in the name lets browsers keep them for ever (RFC 9111 5.2.2, RFC 8246)."""
    answer = await opened.get(BUNDLE, headers={"Accept-Encoding": "br, gzip"})
    assert answer.content == SCRIPT and answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == FOREVER and "Accept-Encoding" in answer.headers["vary"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("coding", ["identity", "gzip;q=0", "br"])
async def test_who_takes_no_gzip_gets_the_file_itself(opened: httpx2.AsyncClient, coding: str) -> None:
    """Unpacked on the way, with another entity tag (RFC 9110 8.8.3.3)."""
    plain = await opened.get(BUNDLE, headers={"Accept-Encoding": coding})
    assert "content-encoding" not in plain.headers and plain.content == SCRIPT
    assert plain.headers["content-length"] == str(len(SCRIPT))
    packed_one = await opened.get(BUNDLE, headers={"Accept-Encoding": "gzip"})
    assert plain.headers["etag"] != packed_one.headers["etag"]


@pytest.mark.parametrize("path", ["/", BUNDLE, "/app.bundle.css", "/app-config.js", "/assets/favicon.ico"])
async def test_what_did_not_change_is_not_sent_again(opened: httpx2.AsyncClient, path: str) -> None:
    """304 for the entity tag of before, with the headers a cache has to know (RFC 9110 15.4.5)."""
    first = await opened.get(path, headers={"Accept": BROWSER})
    again = await opened.get(path, headers={"Accept": BROWSER, "If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    assert again.headers["etag"] == first.headers["etag"].removeprefix("W/")  # compressed on the way it is a weak one
    for header in ("cache-control", "content-security-policy"):
        assert again.headers[header] == first.headers[header]


async def test_head_says_what_get_would_send(opened: httpx2.AsyncClient) -> None:
    """The length and everything else, without the bytes (RFC 9110 9.3.2)."""
    for path in ("/", BUNDLE, "/app-config.js", "/37fa160cc3a47cfd.wasm"):
        headers = {"Accept": BROWSER, "Accept-Encoding": "identity"}
        got, head = await opened.get(path, headers=headers), await opened.head(path, headers=headers)
        assert head.content == b"" and head.headers["content-length"] == str(len(got.content))
        assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize(
    ("name", "kind", "kept"),
    [
        ("37fa160cc3a47cfd.wasm", "application/wasm", True),
        ("a34f9d1faa5f3315.woff2", "font/woff2", True),
        ("12.bundle.b4688cdbdd856b75.js", "text/javascript; charset=utf-8", True),
        ("ort/esm/ort.min.js", "text/javascript; charset=utf-8", False),
        ("module.mjs", "text/javascript; charset=utf-8", False),
        ("app.bundle.css", "text/css; charset=utf-8", False),
        ("manifest.json", "application/json", False),
        ("site.webmanifest", "application/manifest+json", False),
        ("ohif-logo.svg", "image/svg+xml", False),
        ("init-service-worker.js", "text/javascript; charset=utf-8", False),
        ("_headers", "application/octet-stream", False),
    ],
)
def test_media_types_and_caching_go_by_name(name: str, kind: str, kept: bool) -> None:
    """WebAssembly is compiled while it arrives only as application/wasm; a name without a hash is asked for again."""
    assert media_type(name) == kind
    assert (caching(name) == FOREVER) is kept


async def test_the_page_runs_nothing_but_its_own_scripts(opened: httpx2.AsyncClient) -> None:
    """Scripts of this origin and those inside the page; requests to this origin; framed by this origin."""
    answer = await opened.get("/viewer", headers={"Accept": BROWSER})
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert re.fullmatch(r"'self' 'unsafe-eval' 'sha256-[A-Za-z0-9+/]{43}='", policy["script-src"])
    assert policy["default-src"] == "'none'" and policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self' blob: data:"
    assert policy["frame-ancestors"] == "'self'"
    logo = await opened.get("/ohif-logo.svg")
    assert "sandbox" in logo.headers["content-security-policy"]


async def test_the_page_may_use_an_archive_elsewhere_when_a_setting_says_so(folder: Path) -> None:
    """Its metadata then hold URLs of that origin."""
    async with client(folder, public_base_url="https://pacs.example:8443/dicom-web") as opened:
        answer = await opened.get("/viewer", headers={"Accept": BROWSER})
    assert "connect-src 'self' https://pacs.example:8443 blob: data:" in answer.headers["content-security-policy"]


async def test_isolation_is_asked_for_only_when_wanted(folder: Path) -> None:
    """COOP and COEP on the page, COEP on scripts, since workers need it as well."""
    for isolated in (True, False):
        async with client(folder, isolate_viewer=isolated) as opened:
            page = await opened.get("/", headers={"Accept": BROWSER})
            script = await opened.get(BUNDLE)
        assert ("cross-origin-opener-policy" in page.headers) is isolated
        for answer in (page, script):
            assert answer.headers.get("cross-origin-embedder-policy") == ("require-corp" if isolated else None)


@pytest.mark.parametrize(
    ("settings", "headers", "root"),
    [
        ({}, {}, "http://127.0.0.1:8080/dicom-web"),
        ({"public_base_url": "https://pacs.example/a/dicom-web"}, {}, "https://pacs.example/a/dicom-web"),
        ({}, {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https"}, "https://pacs.example/dicom-web"),
    ],
)
async def test_the_configuration_names_the_archive_as_browsers_see_it(
    folder: Path, settings: dict[str, str], headers: dict[str, str], root: str
) -> None:
    """Ours, not the one of the package; the root is the public one, and what is in it cannot break out."""
    async with client(folder, **settings) as opened:
        answer = await opened.get("/app-config.js", headers=headers)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
    assert f'new URL("{root}")' in answer.text
    for said in ("supportsWildcard: true", "dicomUploadEnabled: true", "extensions: [archiveExtension]"):
        assert said in answer.text
    assert answer.content != FILES["package/dist/app-config.js"]
    assert re.findall(r"https?://[^\"/]+", answer.text) == [root.removesuffix("/dicom-web").removesuffix("/a")]


async def test_an_administrator_adds_to_the_configuration(folder: Path, tmp_path: Path) -> None:
    """A file of the settings follows ours, and is read anew each time."""
    additions = tmp_path / "more.js"
    additions.write_text("window.config.showStudyList = false;")
    async with client(folder, viewer_config=additions) as opened:
        first = await opened.get("/app-config.js")
        additions.write_text("window.config.maxNumberOfWebWorkers = 1;")
        second = await opened.get("/app-config.js")
        additions.unlink()
        without = await opened.get("/app-config.js")
    assert without.status_code == 200 and "window.config = {" in without.text
    assert first.text.endswith("window.config.showStudyList = false;") and "window.config = {" in first.text
    assert second.text.endswith("window.config.maxNumberOfWebWorkers = 1;")
    assert first.headers["etag"] != second.headers["etag"]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node, which runs the script")
@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("", ["dicomweb-archive"]),
        ("window.config.extensions = ['@site/more'];", ["dicomweb-archive", "@site/more"]),
        ("window.config.extensions = [...window.config.extensions, 'a'];", ["dicomweb-archive", "a"]),
        ("window.config.extensions.push('b');", ["dicomweb-archive", "b"]),
        ("window.config = {...window.config, extensions: []};", []),
    ],
)
def test_extensions_of_an_administrator_are_beside_ours(addition: str, expected: list[str], tmp_path: Path) -> None:
    """Without ours, plain samples would be taken for what they no longer are; only a new configuration has none."""
    script = app_config("http://localhost/dicom-web", addition.encode()).decode()
    (tmp_path / "run.js").write_text(
        "globalThis.window = {}; globalThis.location = { host: 'localhost' };\n"
        f"{script}\nconsole.log(JSON.stringify(window.config.extensions.map(each => each.id ?? each)));"
    )
    ran = subprocess.run(["node", str(tmp_path / "run.js")], capture_output=True, check=True, text=True)
    assert json.loads(ran.stdout) == expected


async def test_without_a_viewer_there_is_nothing_of_it(tmp_path: Path) -> None:
    """The front page shows at `/`, everything else is a 404."""
    async with client(tmp_path / "none") as opened:
        for path in ("/viewer", "/app-config.js", BUNDLE):
            assert (await opened.get(path, headers={"Accept": BROWSER})).status_code == 404
        assert (await opened.get("/", headers={"Accept": BROWSER})).content != PAGE
        assert "dicomweb viewer install" in (await opened.get("/viewer")).json()["detail"]


async def test_programs_still_get_facts_at_the_root(opened: httpx2.AsyncClient) -> None:
    """JSON at `/` for those that take no HTML, viewer or not."""
    answer = await opened.get("/", headers={"Accept": "application/json"})
    assert answer.json()["name"] == "dicomweb"


async def test_a_viewer_removed_meanwhile_is_a_404(opened: httpx2.AsyncClient, folder: Path) -> None:
    """Between two looks at the folder its files may go."""
    assert (await opened.get(BUNDLE)).status_code == 200
    installation.remove(folder)
    answer = await opened.get(BUNDLE)
    assert answer.status_code == 404


def test_the_compressed_files_are_gzip(folder: Path) -> None:
    """Any program can read what lies there."""
    (stored,) = folder.glob("*/files/app.bundle.0f6159c501addfe9.js.gz")
    assert gzip.decompress(stored.read_bytes()) == SCRIPT
