"""Pictures to the rendered media types (PS3.18 Table 8.7.4-1).

Facts and clauses this module keeps:
- JPEG is baseline, 8 bits, Huffman coded; colour without subsampling, since edges of colour are findings.
- `quality` rules lossy types only (8.3.5.1.2): JPEG, and JPEG 2000, which is lossless without it; HTJ2K always is.
- A profile is in APP2 of JPEG (ICC.1 B.4) and in iCCP of PNG; in a `colr` box of JP2 and JPH.
- ISO/IEC 15444-15: a JPH file has the boxes of JP2 around an HTJ2K codestream.
- JPEG (T.81 B.2.2) and GIF write a side in 16 bits; PNG libraries read sides up to a million pixels.
- GIF counts in hundredths of a second; viewers take less than two of them as ten. Pillow leaves out a frame that is
  like the one before, and its files of several frames with it: the images are put together here (GIF89a 18 to 23).
- No I/O; all but GIF, whose encoder sees nothing but pixels, is made in child processes (`codec_children`).
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from dicomweb.rendering.grayscale import Levels
from storage.pixels.codec_children import CHILDREN
from storage.pixels.pixel_data import UnencodablePixelData

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
JP2: Final = "image/jp2"
JPH: Final = "image/jph"

DEFAULT_QUALITY: Final = 90

LONGEST_SIDE: Final = {JPEG: 65_535, GIF: 65_535, PNG: 1_000_000}
"""The most rows and the most columns of a picture, in pixels; JPEG 2000 has room for more than can be made."""

_JPEG_SEGMENT = 65519
_SHORTEST_FRAME, _LONGEST_FRAME = 20.0, 655_350.0
_REPEATED_FOR_EVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"


@dataclass(frozen=True)
class Picture:
    """A picture that is ready to be encoded.

    Attributes
    ----------
    pixels : ndarray of uint8 of shape (rows, columns) or (rows, columns, 3)
        Grey levels, or RGB.
    profile : bytes or None
        The ICC profile to put beside it.
    """

    pixels: Levels
    profile: bytes | None = None


def encode(picture: Picture, media_type: str, quality: int | None = None) -> bytes:
    """Encode a picture.

    Parameters
    ----------
    picture : Picture
        What to encode.
    media_type : str
        One of `MEDIA_TYPES`.
    quality : int, optional
        1 to 100.

    Raises
    ------
    KeyError
        There is no encoder for the media type.
    UnencodablePixelData
        The media type has no room for that many rows or columns.
    """
    pixels = np.ascontiguousarray(picture.pixels)
    check_sides(pixels.shape[0], pixels.shape[1], media_type)
    return _ENCODERS[media_type](pixels, picture.profile, quality)


def check_sides(rows: int, columns: int, media_type: str) -> None:
    """Refuse a picture that is longer or wider than its media type can say; raises UnencodablePixelData."""
    longest = LONGEST_SIDE.get(media_type)
    if longest is not None and max(rows, columns) > longest:
        raise UnencodablePixelData(
            f"A picture of {columns} x {rows} pixels is too large for {media_type}, which has at most {longest} "
            f"each way; ask for a smaller viewport or for {JP2}."
        )


def animated_gif(pictures: Iterable[Picture], durations: Sequence[float]) -> bytes:
    """Encode pictures as an animation that repeats for ever.

    Parameters
    ----------
    pictures : iterable of Picture
        At least one; taken one by one.
    durations : sequence of float
        How long each is shown, in ms, 20 to 655 350; as many as there are pictures.

    Raises
    ------
    UnencodablePixelData
        A picture is too large.
    """
    pieces = [b"GIF89a"]
    for picture, duration in zip(pictures, durations, strict=True):
        screen, table, image = _gif_blocks(encode(picture, GIF))
        if len(pieces) == 1:
            pieces += screen, table, _REPEATED_FOR_EVER
        hundredths = round(min(max(duration, _SHORTEST_FRAME), _LONGEST_FRAME) / 10)
        flags = image[9] | 0x80 | screen[4] & 7  # the table of the file, as the image's own
        descriptor = image[:9] + bytes((flags,))
        pieces += struct.pack("<4sHBB", b"\x21\xf9\4\0", hundredths, 0, 0), descriptor, table, image[10:]
    return b"".join((*pieces, b";"))


def _gif_blocks(gif: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the logical screen, the color table and the image with its descriptor of a GIF with one image."""
    table = 13 + (6 << (gif[10] & 7))
    return gif[6:13], gif[13:table], gif[table:-1]


def _jpeg(pixels: Levels, profile: bytes | None, quality: int | None) -> bytes:
    encoded = CHILDREN.encoded("jpeg8_encode", pixels, level=quality or DEFAULT_QUALITY, subsampling="444")
    if not profile:
        return encoded
    after = 4 + int.from_bytes(encoded[4:6], "big") if encoded[2:4] == b"\xff\xe0" else 2
    parts = [profile[start : start + _JPEG_SEGMENT] for start in range(0, len(profile), _JPEG_SEGMENT)]
    if len(parts) > 255:  # cannot be numbered
        return encoded
    segments = b"".join(
        struct.pack(">2sH12sBB", b"\xff\xe2", len(part) + 16, b"ICC_PROFILE\0", number, len(parts)) + part
        for number, part in enumerate(parts, 1)
    )
    return encoded[:after] + segments + encoded[after:]


def _png(pixels: Levels, profile: bytes | None, quality: int | None) -> bytes:
    encoded = CHILDREN.encoded("png_encode", pixels, level=1, strategy=3, filter=16)
    if not profile:
        return encoded
    content = b"iCCPICC profile\0\0" + zlib.compress(profile, 1)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return encoded[:33] + chunk + encoded[33:]  # after the signature and IHDR


def _gif(pixels: Levels, profile: bytes | None, quality: int | None) -> bytes:
    target = io.BytesIO()
    _palette_image(pixels).save(target, "GIF", optimize=False)
    return target.getvalue()


def _palette_image(pixels: Levels) -> Image.Image:
    image = Image.fromarray(pixels)
    return image if image.mode == "L" else image.quantize(256, Image.Quantize.MEDIANCUT)


def _jp2(pixels: Levels, profile: bytes | None, quality: int | None) -> bytes:
    level = 0 if quality is None else 25 + quality * 3 // 10  # dB of noise; 0 for none
    codestream = CHILDREN.encoded(
        "jpeg2k_encode", pixels, level=level, codecformat="J2K", numthreads=1, reversible=quality is None
    )
    return _boxed(b"jp2 ", codestream, pixels, profile)


def _jph(pixels: Levels, profile: bytes | None, quality: int | None) -> bytes:
    codestream = CHILDREN.encoded("htj2k_encode", pixels, reversible=True)
    return _boxed(b"jph ", codestream, pixels, profile)


def _boxed(brand: bytes, codestream: bytes, pixels: Levels, profile: bytes | None) -> bytes:
    """Put the boxes of a JP2 or JPH file around a codestream (ISO/IEC 15444-1 Annex I)."""
    rows, columns = pixels.shape[:2]
    components = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = _box(b"ihdr", struct.pack(">IIH4B", rows, columns, components, 7, 7, 0, 0))
    colour_space = 17 if components == 1 else 16
    colour = b"\x02\0\0" + profile if profile else struct.pack(">3BI", 1, 0, 0, colour_space)
    return b"".join(
        (
            _box(b"jP  ", b"\r\n\x87\n"),
            _box(b"ftyp", brand + b"\0\0\0\0" + brand),
            _box(b"jp2h", header + _box(b"colr", colour)),
            _box(b"jp2c", codestream),
        )
    )


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


_ENCODERS: dict[str, Callable[[Levels, bytes | None, int | None], bytes]] = {
    JPEG: _jpeg,
    PNG: _png,
    GIF: _gif,
    JP2: _jp2,
    JPH: _jph,
}

MEDIA_TYPES: Final = tuple(_ENCODERS)
"""The media types a picture can have, the default first."""
