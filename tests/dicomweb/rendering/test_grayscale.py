"""Grey levels, against the formulas of PS3.3 C.11.2 written out in plain Python."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dicomweb.rendering.grayscale import (
    LINEAR,
    LINEAR_EXACT,
    SIGMOID,
    Grayscale,
    Padding,
    Rescale,
    Window,
    grey_levels,
)
from dicomweb.rendering.pipeline import Frame, pixels_of, shared_range
from tests.corpus import corpus_files
from tests.dicomweb.decoded import attributes_of, frame_in, grey_frame


def expected_level(value: float, center: float, width: float, function: str) -> int:
    """Return the grey level of a value after the Modality LUT (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2)."""
    if function == SIGMOID:
        level = 255 / (1 + math.exp(min(-4 * (value - center) / width, 700)))
    elif function == LINEAR_EXACT:
        if value <= center - width / 2:
            level = 0.0
        elif value > center + width / 2:
            level = 255.0
        else:
            level = ((value - center) / width + 0.5) * 255
    elif value <= center - 0.5 - (width - 1) / 2:
        level = 0.0
    elif value > center - 0.5 + (width - 1) / 2:
        level = 255.0
    else:
        level = ((value - (center - 0.5)) / (width - 1) + 0.5) * 255
    return math.floor(level + 0.5)


def levels(frame: Frame, window: Window | None = None) -> list[Any]:
    """Return the first row of a picture."""
    return list(pixels_of(frame, window)[0].tolist())


@pytest.mark.parametrize("function", [LINEAR, LINEAR_EXACT, SIGMOID])
@pytest.mark.parametrize(
    ("center", "width"), [(40, 400), (-600, 1500), (2048, 4096), (1.5, 2), (0.5, 1), (300.25, 50.5)]
)
def test_ct_through_a_window(center: float, width: float, function: str) -> None:
    """Every pixel of a CT has the level of the formula (D-104, D-106, D-108; PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    frame = frame_in(corpus_files("series/ct-janct-3slice-with-seg")[0])
    picture = pixels_of(frame, Window(center, width, function))
    for stored in np.unique(frame.samples):
        found = np.unique(picture[frame.samples == stored])
        assert found.tolist() == (
            [0] if stored == -2000 else [expected_level(stored * 1.0 - 1024, center, width, function)]
        )


@pytest.mark.parametrize("function", [LINEAR, LINEAR_EXACT, SIGMOID])
def test_window_of_the_instance(function: str) -> None:
    """Center, Width and VOI LUT Function of the instance, after slope and intercept; the first of several (D-107)."""
    values = list(range(0, 4096, 97))
    frame = grey_frame(
        values,
        BitsStored=12,
        HighBit=11,
        RescaleSlope=2.5,
        RescaleIntercept=-1000,
        WindowCenter=[400, 1],
        WindowWidth=[3000, 2],
        VOILUTFunction=function,
    )
    assert levels(frame) == [expected_level(value * 2.5 - 1000, 400, 3000, function) for value in values]


def test_window_that_cannot_be_is_passed_over() -> None:
    """A width the function is not defined for is no window: the next one rules, or the range (C.11.2.1.2)."""
    frame = grey_frame([0, 50, 100], WindowCenter=[9, 50], WindowWidth=[0, 101])
    assert levels(frame) == [expected_level(value, 50, 101, LINEAR) for value in (0, 50, 100)]
    assert levels(grey_frame([10, 20, 30], WindowCenter="a", WindowWidth=0)) == [0, 128, 255]


def test_linear_window_of_width_1_is_a_threshold() -> None:
    """With width 1 the least value above center - 0.5 is white (PS3.3 C.11.2.1.2.1)."""
    assert levels(grey_frame([99, 100, 101]), Window(100.5, 1)) == [0, 0, 255]


def test_without_window_the_range_of_the_frame_is_shown() -> None:
    """Least to greatest value without padding (D-107, D-108)."""
    frame = grey_frame([63536, 100, 150, 300], PixelPaddingValue=63536)
    assert levels(frame) == [0, 0, 64, 255]
    flat = grey_frame([7, 7, 7])
    assert levels(flat) == [0, 0, 0]


def test_padding_range_is_background_in_monochrome1_too() -> None:
    """Padding Value to Range Limit, either way round, is excluded and black (C.7.5.1.1.2; D-108)."""
    stated = {"PixelPaddingValue": 10, "PixelPaddingRangeLimit": 5}
    assert levels(grey_frame([4, 5, 7, 10, 14], **stated)) == [0, 0, 0, 0, 255]
    inverted = grey_frame([4, 5, 7, 10, 14], PhotometricInterpretation="MONOCHROME1", **stated)
    assert levels(inverted) == [255, 0, 0, 0, 0]


def test_padding_of_the_wrong_sign_is_understood() -> None:
    """63536 written for -2000 in US is the padding of signed pixels (C.7.5.1.1.2)."""
    frame = grey_frame([-2000, 0, 100], "i2", PixelPaddingValue=63536)
    assert levels(frame) == [0, 0, 255]


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE", None])
def test_monochrome1_is_the_negative(shape: str | None) -> None:
    """The least value is white, once, whatever the Presentation LUT Shape repeats (C.7.6.3.1.2; D-108)."""
    window = {"WindowCenter": 128, "WindowWidth": 256}
    plain = levels(grey_frame([0, 3, 100, 255], **window))
    shaped = {"PresentationLUTShape": shape} if shape else {}
    frame = grey_frame([0, 3, 100, 255], PhotometricInterpretation="MONOCHROME1", **window, **shaped)
    assert levels(frame) == [255 - level for level in plain]


def test_presentation_lut_shape_inverse_of_an_image() -> None:
    """INVERSE inverts MONOCHROME2 as well (C.11.6.1.2)."""
    assert levels(grey_frame([0, 255], PresentationLUTShape="INVERSE")) == [255, 0]


def test_corpus_monochrome1() -> None:
    """A digital radiograph in MONOCHROME1: air, where the detector counts most, is black (D-108)."""
    frame = frame_in(corpus_files("photometric/highdicom")[0])
    assert frame.photometric_interpretation == "MONOCHROME1"
    negative = pixels_of(replace(frame, photometric_interpretation="MONOCHROME2", attributes=_without_shape(frame)))
    assert np.array_equal(pixels_of(frame), 255 - negative)


def _without_shape(frame: Frame) -> dict[str, Any]:
    return {key: value for key, value in frame.attributes.items() if key != "20500020"}


def test_unused_bits_do_not_count() -> None:
    """Bits above High Bit, overlays among them, and bits below a shifted value are masked (PS3.5 8.1.1)."""
    window = Window(128, 256)
    twelve = {"BitsStored": 12, "HighBit": 11}
    assert levels(grey_frame([0x8040, 0xF040, 0x0040], **twelve), window) == [64, 64, 64]
    assert levels(grey_frame([0x0F, 0x0400], BitsStored=12, HighBit=15), window) == [0, 64]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "high_bit"), [(1, 0), (10, 9), (12, 11), (12, 15), (15, 14), (16, 15)])
def test_every_sample_of_16_bits_is_looked_up_as_it_is_computed(bits: int, high_bit: int, signed: bool) -> None:
    """The table of all 65,536 samples says what is computed of each when it lies in 32 bits, without a table."""
    samples = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    window = Window(bits * 50, 3 << (bits - 1), LINEAR_EXACT)
    one = Grayscale(bits, high_bit, signed, Rescale(2, -7), window, inverted=True, padding=Padding(3, 5))
    assert np.array_equal(grey_levels(samples, one), grey_levels(samples.astype(np.uint32), one))


def test_sign_is_that_of_the_bits_stored() -> None:
    """A 12-bit two's complement value in 16 bits allocated keeps its sign (PS3.5 8.1.1)."""
    frame = grey_frame([0x0FFF, 0xFFFF, 0x0001], BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert levels(frame, Window(0, 256)) == [expected_level(value, 0, 256, LINEAR) for value in (-1, -1, 1)]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">u2"])
def test_samples_of_every_size(dtype: str) -> None:
    """8 to 64 bits, signed or not, either byte order, give the same picture (D-109)."""
    assert levels(grey_frame([0, 25, 100], dtype), Window(50.5, 101)) == [0, 64, 255]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.91"])
@pytest.mark.parametrize(
    ("dtype", "samples", "stated"),
    [
        ("u8", [0, 1 << 63, (1 << 64) - 1], {}),
        ("i8", [-(1 << 63), 0, (1 << 63) - 1], {}),
        ("u8", [0, 1 << 62, (1 << 63) - 1], {"BitsStored": 63, "HighBit": 62}),
        ("i8", [-(1 << 31), 0, (1 << 31) - 1], {"BitsStored": 32, "HighBit": 31}),
    ],
)
def test_samples_of_64_bits_over_their_whole_range(dtype: str, samples: list[int], stated: Any, syntax: str) -> None:
    """The least value is black, the middle gray and the greatest white, with and without a sign (D-108, D-109)."""
    assert levels(grey_frame(samples, dtype, AvailableTransferSyntaxUID=syntax, **stated)) == [0, 128, 255]


def test_values_of_64_bits_may_lie_anywhere_in_the_cell() -> None:
    """Bits above and below a value in 64 bits are masked, and its sign is that of the bits stored (PS3.5 8.1.1)."""
    high = grey_frame([0xFFFF, 0x8000_0000_0000_FFFF], "u8", BitsStored=48, HighBit=63)
    assert levels(high, Window(1 << 47, 1 << 48)) == [0, 128]
    low = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    assert levels(grey_frame([0x7FF, 0xFFFF_0000_0000_0800], "u8", **low)) == [255, 0]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_float_samples(dtype: str) -> None:
    """Float pixel data has its own padding; what is no number is background (C.7.6.24; D-055)."""
    keyword = "FloatPixelPaddingValue" if dtype == "f4" else "DoubleFloatPixelPaddingValue"
    frame = grey_frame([0.5, 1.0, 1.5, -9.5, np.nan, np.inf], dtype, **{keyword: -9.5})
    assert levels(frame) == [0, 128, 255, 0, 0, 0]


def test_one_bit_samples() -> None:
    """1 is white and 0 black, also when a frame has only one of them (D-109)."""
    one_bit = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    assert levels(grey_frame([0, 1], "u1", **one_bit)) == [0, 255]
    assert levels(grey_frame([1, 1], "u1", **one_bit)) == [255, 255]
    assert levels(grey_frame([0, 0], "u1", **one_bit)) == [0, 0]


def test_fractional_segmentation_has_its_own_range() -> None:
    """Maximum Fractional Value is white in every frame (C.8.20.2.3)."""
    frame = grey_frame([0, 100, 200], "u1", SegmentationType="FRACTIONAL", MaximumFractionalValue=200)
    assert levels(frame) == [0, 128, 255]


def test_a_label_looks_the_same_in_every_frame_of_a_label_map() -> None:
    """The greatest segment is white, whatever a frame has; without segments, the greatest value (C.8.20.2)."""
    segments = [{"SegmentNumber": number} for number in (1, 5, 4)]
    described = {"SegmentationType": "LABELMAP", "SegmentSequence": segments, "BitsStored": 8}
    assert levels(grey_frame([0, 1, 4, 5], "u1", **described)) == [0, 51, 204, 255]
    assert levels(grey_frame([0, 1, 1, 1], "u1", **described)) == [0, 51, 51, 51]
    assert levels(grey_frame([4, 4, 4, 4], "u1", **described)) == [204] * 4
    bare = {"SegmentationType": "LABELMAP"}
    assert levels(grey_frame([0, 1, 51], "u1", BitsStored=8, **bare)) == [0, 1, 51]
    assert levels(grey_frame([0, 257, 65535], "u2", BitsStored=16, **bare)) == [0, 1, 255]
    asked = grey_frame([0, 1, 2], "u1", WindowCenter=1, WindowWidth=3, **described)
    assert levels(asked) == [64, 191, 255]


def test_functional_groups_of_the_frame() -> None:
    """Rescale and window come from the per-frame item, else from the shared one (D-110; C.7.6.16)."""
    frame = grey_frame(
        [0, 10, 20],
        WindowCenter=9999,
        WindowWidth=1,
        SharedFunctionalGroupsSequence=[{"FrameVOILUTSequence": [{"WindowCenter": 100, "WindowWidth": 201}]}],
        PerFrameFunctionalGroupsSequence=[
            {"PixelValueTransformationSequence": [{"RescaleSlope": slope, "RescaleIntercept": 0}]} for slope in (1, 10)
        ],
    )
    assert levels(frame) == [expected_level(value, 100, 201, LINEAR) for value in (0, 10, 20)]
    assert levels(replace(frame, number=2)) == [expected_level(value, 100, 201, LINEAR) for value in (0, 100, 200)]


def test_linear_window_over_floats_of_width_1() -> None:
    """Parametric maps that state LINEAR with width 1 show their values, not a threshold (C.11.2.1.3.2)."""
    (path,) = [path for path in corpus_files("objects/parametric-map") if "double" not in path.name]
    frame = frame_in(path)
    picture = pixels_of(frame)
    samples = frame.samples
    assert picture[64, 64] == expected_level(float(samples[64, 64]), 0.5, 1.0, LINEAR_EXACT)
    assert len(np.unique(picture)) > 2


def test_range_shared_by_an_animation() -> None:
    """Frames without window are shown alike; with a window they are anyway (D-092)."""
    frames = [grey_frame([0, 10, 20]), grey_frame([10, 20, 40])]
    limits = shared_range(frames)
    assert limits == (0, 40)
    assert [pixels_of(frame, limits=limits)[0].tolist() for frame in frames] == [[0, 64, 128], [64, 128, 255]]
    assert shared_range([grey_frame([1], WindowCenter=1, WindowWidth=2)]) is None


def test_nonsense_in_the_attributes_is_lived_with() -> None:
    """Values that are no numbers never keep a picture from being made (D-164)."""
    frame = grey_frame([0, 255])
    broken = dict(frame.attributes) | {
        "00281050": {"vr": "DS", "Value": [None, {"x": 1}]},
        "00281051": {"vr": "DS"},
        "00281053": {"vr": "DS", "Value": ["1,5"]},
        "00280120": {"vr": "US", "Value": ["x"]},
        "00283010": {"vr": "SQ", "Value": [{}, None]},
        "52009230": {"vr": "SQ", "Value": "x"},
    }
    assert levels(replace(frame, attributes=broken)) == [0, 255]
    assert attributes_of(Rows=1) == {"00280010": {"vr": "US", "Value": [1]}}


@pytest.mark.parametrize(("syntax", "expected"), [("1.2.840.10008.1.2.4.91", 255), ("1.2.840.10008.1.2.1", 0)])
def test_overshoot_of_a_lossy_codec_is_white_not_black(syntax: str, expected: int) -> None:
    """A lossy decoder may go beyond Bits Stored: the nearest value is shown; bits of other samples are foreign."""
    described = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
    samples = np.array([[0, 4095, 4098]], np.uint16)
    attributes = attributes_of(AvailableTransferSyntaxUID=syntax, **described)
    frame = replace(grey_frame([0, 1, 2]), samples=samples, attributes=attributes)
    assert levels(frame) == [0, 255, expected]


def test_the_only_value_beside_padding_is_seen() -> None:
    """A label map of one label on padding is no black picture."""
    frame = grey_frame([0, 3, 3, 0], PixelPaddingValue=0)
    assert levels(frame) == [0, 255, 255, 0]
