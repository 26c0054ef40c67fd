"""Fixtures: Chromium, pages that remember what went wrong in them, and the viewer, installed once.

Without Chromium, Playwright, npm or a network for npm the tests skip and say why. `DICOMWEB_TEST_VIEWER` names a folder
(`--viewer-dir`) that has the viewer in it already, `DICOMWEB_TEST_SCREENSHOTS` one for the last picture of each test.
Playwright's loop runs for as long as a module: no test in here may be asynchronous.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import DESKTOP, FLAGS, chromium_path
from tests.browser.pages import archive, open_page, page  # noqa: F401 - fixtures
from tests.browser.watched import Watched
from tests.live_server import REPOSITORY


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed tells what its page showed, and what it had asked for last."""
    report = yield
    watched = getattr(getattr(item, "funcargs", {}).get("page"), "watched", None)
    if report.failed and report.when == "call" and watched is not None:
        report.sections.append(("the page", "\n".join([watched.text(), *watched.requests[-20:], *watched.problems])))
    return report


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One headless Chromium for the tests of a module: a Playwright `Browser`."""
    path = chromium_path()
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(chromium: Any) -> Iterator[Any]:
    """One browser context for the tests of a module, so that what was loaded once stays in its cache."""
    opened = chromium.new_context(viewport=DESKTOP)
    yield opened
    opened.close()


@pytest.fixture
def watched(context: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    """A page whose console, requests and errors are remembered; what went wrong fails the test at its end."""
    opened = Watched(context.new_page())
    yield opened
    kept = Path(os.environ.get("DICOMWEB_TEST_SCREENSHOTS", tmp_path))
    kept.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=kept / f"{request.node.name}.png")
    opened.page.close()
    assert opened.problems == []


@pytest.fixture(scope="session")
def viewer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the viewer installed in it, for `--viewer-dir`."""
    if prepared := os.environ.get("DICOMWEB_TEST_VIEWER"):
        return Path(prepared)
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, so the viewer cannot be")
    folder = tmp_path_factory.mktemp("viewer")
    command = [sys.executable, "-m", "dicomweb.cli", "viewer", "install", "--viewer-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if ended.returncode != 0 and "npm cannot reach its registry" in ended.stderr:
        pytest.skip(f"the viewer cannot be fetched: {ended.stderr.strip()[:200]}")
    assert ended.returncode == 0, ended.stderr
    return folder
