"""Frames <-> arrays of samples, whatever the transfer syntax.

Facts kept here:

- The stream is believed, not the transfer syntax: what is really there is decoded as what it is.
- Samples get the cells of Bits Allocated, wider ones where the stream holds more bits than these.
- JPEG and JPEG-LS streams know no sign, JPEG 2000 streams may contradict the data set; Pixel Representation decides,
  and where the stream holds no more than Bits Stored the sign is extended to the whole cell (PS3.5 8.1.1).
- A frame is never decoded that would take more than a limit, however small it is compressed.
- YBR_FULL of codecs that lose nothing stays YBR_FULL; `color_space.rgb` is for who wants a picture.
"""

import logging
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Any, Final

from numpy.typing import NDArray

from storage.dicom.codestream import transfer_syntax_of
from storage.dicom.transfer_syntax import EXPLICIT_LE, TRANSFER_SYNTAXES, TransferSyntax
from storage.errors import CodecEnded, LimitExceeded, UndecodablePixelData
from storage.pixels import color_space
from storage.pixels.decoders import DECODERS, Samples, full_sampling, shape_of
from storage.pixels.encoders import (
    DEFAULT_QUALITY,
    ENCODERS,
    Encoded,
    SampleKind,
    UnencodablePixelData,
    native_bytes,
    refusal,
)
from storage.pixels.layout import PIXEL_DATA_TAGS, PixelLayout
from storage.pixels.mended_frame import mended

__all__ = [
    "DecodedFrame",
    "Encoded",
    "UndecodablePixelData",
    "UnencodablePixelData",
    "as_stated",
    "decode_frame",
    "encode_frame",
    "native_bytes",
    "stored_values",
    "transcode_frame",
    "why_not_transcodable",
]

logger = logging.getLogger(__name__)

MAX_FRAME_BYTES: Final = 1 << 29
"""The most bytes one decoded frame may have, unless another limit is given."""

_CODEC_ERRORS: Final = (RuntimeError, ValueError, OverflowError, zlib.error, struct.error)


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """The samples of one frame.

    Attributes
    ----------
    pixels : ndarray
        Of shape (rows, columns) or (rows, columns, samples); uint8, int8, uint16, int16, uint32, int32, float32 or
        float64; single bits as bytes of 0 and 1. It may be a view that cannot be written to.
    photometric_interpretation : str
        Of these samples. Chrominance is never subsampled: YBR_FULL_422 has become YBR_FULL, or RGB.
    transfer_syntax_uid : str
        In which the frame really was.
    bits : int
        How many bits of each sample the stream holds; Bits Stored may be fewer.
    lossy : bool
        Whether the stream itself shows that information was lost by it.
    warning : str
        What had to be mended before it could be decoded; empty for nothing.
    """

    pixels: NDArray[Any]
    photometric_interpretation: str
    transfer_syntax_uid: str
    bits: int
    lossy: bool = False
    warning: str = ""


def decode_frame(
    frame: bytes, pixel: PixelLayout, transfer_syntax_uid: str, *, max_bytes: int = MAX_FRAME_BYTES
) -> DecodedFrame:
    """Decode one frame.

    Parameters
    ----------
    frame : bytes
        As `layout.frame_bytes` gives it: the joined fragments, or native samples in little endian from bit 0.
    pixel : PixelLayout
        What the data set says of its pixels.
    transfer_syntax_uid : str
        Of the data set.
    max_bytes : int
        The most the samples may take.

    Raises
    ------
    UndecodablePixelData
        The frame is damaged, contradicts the data set in size, or is in no encoding that can be decoded; CodecEnded
        when it ended its decoder.
    LimitExceeded
        The samples would take more than `max_bytes`.

    Standard
    --------
    PS3.5 8.1, 8.2, A.4; checklist D-013, D-014.
    """
    _check_size(pixel, max_bytes)
    syntax, found = _syntax(frame, pixel, transfer_syntax_uid)
    samples, warning = _decoded(frame, pixel, syntax)
    try:
        pixels = _understood(samples, pixel)
    except _CODEC_ERRORS as error:
        raise _undecodable(syntax) from error
    photometric = full_sampling(samples.photometric_interpretation)
    if not photometric:
        photometric = "RGB" if pixel.samples == 3 else "MONOCHROME2"
    lossy = TRANSFER_SYNTAXES[found].lossy if found is not None else syntax.decode == "jpeg"
    return DecodedFrame(pixels, photometric, syntax.uid, samples.bits, lossy, warning)


_CELLS = (1, 2, 4, 8)
"""Bytes a sample may take in memory."""


def _decoded(frame: bytes, pixel: PixelLayout, syntax: TransferSyntax) -> tuple[Samples, str]:
    """Return the samples of a frame, and what had to be mended for them after its codec had refused it."""
    decoder = syntax.decode or ""
    try:
        return DECODERS[decoder](frame, pixel), ""
    except CodecEnded:
        raise  # nothing more is tried with it
    except (*_CODEC_ERRORS, UndecodablePixelData) as error:
        found = mended(frame, pixel, decoder, (*_CODEC_ERRORS, UndecodablePixelData))
        if found is None and isinstance(error, UndecodablePixelData):
            raise
        if found is None:
            raise _undecodable(syntax) from error
        logger.debug("a frame was mended before it was decoded: %s", found[1])
        return found


def _undecodable(syntax: TransferSyntax) -> UndecodablePixelData:
    return UndecodablePixelData(f"The frame cannot be decoded; it should be {_named(syntax)}.")


def _check_size(pixel: PixelLayout, max_bytes: int) -> None:
    rows, columns, samples = shape_of(pixel)
    if not (rows and columns and samples and pixel.bits_allocated):
        raise UndecodablePixelData("Rows, Columns or Bits Allocated are missing.")
    if pixel.bits_allocated > 8 * _CELLS[-1]:
        raise UndecodablePixelData(
            f"Bits Allocated are {pixel.bits_allocated}, and {8 * _CELLS[-1]} at most (PS3.5 8.1.1)."
        )
    if rows * columns * samples * max(pixel.bits_allocated // 8, 1) > max_bytes:
        raise LimitExceeded(f"A frame takes more than {max_bytes} bytes when it is decoded.")


def _syntax(frame: bytes, pixel: PixelLayout, stated_uid: str) -> tuple[TransferSyntax, str | None]:
    """Return how the frame is to be decoded, and what its stream is as far as it tells."""
    if not pixel.encapsulated:
        return TRANSFER_SYNTAXES[EXPLICIT_LE], None
    stated = TRANSFER_SYNTAXES.get(stated_uid)
    if stated is not None and stated.decode in ("deflate", "uncompressed"):
        return stated, None
    found = transfer_syntax_of(frame)
    if found is not None and (stated is None or found not in {stated.uid, *stated.covers}):
        return TRANSFER_SYNTAXES[found], found
    if stated is None or stated.decode is None or stated.native:
        raise UndecodablePixelData("There is no decoder for this transfer syntax.")
    return stated, found


def _named(syntax: TransferSyntax) -> str:
    return "native samples" if syntax.native else f"in transfer syntax {syntax.uid}"


def _understood(samples: Samples, pixel: PixelLayout) -> NDArray[Any]:
    """Give the samples the shape, cells and sign that the data set states."""
    pixels = samples.pixels
    if pixels.dtype.kind != "f":
        pixels = _in_cells(pixels, samples.bits, pixel)
    shape = shape_of(pixel)
    return pixels.reshape(shape[:2] if shape[2] == 1 else shape)


def _in_cells(pixels: NDArray[Any], bits: int, pixel: PixelLayout) -> NDArray[Any]:
    if pixel.bits_allocated == 1 and bits == 1:
        return pixels
    size = next(cell for cell in _CELLS if cell >= max(pixels.dtype.itemsize, pixel.bits_allocated // 8))
    came_signed, signed = pixels.dtype.kind == "i", pixel.pixel_representation == 1
    pixels = pixels.astype(f"{pixels.dtype.kind}{size}", copy=False).view(f"{'i' if signed else 'u'}{size}")
    room = size * 8 - pixel.bits_stored
    if came_signed == signed or not 0 < room < size * 8 or bits > pixel.bits_stored:
        return pixels
    shifted: NDArray[Any] = (pixels << room) >> room  # signed: extends the sign; unsigned: drops what was extended
    return shifted


def stored_values(pixels: NDArray[Any], pixel: PixelLayout) -> NDArray[Any]:
    """Return the values that cells hold: without what else is in their unused bits.

    Parameters
    ----------
    pixels : ndarray
        Integer samples of a decoded frame, any shape.
    pixel : PixelLayout
        Bits Stored and High Bit say where in the cells the values are.

    Standard
    --------
    PS3.5 8.1.1.
    """
    cell = pixels.dtype.itemsize * 8
    low = pixel.high_bit + 1 - pixel.bits_stored
    if pixels.dtype.kind == "f" or cell != pixel.bits_allocated:
        return pixels
    if not 0 < pixel.bits_stored < cell or not 0 <= low <= cell - pixel.bits_stored:
        return pixels
    values: NDArray[Any] = (pixels << (cell - 1 - pixel.high_bit)) >> (cell - pixel.bits_stored)
    return values


def encode_frame(
    pixels: NDArray[Any],
    transfer_syntax_uid: str,
    *,
    photometric_interpretation: str,
    bits_allocated: int | None = None,
    bits_stored: int | None = None,
    quality: int = DEFAULT_QUALITY,
) -> Encoded:
    """Encode one frame.

    Parameters
    ----------
    pixels : ndarray
        Of shape (rows, columns) or (rows, columns, samples).
    transfer_syntax_uid : str
        In which; Explicit VR Little Endian gives native samples, color by pixel.
    photometric_interpretation : str
        Of the samples.
    bits_allocated, bits_stored : int, optional
        Those of the dtype when not given; 1 bit allocated for samples that are bytes of 0 and 1.
    quality : int
        1 to 100, for lossy syntaxes.

    Returns
    -------
    Encoded
        The frame without padding, and the Photometric Interpretation that its data set must state.

    Raises
    ------
    UnencodablePixelData
        There is no encoder, or it cannot hold such samples.

    Standard
    --------
    PS3.5 8.2; checklist A-049, A-053.
    """
    allocated = bits_allocated or pixels.dtype.itemsize * 8
    kind = SampleKind(
        1 if pixels.ndim == 2 else pixels.shape[2],
        allocated,
        bits_stored or allocated,
        pixels.dtype.kind == "i",
        photometric_interpretation,
        pixels.dtype.kind == "f",
    )
    encoder = _encoder(transfer_syntax_uid)
    reason = refusal(encoder, kind)
    if reason is not None:
        raise UnencodablePixelData(reason)
    try:
        return ENCODERS[encoder](pixels, kind, quality)
    except _CODEC_ERRORS as error:
        raise UnencodablePixelData(f"The frame cannot be encoded in {transfer_syntax_uid}.") from error


def _encoder(transfer_syntax_uid: str) -> str:
    encoder = _wanted(transfer_syntax_uid).encode
    if encoder is None:
        raise UnencodablePixelData("There is no encoder for this transfer syntax.")
    return encoder


def _wanted(transfer_syntax_uid: str) -> TransferSyntax:
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None:
        raise UnencodablePixelData("There is no encoder for this transfer syntax.")
    return syntax


def why_not_transcodable(pixel: PixelLayout, stored_uid: str, wanted_uid: str) -> str | None:
    """Return why frames cannot be had in another transfer syntax, None when they should be; reads no pixels.

    Parameters
    ----------
    pixel : PixelLayout
        What the data set says of its pixels.
    stored_uid, wanted_uid : str
        Transfer syntax UIDs.
    """
    stored = TRANSFER_SYNTAXES.get(stored_uid)
    if pixel.encapsulated and stored is not None and stored.decode is None:
        return "There is no decoder for the stored transfer syntax."
    try:
        return refusal(_encoder(wanted_uid), _kind(pixel))
    except UnencodablePixelData as error:
        return str(error)


def _kind(pixel: PixelLayout) -> SampleKind:
    return SampleKind(
        pixel.samples,
        pixel.bits_allocated,
        pixel.bits_stored or pixel.bits_allocated,
        pixel.pixel_representation == 1,
        pixel.photometric_interpretation if pixel.photometric_interpretation[:4] != "YBR_" else "YBR_FULL",
        pixel.tag in PIXEL_DATA_TAGS[1:],
    )


def transcode_frame(
    frame: bytes, pixel: PixelLayout, stored_uid: str, wanted_uid: str, *, quality: int = DEFAULT_QUALITY
) -> Encoded:
    """Return one frame in another transfer syntax.

    Native samples keep the Planar Configuration and Bits Allocated of the data set (checklist D-053), so that its
    metadata describes them; so do color samples, but those of YBR_FULL_422 that a codec made RGB of.

    Raises
    ------
    UndecodablePixelData, UnencodablePixelData, LimitExceeded
        As `decode_frame` and `encode_frame`.
    """
    if stored_uid == wanted_uid or (not pixel.encapsulated and _wanted(wanted_uid).native):
        return Encoded(frame, pixel.photometric_interpretation)
    decoded = as_stated(decode_frame(frame, pixel, stored_uid), pixel)
    return encode_decoded(decoded, pixel, wanted_uid, quality=quality)._replace(warning=decoded.warning)


def as_stated(decoded: DecodedFrame, pixel: PixelLayout) -> DecodedFrame:
    """Return samples that go without a header of their own in YBR_FULL, where the data set says so and they are not.

    A codec, or a contradiction in the data set, may have made RGB of them. What is stated with fewer samples of
    chrominance cannot be meant where all are given: readers take that for what it is.

    Standard
    --------
    PS3.5 8.2.4: what is stated suggests the form of uncompressed samples.
    """
    if (pixel.photometric_interpretation, decoded.photometric_interpretation) != ("YBR_FULL", "RGB"):
        return decoded
    samples = color_space.ybr_full(decoded.pixels, decoded.bits)
    return replace(decoded, pixels=samples, photometric_interpretation="YBR_FULL")


def encode_decoded(
    decoded: DecodedFrame, pixel: PixelLayout, wanted_uid: str, *, quality: int = DEFAULT_QUALITY
) -> Encoded:
    """Encode a frame that was decoded, as its data set describes it."""
    pixels = decoded.pixels
    allocated = 1 if pixel.bits_allocated == 1 else pixels.dtype.itemsize * 8
    wanted = _wanted(wanted_uid)
    if wanted.native:
        data = native_bytes(pixels, allocated, planar_configuration=pixel.planar_configuration)
        return Encoded(data, decoded.photometric_interpretation)
    if wanted.lossy:
        if pixel.high_bit + 1 != pixel.bits_stored:
            raise UnencodablePixelData("Samples that do not start at bit 0 are not compressed with loss.")
        pixels = stored_values(pixels, pixel)
    return encode_frame(
        pixels,
        wanted_uid,
        photometric_interpretation=decoded.photometric_interpretation,
        bits_allocated=allocated,
        bits_stored=pixel.bits_stored
        if pixel.bits_stored >= decoded.bits or allocated == pixel.bits_allocated
        else None,
        quality=quality,
    )
