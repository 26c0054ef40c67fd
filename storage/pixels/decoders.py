"""Frames -> samples, one function for each way to compress a frame; `DECODERS` names them.

Facts kept here:

- PS3.5 8.2: what the stream says of its samples is used to decode it; what the data set says, to understand them. A
  stream of another size than the data set states is refused before anything is decoded or allocated.
- JPEG with three components is YCbCr or RGB; the stream tells it for certain (Adobe marker, names of the components,
  subsampling, JFIF) or leaves it to Photometric Interpretation. The codec is always told, it never guesses.
- libjpeg fills a stream that is cut short with gray and OpenJPH with whatever it has, silently; CharLS counts zeros for
  seconds behind its end. A stream without its end marker is therefore decoded in a way that notices.
- OpenJPH gets reversible streams only: it wraps the white of others to black. OpenJPEG decodes those.
- imagecodecs makes RGB of three components whose chrominance has fewer samples (4:2:2, 4:2:0), by the formula of
  YBR_FULL, whatever they are; of OpenJPH it refuses them. In an image that starts at an odd column or row it knows no
  chrominance for these. `color_space.of_components` says what components are.
- imagecodecs drops an error in the middle of OpenJPH's work and leaves zeros behind. The sign of the stream is turned
  over before, so that a last row of zeros is no black but a rare gray; OpenJPEG, which is strict, has to confirm it.
- Only CharLS, OpenJPEG, OpenJPH, libjpeg-turbo and libjxl are called, each in a child process (`codec_children`), which
  fills the pixels that the header of the stream lets expect. imagecodecs' `ljpeg_decode`, `jpegsof3_decode` and
  `dicomrle_decode` crash theirs on damaged input.
- Deflated and native frames are samples in little endian; single bits start at the lowest one (PS3.5 8.1.1).
"""

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.dicom.codestream import transfer_syntax_of
from storage.dicom.jpeg_segments import FRAME_HEADERS, START_OF_SCAN, head_segments
from storage.dicom.transfer_syntax import HTJ2K_LOSSLESS
from storage.errors import UndecodablePixelData
from storage.pixels import color_space
from storage.pixels.codec_children import CHILDREN
from storage.pixels.image_header import (
    ADOBE,
    JP2_SIGNATURE,
    ImageHeader,
    codestream_place,
    image_header,
)
from storage.pixels.jpeg_2000_limits import UnfitCodestream, check_codestream
from storage.pixels.layout import PIXEL_DATA_TAGS, PixelLayout, subsampled_bits

_JFIF: Final = 0xE0
_END: Final = b"\xff\xd9"
SIZ_DEPTH: Final = 42
"""Where the depth of the first component is in a JPEG 2000 codestream; three bytes a component (T.800 A.5.1)."""
_SIZ_FIRST_PLACE: Final = (19, 23)
"""Where the lowest bytes of the first column and row are in it."""
_SUBSAMPLED: Final = (b"\1\1\2\1\2\1", b"\1\1\2\2\2\2")
"""The distances between samples, across and down, of three components: 4:2:2 and 4:2:0."""
_ONCE_DECODED: Final = {"YBR_FULL_422": "YBR_FULL", "YBR_FULL_420": "YBR_FULL", "YBR_RCT": "RGB", "YBR_ICT": "RGB"}


class Samples(NamedTuple):
    """Decoded samples of one frame.

    Attributes
    ----------
    pixels : ndarray
        Of shape (rows, columns, samples) or (rows, columns).
    bits : int
        How many bits of each sample the stream holds.
    photometric_interpretation : str
        Of these samples.
    """

    pixels: NDArray[Any]
    bits: int
    photometric_interpretation: str


Decoder = Callable[[bytes, PixelLayout], Samples]


def shape_of(pixel: PixelLayout) -> tuple[int, int, int]:
    """Return (rows, columns, samples) of a frame as the data set states them."""
    return pixel.rows, pixel.columns, pixel.samples


def native(frame: bytes, pixel: PixelLayout) -> Samples:
    """Take samples that are not compressed, in little endian, from bit 0 of the first byte (PS3.5 8.1.1, 8.2)."""
    rows, columns, samples = shape_of(pixel)
    count = rows * columns * samples
    bits = pixel.bits_allocated
    photometric = pixel.photometric_interpretation
    if bits == 1:
        packed = np.frombuffer(frame, np.uint8)
        return Samples(np.unpackbits(packed, count=count, bitorder="little").reshape(shape_of(pixel)), 1, photometric)
    if bits not in (8, 16, 32, 64):
        raise UndecodablePixelData(f"Samples of {bits} bits allocated cannot be read.")
    kind = "f" if pixel.tag in PIXEL_DATA_TAGS[1:] else "u"
    values = np.frombuffer(frame, f"<{kind}{bits // 8}")
    if samples == 3 and not pixel.encapsulated and pixel.frame_bits == rows * columns * 2 * bits:
        return Samples(_full_samples(values[: rows * columns * 2]).reshape(shape_of(pixel)), bits, photometric)
    values = values[:count]
    if pixel.planar_configuration == 1 and samples > 1:
        return Samples(np.moveaxis(values.reshape(samples, rows, columns), 0, -1), bits, photometric)
    return Samples(values.reshape(shape_of(pixel)), bits, photometric)


def _full_samples(values: NDArray[Any]) -> NDArray[Any]:
    """Repeat the chrominance that two pixels in a row share: Y1 Y2 CB CR (PS3.3 C.7.6.3.1.2)."""
    pairs = values.reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), values.dtype)
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1:] = pairs[:, None, 2:]
    return full


def deflate(frame: bytes, pixel: PixelLayout) -> Samples:
    """Inflate a frame of samples (PS3.5 8.2.16, A.4.13)."""
    rows, columns, samples = shape_of(pixel)
    length = (rows * columns * samples * pixel.bits_allocated + 7) // 8
    return native(zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, length), pixel)


def uncompressed(frame: bytes, pixel: PixelLayout) -> Samples:
    """Take samples that are not compressed, but lie in a fragment (PS3.5 A.4.11); one byte may pad them."""
    rows, columns, samples = shape_of(pixel)
    full_bits = rows * columns * samples * pixel.bits_allocated
    bits = subsampled_bits(full_bits, pixel.photometric_interpretation, len(frame) * 8, 1)
    length = (bits + 7) // 8
    if len(frame) not in (length, length + length % 2):
        raise UndecodablePixelData(f"The frame has {len(frame)} bytes instead of {length}.")
    return native(frame, replace(pixel, encapsulated=False, frame_bits=bits))


def run_length(frame: bytes, pixel: PixelLayout, *, missing: int = 0) -> Samples:
    """Decode RLE (PS3.5 Annex G); of each segment so many bytes at its end may be missing."""
    if pixel.bits_allocated not in (1, 8, 16, 32):
        raise UndecodablePixelData(f"RLE with {pixel.bits_allocated} bits allocated cannot be read.")
    shape, bits = shape_of(pixel), pixel.bits_allocated
    cells = f"<u{max(bits // 8, 1)}"
    pixels = CHILDREN.decoded("rle_decode", frame, shape, cells, shape=shape, bits_allocated=bits, missing=missing)
    return Samples(pixels, pixel.bits_allocated, full_sampling(pixel.photometric_interpretation))


def full_sampling(photometric_interpretation: str) -> str:
    """Return the photometric interpretation once every pixel has its own chrominance and nothing is transformed."""
    return _ONCE_DECODED.get(photometric_interpretation, photometric_interpretation)


def _checked_header(stream: bytes, pixel: PixelLayout) -> ImageHeader:
    """Read the header of the stream and compare it with the data set, before memory is spent on it."""
    header = image_header(stream)
    if header is None:
        raise UndecodablePixelData("The compressed frame has no header that can be read.")
    found = header.rows, header.columns, header.samples
    if found != shape_of(pixel):
        raise UndecodablePixelData(
            "The compressed frame has {} rows, {} columns and {} samples a pixel, ".format(*found)
            + "the data set says {}, {} and {}.".format(*shape_of(pixel))
        )
    return header


def jpeg(frame: bytes, pixel: PixelLayout) -> Samples:
    """Decode JPEG with 8 or 12 bits (PS3.5 8.2.1), color to RGB."""
    header = _checked_header(frame, pixel)
    if header.samples == 1:
        gray = _libjpeg(frame, header, "GRAYSCALE", "GRAYSCALE")
        return Samples(gray, header.bits_stored, pixel.photometric_interpretation)
    if header.samples != 3:
        raise UndecodablePixelData(f"JPEG with {header.samples} components cannot be read.")
    stored = "YCBCR" if is_ycbcr(frame, pixel.photometric_interpretation) else "RGB"
    return Samples(_libjpeg(frame, header, stored, "RGB"), header.bits_stored, "RGB")


def jpeg_lossless(frame: bytes, pixel: PixelLayout) -> Samples:
    """Decode JPEG Lossless, which transforms no colors (PS3.5 8.2.1)."""
    header = _checked_header(frame, pixel)
    if header.samples not in (1, 3):
        raise UndecodablePixelData(f"JPEG with {header.samples} components cannot be read.")
    stored = "RGB" if header.samples == 3 else "GRAYSCALE"
    photometric = full_sampling(pixel.photometric_interpretation)
    return Samples(_libjpeg(frame, header, stored, stored), header.bits_stored, photometric)


def is_ycbcr(frame: bytes, photometric_interpretation: str) -> bool:
    """Tell what three components of a JPEG stream are, from the strongest sign to the weakest."""
    signs: dict[int, bytes] = {}
    for marker, start, end in head_segments(frame):
        signs.setdefault(0xC0 if marker in FRAME_HEADERS else marker, frame[start:end])
    adobe, header = signs.get(ADOBE, b""), signs[0xC0]
    if adobe.startswith(b"Adobe") and len(adobe) >= 12 and adobe[11] < 2:
        return adobe[11] == 1
    if header[6:15:3] == b"RGB":
        return False
    if header[7] != header[10] or signs.get(_JFIF, b"").startswith(b"JFIF\0"):
        return True  # only chrominance is given with fewer samples; JFIF knows no RGB
    return photometric_interpretation != "RGB"


def _decoded(
    function: str, stream: bytes, header: ImageHeader, *, by_plane: bool = False, **options: Any
) -> NDArray[Any]:
    """Return the pixels of a stream as its header describes them; by plane when the codec gives them so."""
    size = 1 if header.bits_stored <= 8 else 2 if header.bits_stored <= 16 else 4
    cells = f"{'i' if header.signed else 'u'}{size}"
    if header.samples == 1:
        return CHILDREN.decoded(function, stream, (header.rows, header.columns), cells, **options)
    if by_plane:
        planes = CHILDREN.decoded(function, stream, (header.samples, header.rows, header.columns), cells, **options)
        return np.moveaxis(planes, 0, -1)
    return CHILDREN.decoded(function, stream, (header.rows, header.columns, header.samples), cells, **options)


def _libjpeg(frame: bytes, header: ImageHeader, stored: str, wanted: str) -> NDArray[Any]:
    def decoded(stream: bytes) -> NDArray[Any]:
        return _decoded("jpeg8_decode", stream, header, colorspace=stored, outcolorspace=wanted)

    if _has_end(frame):
        return decoded(frame)
    # What follows a whole image does not matter; when it does, something is missing.
    pixels, other = decoded(frame + b"\x55" * 64 + _END), decoded(frame + b"\x00" * 64 + _END)
    if not np.array_equal(pixels, other):
        raise UndecodablePixelData("The compressed frame is cut short.")
    return pixels


def jpeg_ls(frame: bytes, pixel: PixelLayout) -> Samples:
    """Decode JPEG-LS, lossless or near-lossless (PS3.5 8.2.3)."""
    header = _checked_header(frame, pixel)
    whole = frame if _has_end(frame) else frame + _END
    pixels = _decoded("jpegls_decode", whole, header, by_plane=_is_by_plane(frame))
    return Samples(pixels, header.bits_stored, full_sampling(pixel.photometric_interpretation))


def _is_by_plane(stream: bytes) -> bool:
    """Whether the scans of JPEG-LS do not interleave components: ILV of the first is 0 (T.87 C.2.3)."""
    for marker, start, end in head_segments(stream):
        if marker == START_OF_SCAN and end > start:
            return stream[start:end][2 + 2 * stream[start] :][:1] == b"\0"
    return False


def jpeg_2000(frame: bytes, pixel: PixelLayout) -> Samples:
    """Decode JPEG 2000 or High-Throughput JPEG 2000 (PS3.5 8.2.4, 8.2.14)."""
    stream = codestream(frame)
    header = _checked_header(stream, pixel)
    if _is_subsampled(header):
        _check_sampling(stream, header)
    try:
        check_codestream(stream)
    except UnfitCodestream as error:
        raise UndecodablePixelData(f"The JPEG 2000 stream cannot be decoded. {error}") from error
    whole = _has_end(stream)
    by_openjph = whole and not _is_subsampled(header) and transfer_syntax_of(stream) == HTJ2K_LOSSLESS
    pixels = _openjph(stream, header) if by_openjph else None
    if pixels is None:  # without the end marker, OpenJPEG takes a whole image for one that is cut short
        pixels = _decoded("jpeg2k_decode", stream if whole else stream + _END, header, numthreads=1)
    return _in_named_colors(pixels, header, pixel.photometric_interpretation)


def _is_subsampled(header: ImageHeader) -> bool:
    return header.photometric_interpretation == "YBR_FULL_422"


def _check_sampling(stream: bytes, header: ImageHeader) -> None:
    """Refuse chrominance that the codec cannot give to every pixel."""
    components = range(SIZ_DEPTH, SIZ_DEPTH + 3 * header.samples, 3)
    sampling = b"".join(stream[at + 1 : at + 3] for at in components)
    if sampling not in _SUBSAMPLED or any(stream[at] & 1 for at in _SIZ_FIRST_PLACE):
        raise UndecodablePixelData("Chrominance with fewer samples can be read in 4:2:2 and 4:2:0 only.")


def _in_named_colors(pixels: NDArray[Any], header: ImageHeader, stated: str) -> Samples:
    """Name the color space of what OpenJPEG and OpenJPH give; what a data set calls transformed is RGB then."""
    bits = header.bits_stored
    if header.samples < 3:
        return Samples(pixels, bits, stated)
    components = color_space.of_components(header.photometric_interpretation, stated)
    if _is_subsampled(header):
        partial = color_space.is_partial(components)
        return Samples(color_space.rgb_of_partial(pixels, bits) if partial else pixels, bits, "RGB")
    if stated in color_space.TRANSFORMED:
        return Samples(color_space.rgb(pixels, components, bits), bits, "RGB")
    return Samples(pixels, bits, full_sampling(components))


def _openjph(stream: bytes, header: ImageHeader) -> NDArray[Any] | None:
    """Decode a reversible HTJ2K stream; None when an error may have been dropped on the way."""
    turned = bytearray(stream)
    for component in range(header.samples):
        turned[SIZ_DEPTH + 3 * component] ^= 0x80
    other = replace(header, signed=not header.signed)
    pixels = _decoded("htj2k_decode", bytes(turned), other, planar=False)
    if not pixels[-1].any():
        return None
    size = pixels.dtype.itemsize
    half = 1 << (header.bits_stored - 1)
    added = np.array(half, f"u{size}")
    samples: NDArray[Any] = pixels.view(f"u{size}") + (-added if header.signed else added)
    return samples.view(f"i{size}") if header.signed else samples


def _has_end(stream: bytes) -> bool:
    """Whether there is an end marker, with nothing behind it but padding."""
    return stream[-64:].rstrip(b"\0").endswith(_END)


def codestream(frame: bytes) -> bytes:
    """Return a JPEG 2000 codestream without the boxes of a JP2 file, which do not belong into DICOM (PS3.5 8.2.4)."""
    if not frame.startswith(JP2_SIGNATURE):
        return frame
    place = codestream_place(io.BytesIO(frame), len(frame))
    return frame[place.offset : place.offset + place.length]


def jpeg_xl(frame: bytes, pixel: PixelLayout) -> Samples:
    """Decode JPEG XL (PS3.5 8.2.15), color to RGB."""
    rows, columns, samples = shape_of(pixel)
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    # The codec compares the stream with the array it is given before it decodes.
    cells = "u1" if pixel.bits_allocated <= 8 else "u2"
    pixels = CHILDREN.decoded("jpegxl_decode", frame, shape, cells, index=0, numthreads=1)
    photometric = pixel.photometric_interpretation if samples == 1 else "RGB"
    return Samples(pixels, pixel.bits_stored or pixel.bits_allocated, photometric)


DECODERS: Final[Mapping[str, Decoder]] = {
    "native": native,
    "uncompressed": uncompressed,
    "deflate": deflate,
    "rle": run_length,
    "jpeg": jpeg,
    "jpeg_lossless": jpeg_lossless,
    "jpeg_ls": jpeg_ls,
    "jpeg_2000": jpeg_2000,
    "jpeg_xl": jpeg_xl,
}
"""Decoder by the name that `transfer_syntax` gives it; each may raise what its codec raises."""
