"""Samples -> frames, one function for each way to compress a frame; `ENCODERS` names them.

Facts kept here:

- Lossless means every bit of the cells comes back. Where all values fit into Bits Stored the stream says so many bits;
  where something else is in the cells (overlays, signs) it says all bits allocated.
- imagecodecs encodes JPEG-LS with 8 or 16 bits only, so 12-bit images get streams of 16 bits; decoders do not mind.
- OpenJPH encodes 8 or 16 bits only. Its streams of fewer bits are encoded as signed numbers, without a level shift,
  and their SIZ is corrected afterwards: the shift of 2^(bits-1) is then what the decoder adds (ITU-T T.800 G.1).
- OpenJPEG is bit-exact up to 24 bits. imagecodecs heeds the bits it is told only as far as they need the whole dtype,
  and refuses JPEG of 8 bits out of 16: values go to the codec in the narrowest cells that hold their bits.
- HTJ2K RPCL: the order is OpenJPH's; TLM is asked for, and a smallest resolution within 64 pixels (PS3.5 8.2.14).
- Lossy: nothing of which a small difference would be another thing (palettes, single bits). Streams know YBR_FULL of
  all their bits only; samples of another YBR color space become RGB first. Lossless keeps these, name and all, since a
  conversion would round them.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.errors import ArchiveError
from storage.pixels import rle
from storage.pixels.codec_children import CHILDREN
from storage.pixels.color_space import is_partial, is_ybr, rgb
from storage.pixels.decoders import SIZ_DEPTH

DEFAULT_QUALITY: Final = 90
_MOST_EXACT_BITS: Final = 24
_JPEG_LS_MOST, _JPEG_LS_HEAD = 5, 1024
"""Bytes of JPEG-LS for a byte of samples, and for the headers: a sample of 8 bits takes 32 at most (T.87 C.2.4.1.1,
LIMIT), a byte FF a bit more. What the codec allows by itself is too little for noise."""
_SMALLEST_RESOLUTION: Final = 64
_GRAY: Final = ("MONOCHROME1", "MONOCHROME2")


class UnencodablePixelData(ArchiveError):
    """The pixel data cannot be written in the transfer syntax asked for; it may be had in another one."""


class Encoded(NamedTuple):
    """One frame, what its samples are now called (Photometric Interpretation), and what was mended to decode it."""

    data: bytes
    photometric_interpretation: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class SampleKind:
    """What has to be known of samples to encode them; the attributes of PS3.3 C.7.6.3 by their names."""

    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric_interpretation: str
    floating: bool = False


Encoder = Callable[[NDArray[Any], SampleKind, int], Encoded]


def _native(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    return Encoded(native_bytes(pixels, kind.bits_allocated), kind.photometric_interpretation)


def native_bytes(pixels: NDArray[Any], bits_allocated: int, *, planar_configuration: int = 0) -> bytes:
    """Return samples as uncompressed pixel data in little endian.

    Parameters
    ----------
    pixels : ndarray
        Of shape (rows, columns[, samples]), or of several frames; single bits as 0 and 1.
    bits_allocated : int
        1 to pack the samples into bits; anything else leaves the cells as wide as the dtype.
    planar_configuration : int
        1 puts all samples of the first color first; for one frame only.

    Standard
    --------
    PS3.5 8.1.1, 8.2; PS3.3 C.7.6.3.1.3.
    """
    if bits_allocated == 1:
        return np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    if planar_configuration == 1 and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, -1, 0)
    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()


def _deflate(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = deflater.compress(native_bytes(pixels, kind.bits_allocated)) + deflater.flush()
    return Encoded(data, kind.photometric_interpretation)


def _rle(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    cells = pixels if pixels.ndim == 3 else pixels[:, :, None]
    return Encoded(
        CHILDREN.encoded("rle_encode", cells, bits_allocated=kind.bits_allocated), kind.photometric_interpretation
    )


def _jpeg(pixels: NDArray[Any], kind: SampleKind, quality: int) -> Encoded:
    """Baseline: color as YCbCr with half the chrominance, which is what PS3.5 8.2.1 calls YBR_FULL_422."""
    if kind.samples == 1:
        return Encoded(CHILDREN.encoded("jpeg8_encode", pixels, level=quality), kind.photometric_interpretation)
    if kind.bits_stored < 8 or is_partial(kind.photometric_interpretation):
        pixels, kind = _as_rgb(pixels, kind)
    given = "YCBCR" if is_ybr(kind.photometric_interpretation) else "RGB"
    data = CHILDREN.encoded(
        "jpeg8_encode",
        pixels,
        level=quality,
        colorspace=given,
        outcolorspace="YCBCR",
        subsampling="422",
        bitspersample=8,
    )
    return Encoded(data, "YBR_FULL_422")


def _as_rgb(pixels: NDArray[Any], kind: SampleKind) -> tuple[NDArray[Any], SampleKind]:
    """Return samples as RGB, where a codec would take their YBR color space for another one."""
    converted = rgb(pixels, kind.photometric_interpretation, min(kind.bits_stored, _cell_bits(pixels)))
    return converted, replace(kind, photometric_interpretation="RGB")


def _jpeg_12(pixels: NDArray[Any], kind: SampleKind, quality: int) -> Encoded:
    data = CHILDREN.encoded("jpeg8_encode", pixels, level=quality, bitspersample=12)
    return Encoded(data, kind.photometric_interpretation)


def _jpeg_lossless(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    bits = _cell_bits(pixels) if kind.signed else max(_needed_bits(pixels, kind), 2)
    space = "RGB" if kind.samples == 3 else None
    cells = _narrowed(_unsigned(pixels), bits)
    data = CHILDREN.encoded(
        "jpeg8_encode", cells, lossless=True, predictor=1, bitspersample=bits, colorspace=space, outcolorspace=space
    )
    return Encoded(data, kind.photometric_interpretation)


def _jpeg_ls(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    cells = _unsigned(pixels)
    data = CHILDREN.encoded("jpegls_encode", cells, out=_JPEG_LS_MOST * cells.nbytes + _JPEG_LS_HEAD)
    return Encoded(data, kind.photometric_interpretation)


def _jpeg_2000(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    bits = _needed_bits(pixels, kind)
    if bits > _MOST_EXACT_BITS:
        raise UnencodablePixelData(f"JPEG 2000 keeps no more than {_MOST_EXACT_BITS} bits a sample here.")
    return _openjpeg(pixels, kind, bits, "YBR_RCT", level=0, reversible=True)


def _jpeg_2000_lossy(pixels: NDArray[Any], kind: SampleKind, quality: int) -> Encoded:
    if is_partial(kind.photometric_interpretation):
        pixels, kind = _as_rgb(pixels, kind)
    decibels = 32 + quality / 5 + 3 * (kind.bits_stored - 8)  # 8 bits: 52 for the best, an error of half a gray level
    return _openjpeg(pixels, kind, kind.bits_stored, "YBR_ICT", level=decibels, reversible=False)


def _openjpeg(pixels: NDArray[Any], kind: SampleKind, bits: int, transformed: str, **options: Any) -> Encoded:
    transform = kind.photometric_interpretation == "RGB"
    cells = _narrowed(pixels, bits)
    data = CHILDREN.encoded(
        "jpeg2k_encode", cells, codecformat="J2K", numthreads=1, bitspersample=bits, mct=transform, **options
    )
    return Encoded(data, transformed if transform else kind.photometric_interpretation)


def _htj2k(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    return _openjph(pixels, kind)


def _htj2k_rpcl(pixels: NDArray[Any], kind: SampleKind, _quality: int) -> Encoded:
    longest = max(pixels.shape[:2])
    halvings = max((-(-longest // _SMALLEST_RESOLUTION) - 1).bit_length(), 5)
    return _openjph(pixels, kind, resolutions=halvings, tlm=True)


def _openjph(pixels: NDArray[Any], kind: SampleKind, **options: Any) -> Encoded:
    bits = _needed_bits(pixels, kind)
    transform = kind.photometric_interpretation == "RGB"
    shifted = not kind.signed and bits < _cell_bits(pixels)
    cells = (pixels ^ (1 << (bits - 1))) if shifted else pixels  # the top bit turned over: half the range taken off
    if shifted:
        cells = _sign_extended(cells, bits)
    data = CHILDREN.encoded("htj2k_encode", cells, reversible=True, rgb=transform, planar=False, **options)
    if bits < _cell_bits(pixels):
        data = _with_depth(data, bits, kind.samples, signed=kind.signed)
    return Encoded(data, "YBR_RCT" if transform else kind.photometric_interpretation)


def _sign_extended(cells: NDArray[Any], bits: int) -> NDArray[Any]:
    room = _cell_bits(cells) - bits
    result: NDArray[Any] = (cells << room).view(f"i{cells.dtype.itemsize}") >> room
    return result


def _with_depth(data: bytes, bits: int, components: int, *, signed: bool) -> bytes:
    corrected = bytearray(data)
    for component in range(components):
        corrected[SIZ_DEPTH + 3 * component] = (bits - 1) | (0x80 if signed else 0)
    return bytes(corrected)


def _cell_bits(pixels: NDArray[Any]) -> int:
    return pixels.dtype.itemsize * 8


def _narrowed(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return values of so many bits in the narrowest cells that hold them."""
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    return pixels if size >= pixels.dtype.itemsize else pixels.astype(f"{pixels.dtype.kind}{size}")


def _unsigned(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(pixels).view(f"u{pixels.dtype.itemsize}")


def _needed_bits(pixels: NDArray[Any], kind: SampleKind) -> int:
    """Return the bits that hold all cells: Bits Stored when they do, else all."""
    bits, cell = kind.bits_stored, _cell_bits(pixels)
    if not 0 < bits < cell:
        return cell
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind.signed else (0, (1 << bits) - 1)
    return bits if low <= pixels.min() and pixels.max() <= high else cell


ENCODERS: Final[Mapping[str, Encoder]] = {
    "native": _native,
    "deflate": _deflate,
    "rle": _rle,
    "jpeg": _jpeg,
    "jpeg_12": _jpeg_12,
    "jpeg_lossless": _jpeg_lossless,
    "jpeg_ls": _jpeg_ls,
    "jpeg_2000": _jpeg_2000,
    "jpeg_2000_lossy": _jpeg_2000_lossy,
    "htj2k": _htj2k,
    "htj2k_rpcl": _htj2k_rpcl,
}
"""Encoder by the name that `transfer_syntax` gives it."""

_ALLOCATED: Final[Mapping[str, tuple[int, ...]]] = {
    "native": (1, 8, 16, 32, 64),
    "deflate": (1, 8, 16, 32, 64),
    "rle": (1, 8, 16, 32),
    "jpeg": (8,),
    "jpeg_12": (16,),
    "jpeg_lossless": (8, 16),
    "jpeg_ls": (8, 16),
    "jpeg_2000": (1, 8, 16, 32),
    "jpeg_2000_lossy": (8, 16),
    "htj2k": (1, 8, 16),
    "htj2k_rpcl": (1, 8, 16),
}
_LOSSY: Final = ("jpeg", "jpeg_12", "jpeg_2000_lossy")


def refusal(encoder: str, kind: SampleKind) -> str | None:
    """Return why samples of a kind cannot be encoded, None when they can.

    Standard
    --------
    PS3.5 Tables 8.2.1-1 to 8.2.14-1.
    """
    if kind.floating and encoder != "native":
        return "Floating point pixels are not compressed."
    if kind.bits_allocated not in _ALLOCATED[encoder]:
        return f"Samples of {kind.bits_allocated} bits allocated cannot be written in this transfer syntax."
    if encoder == "rle" and kind.samples * kind.bits_allocated > rle.MAX_SEGMENTS * 8:
        return "RLE has no room for so many bytes a pixel."
    if encoder not in ("native", "deflate", "rle") and kind.samples not in (1, 3):
        return f"Pixels of {kind.samples} samples cannot be written in this transfer syntax."
    if encoder in _LOSSY:
        return _lossy_refusal(encoder, kind)
    return None


def _lossy_refusal(encoder: str, kind: SampleKind) -> str | None:
    photometric = kind.photometric_interpretation
    color = photometric == "RGB" or is_ybr(photometric)
    if not (photometric in _GRAY and kind.samples == 1) and not (color and kind.samples == 3):
        return f"Pixels that are {photometric or 'unnamed'} are not compressed with loss."
    if encoder != "jpeg_2000_lossy" and kind.signed:
        return "Signed samples cannot be written in this transfer syntax."
    if encoder == "jpeg_12" and (kind.bits_stored > 12 or kind.samples != 1):
        return "JPEG Extended holds gray samples of 12 bits at most."
    return None
