"""Colours: palettes, RGB and the YBR family."""

from typing import Any

import numpy as np
import pytest

from dicomweb.rendering.colour import rgb_of
from dicomweb.rendering.grayscale import Window
from dicomweb.rendering.pipeline import Frame, pixels_of
from tests.builders import dicom_file
from tests.corpus import corpus_files, wheel_files
from tests.dicomweb.decoded import attributes_of, frame_in, grey_frame

LABEL = np.s_[50:95, 400:560]
"""Where every encoding of the chart names itself."""


def chart(name: str) -> Any:
    """Return a rendered PM5644 chart without its label."""
    (path,) = [path for path in corpus_files("photometric/pm5644") if path.stem == f"PM5644-960x540_{name}"]
    picture = pixels_of(frame_in(path)).astype(int)
    picture[LABEL] = 0
    return picture


@pytest.mark.parametrize("name", ["Palette_8", "Palette_16", "RLE-Lossless", "JPEG2000-Lossless"])
def test_chart_without_loss(name: str) -> None:
    """The colour chart is the same picture, to the level, from RGB and from palettes of 8 and 16 bits (D-109)."""
    assert np.array_equal(chart(name), chart("RGB"))


@pytest.mark.parametrize(
    ("name", "mean"), [("JPEG-Baseline_YBRFull", 0.8), ("JPEG-Baseline_YBR422", 1.1), ("JPEG2000-Lossy", 0.3)]
)
def test_chart_with_loss(name: str, mean: float) -> None:
    """Encodings with loss differ from it by what the codec lost, on average (D-109)."""
    assert np.abs(chart(name) - chart("RGB")).mean() < mean


def ybr_of(colour: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return YBR_FULL of RGB (PS3.3 C.7.6.3.1.2), not rounded."""
    red, green, blue = (colour[..., place].astype(float) for place in range(3))
    y = 0.2990 * red + 0.5870 * green + 0.1140 * blue
    cb = -0.1687 * red - 0.3313 * green + 0.5000 * blue + 128
    cr = 0.5000 * red - 0.4187 * green - 0.0813 * blue + 128
    return np.stack([y, cb, cr], axis=-1)


def test_chart_in_native_ybr(tmp_path: Any) -> None:
    """Native YBR_FULL and YBR_FULL_422 show the chart again (D-109; C.7.6.3.1.2)."""
    (path,) = [path for path in corpus_files("photometric/pm5644") if path.stem == "PM5644-960x540_RGB"]
    original = frame_in(path).samples[100:400, :400]
    full = np.clip(np.round(ybr_of(original)), 0, 255).astype("u1")
    halves = full.copy()
    halves[:, ::2, 1:] = halves[:, 1::2, 1:] = ((full[:, ::2, 1:].astype(int) + full[:, 1::2, 1:]) // 2).astype("u1")
    packed = np.stack([halves[:, ::2, 0], halves[:, 1::2, 0], halves[:, ::2, 1], halves[:, ::2, 2]], axis=-1)
    for name, pixels, samples in (("YBR_FULL", full, full), ("YBR_FULL_422", packed, halves)):
        (tmp_path / name).write_bytes(
            dicom_file(
                pixels=pixels.tobytes(),
                PhotometricInterpretation=name,
                SamplesPerPixel=3,
                PlanarConfiguration=0,
                Rows=300,
                Columns=400,
            )
        )
        frame = frame_in(tmp_path / name)
        assert np.array_equal(frame.samples, samples)
        error = np.abs(pixels_of(frame).astype(int) - original)
        same = np.all(samples == full, axis=2)  # where no chrominance was averaged
        assert error[same].max() <= 3 and same.mean() > 0.7


def test_ybr_against_a_formula() -> None:
    """Each conversion gives the numbers of the Standard's equations (C.7.6.3.1.2)."""
    samples = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107], [128, 128, 128]]], "u1")
    assert np.abs(rgb_of(samples, "YBR_FULL", 8)[0, 0].astype(int) - (254, 0, 0)).max() <= 1
    assert rgb_of(samples, "YBR_FULL_422", 8)[0, 3].tolist() == [128, 128, 128]
    assert rgb_of(np.array([[[235, 128, 128], [16, 128, 128]]], "u1"), "YBR_PARTIAL_422", 8).tolist() == [
        [[255] * 3, [0] * 3]
    ]
    for name in ("YBR_RCT", "YBR_ICT", "RGB"):  # undone by decoders
        assert np.array_equal(rgb_of(samples, name, 8), samples)


def test_rgb_of_more_bits() -> None:
    """Samples of 16 or 12 bits are shown by their upper 8, fewer bits are spread (D-109)."""
    samples = np.array([[[0xFFFF, 0x8000, 0x00FF]]], "u2")
    assert rgb_of(samples, "RGB", 16).tolist() == [[[255, 128, 0]]]
    assert rgb_of(samples >> 4, "RGB", 12).tolist() == [[[255, 128, 0]]]
    assert rgb_of(np.array([[[15, 0, 7]]], "u1"), "RGB", 4).tolist() == [[[255, 0, 119]]]
    for bits in (32, 64):
        wide = np.array([[[(1 << bits) - 1, 1 << (bits - 1), 0xFF]]], f"u{bits // 8}")
        assert rgb_of(wide, "RGB", bits).tolist() == [[[255, 128, 0]]]


def test_retired_interpretations_are_shown() -> None:
    """ARGB without its first component, CMYK as light (C.7.6.3.1.2, retired)."""
    assert rgb_of(np.array([[[9, 1, 2, 3]]], "u1"), "ARGB", 8).tolist() == [[[1, 2, 3]]]
    assert rgb_of(np.array([[[0, 255, 0, 0]]], "u1"), "CMYK", 8).tolist() == [[[255, 0, 255]]]


def palette_frame(samples: list[int], dtype: str = "u1", bits: int = 16, first: int = 0, **more: Any) -> Frame:
    """Return a frame with a palette of three colours: red, green, dark blue."""
    scale = 257 if bits == 16 else 1
    components = {"Red": (255, 0, 0), "Green": (0, 255, 0), "Blue": (0, 0, 64)}
    tables = {
        f"{name}PaletteColorLookupTableData": np.array([level * scale for level in entries], "<u2").tobytes()
        for name, entries in components.items()
    }
    descriptors = {f"{name}PaletteColorLookupTableDescriptor": [3, first, bits] for name in components}
    stated = {"PhotometricInterpretation": "PALETTE COLOR", **more}
    return grey_frame(samples, dtype, **tables, **descriptors, **stated)


RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 64]


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_clips_to_its_ends(bits: int) -> None:
    """Values below the first mapped take the first colour, those beyond the last the last (C.7.6.3.1.5)."""
    assert pixels_of(palette_frame([0, 10, 11, 12, 99], bits=bits, first=10))[0].tolist() == [
        RED,
        RED,
        GREEN,
        BLUE,
        BLUE,
    ]


def test_palette_with_a_signed_first_value() -> None:
    """The first value mapped is signed when the pixels are, whichever VR it has (C.7.6.3.1.5)."""
    assert pixels_of(palette_frame([-1, 0, 1], "i2", first=-1))[0].tolist() == [RED, GREEN, BLUE]
    assert pixels_of(palette_frame([-1, 0, 1], "i2", first=65535))[0].tolist() == [RED, GREEN, BLUE]


def test_palette_of_8_bit_entries_declared_as_16() -> None:
    """Entries that never exceed 255 are levels whatever the descriptor says (C.7.6.3.1.5)."""
    frame = palette_frame([0, 1, 2], bits=8)
    for colour in ("1101", "1102", "1103"):
        frame.attributes[f"0028{colour}"]["Value"][2] = 16
    assert pixels_of(frame)[0].tolist() == [RED, GREEN, BLUE]


def test_palette_image_without_palette_is_shown_grey() -> None:
    """A missing palette does not keep a picture from being made (D-164)."""
    frame = grey_frame([0, 255], "u1", PhotometricInterpretation="PALETTE COLOR")
    assert pixels_of(frame)[0].tolist() == [0, 255]


def test_supplemental_palette() -> None:
    """Values from the first mapped on are colours, those below go through the window (C.8.16.2.1.1.2; D-109)."""
    frame = palette_frame(
        [0, 99, 100, 101, 200], first=100, PhotometricInterpretation="MONOCHROME2", PixelPresentation="COLOR"
    )
    assert pixels_of(frame, Window(49.5, 99.5))[0].tolist()[2:] == [RED, GREEN, BLUE]
    assert pixels_of(frame)[0].tolist() == [[0] * 3, [255] * 3, RED, GREEN, BLUE]


def test_supplemental_palette_of_a_real_file() -> None:
    """A CT perfusion map: its tissue is coloured as pydicom colours it (C.7.6.19)."""
    path = next(path for path in wheel_files() if path.name == "eCT_Supplemental.dcm")
    frame = frame_in(path)
    picture = pixels_of(frame)
    coloured = frame.samples >= 1024
    index = np.clip(frame.samples.astype(int) - 1024, 0, 99)
    tables = [
        np.frombuffer(frame.bulk.get(tag) or _inline(frame, tag), "<u2") for tag in ("00281201", "00281202", "00281203")
    ]
    expected = np.stack([table[index] >> 8 for table in tables], axis=-1)
    assert np.array_equal(picture[coloured], expected[coloured])
    grey = picture[~coloured]
    assert np.array_equal(grey[:, 0], grey[:, 1]) and coloured.any()


def _inline(frame: Frame, tag: str) -> bytes:
    import base64

    return base64.b64decode(frame.attributes[tag]["InlineBinary"])


def test_colour_range() -> None:
    """The output of the grey pipeline goes through the palette (C.8.32.2)."""
    frame = palette_frame(
        [0, 50, 100], first=0, PhotometricInterpretation="MONOCHROME2", PixelPresentation="COLOR_RANGE"
    )
    assert pixels_of(frame)[0].tolist() == [RED, GREEN, BLUE]


def test_window_does_not_change_colours() -> None:
    """A window is for grey values (8.3.5.1.4)."""
    samples = np.array([[[1, 2, 3]]], "u1")
    frame = Frame(samples, "RGB", attributes_of(BitsStored=8))
    assert np.array_equal(pixels_of(frame, Window(0, 1)), samples)
