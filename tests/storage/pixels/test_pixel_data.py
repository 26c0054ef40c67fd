"""Frames <-> pixels, against pydicom's decoders, Pillow's and the hashes that several decoders agreed on."""

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LS_LOSSLESS,
)
from storage.pixels.color_space import is_ybr, rgb
from storage.pixels.pixel_data import (
    UndecodablePixelData,
    UnencodablePixelData,
    decode_frame,
    encode_frame,
    stored_values,
    transcode_frame,
    why_not_transcodable,
)
from tests.corpus import corpus_files, corpus_manifest, wheel_files
from tests.pixels import Pixels, corpus_file, decoded, frames_of, layout, picture

UNDECODABLE = "libdicom/generated_encapsulated"


def values(path: Path) -> Pixels:
    """Return the samples of the first frame of a file; native ones as pydicom does, without what is not value."""
    found = frames_of(path)
    assert found is not None
    pixels = decoded(path).pixels
    return pixels if found[1].encapsulated else stored_values(pixels, found[1])


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


def test_stored_values_leave_out_what_else_is_in_the_cells() -> None:
    """Overlays above Bits Stored are no part of the value, and values may stand higher in the cell (PS3.5 8.1.1)."""
    cells = np.array([[0xF123, 0x0800]], np.uint16)
    assert stored_values(cells, layout((1, 2), bits=16, stored=12)).tolist() == [[0x123, 0x800]]
    signed = layout((1, 2), bits=16, stored=12, signed=True)
    assert stored_values(cells.view(np.int16), signed).tolist() == [[0x123, -0x800]]
    high = replace(layout((1, 2), bits=16, stored=12), high_bit=15)
    assert stored_values(cells, high).tolist() == [[0xF12, 0x080]]
    assert stored_values(cells, replace(high, bits_allocated=8)) is cells


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
    assert native == (np.moveaxis(image, -1, 0).tobytes(), "RGB", "")
    again = transcode_frame(data, pixel, JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS)
    assert again.photometric_interpretation == "YBR_RCT"
    assert np.array_equal(decode_frame(again.data, pixel, HTJ2K_LOSSLESS).pixels, image)
    assert transcode_frame(data, pixel, JPEG_LS_LOSSLESS, JPEG_LS_LOSSLESS).data is data
    with pytest.raises(UnencodablePixelData):
        transcode_frame(data, pixel, JPEG_LS_LOSSLESS, "1.2.3")


@pytest.mark.parametrize(("allocated", "cell"), [(8, 1), (12, 1), (24, 4), (40, 8), (63, 8), (64, 8)])
def test_cells_of_any_number_of_bits_have_room(allocated: int, cell: int) -> None:
    """A compressed frame whose Bits Allocated are no size of a number comes in the next larger one (PS3.5 8.1.1)."""
    samples = np.arange(64, dtype=np.uint8).reshape(8, 8)
    described = replace(layout(), bits_allocated=allocated)
    found = decode_frame(imagecodecs.jpegls_encode(samples), described, JPEG_LS_LOSSLESS)
    assert found.pixels.itemsize == cell and (found.pixels == samples).all()


@pytest.mark.parametrize("allocated", [65, 65535])
def test_more_bits_than_a_number_has_are_refused(allocated: int) -> None:
    """Such a frame is not decodable, and the reason is told (PS3.5 8.1.1)."""
    samples = np.arange(64, dtype=np.uint8).reshape(8, 8)
    described = replace(layout(), bits_allocated=allocated)
    with pytest.raises(UndecodablePixelData, match="Bits Allocated"):
        decode_frame(imagecodecs.jpegls_encode(samples), described, JPEG_LS_LOSSLESS)
