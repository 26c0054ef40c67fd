"""What OHIF draws, by the pixels of its canvas: the right gray and colour where our configuration has a part in it.

Every test fails, too, when the console shows an error, a request is answered 400 or more, or another host is asked.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.ohif import Ohif
from tests.browser.watched import Watched
from tests.builders import ABSENT, dicom_file, new_uid
from tests.live.exchange import store
from tests.live_server import LiveServer, running_server

CENTER, WIDTH = 2, 4
LEVELS = range(5)
"""Stored values, a band of columns for each."""
BAND = 16
NEAR = 6
"""How far a gray may be off, of 255: OHIF samples sigmoids."""


@pytest.fixture(scope="module")
def server(viewer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with the viewer."""
    folder = tmp_path_factory.mktemp("pictures") / "data"
    with running_server(folder, "--viewer-dir", str(viewer_dir), "--workers", "1", "--no-dimse") as started:
        yield started


@pytest.fixture
def show(server: LiveServer, watched: Watched) -> Callable[[bytes], Ohif]:
    """Store a file in a study of its own and open it."""

    def shown(file: bytes, study: str, **until: Any) -> Ohif:
        with httpx2.Client(base_url=f"{server.root}/", timeout=60) as client:
            assert store(client, file).status_code == 200
        ohif = Ohif(watched, server.url)
        ohif.open_study(study, images=False)
        ohif.wait_for_picture(**until)
        return ohif

    return shown


def linear(value: int) -> float:
    """The gray of a stored value from 0 to 1 (PS3.3 C.11.2.1.2.1)."""
    return min(max((value - (CENTER - 0.5)) / (WIDTH - 1) + 0.5, 0), 1)


def linear_exact(value: int) -> float:
    """The same with the window as a line without the shift by a half (PS3.3 C.11.2.1.3.2)."""
    return min(max((value - CENTER) / WIDTH + 0.5, 0), 1)


def sigmoid(value: int) -> float:
    """The same with the window as a curve (PS3.3 C.11.2.1.3.1)."""
    return 1 / (1 + math.exp(-4 * (value - CENTER) / WIDTH))


@pytest.mark.parametrize(
    ("function", "gray"),
    [
        (ABSENT, linear),
        ("LINEAR", linear),
        ("LINEAR_EXACT", linear_exact),
        ("SIGMOID", sigmoid),
        ("LOGARITHMIC", linear),
    ],
    ids=["none", "LINEAR", "LINEAR_EXACT", "SIGMOID", "no defined term"],
)
def test_windows_are_applied_as_their_function_says(
    show: Callable[..., Ohif], function: Any, gray: Callable[[int], float]
) -> None:
    """VOI LUT Function (0028,1056): five stored values in a window that is so narrow that the functions differ."""
    size, study = BAND * len(LEVELS), new_uid()
    samples = bytes(value for value in LEVELS for _ in range(BAND)) * size
    window = {"WindowCenter": CENTER, "WindowWidth": WIDTH, "VOILUTFunction": function}
    file = dicom_file(pixels=samples, Rows=size, Columns=size, StudyInstanceUID=study, **window)
    ohif = show(file, study, until=lambda picture: picture["lit"] > 0.3)
    places = [(size // 2, value * BAND + BAND // 2) for value in LEVELS]
    found = ohif.colours(size, size, places)
    assert all(max(colour) == min(colour) for colour in found)
    assert [colour[0] for colour in found] == pytest.approx([255 * gray(value) for value in LEVELS], abs=NEAR)
