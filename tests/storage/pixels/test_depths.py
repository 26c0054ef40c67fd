"""Every depth, sign and place in the cell through every codec: lossless is lossless, and loss is small."""

import io
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
)
from storage.pixels.image_header import image_header
from storage.pixels.layout import PixelLayout
from storage.pixels.pixel_data import UnencodablePixelData, decode_frame, transcode_frame, why_not_transcodable
from storage.writing.transcode import transcode
from tests.builders import dicom_file
from tests.dcmtk import program
from tests.pixels import LOSSLESS, Pixels, layout, opened, picture

SHAPES = [(8, 9), (8, 9, 3)]
EXACT_BITS = 24
"""The most bits that JPEG 2000 keeps here; where the cells hold more it is refused."""


def native_layout(cells: Pixels, stored: int, high_bit: int) -> PixelLayout:
    """Return what a data set says of native cells."""
    signed = cells.dtype.kind == "i"
    described = layout(cells.shape, bits=cells.dtype.itemsize * 8, stored=stored, signed=signed, encapsulated=False)
    return replace(described, high_bit=high_bit, length=cells.nbytes)


def as_cells(values: Any, bits: int, *, signed: bool) -> Pixels:
    """Return values as cells of so many bits, what does not fit cut off."""
    result: Pixels = np.asarray(values).astype(f"u{bits // 8}").view(f"{'i' if signed else 'u'}{bits // 8}")
    return result


def cells_of(allocated: int, stored: int, *, signed: bool) -> Iterator[tuple[int, Pixels]]:
    """Yield (high bit, cells): values of all bits stored, only zeros, only the greatest; and foreign bits beside."""
    random = np.random.default_rng(1000 * allocated + 2 * stored + signed)
    low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
    for shape in SHAPES:
        for values in (
            random.integers(low, high, shape, np.int64),
            np.zeros(shape, np.int64),
            np.full(shape, high - 1, np.int64),
        ):
            for high_bit in sorted({stored - 1, (stored + allocated) // 2 - 1, allocated - 1}):
                yield high_bit, as_cells(values << (high_bit + 1 - stored), allocated, signed=signed)
        foreign = random.integers(0, 1 << allocated, shape, np.uint64)
        yield stored - 1, as_cells(foreign, allocated, signed=signed)


def fits(cells: Pixels, bits: int) -> bool:
    """Whether so many low bits hold all cells, their sign included."""
    room = cells.dtype.itemsize * 8 - bits
    return bool(np.array_equal((cells << room) >> room, cells))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("allocated", [8, 16, 32])
@pytest.mark.parametrize("uid", LOSSLESS)
def test_lossless_at_every_depth(uid: str, allocated: int, signed: bool) -> None:
    """Whatever Bits Stored, High Bit and sign, a lossless syntax and back gives every byte of the cells (D-013)."""
    for stored in range(1, allocated + 1):
        for high_bit, cells in cells_of(allocated, stored, signed=signed):
            pixel = native_layout(cells, stored, high_bit)
            if why_not_transcodable(pixel, EXPLICIT_LE, uid) is not None:
                assert allocated == 32
                continue
            try:
                there = transcode_frame(cells.tobytes(), pixel, EXPLICIT_LE, uid)
            except UnencodablePixelData:
                assert (uid, allocated) == (JPEG_2000_LOSSLESS, 32)
                assert stored > EXACT_BITS or not fits(cells, stored), (stored, high_bit)
                continue
            stated = replace(pixel, encapsulated=True, photometric_interpretation=there.photometric_interpretation)
            back = transcode_frame(there.data, stated, uid, EXPLICIT_LE)
            assert back.data == cells.tobytes(), (stored, high_bit, cells.shape)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("allocated", [8, 16])
def test_jpeg_2000_with_loss_at_every_depth(allocated: int, signed: bool) -> None:
    """The stream has Bits Stored, and no value is far from what it was (PS3.5 8.2.4; A-049)."""
    for stored in range(1, allocated + 1):
        image = picture((48, 52), bits=stored, signed=signed, cell=allocated)
        pixel = native_layout(image, stored, stored - 1)
        data = transcode_frame(image.tobytes(), pixel, EXPLICIT_LE, JPEG_2000).data
        header = image_header(data)
        assert header is not None
        assert (header.bits_stored, header.signed) == (stored, signed)
        result = decode_frame(data, replace(pixel, encapsulated=True), JPEG_2000).pixels
        assert result.dtype == image.dtype
        assert np.abs(result.astype(int) - image).max() <= max(2, (1 << stored) // 16), stored


def test_shallow_values_in_wide_cells_are_compressed_with_jpeg_lossless() -> None:
    """Bits Allocated 16 with Bits Stored 8 is no reason for a refusal, and the stream has 8 bits (PS3.5 8.2.1)."""
    image = picture(cell=16)
    data = transcode_frame(image.tobytes(), native_layout(image, 8, 7), EXPLICIT_LE, JPEG_LOSSLESS_SV1).data
    header = image_header(data)
    assert header is not None and header.bits_stored == 8


def shallow_file(uid: str, allocated: int, *, signed: bool) -> tuple[bytes, Pixels]:
    """Return a transcoded file of 8 bits stored in wider cells, and its samples."""
    image = picture(signed=signed, cell=allocated)
    described = {"Rows": image.shape[0], "Columns": image.shape[1], "BitsAllocated": allocated}
    sign = {"BitsStored": 8, "HighBit": 7, "PixelRepresentation": int(signed)}
    header, source = opened(dicom_file(pixels=image.tobytes(), **described, **sign))
    with transcode(source, header, uid, quality=100) as result:
        return b"".join(result.stream()), image


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("uid", "allocated"), [(JPEG_2000_LOSSLESS, 16), (JPEG_2000_LOSSLESS, 32), (JPEG_2000, 16)])
def test_pydicom_reads_shallow_values_of_wide_cells(uid: str, allocated: int, signed: bool) -> None:
    """Another program finds the samples where the stream is narrower than Bits Allocated (PS3.5 8.2.4)."""
    data, image = shallow_file(uid, allocated, signed=signed)
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (allocated, 8, 7)
    assert np.abs(dataset.pixel_array.astype(int) - image).max() <= (0 if uid == JPEG_2000_LOSSLESS else 4)


def test_dcmtk_reads_shallow_values_of_wide_cells(tmp_path: Path) -> None:
    """dcmdjpeg decodes JPEG Lossless of 8 bits stored in 16 allocated to the samples that were stored (D-013)."""
    data, image = shallow_file(JPEG_LOSSLESS_SV1, 16, signed=False)
    (tmp_path / "lossless.dcm").write_bytes(data)
    command = [program("dcmdjpeg"), str(tmp_path / "lossless.dcm"), str(tmp_path / "native.dcm")]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert np.array_equal(pydicom.dcmread(tmp_path / "native.dcm").pixel_array, image)
