"""What OHIF draws, by the pixels of its canvas: the right gray and colour where our configuration has a part in it.

Every test fails, too, when the console shows an error, a request is answered 400 or more, or another host is asked.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import imagecodecs
import numpy as np
import pytest

from storage.dicom.transfer_syntax import EXPLICIT_LE, JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS_LOSSLESS, JPEG_XL_LOSSLESS
from tests.browser.ohif import Ohif
from tests.browser.watched import Watched
from tests.builders import ABSENT, dicom_file, new_uid
from tests.live.exchange import store
from tests.live_server import LiveServer, running_server
from tests.pixels import gray_frame, jpeg_in_rgb, jpeg_ls_by_plane

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


WIDE = 128
"""Columns of a band: frames so long that they come in several pieces."""
GRAYS = np.array([0, 1024, 2048, 3072, 4095])
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 40, 90], [128, 128, 128]], np.uint8)
TWELVE = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
RETIRED_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6"
COLOR = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
RGB = COLOR | {"PhotometricInterpretation": "RGB"}


def bands(values: Any) -> Any:
    """An image with a band of columns for each value."""
    return np.repeat(np.repeat(values[None], WIDE * len(values), 0), WIDE, 1)


def shared_chrominance() -> bytes:
    """Bands of COLORS as native YBR_FULL_422: Y1 Y2 CB CR (PS3.3 C.7.6.3.1.2)."""
    matrix = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
    luminance, blue, red = np.clip(np.rint(COLORS @ np.transpose(matrix) + [0, 128, 128]), 0, 255).T
    pairs = np.stack([luminance, luminance, blue, red], -1).astype(np.uint8)
    return np.repeat(pairs, WIDE // 2, 0).tobytes() * (WIDE * len(COLORS))


def in_segments(colors: Any) -> dict[str, Any]:
    """A palette whose entries 0, 1, 3, 6 and 7 are five colors, in discrete, linear and indirect segments (C.7.9.2)."""
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, component in zip(("Red", "Green", "Blue"), colors.T.astype(int) * 257, strict=True):
        first, second, third, fourth, fifth = component.tolist()
        words = [0, 2, first, second, 1, 2, third, 2, 1, 0, 0, 0, 2, fourth, fifth]
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [8, 0, 16]
        palette[f"Segmented{name}PaletteColorLookupTableData"] = np.array(words, "<u2").tobytes()
    return palette


NOT_DECODED_BY_OHIF = {
    "JPEG XL": lambda: (
        JPEG_XL_LOSSLESS,
        [bytes(imagecodecs.jpegxl_encode(bands(GRAYS).astype(np.uint16), lossless=True))],
        TWELVE,
    ),
    "JPEG with 12 bits called Baseline": lambda: (
        JPEG_BASELINE,
        [gray_frame(bands(GRAYS).astype(np.uint16), JPEG_EXTENDED, bits_stored=12, quality=95)],
        TWELVE,
    ),
    "native from bit 4 on": lambda: (
        EXPLICIT_LE,
        (bands(GRAYS) << 4 | 9).astype("<u2").tobytes(),
        TWELVE | {"HighBit": 15},
    ),
    "native YBR_FULL_422": lambda: (
        EXPLICIT_LE,
        shared_chrominance(),
        COLOR | {"PhotometricInterpretation": "YBR_FULL_422"},
    ),
    "JPEG-LS by plane": lambda: (JPEG_LS_LOSSLESS, [jpeg_ls_by_plane(bands(COLORS))], RGB),
    "JPEG in RGB without a marker": lambda: (JPEG_BASELINE, [jpeg_in_rgb(bands(COLORS), marked=False)], RGB),
    "color of 16 bits": lambda: (
        EXPLICIT_LE,
        (bands(COLORS).astype("<u2") * 257).tobytes(),
        RGB | {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15},
    ),
    "a palette in segments": lambda: (
        EXPLICIT_LE,
        bands(np.array([0, 1, 3, 6, 7], "u1")).tobytes(),
        in_segments(COLORS),
    ),
    "a spacing of zero": lambda: (
        EXPLICIT_LE,
        bands(GRAYS).astype("<u2").tobytes(),
        TWELVE | {"PixelSpacing": [0, 0]},
    ),
    "a retired class": lambda: (EXPLICIT_LE, bands(COLORS).tobytes(), RGB | {"SOPClassUID": RETIRED_ULTRASOUND}),
    "single bits": lambda: (
        EXPLICIT_LE,
        np.packbits(bands(GRAYS) % 2048 > 1, bitorder="little").tobytes(),
        {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "WindowCenter": 1, "WindowWidth": 2},
    ),
}
"""What OHIF 3.13.2 draws wrongly or not at all as it is stored: transfer syntax, pixels, attributes."""


@pytest.mark.parametrize("kind", list(NOT_DECODED_BY_OHIF))
def test_what_ohif_does_not_decode_is_drawn(show: Callable[..., Ohif], kind: str) -> None:
    """The configuration asks for plain samples in place of it, and says what they are."""
    syntax, pixels, attributes = NOT_DECODED_BY_OHIF[kind]()
    size, study = WIDE * len(GRAYS), new_uid()
    ohif = show(
        dicom_file(
            transfer_syntax=syntax, pixels=pixels, Rows=size, Columns=size, StudyInstanceUID=study, **attributes
        ),
        study,
        until=lambda picture: picture["lit"] > 0.3,
    )
    found = ohif.colours(size, size, [(size // 2, band * WIDE + WIDE // 2) for band in range(len(GRAYS))])
    is_color = attributes.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2"
    expected = COLORS if is_color else np.repeat(GRAYS[:, None] / 4095 * 255, 3, 1)
    if attributes.get("BitsAllocated") == 1:
        expected = np.repeat((GRAYS[:, None] % 2048 > 1) * 255, 3, 1)
    assert np.abs(np.array(found) - expected).max() <= NEAR, found
