"""Pictures, frames and layouts for the tests of pixel data."""

from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from storage.dicom.elements import Header
from storage.dicom.part10 import BytesSource, FileSource, read_header
from storage.dicom.source import Source
from storage.dicom.transfer_syntax import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_XL_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.dicom.vr import PIXEL_DATA
from storage.errors import ArchiveError
from storage.pixels.frame_table import frame_table
from storage.pixels.layout import FrameTable, PixelLayout, frame_bytes, frame_span, layout_of
from storage.pixels.pixel_data import (
    DecodedFrame,
    decode_frame,
    encode_frame,
)
from tests.corpus import corpus_folder

Pixels = NDArray[Any]
RawFrames = tuple[FrameTable, PixelLayout, tuple[bytes, ...]]

LOSSLESS = [
    ENCAPSULATED_UNCOMPRESSED,
    RLE_LOSSLESS,
    DEFLATED_IMAGE_FRAME,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_2000_LOSSLESS,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
]


def opened(data: bytes) -> tuple[Header, Source]:
    """Read a file in memory."""
    return read_header(BytesSource(data))


def raw_frames(header: Header, source: Source, most: int | None = None) -> RawFrames | None:
    """Return the frame table, the layout and the first frames of a file, as stored; None when it has none."""
    table = frame_table(source, header)
    layout = layout_of(header, table)
    if table is None or layout.pixel_data is None or not table.frames:
        return None
    found = []
    for index in range(table.frames)[:most]:
        entry = table.table[16 * index : 16 * index + 16] if table.table else None
        span = frame_span(layout.pixel_data, index, entry)
        found.append(frame_bytes(span, source.read(span.offset, span.length), layout))
    return table, layout.pixel_data, tuple(found)


@cache
def frames_of(path: Path, most: int = 1) -> tuple[str, PixelLayout, tuple[bytes, ...]] | None:
    """Return the transfer syntax, the layout and the first frames of a file; None when it has none."""
    try:
        header, source = read_header(FileSource(path))
    except ArchiveError:
        return None
    found = raw_frames(header, source, most)
    return None if found is None else (header.transfer_syntax_uid, *found[1:])


def decoded(path: Path) -> DecodedFrame:
    """Decode the first frame of a file."""
    found = frames_of(path)
    assert found is not None
    uid, pixel, frames = found
    return decode_frame(frames[0], pixel, uid)


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


def gray_frame(image: Pixels, uid: str, **options: Any) -> bytes:
    """Return samples of a MONOCHROME2 image encoded in a transfer syntax."""
    return encode_frame(image, uid, photometric_interpretation="MONOCHROME2", **options).data


def small_frames() -> dict[str, bytes]:
    """Return a frame of 32 x 32 samples of 12 bits in every syntax that is decoded, by transfer syntax UID."""
    image = picture((32, 32), bits=12)
    made = {uid: gray_frame(image, uid, bits_stored=12) for uid in (*LOSSLESS, JPEG_EXTENDED, JPEG_2000)}
    return made | {JPEG_XL_LOSSLESS: bytes(imagecodecs.jpegxl_encode(image, lossless=True))}


def jpeg_ls_by_plane(image: Pixels) -> bytes:
    """Return color in JPEG-LS with a scan for each component (T.87 C.2.3, ILV 0)."""
    rows, columns = (side.to_bytes(2, "big") for side in image.shape[:2])
    stream = b"\xff\xd8\xff\xf7\x00\x11\x08" + rows + columns + b"\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    for plane in range(3):
        alone = bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(image[..., plane])))
        scan = alone.index(b"\xff\xda")
        coded = alone[scan + 2 + int.from_bytes(alone[scan + 2 : scan + 4], "big") : -2]
        stream += b"\xff\xda\x00\x08\x01" + bytes([plane + 1]) + b"\x00\x00\x00\x00" + coded
    return stream + b"\xff\xd9"


def jpeg_in_rgb(image: Pixels, *, marked: bool = True) -> bytes:
    """Return JPEG whose components are red, green and blue; not `marked` when nothing in the stream says so."""
    options = {"level": 95, "colorspace": "RGB", "outcolorspace": "RGB", "subsampling": "444"}
    stream = bytes(imagecodecs.jpeg8_encode(image, **options))
    if marked:
        return stream
    for name, number in zip(b"RGB", (1, 2, 3), strict=True):
        stream = stream.replace(bytes([name, 0x11, 0]), bytes([number, 0x11, 0]))
    scan = stream.index(b"\xff\xda\x00\x0c\x03") + 5
    stream = stream[:scan] + b"\x01\x00\x02\x00\x03\x00" + stream[scan + 6 :]
    adobe = stream.find(b"\xff\xee")
    return stream if adobe < 0 else stream[:adobe] + stream[adobe + 16 :]
