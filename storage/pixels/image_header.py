"""What the header of a compressed image says of its pixels: JPEG, JPEG-LS and JPEG 2000.

Facts kept here:

* JPEG (ITU-T T.81 B.2), and JPEG-LS (ITU-T T.87 C.2) like it: SOFn gives precision, lines, samples a line, components.
* JPEG 2000 (ITU-T T.800 A.5, A.6): SIZ gives the size, and the depth and the sampling of each component; COD the
  component and the wavelet transformation. Components of which two have fewer samples cannot be transformed (G.2).
* DICOM takes the codestream alone (PS3.5 8.2.4): of a JP2 file that is the content of its jp2c box.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from storage.dicom.jpeg_segments import FRAME_HEADERS, head_segments

HEADER_BYTES: Final = 1 << 20
"""Enough of a stream to find its frame header behind colour profiles and other application segments."""
JP2_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
START_OF_IMAGE: Final = b"\xff\xd8"
START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"
LOSSLESS: Final = (0xC3, 0xF7)
ADOBE: Final = 0xEE
CODING_STYLE: Final = 0xFF52


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of the pixels of a frame without decoding them; sizes in pixels and bits."""

    rows: int
    columns: int
    samples: int
    bits_stored: int
    signed: bool
    photometric_interpretation: str


def image_header(start: bytes) -> ImageHeader | None:
    """Return what the first bytes of a codestream tell, None when it is none of those known here or is damaged.

    Standard
    --------
    PS3.18 10.5.2 (deriving missing Image Pixel Description attributes).
    """
    try:
        if start.startswith(START_OF_IMAGE):
            return _jpeg_header(start)
        if start.startswith(START_OF_CODESTREAM):
            return _jpeg_2000_header(start)
    except (struct.error, IndexError):
        pass
    return None


class Place(NamedTuple):
    """Where bytes of a file lie."""

    offset: int
    length: int


def codestream_place(file: BinaryIO, length: int) -> Place:
    """Return where the codestream lies in a file: all of it, unless it is a JP2 file.

    Standard
    --------
    ITU-T T.800 I.4 (boxes).
    """
    whole = Place(0, length)
    file.seek(0)
    if file.read(len(JP2_SIGNATURE)) != JP2_SIGNATURE:
        return whole
    at = 0
    while at + 16 <= length:
        file.seek(at)
        box, kind, extended = struct.unpack(">L4sQ", file.read(16))
        head = 16 if box == 1 else 8
        box = extended if box == 1 else box or length - at
        if kind == b"jp2c":
            return Place(at + head, max(min(box, length - at) - head, 0))
        if box < head:
            break
        at += box
    return whole


def _jpeg_header(start: bytes) -> ImageHeader | None:
    frame: tuple[int, bytes] | None = None
    adobe_transform: int | None = None
    for marker, begin, end in head_segments(start):
        segment = start[begin:end]
        if marker in FRAME_HEADERS:
            frame = marker, segment
        elif marker == ADOBE and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe_transform = segment[11]
    return None if frame is None else _jpeg_frame(*frame, adobe_transform)


def _jpeg_frame(process: int, frame: bytes, adobe_transform: int | None) -> ImageHeader:
    bits, rows, columns, samples = struct.unpack_from(">BHHB", frame)
    identifiers = frame[6 : 6 + 3 * samples : 3]
    if samples == 1:
        photometric = "MONOCHROME2"
    elif process in LOSSLESS or adobe_transform == 0 or identifiers == b"RGB":
        photometric = "RGB"
    else:  # horizontal sampling factor of the first and of the second component
        photometric = "YBR_FULL_422" if frame[7] >> 4 > frame[10] >> 4 else "YBR_FULL"
    return ImageHeader(rows, columns, samples, bits, False, photometric)


def _jpeg_2000_header(start: bytes) -> ImageHeader:
    right, bottom, left, top = struct.unpack_from(">LLLL", start, 8)
    samples, depth = struct.unpack_from(">HB", start, 40)
    multiple_components, reversible = False, True
    at = 2
    while at + 4 <= len(start):
        marker, length = struct.unpack_from(">HH", start, at)
        if marker == CODING_STYLE:
            multiple_components, reversible = start[at + 8] == 1, start[at + 13] == 1
            break
        at += 2 + length
    photometric = "MONOCHROME2"
    if samples >= 3:
        transformed = "YBR_RCT" if reversible else "YBR_ICT"
        photometric = transformed if multiple_components else "RGB"
        if start[43:45] != start[46:48]:  # the distances between samples, across and down, of the first two components
            photometric = "YBR_FULL_422"
    return ImageHeader(bottom - top, right - left, samples, (depth & 0x7F) + 1, depth > 0x7F, photometric)
