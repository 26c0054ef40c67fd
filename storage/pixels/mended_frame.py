"""Frames that a codec refuses although nothing of them is missing: a second way to decode each kind of stream.

Facts kept here:

- Nothing here runs before a codec has refused a frame, and a codec has the last word on what was mended.
- ITU-T T.81 F.1.2.1, H.1.2.2: differences have 0 to 15 bits, in lossless streams 16. Some encoders list more of them
  in a Huffman table (thorfdbg/libjpeg 68 and 100, libjpeg-turbo 586), which libjpeg refuses, used or not. They are
  replaced twice, by two that differ: only where none of them is used are the samples the same.
- Some archives state the sides of a frame the other way round in its stream, which was coded along the rows of the data
  set all the same (Weasis 226). That holds only as long as neighbours in the rows of the data set are as alike as those
  in the rows of the stream; else it is the data set that errs, and nobody knows what the picture is.
- JPEG-LS (ITU-T T.87): zeros between the data and the end marker (CharLS 437). CharLS notices what is missing.
- JPEG 2000: converters of whole slides keep the alpha of what they convert (wsidicomizer 10), for which DICOM has no
  sample. That the first components are the colors, the stream says as little as the data set does. imagecodecs,
  which they write with, transforms no four components: under YBR_RCT and YBR_ICT, too, these are red, green and blue.
- RLE: a segment that lacks its very last byte; DCMTK fills it up, too. More than that is half a picture.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.dicom.jpeg_segments import jpeg_segments
from storage.errors import CodecEnded
from storage.pixels.color_space import TRANSFORMED
from storage.pixels.decoders import DECODERS, Decoder, Samples, codestream, run_length, shape_of
from storage.pixels.image_header import LOSSLESS, image_header
from storage.pixels.layout import PixelLayout

_MARKER_START: Final = b"\xff"
_HUFFMAN_TABLES: Final = 0xC4
_END: Final = b"\xff\xd9"
_REPLACEMENTS: Final = (0, 11)
_MOST_ZEROS: Final = 8
_LESS_ALIKE: Final = 1.1
"""Sides that differ by one only shear the picture: its neighbours are less alike by a fifth then. Noise is by none."""


Mender = Callable[[bytes, PixelLayout, Decoder], Samples | None]
"""Decodes a frame in a second way, by the decoder given; None where that does not apply. It raises what codecs do."""


def without_unused_symbols(frame: bytes, pixel: PixelLayout, decode: Decoder) -> Samples | None:
    """Decode JPEG whose Huffman tables list symbols that cannot occur, unless they do."""
    streams = [_with_legal_symbols(frame, legal) for legal in _REPLACEMENTS]
    if frame in streams:
        return None
    first, second = (decode(stream, pixel) for stream in streams)
    return first if np.array_equal(first.pixels, second.pixels) else None


def _with_legal_symbols(frame: bytes, legal: int) -> bytes:
    """Return a stream with a legal symbol for each in tables of differences that is none; as it is if damaged."""
    mended = bytearray(frame)
    most = 15
    for marker, start, end in jpeg_segments(frame):
        if marker in LOSSLESS:
            most = 16
        if marker != _HUFFMAN_TABLES:
            continue
        at = start
        while at + 17 <= end:
            symbols = range(at + 17, min(at + 17 + sum(frame[at + 1 : at + 17]), end))
            if frame[at] >> 4 == 0:
                for place in symbols:
                    mended[place] = legal if frame[place] > most else frame[place]
            at = symbols.stop
        if at != end or frame[end : end + 1] != _MARKER_START:  # bytes are missing: what it lists is no table
            return frame
    return bytes(mended)


def with_sides_swapped(frame: bytes, pixel: PixelLayout, decode: Decoder) -> Samples | None:
    """Decode a stream whose header has Rows for Columns, and take its samples along the rows of the data set."""
    header = image_header(frame)
    rows, columns, samples = shape_of(pixel)
    if rows == columns or header is None or (header.rows, header.columns, header.samples) != (columns, rows, samples):
        return None
    found = decode(frame, replace(pixel, rows=columns, columns=rows))
    values = found.pixels.reshape(rows * columns, -1)
    if _unlikeness(values, columns) > _LESS_ALIKE * _unlikeness(values, rows):
        return None
    return found


def _unlikeness(values: NDArray[Any], width: int) -> float:
    """Return how much the samples above each other differ in the mean, with so many in a row."""
    signed = values.astype(np.int64)
    steps = np.abs(signed[width:] - signed[:-width])
    return float(steps.sum() / max(steps.size, 1))


def without_zeros_at_the_end(frame: bytes, pixel: PixelLayout, decode: Decoder) -> Samples | None:
    """Decode JPEG-LS with zeros between its data and its end marker."""
    data = frame.rstrip(b"\0").removesuffix(_END)
    zeros = len(data) - len(data.rstrip(b"\0"))
    failure: Exception | None = None
    for count in range(1, min(zeros, _MOST_ZEROS) + 1):
        try:
            return decode(data[:-count] + _END, pixel)
        except (RuntimeError, ValueError) as error:
            failure = error
    if failure is not None:
        raise failure
    return None


def without_alpha(frame: bytes, pixel: PixelLayout, decode: Decoder) -> Samples | None:
    """Decode JPEG 2000 with more components than samples a pixel, and take the first; of twice as many at most."""
    header = image_header(codestream(frame))
    if header is None or not pixel.samples < header.samples <= 2 * pixel.samples:
        return None
    stated = pixel.photometric_interpretation
    label = "RGB" if stated in TRANSFORMED else stated
    found = decode(frame, replace(pixel, samples=header.samples, photometric_interpretation=label))
    return found._replace(pixels=np.ascontiguousarray(found.pixels[..., : pixel.samples]))


def with_a_last_byte(frame: bytes, pixel: PixelLayout, decode: Decoder) -> Samples | None:
    """Decode RLE in whose segments the very last byte is missing: it is taken to be as the one before it."""
    return run_length(frame, pixel, missing=1)


_WARNINGS: Final[Mapping[Mender, str]] = {
    without_unused_symbols: "A Huffman table of the stream lists symbols that cannot occur; none of them is used.",
    with_sides_swapped: "The stream states Rows for Columns; its samples follow the rows of the data set.",
    without_zeros_at_the_end: "There are zeros before the end marker of the stream; they were left out.",
    without_alpha: "The stream has more components than the data set says, such as alpha; they were left out.",
    with_a_last_byte: "The last byte of an RLE segment is missing; the one before it was repeated.",
}
_MENDERS: Final[Mapping[str, tuple[Mender, ...]]] = {
    "jpeg": (without_unused_symbols, with_sides_swapped),
    "jpeg_lossless": (without_unused_symbols, with_sides_swapped),
    "jpeg_ls": (without_zeros_at_the_end, with_sides_swapped),
    "jpeg_2000": (without_alpha, with_sides_swapped),
    "rle": (with_a_last_byte,),
}
"""What to try, by the name of the decoder that refused the frame."""


def mended(
    frame: bytes, pixel: PixelLayout, decoder: str, refusals: tuple[type[Exception], ...]
) -> tuple[Samples, str] | None:
    """Decode a frame that its decoder has refused; None when it cannot be mended.

    Parameters
    ----------
    frame, pixel : bytes, PixelLayout
        As the decoder was given them.
    decoder : str
        Its name in `DECODERS`.
    refusals : tuple of exception types
        What a decoder raises for a frame that is damaged.

    Returns
    -------
    Samples and str, or None
        With what had to be done for them; safe to show.
    """
    for mender in _MENDERS.get(decoder, ()):
        try:
            samples = mender(frame, pixel, DECODERS[decoder])
        except CodecEnded:
            raise
        except refusals:
            continue
        if samples is not None:
            return samples, _WARNINGS[mender]
    return None
