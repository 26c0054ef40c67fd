"""RLE: read by another decoder, and never led out of the frame."""

import struct

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array

from storage.dicom.transfer_syntax import (
    RLE_LOSSLESS,
)
from storage.pixels import rle
from storage.pixels.pixel_data import (
    UndecodablePixelData,
    decode_frame,
    encode_frame,
)
from tests.pixels import Pixels, layout, picture


@pytest.mark.parametrize(
    ("allocated", "shape"),
    [(8, (37, 50)), (16, (37, 50)), (32, (37, 50)), (8, (37, 50, 3)), (16, (1, 1)), (32, (1, 1)), (8, (1, 1, 3))],
)
def test_our_rle_is_read_by_pydicom(allocated: int, shape: tuple[int, ...]) -> None:
    """RLE frames are understood by another decoder; rows are packed one by one (PS3.5 G.3.1)."""
    image = picture(shape, bits=allocated)
    data = encode_frame(image, RLE_LOSSLESS, photometric_interpretation="MONOCHROME2").data
    assert np.array_equal(_by_pydicom(image, data, RLE_LOSSLESS), image)


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
