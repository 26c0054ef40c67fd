"""Frames for readers with simple decoders: what is not plain is made so.

Facts kept here:

- Plain native samples fill cells of 8, 16 or 32 bits from the lowest bit on, and every pixel has its own chrominance.
  Single bits (but those of segmentations, whose readers want them), sub-sampled chrominance, doubles and values that
  start above bit 0 (PS3.5 8.1.1) are not plain. Color is in 8 bits: simple readers take 16 for two pixels.
- A plain compressed frame has 16 bits at most, and is what its transfer syntax says, not another encoding under its
  label. What its reader makes
  of the stream alone is what the data set says of it: sign, color space, the samples of a pixel together.
- Made of others are native samples as the metadata describe them, but: a single bit takes a byte, a double a float of
  32 bits, color has the 8 most significant bits, and that whose label is of a codec or of sub-sampling (YBR_FULL_422,
  YBR_RCT, ...) is RGB by pixel.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from pydicom.uid import SegmentationStorage

from storage.dicom.codestream import transfer_syntax_of
from storage.dicom.jpeg_segments import START_OF_SCAN, head_segments
from storage.dicom.transfer_syntax import TRANSFER_SYNTAXES
from storage.errors import UndecodablePixelData
from storage.pixels.color_space import TRANSFORMED, eight_bits, rgb
from storage.pixels.decoders import codestream, is_ycbcr
from storage.pixels.encoders import Encoded, native_bytes
from storage.pixels.image_header import image_header
from storage.pixels.layout import PixelLayout
from storage.pixels.pixel_data import as_stated, decode_frame, stored_values

_CELLS: Final = (8, 16, 32)
_DEEPEST: Final = 16
"""Bits of a compressed sample that simple decoders know."""
_OF_SAMPLES: Final = ("RGB", "YBR_FULL")
"""What samples of color may be called that any reader understands."""
_SEGMENTATION: Final = str(SegmentationStorage)


def is_plain(frame: bytes, pixel: PixelLayout, transfer_syntax_uid: str, sop_class_uid: str = "") -> bool:
    """Whether a frame needs nothing done to it for a reader that knows its transfer syntax.

    Parameters
    ----------
    frame : bytes
        As it is stored, see `FrameSet.read`.
    pixel : PixelLayout
        What the data set says of its pixels.
    transfer_syntax_uid, sop_class_uid : str
        Of the data set.
    """
    if not pixel.encapsulated:
        if _is_deep(pixel):
            return False
        samples = pixel.rows * pixel.columns * pixel.samples
        shifted = 0 < pixel.bits_stored < pixel.bits_allocated and pixel.high_bit + 1 != pixel.bits_stored
        cells = _CELLS if sop_class_uid != _SEGMENTATION else (1, *_CELLS)
        return pixel.bits_allocated in cells and pixel.frame_bits == samples * pixel.bits_allocated and not shifted
    stated = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if stated is None or stated.decode is None:
        return True  # what nobody here can decode is passed on
    found = transfer_syntax_of(frame)
    if found not in {None, stated.uid, *stated.covers}:
        return False
    if _is_deep(pixel) or pixel.bits_allocated > _DEEPEST:
        return False
    agrees = _AGREES.get(stated.decode)
    if found is None or agrees is None:
        return stated.decode != "deflate"
    try:
        return agrees(frame, pixel) and not _is_turned(frame, pixel)
    except (UndecodablePixelData, LookupError):
        return True  # damaged: its reader says so


def plain_frame(frame: bytes, pixel: PixelLayout, transfer_syntax_uid: str, sop_class_uid: str = "") -> Encoded:
    """Return a frame as plain native samples in little endian; the parameters are those of `is_plain`.

    Raises
    ------
    UndecodablePixelData, LimitExceeded
        As `decode_frame`.
    """
    decoded = as_stated(decode_frame(frame, pixel, transfer_syntax_uid), pixel)
    pixels, photometric = stored_values(decoded.pixels, pixel), decoded.photometric_interpretation
    planar = pixel.planar_configuration
    label = pixel.photometric_interpretation
    if pixels.ndim == 3 and pixels.dtype.kind == "u":
        if label != "YBR_FULL":
            pixels, photometric = rgb(pixels, photometric, pixel.bits_stored or None), "RGB"
            planar = planar if label == "RGB" else 0
        pixels = eight_bits(pixels, pixel.bits_stored)
    if pixels.dtype == np.float64:
        pixels = pixels.astype(np.float32)
    packed = pixel.bits_allocated == 1 and sop_class_uid == _SEGMENTATION
    data = native_bytes(pixels, 1 if packed else pixels.dtype.itemsize * 8, planar_configuration=planar)
    return Encoded(data, photometric, decoded.warning)


def _is_deep(pixel: PixelLayout) -> bool:
    """Whether its samples are color of other than 8 bits."""
    return pixel.samples > 1 and (pixel.bits_allocated, pixel.bits_stored or 8) != (8, 8)


def _is_turned(stream: bytes, pixel: PixelLayout) -> bool:
    """Whether a stream states Rows for Columns: its reader would jumble the samples, or refuse them."""
    header = image_header(codestream(stream))
    return (
        header is not None
        and pixel.rows != pixel.columns
        and (header.rows, header.columns) == (pixel.columns, pixel.rows)
    )


def _jpeg_agrees(stream: bytes, pixel: PixelLayout) -> bool:
    """Whether the color space can be told without the label of the data set."""
    if pixel.samples != 3:
        return True
    return is_ycbcr(stream, pixel.photometric_interpretation) == is_ycbcr(stream, "")


def _jpeg_ls_agrees(stream: bytes, pixel: PixelLayout) -> bool:
    """Whether the samples of a pixel are together: the first scan has all components (T.87 C.2.3)."""
    scans = (start for marker, start, _ in head_segments(stream) if marker == START_OF_SCAN)
    by_plane = any(stream[start : start + 1] == b"\x01" for start in scans)
    return _label_agrees(stream, pixel) and not (by_plane and pixel.samples > 1)


def _jpeg_2000_agrees(stream: bytes, pixel: PixelLayout) -> bool:
    """Whether sign, number of samples, sampling and color transformation are what the data set says."""
    header = image_header(codestream(stream))
    if header is None:
        return True
    subsampled = header.photometric_interpretation == "YBR_FULL_422"
    if subsampled or header.samples != pixel.samples or header.signed != (pixel.pixel_representation == 1):
        return False
    if pixel.samples == 3 and header.photometric_interpretation in TRANSFORMED:
        return pixel.photometric_interpretation != "YBR_FULL"
    return _label_agrees(stream, pixel)


def _label_agrees(_: bytes, pixel: PixelLayout) -> bool:
    """Whether color that no codec transforms is called so."""
    return pixel.samples != 3 or pixel.photometric_interpretation in _OF_SAMPLES


_AGREES: Final[dict[str, Callable[[bytes, PixelLayout], bool]]] = {
    "jpeg": _jpeg_agrees,
    "jpeg_lossless": _label_agrees,
    "jpeg_ls": _jpeg_ls_agrees,
    "jpeg_2000": _jpeg_2000_agrees,
    "rle": _label_agrees,
}
"""By decoder, whether a reader of the stream alone sees what the data set says."""
