"""Walking JPEG streams: what stands alone, what has a length, and where a scan ends."""

import io
import struct
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from storage.dicom.codestream import transfer_syntax_of
from storage.dicom.jpeg_segments import FRAME_HEADERS, START_OF_SCAN, head_segments, jpeg_segments
from storage.dicom.transfer_syntax import JPEG_BASELINE, JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS
from storage.pixels.image_header import image_header
from storage.pixels.pixel_data import UndecodablePixelData, decode_frame
from tests.pixels import gray_frame, layout, picture

SHAPE = (24, 40)
ALONE = [b"\xff\x01", *(bytes((0xFF, marker)) for marker in range(0xD0, 0xD8))]
"""TEM and RST0 to RST7 (T.81 Table B.1)."""


@pytest.mark.parametrize("uid", [JPEG_BASELINE, JPEG_LOSSLESS_SV1])
@pytest.mark.parametrize("alone", ALONE, ids=bytes.hex)
def test_markers_that_stand_alone_have_no_length(alone: bytes, uid: str) -> None:
    """Before the frame header, with fill bytes: the header, the transfer syntax and the picture stay what they are."""
    frame = gray_frame(picture(SHAPE), uid)
    other = frame[:2] + alone + b"\xff" * 3 + frame[2:]
    assert image_header(other) == image_header(frame)
    assert transfer_syntax_of(other) == transfer_syntax_of(frame) == uid
    pixels = (decode_frame(stream, layout(SHAPE), uid).pixels for stream in (frame, other))
    assert np.array_equal(*pixels)


@pytest.mark.parametrize("alone", ALONE, ids=bytes.hex)
def test_a_header_that_only_some_readers_see_is_refused(alone: bytes) -> None:
    """A frame header of 60000 x 60000 pixels in what looks like a segment behind a marker that stands alone."""
    frame = gray_frame(picture(SHAPE), JPEG_BASELINE)
    hidden = b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, 60000, 60000, 1, 1, 0x11, 0)
    other = frame[:2] + alone + struct.pack(">H", len(hidden) + 2) + hidden + frame[2:]
    assert image_header(other) is None
    with pytest.raises(UndecodablePixelData, match="no header"):
        decode_frame(other, layout(SHAPE), JPEG_BASELINE)


def test_segments_between_scans_are_seen() -> None:
    """Progressive JPEG has Huffman tables and scans one after the other; FF 00 in their data is none."""
    written = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(written, "JPEG", progressive=True, quality=95)
    stream = written.getvalue()
    assert stream.count(b"\xff\x00") > 3
    markers = [segment.marker for segment in jpeg_segments(stream)]
    assert markers.count(START_OF_SCAN) == stream.count(b"\xff\xda") > 3
    assert 0xC4 in markers[markers.index(START_OF_SCAN) :] and set(markers) == {0xC2, 0xC4, 0xDA, 0xDB, 0xE0}
    head = list(head_segments(stream))
    assert [segment.marker for segment in head] == markers[: markers.index(START_OF_SCAN) + 1]
    (frame,) = [segment for segment in head if segment.marker in FRAME_HEADERS]
    assert stream[frame.start : frame.end] == b"\x08\x00\x40\x00\x40\x01\x01\x11\x00"


def test_data_of_jpeg_ls_is_no_marker() -> None:
    """T.87 C.1: FF 00 to FF 7F are data, of which T.81 would take most for segments."""
    frame = gray_frame(picture((99, 99), bits=16), JPEG_LS_LOSSLESS)
    data = frame[frame.index(b"\xff\xda") + 2 :]
    assert any(0 < after < 0x80 for before, after in pairwise(data) if before == 0xFF)
    assert [segment.marker for segment in jpeg_segments(frame)][-1] == START_OF_SCAN


def test_a_run_of_fill_bytes_is_passed_in_one_go() -> None:
    """In the data of a scan, a million FF before a byte of data: each is looked at once, not each from every other."""
    frame = gray_frame(picture(SHAPE), JPEG_BASELINE)
    scan = next(segment for segment in jpeg_segments(frame) if segment.marker == START_OF_SCAN)
    long = frame[: scan.end] + (b"\xff" * 1_000_000 + b"\0") * 2 + frame[scan.end :]
    assert [segment.marker for segment in jpeg_segments(long)][-1] == START_OF_SCAN


@pytest.mark.parametrize("length", range(0, 200, 7))
def test_what_is_cut_short_ends(length: int) -> None:
    """No segment begins or ends behind the stream."""
    frame = gray_frame(picture(SHAPE), JPEG_BASELINE)[:length]
    assert all(segment.start <= len(frame) >= segment.end for segment in jpeg_segments(frame))
