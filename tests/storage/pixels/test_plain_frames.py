"""Frames for readers with simple decoders: what needs nothing, and what is made of the rest."""

from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import MultiFrameSingleBitSecondaryCaptureImageStorage, SegmentationStorage

from storage.dicom.transfer_syntax import (
    DEFLATED_IMAGE_FRAME,
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.dicom.vr import tag_of
from storage.pixels.color_space import ybr_full
from storage.pixels.pixel_data import encode_frame
from storage.pixels.plain_frames import is_plain, plain_frame
from tests.pixels import gray_frame, jpeg_in_rgb, jpeg_ls_by_plane, layout, picture, small_frames

SHAPE = (24, 32, 3)
COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 90]]], np.uint8)
"""A row of pixels."""


def test_streams_that_agree_with_their_data_set_are_plain() -> None:
    """12 bits in every transfer syntax of images, and native cells of 8, 16 and 32 bits, need nothing."""
    pixel = layout((32, 32), bits=16, stored=12)
    assert all(is_plain(frame, pixel, uid) for uid, frame in small_frames().items() if uid != DEFLATED_IMAGE_FRAME)
    for bits in (8, 16, 32):
        assert is_plain(b"", layout(bits=bits, encapsulated=False), EXPLICIT_LE)
    assert is_plain(b"", layout((4, 4, 3), photometric="YBR_FULL", encapsulated=False, planar=1), EXPLICIT_LE)


@pytest.mark.parametrize("uid", [RLE_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_lossless_color_is_plain_as_rgb(uid: str) -> None:
    """Color that is called what it is; YBR_FULL_422 names a sampling that these have not (PS3.3 C.7.6.3.1.2)."""
    encoded = encode_frame(picture(SHAPE), uid, photometric_interpretation="RGB")
    pixel = layout(SHAPE, photometric=encoded.photometric_interpretation)
    assert is_plain(encoded.data, pixel, uid)
    if "YBR" not in pixel.photometric_interpretation:
        assert not is_plain(encoded.data, replace(pixel, photometric_interpretation="YBR_FULL_422"), uid)


def test_chrominance_that_two_pixels_share_becomes_rgb() -> None:
    """Native YBR_FULL_422 is Y1 Y2 CB CR (PS3.3 C.7.6.3.1.2): R = Y + 1.402 (CR - 128), and so on."""
    pixel = layout((1, 4, 3), photometric="YBR_FULL_422", encapsulated=False, frame_bits=4 * 16)
    frame = bytes([76, 100, 90, 240, 200, 30, 128, 128])
    assert not is_plain(frame, pixel, EXPLICIT_LE)
    expected = []
    for luminance, blue, red in ((76, 90, 240), (100, 90, 240), (200, 128, 128), (30, 128, 128)):
        expected += [
            luminance + 1.402 * (red - 128),
            luminance - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
            luminance + 1.772 * (blue - 128),
        ]
    found = list(plain_frame(frame, pixel, EXPLICIT_LE).data)
    assert found == pytest.approx(np.clip(expected, 0, 255), abs=0.51)


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [
        (str(MultiFrameSingleBitSecondaryCaptureImageStorage), [1, 0, 0, 1, 1, 0, 0, 0]),
        (str(SegmentationStorage), [25]),
    ],
)
def test_single_bits_take_a_byte_but_in_segmentations(sop_class: str, expected: list[int]) -> None:
    """PS3.5 8.1.1: the first pixel is the lowest bit. Readers of segmentations unpack them themselves."""
    pixel = layout((1, 8), bits=1, encapsulated=False)
    frame = bytes([0b00011001])
    assert is_plain(frame, pixel, EXPLICIT_LE, sop_class) == (len(expected) == 1)
    assert list(plain_frame(frame, pixel, EXPLICIT_LE, sop_class).data) == expected


def test_doubles_become_floats() -> None:
    """Double Float Pixel Data as 32 bits."""
    pixel = layout((1, 3), bits=64, encapsulated=False, tag=tag_of("DoubleFloatPixelData"))
    frame = np.array([0.5, -3e7, 1 / 3], "<f8").tobytes()
    assert not is_plain(frame, pixel, EXPLICIT_LE)
    assert plain_frame(frame, pixel, EXPLICIT_LE).data == np.array([0.5, -3e7, 1 / 3], "<f4").tobytes()


def test_values_start_at_bit_0() -> None:
    """Bits Stored 12 and High Bit 15 (PS3.5 8.1.1): the lowest four bits are not of the value."""
    pixel = replace(layout((1, 2), bits=16, stored=12, encapsulated=False), high_bit=15)
    frame = np.array([0xABC5, 0x1230], "<u2").tobytes()
    assert not is_plain(frame, pixel, EXPLICIT_LE)
    assert plain_frame(frame, pixel, EXPLICIT_LE).data == np.array([0xABC, 0x123], "<u2").tobytes()


def test_a_stream_under_another_label_is_decoded() -> None:
    """12 bits of JPEG Extended called Baseline, and JPEG-LS called JPEG 2000: samples that any reader takes."""
    image = picture((32, 32), bits=12)
    pixel = layout((32, 32), bits=16, stored=12)
    extended = gray_frame(image, JPEG_EXTENDED, bits_stored=12, quality=100)
    assert not is_plain(extended, pixel, JPEG_BASELINE)
    found = np.frombuffer(plain_frame(extended, pixel, JPEG_BASELINE).data, "<u2").astype(int)
    assert np.abs(found - image.ravel()).max() <= 8
    exact = gray_frame(image, JPEG_LS_LOSSLESS, bits_stored=12)
    assert not is_plain(exact, pixel, JPEG_2000_LOSSLESS)
    assert plain_frame(exact, pixel, JPEG_2000_LOSSLESS).data == image.astype("<u2").tobytes()


def test_jpeg_ls_by_plane_comes_by_pixel() -> None:
    """Three scans of one component each (T.87 C.2.3): readers of one scan see three pictures side by side."""
    image = picture(SHAPE)
    frame = jpeg_ls_by_plane(image)
    assert not is_plain(frame, layout(SHAPE), JPEG_LS_LOSSLESS)
    assert plain_frame(frame, layout(SHAPE), JPEG_LS_LOSSLESS).data == image.tobytes()


def test_jpeg_whose_color_only_the_label_tells_is_decoded() -> None:
    """RGB without Adobe marker and with numbers for names: a reader of the stream alone would take it for YCbCr."""
    image = picture(SHAPE)
    marked, bare = jpeg_in_rgb(image), jpeg_in_rgb(image, marked=False)
    assert is_plain(marked, layout(SHAPE), JPEG_BASELINE)
    assert not is_plain(bare, layout(SHAPE), JPEG_BASELINE)
    assert is_plain(bare, layout(SHAPE, photometric="YBR_FULL"), JPEG_BASELINE)
    found = np.frombuffer(plain_frame(bare, layout(SHAPE), JPEG_BASELINE).data, np.uint8).astype(int)
    assert np.abs(found - image.ravel()).mean() < 3


def test_a_jpeg_2000_stream_of_another_sign_is_decoded() -> None:
    """The stream says unsigned, the data set signed: the bits are those of the data set (PS3.5 8.2.4)."""
    image = picture((32, 32), bits=16)
    frame = gray_frame(image, JPEG_2000_LOSSLESS)
    pixel = layout((32, 32), bits=16, signed=True)
    assert not is_plain(frame, pixel, JPEG_2000_LOSSLESS)
    assert plain_frame(frame, pixel, JPEG_2000_LOSSLESS).data == image.astype("<u2").tobytes()


def test_color_that_is_transformed_in_the_stream_is_not_called_ybr_full() -> None:
    """YBR_FULL over a JPEG 2000 stream with a transformation of its own: a reader would undo two."""
    encoded = encode_frame(picture(SHAPE), JPEG_2000_LOSSLESS, photometric_interpretation="RGB")
    assert is_plain(encoded.data, layout(SHAPE, photometric="YBR_RCT"), JPEG_2000_LOSSLESS)
    assert not is_plain(encoded.data, layout(SHAPE, photometric="YBR_FULL"), JPEG_2000_LOSSLESS)


@pytest.mark.parametrize(("label", "expected"), [("YBR_FULL", "YBR_FULL"), ("YBR_FULL_422", "RGB"), ("RGB", "RGB")])
def test_what_is_made_has_the_color_space_of_the_label(label: str, expected: str) -> None:
    """JPEG decodes to RGB; metadata that say YBR_FULL describe what is made of it, sub-sampled ones become RGB."""
    image = COLORS.repeat(16, 0).repeat(16, 1)
    frame = bytes(imagecodecs.jpeg8_encode(image, level=98, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"))
    made = plain_frame(frame, layout(image.shape, photometric=label), JPEG_EXTENDED).data
    found = np.frombuffer(made, np.uint8).reshape(image.shape)[8, 8::16]
    wanted = COLORS[0] if expected == "RGB" else ybr_full(COLORS)[0]
    assert np.abs(found.astype(int) - wanted).max() <= 4


def test_color_by_plane_stays_as_its_data_set_says() -> None:
    """Planar Configuration 1 of RGB is kept, so that metadata describe what is made."""
    image = picture(SHAPE)
    frame = encode_frame(image, DEFLATED_IMAGE_FRAME, photometric_interpretation="RGB").data
    assert not is_plain(frame, layout(SHAPE), DEFLATED_IMAGE_FRAME)
    assert plain_frame(frame, layout(SHAPE), DEFLATED_IMAGE_FRAME).data == image.tobytes()


@pytest.mark.parametrize("uid", [JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
def test_a_stream_that_states_rows_for_columns_is_decoded(uid: str) -> None:
    """Readers believe the stream, and would cut its samples into rows of another length; what was mended is told."""
    image = picture((24, 40))
    frame = encode_frame(image.reshape(40, 24), uid, photometric_interpretation="MONOCHROME2").data
    assert not is_plain(frame, layout((24, 40)), uid) and is_plain(frame, layout((40, 24)), uid)
    made = plain_frame(frame, layout((24, 40)), uid)
    assert made.data == image.tobytes() and "Rows" in made.warning


@pytest.mark.parametrize(("label", "gray"), [("YBR_FULL_422", 2000), ("YBR_PARTIAL_422", round(1744 * 255 / 219))])
def test_color_of_12_bits_has_its_middle_at_2048(label: str, gray: int) -> None:
    """Gray is CB = CR = half of the range of Bits Stored, not of the cell (PS3.3 C.7.6.3.1.2)."""
    pixel = layout((1, 2, 3), bits=16, stored=12, photometric=label, encapsulated=False, frame_bits=4 * 16)
    frame = np.array([2000, 2000, 2048, 2048], "<u2").tobytes()
    assert list(plain_frame(frame, pixel, EXPLICIT_LE).data) == [gray >> 4] * 6


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize(("bits", "stored"), [(16, 16), (16, 12), (32, 32), (8, 5)])
@pytest.mark.parametrize("uid", [EXPLICIT_LE, RLE_LOSSLESS])
def test_color_has_8_bits(uid: str, bits: int, stored: int, label: str) -> None:
    """The most significant ones; of fewer, the most becomes 255. By plane as stored where it is native."""
    most = (1 << stored) - 1
    samples = np.array([[[0, most // 2, most], [1, most // 5, most - 1]]], f"<u{bits // 8}")
    pixel = layout(samples.shape, bits=bits, stored=stored, photometric=label, encapsulated=uid != EXPLICIT_LE)
    frame = samples.tobytes()
    if uid != EXPLICIT_LE:
        frame = encode_frame(samples, uid, photometric_interpretation=label).data
    assert not is_plain(frame, pixel, uid)
    given = samples.astype(np.int64)
    expected = given * 255 // most if stored < 8 else given >> (stored - 8)
    made = plain_frame(frame, pixel, uid)
    assert (list(made.data), made.photometric_interpretation) == (expected.ravel().tolist(), label)


def test_compressed_samples_have_16_bits_at_most() -> None:
    """RLE of 32 bits, as doses have it, which decoders in browsers refuse."""
    doses = np.array([[0, 1 << 20, (1 << 32) - 1]], "<u4")
    frame = encode_frame(doses, RLE_LOSSLESS, photometric_interpretation="MONOCHROME2").data
    pixel = layout(doses.shape, bits=32)
    assert not is_plain(frame, pixel, RLE_LOSSLESS)
    assert plain_frame(frame, pixel, RLE_LOSSLESS).data == doses.tobytes()


@pytest.mark.parametrize("uid", [JPEG_BASELINE, JPEG_LS_LOSSLESS])
def test_a_segment_without_length_is_passed_on(uid: str) -> None:
    """A length of 0 is none (T.81 B.1.1.4): where the frame header is, nobody can tell."""
    frame = encode_frame(picture(SHAPE), uid, photometric_interpretation="RGB").data
    assert is_plain(frame[:2] + b"\xff\xe1\0\0" + frame[2:], layout(SHAPE), uid)


@pytest.mark.parametrize("length", range(2, 120, 3))
def test_damaged_streams_are_passed_on(length: int) -> None:
    """Its reader says so of what ends in its head, but where half of a scan header names another kind of JPEG-LS."""
    for uid in (JPEG_BASELINE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS):
        frame = encode_frame(picture(SHAPE), uid, photometric_interpretation="RGB").data
        scan = frame.find(b"\xff\xda") if uid == JPEG_LS_LOSSLESS else len(frame)
        assert is_plain(frame[:length], layout(SHAPE), uid) or scan + 4 < length < scan + 14
