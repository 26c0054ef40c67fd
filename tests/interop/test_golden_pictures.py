"""Pictures of real files through a real server, against what the Standard says and what other programs decode."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from tests.corpus import corpus_files, wheel_file
from tests.live.exchange import key_in, path_of, store
from tests.live_server import running_server
from tests.pixels import corpus_file

Floats = NDArray[np.float64]
Levels = NDArray[np.uint8]

CHART = "photometric/pm5644/PM5644-960x540_"
LABEL = np.s_[50:92, 396:564]
"""Rows and columns of the chart that say which encoding it is, different in every file."""

MOST_AND_MEAN = {
    "RGB": (0, 0.0),
    "RLE-Lossless": (0, 0.0),
    "JPEG-LS_Lossless": (0, 0.0),
    "JPEG-Lossless_RGB": (0, 0.0),
    "JPEG2000-Lossless": (0, 0.0),
    "JPEG-LS_NearLossless": (3, 1.5),
    "JPEG2000-Lossy": (40, 1.5),
    "JPEG2000-Lossy50": (160, 5.2),
    "JPEG-Baseline_YBRFull": (120, 3.0),
    "JPEG-Baseline_YBR422": (200, 3.5),
    "Palette_8": (90, 8.0),
    "Palette_16": (90, 8.0),
}
"""Most and mean difference of a sample from the uncompressed RGB chart that each encoding may have lost."""

WINDOWS = [
    (40.0, 400.0, "linear"),
    (-600.0, 1500.0, "linear"),
    (300.0, 2000.0, "linear-exact"),
    (50.0, 1.0, "linear"),
    (40.5, 80.25, "linear-exact"),
    (100.0, 350.0, "sigmoid"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of a server whose log is clean in the end."""
    with (
        running_server(tmp_path_factory.mktemp("pictures") / "data", "--workers", "1") as server,
        httpx2.Client(base_url=server.root, timeout=60) as opened,
    ):
        yield opened
        assert "Traceback" not in server.log.read_text(errors="replace")


def stored(client: httpx2.Client, path: Path) -> str:
    """Store a file and return the path of its instance."""
    data = path.read_bytes()
    answer = store(client, data)
    assert answer.status_code in (200, 202), answer.text
    return path_of(key_in(data))


def picture(client: httpx2.Client, resource: str, **parameters: str) -> Levels:
    """Return the PNG of a resource, as decoded by another library than the one that made it."""
    answer = client.get(f"{resource}/rendered", headers={"Accept": "image/png"}, params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    decoded: Levels = imagecodecs.png_decode(answer.content)
    return decoded


def difference(one: Levels, other: Levels) -> tuple[int, float]:
    """Return the most and the mean difference of two pictures."""
    assert one.shape == other.shape
    found = np.abs(one.astype(np.int16) - other.astype(np.int16))
    return int(found.max()), float(found.mean())


@pytest.mark.parametrize("encoding", MOST_AND_MEAN)
def test_the_colour_chart_is_the_same_picture_in_every_encoding(client: httpx2.Client, encoding: str) -> None:
    """RGB, palettes and YBR, native and in six codecs, are one chart within the codec's error (promise 9; D-090)."""
    chart = pydicom.dcmread(corpus_file(f"{CHART}RGB.dcm")).pixel_array
    shown = picture(client, stored(client, corpus_file(f"{CHART}{encoding}.dcm")))
    shown[LABEL] = chart[LABEL]
    most, mean = difference(shown, chart)
    assert most <= MOST_AND_MEAN[encoding][0] and mean <= MOST_AND_MEAN[encoding][1], (most, mean)


def test_every_file_of_the_chart_is_compared() -> None:
    """A new encoding of the chart in the corpus is not overlooked."""
    assert {path.stem.partition("_")[2] for path in corpus_files("photometric/pm5644")} == set(MOST_AND_MEAN)


@pytest.mark.parametrize("bits", ["8", "16"])
def test_a_palette_is_looked_up_as_pydicom_does(client: httpx2.Client, bits: str) -> None:
    """The colours of a palette of 8 and of 16 bits are those of its tables, high bytes of 16 (PS3.3 C.7.6.3.1.6)."""
    path = corpus_file(f"{CHART}Palette_{bits}.dcm")
    dataset = pydicom.dcmread(path)
    expected = apply_color_lut(dataset.pixel_array, dataset)
    if expected.dtype == np.uint16:
        expected = np.rint(expected / 257).astype(np.uint8) if expected.max() > 255 else expected.astype(np.uint8)
    assert difference(picture(client, stored(client, path)), expected)[0] <= 1


def linear(values: Floats, center: float, width: float) -> Floats:
    """PS3.3 C.11.2.1.2.1, pseudo-code of LINEAR with y from 0 to 1."""
    if width == 1:
        return (values > center - 0.5).astype(float)
    y = (values - (center - 0.5)) / (width - 1) + 0.5
    y[values <= center - 0.5 - (width - 1) / 2] = 0
    y[values > center - 0.5 + (width - 1) / 2] = 1
    return y


def linear_exact(values: Floats, center: float, width: float) -> Floats:
    """PS3.3 C.11.2.1.3.2, pseudo-code of LINEAR_EXACT with y from 0 to 1."""
    y = (values - center) / width + 0.5
    y[values <= center - width / 2] = 0
    y[values > center + width / 2] = 1
    return y


def sigmoid(values: Floats, center: float, width: float) -> Floats:
    """PS3.3 C.11.2.1.3.1, SIGMOID with y from 0 to 1."""
    return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))


FUNCTIONS = {"linear": linear, "linear-exact": linear_exact, "sigmoid": sigmoid}


def hounsfield(dataset: pydicom.Dataset) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the values of a CT after its rescale (PS3.3 C.11.1), and where they are padding."""
    stored_values = pixel_array(dataset, index=0, raw=True)
    padding = dataset.get("PixelPaddingValue")
    limit = dataset.get("PixelPaddingRangeLimit", padding)
    mask = np.zeros(stored_values.shape, bool)
    if padding is not None:
        mask = (stored_values >= min(padding, limit)) & (stored_values <= max(padding, limit))
    return stored_values * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept), mask


def ct_files() -> list[Path]:
    """CTs of three makers, with signed and unsigned values."""
    ge, philips = wheel_file("CT_small.dcm"), corpus_files("series/ct-philips-phantom-28")[0]
    series = corpus_files("series/ct-janct-3slice-with-seg")
    return [ge, philips, next(path for path in series if pydicom.dcmread(path).Modality == "CT")]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_ct_has_the_grey_levels_of_the_window_functions(
    client: httpx2.Client, window: tuple[float, float, str]
) -> None:
    """Values after the rescale go through the formulas of PS3.3 C.11.2, to one level of rounding (D-101 to D-105)."""
    center, width, function = window
    for path in ct_files():
        values, padding = hounsfield(pydicom.dcmread(path))
        expected = FUNCTIONS[function](values, center, width) * 255
        expected[padding] = 0
        shown = picture(client, stored(client, path), window=f"{center},{width},{function}")
        assert shown.shape == expected.shape
        off = np.abs(shown - expected)
        assert off.max() <= 0.5 + 1e-6, (path.name, off.max(), np.unravel_index(off.argmax(), off.shape))


def test_a_ct_is_shown_in_its_own_window(client: httpx2.Client) -> None:
    """Without a window in the request the first of the data set is taken, and linear without a function (D-100)."""
    path = corpus_files("series/ct-philips-phantom-28")[0]
    dataset = pydicom.dcmread(path)
    values, padding = hounsfield(dataset)
    center, width = (float(np.atleast_1d(dataset[keyword].value)[0]) for keyword in ("WindowCenter", "WindowWidth"))
    expected = linear(values, center, width) * 255
    expected[padding] = 0
    assert np.abs(picture(client, stored(client, path)) - expected).max() <= 0.5 + 1e-6


def test_monochrome1_is_inverted(client: httpx2.Client) -> None:
    """The least stored value is white: the same file as MONOCHROME2 is its negative (PS3.3 C.7.6.3.1.2)."""
    path = corpus_file("photometric/highdicom/dx_image.dcm")
    dataset = pydicom.dcmread(path)
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    inverted = picture(client, stored(client, path))
    stored_values = dataset.pixel_array
    assert inverted[stored_values == stored_values.min()].mean() > inverted[stored_values == stored_values.max()].mean()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if "PresentationLUTShape" in dataset:
        dataset.PresentationLUTShape = "IDENTITY"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{dataset.SOPInstanceUID[:60]}.2")
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert store(client, buffer.getvalue()).status_code in (200, 202)
    plain = picture(client, path_of(key_in(buffer.getvalue())))
    assert np.array_equal(plain, 255 - inverted)


def lookup(item: pydicom.Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Look values up in an item of a LUT sequence (PS3.3 C.11.1.1.1)."""
    count, first, _ = item.LUTDescriptor
    entries = np.asarray(item.LUTData if not isinstance(item.LUTData, bytes) else np.frombuffer(item.LUTData, "<u2"))
    return np.asarray(entries[np.clip(values - first, 0, (count or 65536) - 1)])


def test_a_presentation_state_applies_its_three_lookup_tables_in_order(client: httpx2.Client) -> None:
    """Modality, VOI and Presentation LUT of a GSPS, each of 256 entries of 8 bits, one after the other (PS3.4 N.2)."""
    image = corpus_file("objects/presentation-state/imageForPrLUTs.dcm")
    plain = picture(client, stored(client, image))
    path = corpus_file("objects/presentation-state/prLUTs.dcm")
    state = pydicom.dcmread(path)
    values = pydicom.dcmread(image).pixel_array
    values = lookup(state.ModalityLUTSequence[0], values)
    values = lookup(state.SoftcopyVOILUTSequence[0].VOILUTSequence[0], values)
    expected = lookup(state.PresentationLUTSequence[0], values).astype(np.uint8)
    shown = picture(client, stored(client, path))
    shown = shown if shown.ndim == 2 else shown[..., 0]
    assert not np.array_equal(shown, plain)
    assert difference(shown, expected)[0] <= 1


def test_a_presentation_state_draws_its_overlays_and_those_it_activates(client: httpx2.Client) -> None:
    """Six overlays on six layers, in the image, in its unused bits and in the GSPS, are white on it (PS3.3 C.11.7)."""
    image = corpus_file("objects/presentation-state/overlay.dcm")
    dataset = pydicom.dcmread(image)
    stored(client, image)
    path = corpus_file("objects/presentation-state/prOverlay.dcm")
    state = pydicom.dcmread(path)
    cells = np.frombuffer(dataset.PixelData, "<u2").reshape(512, 512)
    planes = [(cells >> 15 & 1).astype(bool), (cells >> 14 & 1).astype(bool)]
    for source, group in ((dataset, 0x6004), (dataset, 0x6006), (state, 0x6008), (state, 0x600A)):
        bits = np.unpackbits(np.frombuffer(source[group, 0x3000].value, "u1"), bitorder="little")
        planes.append(bits[: 512 * 512].reshape(512, 512).astype(bool))
    shown = picture(client, stored(client, path))
    shown = shown if shown.ndim == 2 else shown[..., 0]
    drawn = np.logical_or.reduce(planes)
    assert drawn.any() and all(plane.any() for plane in planes)
    assert (shown[drawn] == 255).all()
    expected = np.floor((cells & 0xFFF) / 4095 * 255 + 0.5)
    assert np.abs(shown[~drawn] - expected[~drawn]).max() <= 1
