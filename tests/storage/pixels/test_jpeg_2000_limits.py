"""What JPEG 2000 streams may ask of a decoder."""

import io
import random
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from storage.dicom.transfer_syntax import HTJ2K_LOSSLESS, JPEG_2000_LOSSLESS
from storage.pixels.jpeg_2000_limits import Axis, UnfitCodestream, check_codestream
from storage.pixels.pixel_data import UndecodablePixelData, decode_frame
from tests.jpeg_2000 import PICTURE, encoded, subsampled
from tests.pixels import layout, picture

GRAY = np.zeros((64, 96), np.uint8)
XSIZ, YSIZ, XOSIZ, YOSIZ, XTSIZ, YTSIZ, XTOSIZ, YTOSIZ = range(8, 40, 4)
"""Where these are in a codestream (T.800 A.5.1)."""
XRSIZ = 43


def patched(stream: bytes, place: int, *values: int) -> bytes:
    """Return a stream with other 32-bit numbers from a place on."""
    return stream[:place] + struct.pack(f">{len(values)}L", *values) + stream[place + 4 * len(values) :]


def with_precincts(stream: bytes, size: int, levels: int = 5) -> bytes:
    """Return a stream that states precincts of a size, both exponents in a byte, at all resolutions."""
    at = stream.index(b"\xff\x52")
    (length,) = struct.unpack_from(">H", stream, at + 2)
    segment = stream[at + 4 : at + 2 + length]
    style = bytes([segment[0] | 1]) + segment[1:5] + bytes([levels]) + segment[6:10] + bytes([size]) * (levels + 1)
    return stream[:at] + b"\xff\x52" + struct.pack(">H", len(style) + 2) + style + stream[at + 2 + length :]


def in_tile(stream: bytes, segment: bytes) -> bytes:
    """Return a stream with a marker segment in the header of its first tile-part."""
    at = stream.index(b"\xff\x90")
    (length,) = struct.unpack_from(">L", stream, at + 6)
    longer = struct.pack(">L", length + len(segment)) if length else stream[at + 6 : at + 10]
    return stream[: at + 6] + longer + stream[at + 10 : at + 12] + segment + stream[at + 12 :]


def style(levels: int, size: int, *, marker: bytes = b"\xff\x52") -> bytes:
    """Return a COD segment, or a COC one of component 0, with precincts of a size."""
    coding = bytes([levels, 4, 4, 0, 1]) + bytes([size]) * (levels + 1)
    content = b"\1\0\0\1\0" + coding if marker == b"\xff\x52" else b"\0\1" + coding
    return marker + struct.pack(">H", len(content) + 2) + content


def with_layers(stream: bytes, layers: int) -> bytes:
    """Return a stream that states so many layers."""
    at = stream.index(b"\xff\x52") + 6
    return stream[:at] + struct.pack(">H", layers) + stream[at + 2 :]


def with_blocks(stream: bytes) -> bytes:
    """Return a stream that states code-blocks of 4 x 4 samples, the smallest there are."""
    at = stream.index(b"\xff\x52") + 10
    return stream[:at] + bytes(2) + stream[at + 2 :]


def hidden_in(stream: bytes, marker: bytes) -> bytes:
    """Return a stream with a COD in the segment of another marker, where decoders look for the next one they know."""
    at, coding = stream.index(b"\xff\x5c"), style(5, 0x00)
    return stream[:at] + marker + struct.pack(">H", len(coding) + 2) + coding + stream[at:]


ATTACKS: dict[str, Callable[[bytes], bytes]] = {
    "tiles without a width": lambda stream: patched(stream, XTSIZ, 0),
    "tiles without a height": lambda stream: patched(stream, YTSIZ, 0),
    "tiles far beyond the image": lambda stream: patched(stream, XTOSIZ, 0xFFFF0000),
    "tiles that end before the image": lambda stream: patched(stream, XOSIZ, 40, 0, 20, 64),
    "an image that ends before it starts": lambda stream: patched(stream, YOSIZ, 0x7FFFFFFF),
    "tiles of a pixel": lambda stream: patched(stream, XTSIZ, 1, 1),
    "no distance between samples": lambda stream: stream[:XRSIZ] + b"\0" + stream[XRSIZ + 1 :],
    "precincts of a sample": lambda stream: with_precincts(stream, 0x00),
    "precincts of two samples": lambda stream: with_precincts(stream, 0x11),
    "33 levels": lambda stream: with_precincts(stream, 0xFF, 33),
    "precincts of two samples in a tile": lambda stream: in_tile(stream, style(5, 0x11)),
    "precincts of two samples in a component": lambda stream: in_tile(stream, style(5, 0x11, marker=b"\xff\x53")),
    "65535 layers": lambda stream: with_layers(with_precincts(stream, 0x21), 65535),
    "precincts of one column": lambda stream: patched(with_precincts(stream, 0xF0, 0), XSIZ, 4096, 4096),
    "code-blocks of 16 samples": lambda stream: with_blocks(patched(stream, XSIZ, 8192, 8192, 0, 0, 8192, 8192)),
    "another SIZ": lambda stream: hidden_in(stream, b"\xff\x51"),
    "a COD in a segment of Part 2": lambda stream: hidden_in(stream, b"\xff\x74"),
    "a COD in what is a segment in tiles only": lambda stream: hidden_in(stream, b"\xff\x58"),
    "a COD behind a marker that stands alone": lambda stream: hidden_in(stream, b"\xff\x30"),
    "a COD behind data": lambda stream: hidden_in(stream, b"\xff\x93"),
    "a tile that is none": lambda stream: stream.replace(b"\xff\x90\0\x0a\0\0", b"\xff\x90\0\x0a\0\1"),
    "a tile-part of 4 bytes": lambda stream: patched(stream, stream.index(b"\xff\x90") + 6, 4),
    "code-blocks of 2 to the 20": lambda stream: (
        stream[: (at := stream.index(b"\xff\x52") + 10)] + b"\x08\x08" + stream[at + 2 :]
    ),
}


@pytest.mark.parametrize("high_throughput", [False, True], ids=["JPEG 2000", "HTJ2K"])
@pytest.mark.parametrize("attack", list(ATTACKS))
def test_what_would_end_a_decoder_never_reaches_it(attack: str, high_throughput: bool) -> None:
    """Division by zero, endless counting, gigabytes for a hundred bytes: refused from the header alone."""
    stream = ATTACKS[attack](encoded(GRAY, high_throughput=high_throughput))
    with pytest.raises(UnfitCodestream):
        check_codestream(stream)
    with pytest.raises(UndecodablePixelData):
        decode_frame(stream, layout(GRAY.shape), HTJ2K_LOSSLESS if high_throughput else JPEG_2000_LOSSLESS)


@pytest.mark.parametrize("high_throughput", [False, True], ids=["JPEG 2000", "HTJ2K"])
def test_streams_of_encoders_pass(high_throughput: bool) -> None:
    """Gray and color, transformed or with fewer samples, of any size."""
    check_codestream(encoded(PICTURE, high_throughput=high_throughput, transformed=True))
    check_codestream(subsampled(PICTURE, (2, 2), high_throughput=high_throughput))
    for shape in ((1, 1), (1, 1000), (1000, 1), (511, 513)):
        check_codestream(encoded(picture(shape, bits=16), high_throughput=high_throughput))


@pytest.mark.parametrize("tile", [(64, 64), (100, 30)])
def test_small_tiles_and_precincts_pass(tile: tuple[int, int]) -> None:
    """As many as there is room for."""
    image, written = picture((300, 500)), io.BytesIO()
    small = {"tile_size": tile, "precinct_size": (64, 64), "codeblock_size": (16, 16)}
    Image.fromarray(image).save(written, "JPEG2000", no_jp2=True, **small)
    stream = written.getvalue()
    check_codestream(stream)
    assert np.array_equal(decode_frame(stream, layout(image.shape), JPEG_2000_LOSSLESS).pixels, image)


def test_precincts_are_counted_as_they_lie() -> None:
    """Against counting them sample by sample (T.800 B.5, B.6)."""
    chance = random.Random(1)
    for _ in range(300):
        first_tile = chance.randrange(9)
        start = first_tile + chance.randrange(9)
        tile = start - first_tile + chance.randrange(1, 30)
        axis = Axis(start + chance.randrange(1, 120), start, tile, first_tile, (1,))
        axis.check()
        step, exponent = chance.choice((1, 2, 3, 8, 64)), chance.randrange(6)
        expected = 0
        for number in axis.tiles:
            left = first_tile + number * tile
            places = [x // step for x in range(max(left, start), min(left + tile, axis.end)) if x % step == 0]
            expected += len({place >> exponent for place in places})
        assert axis.precincts(axis.tiles, step, exponent) == expected


def test_a_header_that_is_cut_short_is_said_to_be() -> None:
    """Anywhere up to the end of COD, without which nobody can tell how it is coded."""
    stream = encoded(GRAY)
    for length in range(4, stream.index(b"\xff\x52") + 14):
        with pytest.raises(UnfitCodestream):
            check_codestream(stream[:length])
