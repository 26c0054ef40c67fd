"""Compressed frames beside metadata that says something else (PS3.18 10.5.2)."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from storage.errors import InvalidDicom
from storage.pixels import rle
from storage.writing.compose import BulkPart, Composed, compose
from tests.storage.writing.test_compose import IDENTITY, image_file

GREY = np.arange(64 * 48, dtype=np.uint8).reshape(64, 48)
COLOUR = np.dstack([GREY, GREY[::-1], GREY.T.reshape(64, 48)])
DEEP = GREY.astype(np.uint16) * 16
BIT_DEPTH = {8: (8, 8), 12: (16, 12), 16: (16, 16)}


def described(rows: int = 64, columns: int = 48, samples: int = 1, stored: int = 8, **more: int) -> dict[str, Any]:
    """Return the metadata of an image."""
    allocated, stored = BIT_DEPTH[stored]
    words = {"00280002": samples, "00280010": rows, "00280011": columns, "00280100": allocated, "00280101": stored}
    pixels = {"7FE00010": {"vr": "OB", "BulkDataURI": "frames"}}
    return IDENTITY | {key: {"vr": "US", "Value": [value]} for key, value in (words | more).items()} | pixels


def composed(tmp_path: Path, dataset: dict[str, Any], media_type: str, *streams: bytes) -> Composed:
    """Compose an instance of metadata and frames."""
    parts = []
    for number, stream in enumerate(streams):
        path = tmp_path / f"part{number}"
        path.write_bytes(stream)
        parts.append(BulkPart(media_type, None, path, len(stream)))
    result = compose(dataset, lambda uri: parts)
    result.close()
    return result


JPEG = imagecodecs.jpeg8_encode(GREY)
STREAMS: list[tuple[str, bytes, dict[str, int]]] = [
    ("image/jpeg", JPEG, {}),
    ("image/jpeg", imagecodecs.jpeg8_encode(COLOUR), {"samples": 3}),
    ("image/jpeg", imagecodecs.ljpeg_encode(DEEP, bitspersample=12), {"stored": 12}),
    ("image/jls", imagecodecs.jpegls_encode(DEEP), {"stored": 16}),
    ("image/jls", imagecodecs.jpegls_encode(DEEP), {"stored": 12}),  # all bits allocated were written
    ("image/jp2", imagecodecs.jpeg2k_encode(COLOUR, codecformat="jp2"), {"samples": 3}),
    ("image/jp2", imagecodecs.jpeg2k_encode(DEEP, codecformat="j2k", bitspersample=12), {"stored": 12}),
    ("image/jphc", imagecodecs.htj2k_encode(DEEP), {"stored": 16}),
]


@pytest.mark.parametrize(("media_type", "stream", "truth"), STREAMS)
def test_frames_that_agree_are_stored_without_a_word(
    tmp_path: Path, media_type: str, stream: bytes, truth: dict[str, int]
) -> None:
    """What the stream is (8 kinds of it) is not held against it (B-015)."""
    assert composed(tmp_path, described(**truth), media_type, stream).warnings == []


@pytest.mark.parametrize(("media_type", "stream", "truth"), STREAMS)
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"rows": 4}, r"\(0028,0010\): Rows is 4, but the image has 64"),
        ({"columns": 64}, r"\(0028,0011\): Columns is 64, but the image has 48"),
        ({"rows": 48, "columns": 64}, r"\(0028,0010\): Rows is 48, but the image has 64"),
        ({"samples": 2}, r"\(0028,0002\): Samples per Pixel is 2, but the image has [13]"),
    ],
)
def test_another_image_is_refused(
    tmp_path: Path, media_type: str, stream: bytes, truth: dict[str, int], wrong: dict[str, int], named: str
) -> None:
    """Size and samples are compared; the reason has the attribute and both values."""
    with pytest.raises(InvalidDicom, match=named):
        composed(tmp_path, described(**truth | wrong), media_type, stream)


def test_bits_that_cannot_be_held_are_refused(tmp_path: Path) -> None:
    """Samples of 16 bits do not fit into cells of 8."""
    stream = imagecodecs.jpegls_encode(DEEP)
    with pytest.raises(InvalidDicom, match=r"\(0028,0100\): Bits Allocated is 8, but the image has samples of 16 bits"):
        composed(tmp_path, described(stored=8), "image/jls", stream)


def test_fewer_bits_are_a_warning(tmp_path: Path) -> None:
    """Samples of 8 bits where 12 are stated fit, as those of real JPEG 2000 do; both numbers are said."""
    (warning,) = composed(tmp_path, described(stored=12), "image/jls", imagecodecs.jpegls_encode(GREY)).warnings
    assert warning == "(0028,0101): Bits Stored is 12, but the image has samples of 8 bits."


def test_every_frame_is_compared(tmp_path: Path) -> None:
    """The frame that differs is named, also when the metadata does not say how large they are."""
    frames = [JPEG, JPEG, imagecodecs.jpeg8_encode(GREY[:32])]
    number = {"00280008": {"vr": "IS", "Value": ["3"]}}
    assert composed(tmp_path, described() | number, "image/jpeg", JPEG, JPEG, JPEG).warnings == []
    for dataset in (described(), IDENTITY | {"7FE00010": {"vr": "OB", "BulkDataURI": "frames"}}):
        with pytest.raises(InvalidDicom, match="Rows is 64, but frame 3 has 32"):
            composed(tmp_path, dataset | number, "image/jpeg", *frames)


def test_the_number_of_frames_is_compared(tmp_path: Path) -> None:
    """Parts are as many as the metadata says (PS3.18 10.5.1.4)."""
    with pytest.raises(InvalidDicom, match=r"Number of Frames is 3, but .* are 2"):
        composed(tmp_path, described() | {"00280008": {"vr": "IS", "Value": [3]}}, "image/jpeg", JPEG, JPEG)


def test_an_icon_is_compared_too(tmp_path: Path) -> None:
    """Pixel Data of an item stands beside the attributes of that item (PS3.3 C.7.6.1.1.6)."""
    icon = {key: value for key, value in described(rows=4).items() if key not in IDENTITY}
    with pytest.raises(InvalidDicom, match="Rows is 4"):
        composed(tmp_path, IDENTITY | {"00880200": {"vr": "SQ", "Value": [icon]}}, "image/jpeg", JPEG)


def test_alpha_is_a_warning(tmp_path: Path) -> None:
    """Three samples are stated, and a fourth comes along: it is said, and stored."""
    four = imagecodecs.jpeg2k_encode(np.dstack([COLOUR, GREY]), codecformat="j2k", mct=False)
    (warning,) = composed(tmp_path, described(samples=3), "image/jp2", four).warnings
    assert "alpha" in warning


@pytest.mark.parametrize(("samples", "stored", "good"), [(1, 12, True), (3, 12, False), (1, 8, False)])
def test_rle_has_a_segment_a_byte(tmp_path: Path, samples: int, stored: int, good: bool) -> None:
    """Two segments are one sample of 16 bits, and nothing else (PS3.5 G.2)."""
    stream = rle.encode(DEEP[..., np.newaxis], 16)
    assert int.from_bytes(stream[:4], "little") == 2
    if good:
        composed(tmp_path, described(stored=stored), "image/dicom-rle", stream)
        return
    with pytest.raises(InvalidDicom, match=f"{samples} samples of .* bits.* 2 RLE segments"):
        composed(tmp_path, described(samples=samples, stored=stored), "image/dicom-rle", stream)


def test_rle_of_single_bits_has_one_segment(tmp_path: Path) -> None:
    """Bits Allocated of 1, as in segmentations: the packed bits are the only segment (PS3.5 8.2.2, G.2)."""
    bits = {"00280100": 1, "00280101": 1}
    stream = rle.encode(GREY[..., np.newaxis] & 1, 1)
    assert composed(tmp_path, described(**bits), "image/dicom-rle", stream).warnings == []
    with pytest.raises(InvalidDicom, match=r"3 samples of 1 bits, .* 1 RLE segments"):
        composed(tmp_path, described(samples=3, **bits), "image/dicom-rle", stream)


def test_a_transformed_picture_corrects_the_metadata_aloud(tmp_path: Path) -> None:
    """PNG is described anew (B-014), and a size that was stated wrongly is named."""
    png = image_file("PNG", Image.fromarray(GREY))
    assert composed(tmp_path, described(), "image/png", png).warnings == []
    (warning,) = composed(tmp_path, described(rows=4), "image/png", png).warnings
    assert warning == "(0028,0010): Rows is 4, but the image has 64; the metadata was corrected."
