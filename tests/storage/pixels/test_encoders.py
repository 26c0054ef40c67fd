"""Samples -> frames: lossless to the bit, readable by others, or refused with a reason."""

import io
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from storage.dicom.transfer_syntax import (
    DEFLATED_IMAGE_FRAME,
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
    TRANSFER_SYNTAXES,
)
from storage.pixels.color_space import rgb
from storage.pixels.image_header import image_header
from storage.pixels.layout import PixelLayout
from storage.pixels.pixel_data import (
    UnencodablePixelData,
    decode_frame,
    encode_frame,
    transcode_frame,
    why_not_transcodable,
)
from tests.pixels import LOSSLESS, gray_frame, layout, picture

KINDS = [
    pytest.param(1, 1, False, (37, 50), id="1-bit"),
    pytest.param(8, 8, False, (37, 50), id="8"),
    pytest.param(8, 7, False, (37, 50), id="7-in-8"),
    pytest.param(8, 8, True, (37, 50), id="signed-8"),
    pytest.param(16, 12, False, (37, 50), id="12-in-16"),
    pytest.param(16, 12, True, (37, 50), id="signed-12-in-16"),
    pytest.param(16, 16, False, (37, 50), id="16"),
    pytest.param(16, 16, True, (37, 50), id="signed-16"),
    pytest.param(8, 8, False, (37, 50, 3), id="RGB-8"),
    pytest.param(16, 12, False, (37, 50, 3), id="RGB-12-in-16"),
    pytest.param(16, 16, False, (37, 50, 3), id="RGB-16"),
    pytest.param(32, 24, False, (37, 50), id="24-in-32"),
    pytest.param(32, 32, False, (37, 50), id="32"),
    pytest.param(8, 8, False, (1, 1), id="one-pixel"),
]


REFUSED = {
    (1, JPEG_LS_LOSSLESS),
    (1, JPEG_LOSSLESS_SV1),
    (32, JPEG_2000_LOSSLESS),
    *((32, uid) for uid in (JPEG_LS_LOSSLESS, JPEG_LOSSLESS_SV1, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL)),
}


@pytest.mark.parametrize("uid", LOSSLESS)
@pytest.mark.parametrize(("allocated", "stored", "signed", "shape"), KINDS)
def test_lossless_means_every_bit(uid: str, allocated: int, stored: int, signed: bool, shape: tuple[int, ...]) -> None:
    """Whatever is encoded lossless decodes to the same bits, or is refused with a reason (PS3.5 8.2)."""
    image = picture((64, 70)[: len(shape)] + shape[2:] if shape[0] > 1 else shape, bits=stored, signed=signed)
    image = image.astype(f"{image.dtype.kind}{max(allocated // 8, 1)}")
    pixel = layout(image.shape, bits=allocated, stored=stored, signed=signed)
    reason = why_not_transcodable(pixel, EXPLICIT_LE, uid)
    options = {"bits_allocated": allocated, "bits_stored": stored}
    if reason is not None:
        assert (allocated, uid) in REFUSED
        with pytest.raises(UnencodablePixelData):
            encode_frame(image, uid, photometric_interpretation="MONOCHROME2", **options)
        return
    if uid == JPEG_2000_LOSSLESS and stored == 32:
        with pytest.raises(UnencodablePixelData, match="24 bits"):
            encode_frame(image, uid, photometric_interpretation="MONOCHROME2", **options)
        return
    encoded = encode_frame(image, uid, photometric_interpretation=pixel.photometric_interpretation, **options)
    stated = replace(pixel, photometric_interpretation=encoded.photometric_interpretation)
    result = decode_frame(encoded.data + bytes(len(encoded.data) % 2), stated, uid)
    assert result.pixels.dtype == image.dtype
    assert np.array_equal(result.pixels, image)
    assert result.photometric_interpretation == pixel.photometric_interpretation
    assert result.transfer_syntax_uid == uid


@pytest.mark.parametrize("uid", LOSSLESS)
def test_bits_above_bits_stored_survive(uid: str) -> None:
    """An overlay in the high bits of the cells is not lost by lossless compression (PS3.5 8.1.2)."""
    image = picture(bits=12) | np.uint16(0x8000)
    data = gray_frame(image, uid, bits_stored=12)
    assert np.array_equal(decode_frame(data, layout(image.shape, bits=16, stored=12), uid).pixels, image)


@pytest.mark.parametrize("uid", [uid for uid in LOSSLESS if uid != DEFLATED_IMAGE_FRAME])
def test_ybr_full_is_kept_by_lossless_codecs(uid: str) -> None:
    """No color transformation is applied to what is not RGB (PS3.5 Tables 8.2.1-1 to 8.2.4-1)."""
    image = picture((37, 50, 3))
    encoded = encode_frame(image, uid, photometric_interpretation="YBR_FULL")
    assert encoded.photometric_interpretation == "YBR_FULL"
    result = decode_frame(encoded.data, layout(image.shape, photometric="YBR_FULL"), uid)
    assert result.photometric_interpretation == "YBR_FULL"
    assert np.array_equal(result.pixels, image)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("uid", [JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_streams_say_the_bits_stored(uid: str, signed: bool) -> None:
    """The stream is consistent with Bits Stored and Pixel Representation (PS3.5 8.2.4), and OpenJPEG reads it so."""
    image = picture(bits=12, signed=signed)
    data = gray_frame(image, uid, bits_stored=12)
    header = image_header(data)
    assert header is not None
    assert (header.bits_stored, header.signed) == (12, signed)
    assert np.array_equal(imagecodecs.jpeg2k_decode(data), image)


def test_rpcl_streams_have_what_the_syntax_asks_for() -> None:
    """HTJ2K RPCL: progression by resolution, TLM, and a smallest resolution of 64 pixels at most (PS3.5 8.2.14)."""
    data = gray_frame(np.zeros((80, 4000), np.uint8), HTJ2K_LOSSLESS_RPCL)
    style = data[data.index(b"\xff\x52") :]
    assert style[5] == 2
    assert 4000 >> style[9] <= 64
    assert b"\xff\x55" in data[:200]


@pytest.mark.parametrize("uid", [JPEG_2000_LOSSLESS, JPEG_2000, JPEG_BASELINE])
@pytest.mark.parametrize("shape", [(37, 50), (37, 50, 3)])
def test_our_jpegs_are_read_by_pillow(uid: str, shape: tuple[int, ...]) -> None:
    """JPEG and JPEG 2000 frames look the same in another program; equal when lossless (PS3.5 8.2)."""
    image = picture((64, 64, *shape[2:]))
    photometric = "RGB" if len(shape) == 3 else "MONOCHROME2"
    encoded = encode_frame(image, uid, photometric_interpretation=photometric, quality=95)
    seen = np.asarray(Image.open(io.BytesIO(encoded.data)))
    difference = np.abs(seen.astype(int) - image)
    assert difference.max() == 0 if uid == JPEG_2000_LOSSLESS else difference.mean() < 4
    named = {JPEG_2000_LOSSLESS: "YBR_RCT", JPEG_2000: "YBR_ICT", JPEG_BASELINE: "YBR_FULL_422"}[uid]
    assert encoded.photometric_interpretation == (named if len(shape) == 3 else "MONOCHROME2")
    ours = decode_frame(encoded.data, layout(image.shape, photometric=encoded.photometric_interpretation), uid)
    assert np.abs(ours.pixels.astype(int) - seen).max() <= 2
    assert ours.lossy is TRANSFER_SYNTAXES[uid].lossy


def test_quality_matters() -> None:
    """More quality is more bytes and less error, with 12 bits too."""
    image = picture((64, 64), bits=12)
    for uid in (JPEG_2000, JPEG_EXTENDED):
        sizes, errors = [], []
        for quality in (30, 90):
            data = gray_frame(image, uid, bits_stored=12, quality=quality)
            result = decode_frame(data, layout(image.shape, bits=16, stored=12), uid).pixels
            sizes.append(len(data))
            errors.append(np.abs(result.astype(int) - image).mean())
        assert sizes[0] < sizes[1] and errors[0] > errors[1]
        assert errors[1] < 8


@pytest.mark.parametrize(
    ("uid", "pixel"),
    [
        (JPEG_BASELINE, layout(bits=16, stored=12)),
        (JPEG_BASELINE, layout(photometric="PALETTE COLOR")),
        (JPEG_2000, layout(bits=1)),
        (JPEG_2000, layout(photometric="PALETTE COLOR")),
        (JPEG_EXTENDED, layout(bits=16, stored=16)),
        (JPEG_EXTENDED, layout(bits=16, stored=12, signed=True)),
        (RLE_LOSSLESS, layout((8, 8, 8), bits=32)),
        (RLE_LOSSLESS, layout(bits=32, tag=0x7FE00008, encapsulated=False)),
        ("1.2.840.10008.1.2", layout()),
        ("1.2.840.10008.1.2.4.102", layout()),
        ("1.2.3", layout()),
    ],
)
def test_what_cannot_be_encoded_is_known_without_trying(uid: str, pixel: PixelLayout) -> None:
    """A refusal has a reason before any pixel was read, so that it becomes a 406 (D-059)."""
    assert why_not_transcodable(pixel, EXPLICIT_LE, uid)


@pytest.mark.parametrize("uid", [HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL])
def test_black_at_the_end_of_an_image_is_no_damage(uid: str) -> None:
    """Rows of one value, whichever it is, come back from HTJ2K; what OpenJPH left out does not pass for them."""
    for signed in (False, True):
        for bits in (8, 12, 16):
            low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
            image = picture(bits=bits, signed=signed)
            for value in (low, high, (low + high + 1) // 2):
                image[20:] = value
                data = gray_frame(image, uid, bits_stored=bits)
                pixel = layout(image.shape, bits=8 if bits == 8 else 16, stored=bits, signed=signed)
                assert np.array_equal(decode_frame(data, pixel, uid).pixels, image)


def ybr_file(photometric: str, stored: int) -> tuple[bytes, PixelLayout]:
    """Return a native frame of samples that are valid in any YBR color space of so many bits, and its layout."""
    image = (1 << (stored - 4)) + picture((17, 16, 3), bits=stored)[1:] // 2
    image[..., 1:] = (1 << (stored - 1)) + (image[..., 1:].astype(int) - (1 << (stored - 2))) // 4
    described = layout(image.shape, stored=stored, encapsulated=False, photometric=photometric)
    if not photometric.endswith("_422"):
        return image.tobytes(), described
    pairs = np.concatenate([image[:, ::2, :1], image[:, 1::2, :1], image[:, ::2, 1:]], axis=-1)
    return pairs.tobytes(), replace(described, frame_bits=pairs.size * 8)


@pytest.mark.parametrize("uid", [JPEG_BASELINE, JPEG_2000])
@pytest.mark.parametrize(
    ("photometric", "stored"),
    [("YBR_FULL", 8), ("YBR_FULL_422", 8), ("YBR_PARTIAL_422", 8), ("YBR_FULL", 7), ("YBR_FULL_422", 6)],
)
def test_colors_stay_what_they_were_in_lossy_codecs(photometric: str, stored: int, uid: str) -> None:
    """Every YBR color space, also of fewer bits, is the same picture in a stream that knows one (PS3.3 C.7.6.3.1.2)."""
    data, pixel = ybr_file(photometric, stored)
    before = decode_frame(data, pixel, EXPLICIT_LE)
    expected = rgb(before.pixels, before.photometric_interpretation, stored)
    encoded = transcode_frame(data, pixel, EXPLICIT_LE, uid, quality=100)
    kept = {JPEG_BASELINE: "YBR_FULL_422", JPEG_2000: "YBR_ICT" if "PARTIAL" in photometric else "YBR_FULL"}[uid]
    assert encoded.photometric_interpretation == kept
    stated = replace(pixel, encapsulated=True, photometric_interpretation=kept)
    after = decode_frame(encoded.data, stated, uid)
    found = rgb(after.pixels, after.photometric_interpretation, stored)
    assert np.abs(found.astype(int) - expected).mean() < 2
    assert np.abs(found.astype(int) - expected).max() < 12


@pytest.mark.parametrize("uid", LOSSLESS)
def test_lossless_codecs_convert_no_colors(uid: str) -> None:
    """Samples of a retired YBR color space come back as they were, since a conversion would round them (A-049)."""
    data, pixel = ybr_file("YBR_PARTIAL_422", 8)
    before = decode_frame(data, pixel, EXPLICIT_LE)
    encoded = transcode_frame(data, pixel, EXPLICIT_LE, uid)
    assert encoded.photometric_interpretation == "YBR_PARTIAL_422"
    after = decode_frame(encoded.data, replace(pixel, encapsulated=True), uid)
    assert np.array_equal(after.pixels, before.pixels)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_noise_is_encoded_too(bits: int) -> None:
    """What no codec makes smaller takes more room than it had, in every lossless transfer syntax."""
    noise = np.random.default_rng(bits).integers(0, 1 << bits, (120, 90)).astype(np.uint8 if bits <= 8 else np.uint16)
    pixel = layout(noise.shape, bits=noise.dtype.itemsize * 8, stored=bits)
    for uid in LOSSLESS:
        frame = encode_frame(noise, uid, photometric_interpretation="MONOCHROME2", bits_stored=bits)
        assert np.array_equal(decode_frame(frame.data, pixel, uid).pixels, noise), uid
