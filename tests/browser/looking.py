"""What the tests of the pages do over and over: store, wait for a picture, drop files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tests.builders import ct_slice
from tests.live_server import LiveServer

PARKED: dict[str, Any] = {
    "id": 7,
    "transaction_uid": "1.2.3",
    "requester": "CT1",
    "called_ae_title": "DICOMWEB",
    "duplicate": False,
    "state": "parked",
    "due_at": "2026-11-21T08:30:00Z",
    "attempts": 12,
    "problem": "CT1 cannot be reached.",
    "delivered_by": None,
    "number_of_instances": 2,
    "number_failed": 1,
    "requested_at": "2026-11-20T08:30:00Z",
    "checked_at": "2026-11-20T08:30:01Z",
    "give_up_at": None,
    "reported_at": None,
}
"""A commitment as `/api/commitments` shows it."""


def store(archive: LiveServer, data: bytes) -> None:
    """Store a file by HTTP."""
    answer = httpx2.post(f"{archive.root}/studies", content=data, headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 200, answer.text


def disc(study: str, series: str, number: int, **attributes: Any) -> bytes:
    """A slice with a bright disc that grows from slice to slice, on the scale of Hounsfield."""
    rows, columns = np.mgrid[:128, :128]
    inside = (rows - 64) ** 2 + (columns - 64) ** 2 < (4 * number) ** 2
    samples = np.where(inside, 1024 + 60, 1024 - 40 + columns // 2).astype("<u2")
    return ct_slice(
        study,
        series,
        instance_number=number,
        rows=128,
        columns=128,
        **{"pixels": samples.tobytes(), "SeriesDescription": "Discs"} | attributes,
    )


def picture(page: Any) -> str:
    """A hash of what is painted."""
    return hashlib.sha256(page.evaluate("document.querySelector('canvas.picture').toDataURL()").encode()).hexdigest()


def wait_for_frame(page: Any, number: int) -> str:
    """Wait until a frame is painted; returns the hash of it."""
    page.wait_for_selector(f'canvas.picture[data-shown="{number}"]')
    return picture(page)


def eventually(page: Any, expression: str) -> None:
    """Wait until an expression holds; the policy of the page forbids Playwright's own way, which is eval."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it never held: {expression}")


def held_back(page: Any, pattern: str) -> Callable[[], None]:
    """Hold back what is asked for; returns what lets it go."""
    held: list[Any] = []
    released: list[bool] = []
    page.route(pattern, lambda route: route.continue_() if released else held.append(route))

    def release() -> None:
        released.append(True)
        for route in held:
            route.continue_()

    return release


def drop(page: Any, path: Path) -> None:
    """Drop a file or folder of the disk onto the page, as the system does."""
    hold(page, path)
    drag(page, path, "drop")
    page.get_by_role("region", name="Uploads").wait_for()


def hold(page: Any, path: Path) -> None:
    """Hold a file or folder over the page, as the system does: it says so again and again, until the page looks."""
    for _ in range(20):
        drag(page, path, "dragEnter", "dragOver")
        if page.locator(".drop-veil").is_visible():
            return
        page.wait_for_timeout(100)
    raise AssertionError("the page never saw what was held over it")


def drag(page: Any, path: Path, *kinds: str) -> None:
    """Send events of a drag with a file or folder of the disk."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in kinds:
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 640, "y": 400, "data": data})


def module(page: Any, name: str) -> str:
    """The address of a module of the pages, to be imported into one."""
    address: str = page.evaluate(f"new URL(`${{document.body.dataset.version}}/{name}`, document.baseURI).href")
    return address
