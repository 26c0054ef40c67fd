"""Frames that codecs refuse and other decoders read; and what stays an error, since some of the picture is lost."""

import struct
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest

from storage.dicom.transfer_syntax import (
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.pixels.pixel_data import UndecodablePixelData, decode_frame
from tests.pixels import gray_frame, layout, picture

END = b"\xff\xd9"


def tables_of_differences(stream: bytes) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """Yield where each table of differences is, and its head, code lengths and symbols (T.81 B.2.4.2)."""
    at = stream.find(b"\xff\xc4")
    while at > 0:
        (length,) = struct.unpack_from(">H", stream, at + 2)
        content = stream[at + 4 : at + 2 + length]
        if content[0] >> 4 == 0:
            assert len(content) == 17 + sum(content[1:17])
            yield at, content[:1], content[1:17], content[17:]
        at = stream.find(b"\xff\xc4", at + 2 + length)


def with_symbols(stream: bytes, *symbols: int) -> bytes:
    """Return a JPEG stream whose tables of differences list further symbols, after all others: their codes are free."""
    for at, head, lengths, listed in reversed(list(tables_of_differences(stream))):
        counts = bytearray(lengths)
        counts[15] += len(symbols)
        content = head + bytes(counts) + listed + bytes(symbols)
        table = b"\xff\xc4" + struct.pack(">H", len(content) + 2) + content
        stream = stream[:at] + table + stream[at + 21 + len(listed) :]
    return stream


def jpeg_streams() -> dict[str, bytes]:
    """Return a JPEG stream of `picture((32, 40), bits=...)` by transfer syntax."""
    eight, twelve = picture((32, 40)), picture((32, 40), bits=12)
    return {
        JPEG_BASELINE: bytes(imagecodecs.jpeg8_encode(eight, level=95)),
        JPEG_EXTENDED: bytes(imagecodecs.jpeg8_encode(twelve, level=95, bitspersample=12)),
        JPEG_LOSSLESS: bytes(imagecodecs.jpeg8_encode(twelve, lossless=True, predictor=4, bitspersample=12)),
        JPEG_LOSSLESS_SV1: bytes(imagecodecs.jpeg8_encode(twelve, lossless=True, predictor=1, bitspersample=12)),
    }


@pytest.mark.parametrize("symbols", [(17,), tuple(range(17, 60)), (255,)], ids=len)
@pytest.mark.parametrize(("uid", "stream"), jpeg_streams().items())
def test_symbols_that_cannot_occur_may_be_listed(uid: str, stream: bytes, symbols: tuple[int, ...]) -> None:
    """The samples are those of the stream without them, and whoever gets them is told (T.81 F.1.2.1, H.1.2.2)."""
    pixel = layout((32, 40), bits=8 if uid == JPEG_BASELINE else 16, stored=8 if uid == JPEG_BASELINE else 12)
    plain = decode_frame(stream, pixel, uid)
    found = decode_frame(with_symbols(stream, *symbols), pixel, uid)
    assert (plain.warning, "Huffman" in found.warning) == ("", True)
    assert np.array_equal(found.pixels, plain.pixels)
    if uid in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        assert np.array_equal(found.pixels, picture((32, 40), bits=12))


@pytest.mark.parametrize(("uid", "stream"), jpeg_streams().items())
def test_symbols_that_cannot_occur_must_not_be_used(uid: str, stream: bytes) -> None:
    """Nobody knows which difference is meant by one that does: no picture is made up."""
    pixel = layout((32, 40), bits=8 if uid == JPEG_BASELINE else 16, stored=8 if uid == JPEG_BASELINE else 12)
    refused = 0
    for at, _, _, listed in tables_of_differences(stream):
        for place in range(len(listed)):
            damaged = bytearray(stream)
            damaged[at + 21 + place] = 20 + place
            try:
                found = decode_frame(bytes(damaged), pixel, uid)
            except UndecodablePixelData:
                refused += 1
            else:  # it was not used
                assert np.array_equal(found.pixels, decode_frame(stream, pixel, uid).pixels)
    assert refused >= 2


@pytest.mark.parametrize("uid", [JPEG_BASELINE, JPEG_EXTENDED])
def test_a_table_that_lacks_a_byte_is_no_table_of_unused_symbols(uid: str) -> None:
    """It would take the marker behind it for a symbol, and whoever has it gets another picture (T.81 B.2.4.2)."""
    stream = jpeg_streams()[uid]
    pixel = layout((32, 40), bits=8 if uid == JPEG_BASELINE else 16, stored=8 if uid == JPEG_BASELINE else 12)
    for at, _, _, listed in tables_of_differences(stream):
        for place in range(at + 21, at + 21 + len(listed)):
            with pytest.raises(UndecodablePixelData):
                decode_frame(stream[:place] + stream[place + 1 :], pixel, uid)


@pytest.mark.parametrize("uid", [JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
@pytest.mark.parametrize("smooth", [True, False])
def test_a_stream_may_state_its_sides_the_other_way_round(uid: str, smooth: bool) -> None:
    """Samples in the order of the data set: Rows and Columns of the data set rule, and whoever gets them is told."""
    image = picture((24, 40)) if smooth else np.random.default_rng(3).integers(0, 256, (24, 40), np.uint8)
    found = decode_frame(gray_frame(image.reshape(40, 24), uid), layout((24, 40)), uid)
    assert np.array_equal(found.pixels, image)
    assert "Rows" in found.warning


@pytest.mark.parametrize("sides", [(24, 40), (64, 63), (63, 64), (511, 512)])
@pytest.mark.parametrize("uid", [JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
def test_a_data_set_that_states_other_sides_than_the_picture_has_is_refused(uid: str, sides: tuple[int, int]) -> None:
    """Where the rows of the stream are those of the picture, the samples would be jumbled in those of the data set.

    Sides that differ by one would shear it by a sample a row.
    """
    rows, columns = sides
    with pytest.raises(UndecodablePixelData, match=f"data set says {columns}, {rows} and 1"):
        decode_frame(gray_frame(picture(sides), uid), layout((columns, rows)), uid)


@pytest.mark.parametrize("zeros", [1, 2, 5])
def test_zeros_may_stand_before_the_end_marker(zeros: int) -> None:
    """JPEG-LS of the WG-04 samples has one; the samples are whole (ITU-T T.87)."""
    pixel, told = layout((8, 8), bits=16), []
    for seed in range(8):
        image = np.random.default_rng(seed).integers(0, 4096, (8, 8)).astype(np.uint16)
        stream = gray_frame(image, JPEG_LS_LOSSLESS)
        found = decode_frame(stream.removesuffix(END) + bytes(zeros) + END, pixel, JPEG_LS_LOSSLESS)
        assert np.array_equal(found.pixels, image)
        assert decode_frame(stream, pixel, JPEG_LS_LOSSLESS).warning == ""
        told.append("zeros" in found.warning)
    assert zeros == 1 or all(told)  # CharLS itself passes over one where the last byte has room


@pytest.mark.parametrize("zeros", [1, 5])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_zeros_do_not_stand_for_what_was_cut_off(kept: float, zeros: int) -> None:
    """A JPEG-LS stream that lost its end, and was given another one, is not whole."""
    stream = gray_frame(picture((32, 40), bits=12), JPEG_LS_LOSSLESS, bits_stored=12)
    cut = stream[: int(len(stream) * kept)] + bytes(zeros) + END
    with pytest.raises(UndecodablePixelData):
        decode_frame(cut, layout((32, 40), bits=16, stored=12), JPEG_LS_LOSSLESS)


def rle(*segments: bytes) -> bytes:
    """Put segments behind their header (PS3.5 G.5)."""
    offsets = [64 + sum(map(len, segments[:place])) for place in range(len(segments))]
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize(
    ("bits", "frame", "expected"),
    [
        (8, rle(b"\x03\1\2\3"), [[1, 2], [3, 3]]),
        (8, rle(b"\x01\1\2\x00\x07"), [[1, 2], [7, 7]]),
        (8, rle(b"\xfe\x09"), [[9, 9], [9, 9]]),
        (16, rle(b"\x03\1\2\3\0", b"\x03\5\6\7"), [[0x105, 0x206], [0x307, 0x007]]),
        (16, rle(b"\x03\1\2\3", b"\xfd\5"), [[0x105, 0x205], [0x305, 0x305]]),
    ],
)
def test_the_last_byte_of_a_segment_may_be_missing(bits: int, frame: bytes, expected: list[list[int]]) -> None:
    """It is taken to be as the one before it, and whoever gets the samples is told (PS3.5 Annex G)."""
    found = decode_frame(frame, layout((2, 2), bits=bits), RLE_LOSSLESS)
    assert found.pixels.tolist() == expected
    assert "last byte" in found.warning


@pytest.mark.parametrize("segment", [b"\x03\1\2", b"\xfe", b"\x00\1", b"", b"\xff\1"])
def test_a_segment_that_lacks_more_is_refused(segment: bytes) -> None:
    """Two bytes short is cut off."""
    with pytest.raises(UndecodablePixelData):
        decode_frame(rle(segment), layout((2, 2)), RLE_LOSSLESS)
