"""The archive's own pages in a real browser, and the archive they show."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.looking import disc, store, wait_for_frame
from tests.browser.watched import Watched
from tests.builders import ct_slice, multi_frame, new_uid
from tests.live_server import LiveServer, running_server

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
HOSTILE_NAME = '"><b>bold</b>^<script>alert(3)</script>'  # an equals sign would part the groups of a name
SLICES = 12
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server of these tests' own, with a CT of a dozen slices, and a study whose every text is markup."""
    with running_server(tmp_path_factory.mktemp("pages"), "--workers", "1") as running:
        study, series = new_uid(), new_uid()
        named = {"PatientName": "Doe^Jane", "PatientID": "P-1", "StudyDescription": "Thorax", "StudyDate": "20260102"}
        for number in range(1, SLICES + 1):
            store(running, disc(study, series, number, **named))
        hostile = dict.fromkeys(("PatientID", "StudyDescription", "SeriesDescription"), HOSTILE)
        store(running, ct_slice(PatientName=HOSTILE_NAME, **hostile, StudyDate="20260101"))
        store(running, multi_frame(8, PatientName="Cine^Carl", PatientID="P-2", StudyDate="20250101"))
        running.study = study  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def open_page(chromium: Any, archive: LiveServer) -> Iterator[Callable[..., Any]]:
    """Open a page in a context of its own: `open_page(viewport=PHONE, color_scheme="dark")`; nothing may go wrong in
    it, but for what a test puts into `page.watched.excused`."""
    opened = []

    def open_one(**options: Any) -> Any:
        page = chromium.new_context(**{"viewport": DESKTOP, **options}).new_page()
        page.set_default_timeout(30_000)
        page.watched = Watched(page)
        page.on("console", lambda message: _violation(page.watched, message))
        page.watched.open(f"{archive.url}/ui/")
        opened.append(page)
        return page

    yield open_one
    for page in opened:
        page.context.close()
        assert page.watched.problems == []


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    """A page at the size of a small laptop."""
    return open_page()


def _violation(watched: Watched, message: Any) -> None:
    if "Content Security Policy" in message.text:
        watched.problems.append(f"{message.type}: {message.text}")


def open_study(page: Any, archive: LiveServer) -> None:
    """Show the study of a dozen slices; the picture is the middle one."""
    page.goto(f"{archive.url}/ui/#/studies/{archive.study}")  # type: ignore[attr-defined]
    wait_for_frame(page, (SLICES + 1) // 2)
