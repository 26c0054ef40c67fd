"""Bulk data parts -> the value of Pixel Data, and what they tell of it (PS3.18 10.5.1.4 and 10.5.2).

* Uncompressed: one application/octet-stream in little endian.
* Compressed still images: one part a frame, each becoming one fragment; a video: one part.
* More than one part is as many as Number of Frames says, 1 when it is absent, whatever the encoding (PS3.3 C.7.6.6):
  parts of different images that came under one name are not taken for one image.
* PNG and GIF are no DICOM encodings: they are decoded, without transparency, to MONOCHROME2 or RGB.
"""

import base64
import errno
import itertools
import struct
import tempfile
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final, cast

import numpy as np
from PIL import Image, ImageSequence
from pydicom.uid import UID

from storage.dicom.codestream import family, rle_segments, transfer_syntax_of
from storage.dicom.dicomjson import Attribute, key_of
from storage.dicom.part10 import EXPLICIT_BE, EXPLICIT_LE, is_encapsulated
from storage.dicom.vr import standard_vr, tag_of
from storage.errors import CodecEnded, ContradictoryPixelData, InvalidDicom, LimitExceeded, OutOfSpace
from storage.pixels.codec_children import CHILDREN
from storage.pixels.image_header import HEADER_BYTES, START_OF_CODESTREAM, ImageHeader, codestream_place, image_header
from storage.writing.bulk_parts import BulkPart, Piece, Span, length_of, start_of

# PS3.18 Table 8.7.3-5 and 8.7.3.3.2 note 3 (older names): media type -> transfer syntax when the part names none
DEFAULT_TRANSFER_SYNTAX: Final = {
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/jll": "1.2.840.10008.1.2.4.70",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/x-dicom-rle": "1.2.840.10008.1.2.5",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/x-jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jph": "1.2.840.10008.1.2.4.201",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/jxl": "1.2.840.10008.1.2.4.110",
    "video/mpeg": "1.2.840.10008.1.2.4.101",
    "video/mpeg2": "1.2.840.10008.1.2.4.101",
    "video/mp4": "1.2.840.10008.1.2.4.102",
    "video/h265": "1.2.840.10008.1.2.4.107",
}
_STREAMS: Final = frozenset(f"image/{kind}" for kind in ("jpeg", "jll", "jls", "x-jls", "jp2", "jpx", "jph", "jphc"))
TRANSFORMED: Final = ("image/png", "image/gif")
OCTET_STREAM: Final = ("application/octet-stream", "")
MAX_FRAME_PIXELS: Final = 1 << 26
MAX_PIXELS: Final = 1 << 28
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
MAX_FRAGMENT: Final = 0xFFFFFFFE
_NEAR: Final = 1 << 14
_PNG_SAMPLES: Final = {0: 1, 2: 3, 4: 2, 6: 4}
"""Samples of a pixel by the color type in IHDR, those that may have 16 bits each (ISO/IEC 15948 11.2.2)."""
ITEM: Final = struct.Struct("<HHL")
SEQUENCE_END: Final = ITEM.pack(0xFFFE, 0xE0DD, 0)


@dataclass(frozen=True, slots=True)
class PixelValue:
    """Pixel Data to be written.

    Attributes
    ----------
    pieces : list of bytes and spans
        The value field; of encapsulated data with items and sequence delimiter.
    encapsulated : bool
        Whether it is written with undefined length.
    transfer_syntax_uid : str
        In which the data set has to be written.
    description : dict of str to Attribute
        Image Pixel Description attributes that the stream tells.
    certain : bool
        Whether the description goes before what the metadata says, since the pixels were transformed.
    headers : dict of ImageHeader to int
        What the frames say of themselves, each with the number of the first frame that says so, from 1.
    segments : dict of int to int
        Numbers of segments of RLE frames, with the first frame that has so many.
    """

    pieces: list[Piece]
    encapsulated: bool
    transfer_syntax_uid: str
    description: dict[str, Attribute] = field(default_factory=dict)
    certain: bool = False
    headers: dict[ImageHeader, int] = field(default_factory=dict)
    segments: dict[int, int] = field(default_factory=dict)


def pixel_value(parts: list[BulkPart], number_of_frames: int | None) -> PixelValue:
    """Return the Pixel Data that `parts` are.

    Parameters
    ----------
    parts : list of BulkPart
        All parts of the one reference, in their order in the message; not empty.
    number_of_frames : int or None
        What the metadata says; None when it says nothing.

    Raises
    ------
    InvalidDicom
        When the parts do not belong together, or are of a media type that is no pixel data.
    ContradictoryPixelData
        When they are too few or too many, or not what their media type says.
    LimitExceeded
        When a PNG or GIF has too many pixels.
    OutOfSpace
        When there is no room for its decoded pixels.

    Standard
    --------
    PS3.18 10.5.1.4, 10.5.2, Tables 8.7.3-5 and 10.5.2-1.
    """
    if len({(part.essence, part.transfer_syntax) for part in parts}) > 1:
        raise InvalidDicom("the parts of one Pixel Data differ in media type or transfer syntax")
    essence, syntax = parts[0].essence, parts[0].transfer_syntax
    compressed = essence in DEFAULT_TRANSFER_SYNTAX or (essence in OCTET_STREAM and is_encapsulated(syntax or ""))
    if compressed or len(parts) > 1:
        _check_count(len(parts), essence, number_of_frames)
    if essence in TRANSFORMED:
        return _transformed(parts, number_of_frames)
    if compressed:
        return _encapsulated(parts, essence)
    if essence not in OCTET_STREAM:
        raise InvalidDicom(f"{essence} is no media type of Pixel Data (PS3.18 Table 10.5.2-1)")
    if syntax == EXPLICIT_BE:
        raise InvalidDicom("uncompressed bulk data must be little endian (PS3.18 10.5.1.4)")
    return PixelValue([Span(part.path, 0, part.length) for part in parts], False, EXPLICIT_LE)


def _check_count(parts: int, essence: str, frames: int | None) -> None:
    """Raise unless a video is one part, and any other image one part a frame."""
    if essence.startswith("video/"):
        if parts > 1:
            raise InvalidDicom("a video is one part (PS3.18 10.5.1.4)")
    elif parts != (1 if frames is None else frames):
        stated = "Number of Frames is absent, so 1" if frames is None else f"Number of Frames is {frames}"
        raise ContradictoryPixelData(f"{stated}, but the parts of Pixel Data, one a frame, are {parts}")


def _encapsulated(parts: list[BulkPart], essence: str) -> PixelValue:
    frames: list[Span] = []
    headers: dict[ImageHeader, int] = {}
    segments: dict[int, int] = {}
    for part in parts:
        with part.path.open("rb") as file:
            frames.append(Span(part.path, *codestream_place(file, part.length)))
        if not frames[-1].length:
            raise InvalidDicom("a part of compressed pixel data is empty")
        start = start_of(frames[-1:], _NEAR)
        if (kind := family(start)) is None and essence in _STREAMS:
            raise ContradictoryPixelData(f"a part is {essence}, but its bytes are no such stream")
        if kind == "rle":
            segments.setdefault(rle_segments(start), len(frames))
        elif (found := image_header(start) or image_header(start_of(frames[-1:], HEADER_BYTES))) is not None:
            headers.setdefault(found, len(frames))
    start = start_of(frames[:1], HEADER_BYTES)
    header = image_header(start)
    description = described_by(_without_alpha(header, start) if header else None)
    pieces, table = _fragments(frames)
    syntax = parts[0].transfer_syntax or _syntax(essence, start, header)
    if not is_encapsulated(syntax) and not (UID(syntax).is_valid and UID(syntax).is_private):
        raise InvalidDicom(f"the transfer syntax of an {essence} part is none for compressed frames")
    return PixelValue(pieces, True, syntax, description | table, headers=headers, segments=segments)


def _without_alpha(header: ImageHeader, start: bytes) -> ImageHeader:
    """Return the header without the transparency that components of JPEG 2000 may have, which DICOM does not know."""
    if header.samples in (2, 4) and start.startswith(START_OF_CODESTREAM):
        return replace(header, samples=header.samples - 1)
    return header


def _syntax(essence: str, start: bytes, header: ImageHeader | None) -> str:
    """Return the syntax of a part that names none: what its stream really is, else the default of the media type."""
    if header is None or essence == "image/jpx":
        return DEFAULT_TRANSFER_SYNTAX.get(essence, "")
    syntax = transfer_syntax_of(start)
    if syntax is None:
        raise InvalidDicom("this JPEG process (progressive, hierarchical or arithmetic) is no transfer syntax")
    return syntax


def _fragments(frames: list[Span]) -> tuple[list[Piece], dict[str, Attribute]]:
    """Return an item a frame behind a Basic Offset Table, and the attributes of an extended one (PS3.5 A.4)."""
    items = [piece for frame in frames for piece in _items(frame)]
    starts = list(itertools.accumulate((length_of(_items(frame)) for frame in frames[:-1]), initial=0))
    attributes: dict[str, Attribute] = {}
    table = b""
    if starts[-1] > MAX_FRAGMENT:
        lengths = [frame.length + frame.length % 2 for frame in frames]
        attributes = _very_long("ExtendedOffsetTable", starts) | _very_long("ExtendedOffsetTableLengths", lengths)
    elif len(frames) > 1:
        table = struct.pack(f"<{len(starts)}L", *starts)
    return [ITEM.pack(0xFFFE, 0xE000, len(table)) + table, *items, SEQUENCE_END], attributes


def _items(frame: Span) -> list[Piece]:
    pieces: list[Piece] = []
    for start in range(0, frame.length, MAX_FRAGMENT):
        pieces += item_of([Span(frame.source, frame.offset + start, min(MAX_FRAGMENT, frame.length - start))])
    return pieces


def item_of(value: list[Piece]) -> list[Piece]:
    """Return an item of encapsulated Pixel Data, padded to even length (PS3.5 A.4); one beyond 4 GiB is refused."""
    length = length_of(value)
    if length > MAX_FRAGMENT:
        raise InvalidDicom("a fragment has less than 4 GiB (PS3.5 A.4)")
    return [ITEM.pack(0xFFFE, 0xE000, length + length % 2), *value, *([b"\0"] if length % 2 else [])]


def _attribute(keyword: str, value: int | str) -> dict[str, Attribute]:
    tag = tag_of(keyword)
    return {key_of(tag): {"vr": standard_vr(tag) or "UN", "Value": [value]}}


def _very_long(keyword: str, values: list[int]) -> dict[str, Attribute]:
    encoded = base64.b64encode(struct.pack(f"<{len(values)}Q", *values)).decode("ascii")
    return {key_of(tag_of(keyword)): {"vr": "OV", "InlineBinary": encoded}}


def described_by(header: ImageHeader | None) -> dict[str, Attribute]:
    """Return the Image Pixel Description (PS3.3 C.7.6.3) of a compressed or transformed image."""
    if header is None:
        return {}
    allocated = 8 if header.bits_stored <= 8 else 16 if header.bits_stored <= 16 else 32
    planar = _attribute("PlanarConfiguration", 0) if header.samples > 1 else {}
    return planar | {
        key: attribute
        for keyword, value in (
            ("SamplesPerPixel", header.samples),
            ("PhotometricInterpretation", header.photometric_interpretation),
            ("Rows", header.rows),
            ("Columns", header.columns),
            ("BitsAllocated", allocated),
            ("BitsStored", header.bits_stored),
            ("HighBit", header.bits_stored - 1),
            ("PixelRepresentation", int(header.signed)),
        )
        for key, attribute in _attribute(keyword, value).items()
    }


def _transformed(parts: list[BulkPart], number_of_frames: int | None) -> PixelValue:
    """Decode PNG or GIF files into one temporary file of native frames."""
    # lives as long as the stream that reads it; without a name, so nothing is left behind
    pixels = cast(BinaryIO, tempfile.TemporaryFile(dir=parts[0].path.parent))  # noqa: SIM115
    headers: list[ImageHeader] = []
    try:
        for part in parts:
            headers += _decode_image(part, pixels, MAX_PIXELS - sum(h.rows * h.columns for h in headers))
        if len(set(headers)) != 1:
            raise InvalidDicom("the frames differ in size or kind")
    except (OSError, ValueError, SyntaxError, EOFError, RuntimeError, LookupError, CodecEnded) as error:
        pixels.close()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise OutOfSpace("there is no room left to decode an image") from None
        raise InvalidDicom(f"a part is no {parts[0].essence} that can be decoded") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pixels.close()
        raise LimitExceeded(f"the image has more than {MAX_FRAME_PIXELS} pixels") from None
    except BaseException:
        pixels.close()
        raise
    description = described_by(headers[0])
    if len(headers) > 1 or number_of_frames is not None:
        description |= _attribute("NumberOfFrames", len(headers))
    return PixelValue(
        [Span(pixels, 0, pixels.tell())], False, EXPLICIT_LE, description, certain=True, headers={headers[0]: 1}
    )


def _decode_image(part: BulkPart, pixels: BinaryIO, room: int) -> list[ImageHeader]:
    headers: list[ImageHeader] = []
    with Image.open(part.path, formats=("PNG", "GIF")) as image:
        size = image.width * image.height
        if size > MAX_FRAME_PIXELS:
            raise LimitExceeded(f"the image has more than {MAX_FRAME_PIXELS} pixels")
        deep = part.essence == "image/png" and _bit_depth(part) == 16
        for frame in ImageSequence.Iterator(image):
            room -= size
            if room < 0:
                raise LimitExceeded(f"the frames have more than {MAX_PIXELS} pixels together")
            samples = _deep_samples(part) if deep else _samples(frame, grey=part.essence == "image/png")
            pixels.write(samples.tobytes())
            colours = 3 if samples.ndim == 3 else 1
            photometric = "RGB" if colours == 3 else "MONOCHROME2"
            bits = samples.dtype.itemsize * 8
            headers.append(ImageHeader(image.height, image.width, colours, bits, False, photometric))
            if deep:
                break
    return headers


def _bit_depth(part: BulkPart) -> int:
    """Return the bit depth in the IHDR chunk of a PNG, which Pillow does not tell for colour images."""
    with part.path.open("rb") as file:
        return file.read(25)[24]


def _samples(frame: Image.Image, *, grey: bool) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Decode a frame; the frames of a GIF are all RGB, since grey ones and others may alternate."""
    grey = grey and frame.mode in ("1", "L", "LA")
    return np.asarray(frame.convert("L" if grey else "RGB"), dtype=np.uint8)


def _deep_samples(part: BulkPart) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    stream = part.path.read_bytes()
    columns, rows, kind = struct.unpack_from(">LLxB", stream, 16)
    samples = _PNG_SAMPLES[kind]
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    decoded = CHILDREN.decoded("png_decode", stream, shape, "u2")
    if decoded.ndim == 3:
        decoded = decoded[..., :3] if decoded.shape[2] >= 3 else decoded[..., 0]
    return np.ascontiguousarray(decoded).astype("<u2")
