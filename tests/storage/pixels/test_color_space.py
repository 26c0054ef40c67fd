"""Colors: the same picture in every encoding, converted only on demand."""

import numpy as np
import pytest
from pydicom.pixels import convert_color_space

from storage.pixels.color_space import rgb, rgb_of_partial, ybr_full
from tests.corpus import wheel_file
from tests.pixels import corpus_file, decoded


@pytest.mark.parametrize("path", ["photometric/weasis/ybrFull-RLE.dcm", "photometric/weasis/ybr422-raw.dcm"])
def test_ybr_that_lost_nothing_stays_until_somebody_wants_a_picture(path: str) -> None:
    """YBR_FULL is not converted silently; when it is, as pydicom does it within rounding (PS3.3 C.7.6.3.1.2)."""
    frame = decoded(corpus_file(path))
    assert frame.photometric_interpretation == "YBR_FULL"
    expected = convert_color_space(frame.pixels, "YBR_FULL", "RGB")
    assert np.abs(rgb(frame.pixels, "YBR_FULL").astype(int) - expected).max() <= 1


def test_partial_range_ybr_spans_black_to_white() -> None:
    """YBR_PARTIAL: 16 is black and 235 white (PS3.3 C.7.6.3.1.2); RGB is left as it is."""
    pixels = np.array([[[16, 128, 128], [235, 128, 128], [81, 90, 240]]], np.uint8)
    black, white, red = rgb(pixels, "YBR_PARTIAL_422")[0].tolist()
    assert (black, white) == ([0, 0, 0], [255, 255, 255])
    assert red[0] >= 253 and max(red[1:]) <= 2
    assert rgb(pixels, "RGB") is pixels
    deep = np.array([[[4095, 2048, 2048], [0, 2048, 2048]]], np.uint16)
    assert rgb(deep, "YBR_FULL", 12).tolist() == [[[4095] * 3, [0] * 3]]


def test_rgb_as_ybr_full() -> None:
    """PS3.3 C.7.6.3.1.2, and back to within rounding."""
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 90], [77, 77, 77]]], np.uint8)
    red, green, blue = (pixels[0, :, color].astype(float) for color in range(3))
    expected = np.stack(
        [
            0.299 * red + 0.587 * green + 0.114 * blue,
            -0.1687 * red - 0.3313 * green + 0.5 * blue + 128,
            0.5 * red - 0.4187 * green - 0.0813 * blue + 128,
        ],
        -1,
    )
    found = ybr_full(pixels)
    assert np.abs(found[0] - np.clip(expected, 0, 255)).max() <= 0.55
    assert np.abs(rgb(found, "YBR_FULL").astype(int) - pixels).max() <= 2


CHART = "photometric/pm5644/PM5644-960x540_"


CAPTION = np.s_[50:95, 400:560]
"""Where the chart says how it is encoded."""


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("RLE-Lossless", 0.0),
        ("JPEG-Lossless_RGB", 0.0),
        ("JPEG-LS_Lossless", 0.0),
        ("JPEG2000-Lossless", 0.0),
        ("JPEG2000-Lossy", 0.1),
        ("JPEG-LS_NearLossless", 1.0),
        ("JPEG-Baseline_YBRFull", 1.0),
        ("JPEG-Baseline_YBR422", 1.0),
        ("JPEG2000-Lossy50", 6.0),
    ],
)
def test_the_color_chart_is_the_same_picture_in_every_encoding(name: str, mean: float) -> None:
    """PM5644 in RGB and in all color codecs: equal when lossless, else within the codec's error (PS3.3 C.7.6.3.1.2)."""
    reference = decoded(corpus_file(CHART + "RGB.dcm")).pixels.astype(int)
    frame = decoded(corpus_file(CHART + name + ".dcm"))
    assert frame.photometric_interpretation == "RGB"
    difference = np.abs(frame.pixels.astype(int) - reference)
    difference[CAPTION] = 0
    assert difference.mean() <= mean


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SC_jpeg_no_color_transform.dcm", (244, 244, 244)),  # nothing in the stream says it: RGB as stated
        ("SC_rgb_jpeg.dcm", (244, 244, 244)),  # an Adobe marker cut short says nothing
        ("SC_jpeg_no_color_transform_2.dcm", (246, 246, 246)),  # Adobe marker: RGB
        ("SC_rgb_dcmtk_+eb+cr.dcm", (255, 129, 129)),  # components called R, G and B
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", (255, 127, 132)),  # JFIF: YCbCr
    ],
)
def test_jpeg_color_is_what_the_stream_says_before_what_the_data_set_says(
    name: str, expected: tuple[int, int, int]
) -> None:
    """Colors of baseline JPEG are never guessed by the codec (PS3.5 8.2.1)."""
    frame = decoded(wheel_file(name))
    assert frame.photometric_interpretation == "RGB"
    assert tuple(frame.pixels[10, 10].tolist()) == expected


def test_subsampled_jpeg_is_ycbcr_even_when_the_data_set_says_rgb() -> None:
    """A stream with half the samples of two components cannot be RGB, whatever Photometric Interpretation says."""
    wrong = decoded(corpus_file("transfer-syntaxes/pylibjpeg-data/SC_rgb_jpeg_lossy_gdcm.dcm"))
    right = decoded(wheel_file("SC_rgb_jpeg_lossy_gdcm.dcm"))
    assert np.array_equal(wrong.pixels, right.pixels)


def test_rgb_becomes_ybr_and_comes_back() -> None:
    """YBR_FULL of the primary colors is that of the Standard's equations, in 8 and in 12 bits (PS3.3 C.7.6.3.1.2)."""
    pixels = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]], np.uint8)
    expected = [[76, 85, 255], [150, 44, 21], [29, 255, 107], [255, 128, 128], [0, 128, 128]]
    assert ybr_full(pixels, 8).tolist() == expected
    deep = np.array([[4095, 0, 0], [4095, 4095, 4095]], np.uint16)
    assert ybr_full(deep, 12).tolist() == [[1224, 1357, 4095], [4095, 2048, 2048]]
    assert np.abs(rgb(ybr_full(pixels, 8), "YBR_FULL").astype(int) - pixels).max() <= 2


def test_the_partial_range_is_found_again_behind_the_formula_of_the_full_one() -> None:
    """Black, white and red of YBR_PARTIAL are these, though somebody took them for YBR_FULL (PS3.3 C.7.6.3.1.2)."""
    samples = np.array([[16, 128, 128], [235, 128, 128], [81, 90, 240]], np.uint8)
    found = rgb_of_partial(rgb(samples, "YBR_FULL"), 8).astype(int)
    assert np.abs(found - [[0, 0, 0], [255, 255, 255], [255, 0, 0]]).max() <= 2
