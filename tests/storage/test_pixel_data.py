"""Frames <-> pixels, against pydicom's decoders, Pillow's and the hashes that several decoders agreed on."""

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space, pixel_array

from storage import rle
from storage.color_space import is_ybr, rgb
from storage.errors import ArchiveError, LimitExceeded
from storage.frame_table import frame_table
from storage.image_header import image_header
from storage.layout import PixelLayout, frame_bytes, frame_span, layout_of
from storage.part10 import FileSource, read_header
from storage.pixel_data import (
    DecodedFrame,
    UndecodablePixelData,
    UnencodablePixelData,
    decode_frame,
    encode_frame,
    native_bytes,
    stored_values,
    transcode_frame,
    why_not_transcodable,
)
from storage.transfer_syntax import (
    DEFLATED_IMAGE_FRAME,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    RLE_LOSSLESS,
    TRANSFER_SYNTAXES,
)
from storage.vr import PIXEL_DATA
from tests.corpus import corpus_files, corpus_folder, corpus_manifest, wheel_file, wheel_files

Pixels = NDArray[Any]

LOSSLESS = [
    RLE_LOSSLESS,
    DEFLATED_IMAGE_FRAME,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_2000_LOSSLESS,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
]
UNDECODABLE = "libdicom/generated_encapsulated"


@cache
def frames_of(path: Path, most: int = 1) -> tuple[str, PixelLayout, tuple[bytes, ...]] | None:
    """Return the transfer syntax, the layout and the first frames of a file; None when it has none."""
    try:
        header, source = read_header(FileSource(path))
    except ArchiveError:
        return None
    table = frame_table(source, header)
    layout = layout_of(header, table)
    if table is None or layout.pixel_data is None or not table.frames:
        return None
    found = []
    for index in range(min(most, table.frames)):
        entry = table.table[16 * index : 16 * index + 16] if table.table else None
        span = frame_span(layout.pixel_data, index, entry)
        found.append(frame_bytes(span, source.read(span.offset, span.length), layout))
    return header.transfer_syntax_uid, layout.pixel_data, tuple(found)


def decoded(path: Path) -> DecodedFrame:
    """Decode the first frame of a file."""
    found = frames_of(path)
    assert found is not None
    uid, pixel, frames = found
    return decode_frame(frames[0], pixel, uid)


def values(path: Path) -> Pixels:
    """Return the samples of the first frame of a file; native ones as pydicom does, without what is not value."""
    found = frames_of(path)
    assert found is not None
    pixels = decoded(path).pixels
    return pixels if found[1].encapsulated else stored_values(pixels, found[1])


def corpus_file(path: str) -> Path:
    """Return one file of the corpus by its path there."""
    folder = corpus_folder()
    if folder is None:
        pytest.skip("no corpus")
    return folder / path


def layout(
    shape: tuple[int, ...] = (8, 8),
    *,
    bits: int = 8,
    stored: int | None = None,
    signed: bool = False,
    photometric: str | None = None,
    encapsulated: bool = True,
    planar: int = 0,
    frame_bits: int | None = None,
    tag: int = PIXEL_DATA,
) -> PixelLayout:
    """Return what a data set would say of such frames."""
    rows, columns, samples = (*shape, 1)[:3]
    return PixelLayout(
        tag,
        0,
        0,
        encapsulated,
        1,
        frame_bits if frame_bits is not None else rows * columns * samples * bits,
        rows,
        columns,
        samples,
        bits,
        stored or bits,
        (stored or bits) - 1,
        int(signed),
        planar,
        photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
    )


def picture(
    shape: tuple[int, ...] = (37, 50), *, bits: int = 8, signed: bool = False, cell: int | None = None
) -> Pixels:
    """Return a smooth picture with some noise that uses all of the bits."""
    random = np.random.default_rng(bits + len(shape))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    wave = (np.sin(columns / 9) + np.cos(rows / 7) + 2) / 4
    wave = np.stack([wave, wave[::-1], wave[:, ::-1]], -1) if len(shape) == 3 else wave
    most = (1 << bits) - 1
    samples = np.clip(wave * most + random.normal(0, 2, wave.shape), 0, most).astype(np.int64)
    samples.flat[:2] = 0, most
    size = cell or (8 if bits <= 8 else 16 if bits <= 16 else 32)
    return (samples - (1 << (bits - 1)) if signed else samples).astype(f"{'i' if signed else 'u'}{size // 8}")


def _reference(name: str) -> list[dict[str, Any]]:
    """The corpus' files whose first frame all decoders agreed on, one of each look-alike series."""
    entries = corpus_manifest()["files"]
    exact = [entry for entry in entries if (entry.get("decode") or {}).get("agreement") == name]
    return [entry for entry in exact if not entry["path"].startswith("series/") or entry["path"].endswith("1.dcm")]


def _wheel_images() -> list[Path]:
    """Files of the wheels with pixel data whose decoded values pydicom can give."""
    return [path for path in wheel_files() if (found := frames_of(path)) is not None and found[1].rows <= 2000]


def test_lossless_frames_of_the_corpus_are_bit_identical_to_the_reference_hashes() -> None:
    """Every lossless encoding decodes to what independent decoders agreed on, bit for bit (D-013)."""
    entries = _reference("exact")
    wrong = []
    for entry in entries:
        pixels = values(corpus_file(entry["path"]))
        little = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<")))
        if hashlib.sha256(little.tobytes()).hexdigest() != entry["decode"]["frame0_sha256"]:
            wrong.append(entry["path"])
        assert list(pixels.shape) == entry["decode"]["shape"], entry["path"]
    assert wrong == []
    assert len(entries) > 100


def test_lossy_frames_of_the_corpus_have_the_range_of_the_reference() -> None:
    """Gray frames compressed with loss, 12-bit JPEG too, have the extremes that other decoders found."""
    entries = _reference("lossy codec, decoders differ only by rounding/upsampling")
    for entry in entries:
        if entry["samples"] == 1:
            pixels = values(corpus_file(entry["path"]))
            assert abs(int(pixels.min()) - entry["decode"]["min"]) <= 1, entry["path"]
            assert abs(int(pixels.max()) - entry["decode"]["max"]) <= 1, entry["path"]
            assert pixels.dtype == np.dtype(entry["decode"]["dtype"]), entry["path"]
    assert len(entries) == 12


def test_files_with_the_same_picture_in_different_encodings_decode_to_the_same_samples() -> None:
    """RLE, JPEG-LS, JPEG lossless, JPEG 2000, deflated and native copies are one picture, single bits too."""
    groups = [*corpus_manifest()["same_first_frame"]]
    seg = "transfer-syntaxes/pydicom-data-git-seg/liver_nonbyte_aligned"
    groups.append([f"{seg}{kind}.dcm" for kind in ("", "_rle", "_j2k", "_deflate")])
    for group in groups:
        first, *others = (decoded(corpus_file(path)).pixels for path in group)
        assert all(first.tobytes() == other.tobytes() for other in others), group


@pytest.mark.parametrize("path", _wheel_images(), ids=lambda path: path.name)
def test_frames_of_the_wheels_are_what_pydicom_decodes(path: Path) -> None:
    """Lossless samples are equal to those of pydicom's decoders; JPEG ones within two gray levels (PS3.5 8.2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            expected = pixel_array(dataset, index=0, raw=False)
            photometric = dataset.PhotometricInterpretation
        except (RuntimeError, AttributeError, ValueError, NotImplementedError) as error:
            pytest.skip(f"pydicom cannot: {str(error)[:60]}")
    found = frames_of(path)
    assert found is not None
    frame = decode_frame(found[2][0], found[1], found[0])
    pixels = stored_values(frame.pixels, found[1]) if not found[1].encapsulated else frame.pixels
    pixels = rgb(pixels, frame.photometric_interpretation)
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(np.int64) - expected.astype(np.int64)) if pixels.dtype.kind != "f" else pixels
    if frame.lossy and found[0] in (JPEG_BASELINE, JPEG_EXTENDED) and pixels.ndim == 3 and photometric != "RGB":
        assert difference.mean() < 1 and np.percentile(difference, 99) <= 2  # edges of subsampled color differ
    else:
        assert difference.max() <= (1 if is_ybr(photometric) else 0)


@pytest.mark.parametrize("path", corpus_files(), ids=lambda path: path.name)
def test_a_frame_decodes_or_says_why_not(path: Path) -> None:
    """Every file of the corpus gives pixels or one clear error; nothing else is raised (promise 7)."""
    found = frames_of(path)
    if found is None:
        return
    uid, pixel, frames = found
    if UNDECODABLE in str(path):
        with pytest.raises(UndecodablePixelData, match="no header"):
            decode_frame(frames[0], pixel, uid)
    else:
        assert decode_frame(frames[0], pixel, uid).pixels.shape[:2] == (pixel.rows, pixel.columns)


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


@pytest.mark.parametrize(
    ("path", "really"),
    [
        ("objects/op-sr-seg-dcmjs/sample-op.dcm", JPEG_BASELINE),  # stated as JPEG lossless
        ("malformed/io-dicom/jpeg8.dcm", JPEG_EXTENDED),  # 12 bits stated as baseline
    ],
)
def test_a_stream_is_decoded_as_what_it_is(path: str, really: str) -> None:
    """The stream is believed, not the transfer syntax, and its loss is told (PS3.5 8.2)."""
    frame = decoded(corpus_file(path))
    assert frame.transfer_syntax_uid == really
    assert frame.lossy


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


def test_float_pixels_are_read() -> None:
    """Float and Double Float Pixel Data are IEEE 754 in little endian (PS3.5 8.1.1, D-055)."""
    for tag, kind in ((0x7FE00008, "<f4"), (0x7FE00009, "<f8")):
        image = np.linspace(-1, 1, 12).astype(kind).reshape(3, 4)
        pixel = layout((3, 4), bits=image.dtype.itemsize * 8, encapsulated=False, tag=tag)
        assert np.array_equal(decode_frame(image.tobytes(), pixel, EXPLICIT_LE).pixels, image)


def test_stored_values_leave_out_what_else_is_in_the_cells() -> None:
    """Overlays above Bits Stored are no part of the value, and values may stand higher in the cell (PS3.5 8.1.1)."""
    cells = np.array([[0xF123, 0x0800]], np.uint16)
    assert stored_values(cells, layout((1, 2), bits=16, stored=12)).tolist() == [[0x123, 0x800]]
    signed = layout((1, 2), bits=16, stored=12, signed=True)
    assert stored_values(cells.view(np.int16), signed).tolist() == [[0x123, -0x800]]
    high = replace(layout((1, 2), bits=16, stored=12), high_bit=15)
    assert stored_values(cells, high).tolist() == [[0xF12, 0x080]]
    assert stored_values(cells, replace(high, bits_allocated=8)) is cells


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


REFUSED = {
    (1, JPEG_LS_LOSSLESS),
    (1, JPEG_LOSSLESS_SV1),
    (32, JPEG_2000_LOSSLESS),
    *((32, uid) for uid in (JPEG_LS_LOSSLESS, JPEG_LOSSLESS_SV1, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL)),
}


@pytest.mark.parametrize("uid", LOSSLESS)
def test_bits_above_bits_stored_survive(uid: str) -> None:
    """An overlay in the high bits of the cells is not lost by lossless compression (PS3.5 8.1.2)."""
    image = picture(bits=12) | np.uint16(0x8000)
    encoded = encode_frame(image, uid, photometric_interpretation="MONOCHROME2", bits_stored=12)
    assert np.array_equal(decode_frame(encoded.data, layout(image.shape, bits=16, stored=12), uid).pixels, image)


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
    data = encode_frame(image, uid, photometric_interpretation="MONOCHROME2", bits_stored=12).data
    header = image_header(data)
    assert header is not None
    assert (header.bits_stored, header.signed) == (12, signed)
    assert np.array_equal(imagecodecs.jpeg2k_decode(data), image)


def test_rpcl_streams_have_what_the_syntax_asks_for() -> None:
    """HTJ2K RPCL: progression by resolution, TLM, and a smallest resolution of 64 pixels at most (PS3.5 8.2.14)."""
    data = encode_frame(
        np.zeros((80, 4000), np.uint8), HTJ2K_LOSSLESS_RPCL, photometric_interpretation="MONOCHROME2"
    ).data
    style = data[data.index(b"\xff\x52") :]
    assert style[5] == 2
    assert 4000 >> style[9] <= 64
    assert b"\xff\x55" in data[:200]


@pytest.mark.parametrize(("allocated", "shape"), [(8, (37, 50)), (16, (37, 50)), (32, (37, 50)), (8, (37, 50, 3))])
def test_our_rle_is_read_by_pydicom(allocated: int, shape: tuple[int, ...]) -> None:
    """RLE frames are understood by another decoder; rows are packed one by one (PS3.5 G.3.1)."""
    image = picture(shape, bits=allocated)
    data = encode_frame(image, RLE_LOSSLESS, photometric_interpretation="MONOCHROME2").data
    assert np.array_equal(_by_pydicom(image, data, RLE_LOSSLESS), image)


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
            data = encode_frame(
                image, uid, photometric_interpretation="MONOCHROME2", bits_stored=12, quality=quality
            ).data
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


def test_a_video_cannot_be_decoded() -> None:
    """Videos pass through; a frame of one is not to be had (D-056)."""
    video = "1.2.840.10008.1.2.4.102"
    assert why_not_transcodable(layout(), video, EXPLICIT_LE)
    with pytest.raises(UndecodablePixelData, match="no decoder"):
        decode_frame(b"\0\0\1\xba" * 20, layout(), video)


def test_a_frame_is_transcoded() -> None:
    """JPEG-LS becomes HTJ2K, or native samples in the Planar Configuration of the metadata (D-053)."""
    image = picture((20, 30, 3))
    data = encode_frame(image, JPEG_LS_LOSSLESS, photometric_interpretation="RGB").data
    pixel = layout(image.shape, planar=1)
    native = transcode_frame(data, pixel, JPEG_LS_LOSSLESS, EXPLICIT_LE)
    assert native == (np.moveaxis(image, -1, 0).tobytes(), "RGB")
    again = transcode_frame(data, pixel, JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS)
    assert again.photometric_interpretation == "YBR_RCT"
    assert np.array_equal(decode_frame(again.data, pixel, HTJ2K_LOSSLESS).pixels, image)
    assert transcode_frame(data, pixel, JPEG_LS_LOSSLESS, JPEG_LS_LOSSLESS).data is data


def _small_frames() -> dict[str, bytes]:
    image = picture((32, 32), bits=12)
    made = {
        uid: encode_frame(image, uid, photometric_interpretation="MONOCHROME2", bits_stored=12).data
        for uid in (*LOSSLESS, JPEG_EXTENDED, JPEG_2000)
    }
    return made | {JPEG_XL_LOSSLESS: bytes(imagecodecs.jpegxl_encode(image, lossless=True))}


@pytest.mark.parametrize(("uid", "frame"), _small_frames().items())
def test_a_frame_that_is_cut_short_is_refused(uid: str, frame: bytes) -> None:
    """No codec fills what is missing with gray unnoticed."""
    pixel = layout((32, 32), bits=16, stored=12)
    for keep in (0.02, 0.5, 0.9):
        with pytest.raises(UndecodablePixelData):
            decode_frame(frame[: int(len(frame) * keep)], pixel, uid)


@pytest.mark.parametrize("uid", [JPEG_LOSSLESS_SV1, JPEG_EXTENDED, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_a_whole_frame_without_its_end_marker_is_decoded(uid: str) -> None:
    """Some writers leave the end marker out; nothing is missing then."""
    frame = _small_frames()[uid]
    pixel = layout((32, 32), bits=16, stored=12)
    whole = decode_frame(frame, pixel, uid).pixels
    assert frame.endswith(b"\xff\xd9")
    assert np.array_equal(decode_frame(frame[:-2], pixel, uid).pixels, whole)
    assert np.array_equal(decode_frame(frame + b"\0\0\0", pixel, uid).pixels, whole)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imagecodecs drops OpenJPH's errors
@pytest.mark.parametrize(("uid", "frame"), _small_frames().items())
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


@pytest.mark.parametrize("uid", [HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL])
def test_black_at_the_end_of_an_image_is_no_damage(uid: str) -> None:
    """Rows of one value, whichever it is, come back from HTJ2K; what OpenJPH left out does not pass for them."""
    for signed in (False, True):
        for bits in (8, 12, 16):
            low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
            image = picture(bits=bits, signed=signed)
            for value in (low, high, (low + high + 1) // 2):
                image[20:] = value
                data = encode_frame(image, uid, photometric_interpretation="MONOCHROME2", bits_stored=bits).data
                pixel = layout(image.shape, bits=8 if bits == 8 else 16, stored=bits, signed=signed)
                assert np.array_equal(decode_frame(data, pixel, uid).pixels, image)


@pytest.mark.parametrize("uid", [JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, JPEG_LOSSLESS_SV1])
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(uid: str) -> None:
    """What the header of the stream says is compared with the data set: a bomb is never unpacked."""
    frame = bytearray(_small_frames()[uid])
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


@pytest.mark.parametrize(
    "offsets",
    [(1, 10**9), (2, 64, 10**9), (1, 0), (0,), (15, *[64] * 15), (2, 70, 64), (2**32 - 1, 64)],
)
def test_rle_offsets_outside_of_the_frame_are_refused(offsets: tuple[int, ...]) -> None:
    """A lying RLE header reads nothing but the frame (PS3.5 G.5)."""
    head = struct.pack("<16L", *offsets, *[0] * (16 - len(offsets)))
    with pytest.raises(UndecodablePixelData):
        decode_frame(head + b"\x81\x00" * 40, layout((64, 64), bits=16), RLE_LOSSLESS)


def test_rle_segments_may_be_longer_than_the_plane() -> None:
    """Padding and junk after the last byte of a plane do not matter; a byte too few does (PS3.5 G.3)."""
    head = struct.pack("<16L", 1, 64, *[0] * 14)
    body = b"\xf1\x05" * 4  # four runs of 16
    for junk in (b"", b"\0", b"\x80\x80", b"\x7f" + b"x" * 200, b"\x81\x07" * 50, b"\x05ab"):
        assert rle.decode(head + body + junk, (8, 8, 1), 8).tobytes() == b"\x05" * 64
    assert rle.decode(head + b"\x80\x80" + body + b"\x05", (8, 8, 1), 8).tobytes() == b"\x05" * 64
    with pytest.raises(ValueError, match="holds 48 bytes instead of 64"):
        rle.decode(head + body[:-2], (8, 8, 1), 8)


def _by_pydicom(image: Pixels, data: bytes, uid: str) -> Pixels:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)
    dataset.Rows, dataset.Columns = image.shape[:2]
    dataset.SamplesPerPixel = 1 if image.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if image.ndim == 2 else "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = image.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].is_undefined_length = True
    return pixel_array(dataset)
