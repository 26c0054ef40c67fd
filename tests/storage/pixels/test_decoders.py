"""Frames -> samples: each kind of stream, and what is wrong with some."""

import zlib
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest

from storage.dicom.transfer_syntax import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
)
from storage.errors import ArchiveError, LimitExceeded
from storage.pixels.pixel_data import (
    UndecodablePixelData,
    decode_frame,
    encode_frame,
    native_bytes,
)
from tests.pixels import layout, picture, small_frames


@pytest.mark.parametrize(("uid", "frame"), small_frames().items())
def test_a_frame_that_is_cut_short_is_refused(uid: str, frame: bytes) -> None:
    """No codec fills what is missing with gray unnoticed."""
    pixel = layout((32, 32), bits=16, stored=12)
    for keep in (0.02, 0.5, 0.9):
        with pytest.raises(UndecodablePixelData):
            decode_frame(frame[: int(len(frame) * keep)], pixel, uid)


@pytest.mark.parametrize("uid", [JPEG_LOSSLESS_SV1, JPEG_EXTENDED, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_a_whole_frame_without_its_end_marker_is_decoded(uid: str) -> None:
    """Some writers leave the end marker out; nothing is missing then."""
    frame = small_frames()[uid]
    pixel = layout((32, 32), bits=16, stored=12)
    whole = decode_frame(frame, pixel, uid).pixels
    assert frame.endswith(b"\xff\xd9")
    assert np.array_equal(decode_frame(frame[:-2], pixel, uid).pixels, whole)
    assert np.array_equal(decode_frame(frame + b"\0\0\0", pixel, uid).pixels, whole)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imagecodecs drops OpenJPH's errors
@pytest.mark.parametrize(("uid", "frame"), small_frames().items())
def test_damaged_frames_raise_nothing_but_our_errors(uid: str, frame: bytes) -> None:
    """Flipped bytes give some picture or one clear error, and never end the process."""
    random = np.random.default_rng(7)
    pixel = layout((32, 32), bits=16, stored=12)
    for _ in range(60):
        damaged = bytearray(frame)
        for position in random.integers(2, len(frame), 3):
            damaged[position] = random.integers(0, 256)
        try:
            assert decode_frame(bytes(damaged), pixel, uid).pixels.shape == (32, 32)
        except ArchiveError:
            pass


@pytest.mark.parametrize("uid", [JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, JPEG_LOSSLESS_SV1])
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(uid: str) -> None:
    """What the header of the stream says is compared with the data set: a bomb is never unpacked."""
    frame = bytearray(small_frames()[uid])
    start = frame.find(b"\xff\x51") + 6 if uid in (JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS) else None
    if start is None:
        start = max(frame.find(b"\xff\xf7"), frame.find(b"\xff\xc3")) + 5
        frame[start : start + 4] = b"\xff\xff\xff\xff"
    else:
        frame[start : start + 8] = b"\x00\xff\xff\xff\x00\xff\xff\xff"
    with pytest.raises(UndecodablePixelData, match="data set says 32, 32 and 1"):
        decode_frame(bytes(frame), layout((32, 32), bits=16, stored=12), uid)


def test_frames_that_would_be_too_large_are_refused() -> None:
    """A data set that promises gigabytes a frame is refused, however small the file is; so is one without a size."""
    with pytest.raises(LimitExceeded):
        decode_frame(b"", layout((65535, 65535)), JPEG_LS_LOSSLESS)
    with pytest.raises(LimitExceeded):
        decode_frame(bytes(64), layout((8, 8)), EXPLICIT_LE, max_bytes=63)
    with pytest.raises(UndecodablePixelData, match="missing"):
        decode_frame(bytes(64), layout((0, 8)), EXPLICIT_LE)
    with pytest.raises(UndecodablePixelData, match="12 bits"):
        decode_frame(bytes(96), layout((8, 8), bits=12, encapsulated=False), EXPLICIT_LE)


def test_a_deflated_bomb_is_inflated_no_further_than_one_frame() -> None:
    """Only the bytes of the frame are taken out (PS3.5 A.4.13)."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflater.compress(bytes(1 << 24)) + deflater.flush()
    assert decode_frame(bomb, layout((8, 8)), DEFLATED_IMAGE_FRAME).pixels.shape == (8, 8)
    with pytest.raises(UndecodablePixelData):
        decode_frame(bomb[:3], layout((64, 64)), DEFLATED_IMAGE_FRAME)


@pytest.mark.parametrize("uid", [JPEG_LS_NEAR_LOSSLESS, JPEG_2000, HTJ2K, JPEG_XL])
def test_a_lossless_stream_is_legal_in_a_lossy_syntax(uid: str) -> None:
    """A syntax that may lose covers one that does not: nothing is contradicted, and nothing was lost (PS3.5 A.4)."""
    image = picture()
    made = {JPEG_LS_NEAR_LOSSLESS: JPEG_LS_LOSSLESS, JPEG_2000: JPEG_2000_LOSSLESS, HTJ2K: HTJ2K_LOSSLESS}.get(uid)
    if made is None:
        frame = bytes(imagecodecs.jpegxl_encode(image, lossless=True))
    else:
        frame = encode_frame(image, made, photometric_interpretation="MONOCHROME2").data
    result = decode_frame(frame, layout(image.shape), uid)
    assert (result.transfer_syntax_uid, result.lossy) == (uid, False)
    assert np.array_equal(result.pixels, image)


def test_lossy_htj2k_keeps_white_white() -> None:
    """Irreversible HTJ2K goes through OpenJPEG, since OpenJPH wraps white to black."""
    image = np.full((64, 64), 255, np.uint8)
    image[16:48, 16:48] = 0
    frame = bytes(imagecodecs.htj2k_encode(image, reversible=False))
    result = decode_frame(frame, layout(image.shape), HTJ2K)
    assert result.lossy
    assert np.abs(result.pixels.astype(int) - image).max() <= 8


@pytest.mark.parametrize(("bits", "shape"), [(8, (37, 50)), (8, (37, 50, 3)), (16, (37, 50)), (16, (37, 50, 3))])
def test_jpeg_xl_is_decoded(bits: int, shape: tuple[int, ...]) -> None:
    """Lossless JPEG XL gives back what was encoded (PS3.5 8.2.15); another size is refused before decoding."""
    image = picture(shape, bits=bits)
    frame = bytes(imagecodecs.jpegxl_encode(image, lossless=True))
    assert np.array_equal(decode_frame(frame, layout(shape, bits=bits), JPEG_XL_LOSSLESS).pixels, image)
    with pytest.raises(UndecodablePixelData):
        decode_frame(frame, layout((38, *shape[1:]), bits=bits), JPEG_XL_LOSSLESS)


@pytest.mark.parametrize(("stated", "coded"), [(12, 12), (16, 12), (12, 16)])
def test_signs_are_extended_where_the_codec_knows_none(stated: int, coded: int) -> None:
    """JPEG lossless holds bits, not numbers: bit Bits Stored - 1 is the sign (PS3.5 8.1.1)."""
    image = picture(bits=stated if stated <= coded else coded, signed=stated <= coded).astype(np.int16)
    cells = (image.view(np.uint16)) & ((1 << coded) - 1)
    frame = bytes(imagecodecs.jpeg8_encode(cells, lossless=True, predictor=1, bitspersample=coded))
    pixel = layout(image.shape, bits=16, stored=stated, signed=True)
    assert np.array_equal(decode_frame(frame, pixel, JPEG_LOSSLESS_SV1).pixels, image)


def test_a_stream_with_more_bits_than_allocated_gets_wider_cells() -> None:
    """12-bit samples are not squeezed into the 8 bits a data set states."""
    image = picture(bits=12)
    frame = encode_frame(image, JPEG_2000_LOSSLESS, photometric_interpretation="MONOCHROME2", bits_stored=12).data
    result = decode_frame(frame, layout(image.shape, bits=8), JPEG_2000_LOSSLESS)
    assert (result.pixels.dtype, result.bits) == (np.uint16, 12)
    assert np.array_equal(result.pixels, image)
    narrow = encode_frame(picture(), JPEG_LS_LOSSLESS, photometric_interpretation="MONOCHROME2").data
    assert decode_frame(narrow, layout((37, 50), bits=16), JPEG_LS_LOSSLESS).pixels.dtype == np.uint16


def test_native_color_by_plane_is_given_by_pixel() -> None:
    """Planar Configuration 1 holds all red, then all green, then all blue (PS3.3 C.7.6.3.1.3)."""
    image = picture((6, 5, 3))
    planes = native_bytes(image, 8, planar_configuration=1)
    assert planes == np.moveaxis(image, -1, 0).tobytes()
    pixel = layout(image.shape, encapsulated=False, planar=1)
    assert np.array_equal(decode_frame(planes, pixel, EXPLICIT_LE).pixels, image)
    assert np.array_equal(
        decode_frame(native_bytes(image, 8), replace(pixel, planar_configuration=0), "").pixels, image
    )


def test_native_subsampled_chrominance_is_repeated() -> None:
    """YBR_FULL_422 has Y1 Y2 CB CR for two pixels in a row (PS3.3 C.7.6.3.1.2)."""
    pixel = layout((1, 4, 3), photometric="YBR_FULL_422", encapsulated=False, frame_bits=64)
    frame = decode_frame(bytes([1, 2, 100, 200, 3, 4, 101, 201]), pixel, EXPLICIT_LE)
    assert frame.pixels.tolist() == [[[1, 100, 200], [2, 100, 200], [3, 101, 201], [4, 101, 201]]]
    assert frame.photometric_interpretation == "YBR_FULL"


@pytest.mark.parametrize(
    ("shape", "bits", "options", "frame", "expected"),
    [
        ((2, 2), 16, {}, b"\1\0\2\0\0\3\xff\xff", [[1, 2], [768, 65535]]),
        ((3, 3), 1, {}, b"\x55\1", [[1, 0, 1], [0, 1, 0], [1, 0, 1]]),
        ((3, 3), 8, {}, bytes(range(10)), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        ((1, 2, 3), 8, {}, b"RGBrgb", [[[82, 71, 66], [114, 103, 98]]]),
        ((1, 2, 3), 8, {"planar": 1}, b"RrGgBb", [[[82, 71, 66], [114, 103, 98]]]),
        ((1, 2, 3), 8, {"photometric": "YBR_FULL_422"}, b"\1\2\3\4", [[[1, 3, 4], [2, 3, 4]]]),
        ((1, 2, 3), 8, {"photometric": "YBR_FULL_422"}, b"\1\3\4\2\3\4", [[[1, 3, 4], [2, 3, 4]]]),
        ((1, 2), 8, {}, b"\xff\xd8", [[255, 216]]),
    ],
)
def test_uncompressed_fragments_hold_native_samples(
    shape: tuple[int, ...], bits: int, options: dict[str, Any], frame: bytes, expected: list[Any]
) -> None:
    """Each fragment is one frame as native Pixel Data has it, padded to even length (PS3.5 A.4.11)."""
    found = decode_frame(frame, layout(shape, bits=bits, **options), ENCAPSULATED_UNCOMPRESSED)
    assert found.pixels.tolist() == expected


@pytest.mark.parametrize("length", [0, 6, 7, 9, 10, 200])
def test_uncompressed_fragments_of_another_length_are_refused(length: int) -> None:
    """What is no frame of samples is none: something compressed, or half of a frame."""
    with pytest.raises(UndecodablePixelData, match=f"{length} bytes instead of 8"):
        decode_frame(bytes(length), layout((2, 2), bits=16), ENCAPSULATED_UNCOMPRESSED)


def test_float_pixels_are_read() -> None:
    """Float and Double Float Pixel Data are IEEE 754 in little endian (PS3.5 8.1.1, D-055)."""
    for tag, kind in ((0x7FE00008, "<f4"), (0x7FE00009, "<f8")):
        image = np.linspace(-1, 1, 12).astype(kind).reshape(3, 4)
        pixel = layout((3, 4), bits=image.dtype.itemsize * 8, encapsulated=False, tag=tag)
        assert np.array_equal(decode_frame(image.tobytes(), pixel, EXPLICIT_LE).pixels, image)
