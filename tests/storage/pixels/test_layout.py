"""Places of frames in a file, and frames out of raw bytes."""

import struct
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dicom.elements import Encoding
from storage.dicom.part10 import BytesSource, read_header
from storage.errors import NotFound
from storage.pixels.frame_table import frame_table
from storage.pixels.layout import FRAGMENTED, Layout, PixelLayout, Span, frame_bytes, frame_span, layout_of
from tests.builders import BIG_ENDIAN, ct_slice, dicom_file, multi_frame

PIXELS = PixelLayout(0x7FE00010, 1000, 64, False, 4, 128, 4, 4, 1, 8, 8, 7, 0, 0, "MONOCHROME2")
LAYOUT = Layout(Encoding(), 300, True, 1064, "1.2.840.10008.5.1.4.1.1.7", PIXELS)


def layout_from(data: bytes) -> Layout:
    header, source = read_header(BytesSource(data))
    return layout_of(header, frame_table(source, header))


class TestLayout:
    """What is kept of a file for reading frames."""

    def test_it_describes_the_image(self) -> None:
        """The attributes of the Image Pixel module as in the data set (PS3.3 C.7.6.3)."""
        data = ct_slice(rows=6, columns=5)
        layout = layout_from(data)
        pixel = layout.pixel_data
        assert pixel is not None
        assert (pixel.rows, pixel.columns, pixel.samples, pixel.bits_allocated) == (6, 5, 1, 16)
        assert (pixel.bits_stored, pixel.high_bit, pixel.pixel_representation) == (12, 11, 0)
        assert pixel.photometric_interpretation == "MONOCHROME2"
        assert (pixel.frame_bits, pixel.frames, pixel.length, pixel.offset) == (480, 1, 60, len(data) - 60)
        assert (layout.file_length, layout.has_preamble) == (len(data), True)
        assert layout.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"

    @pytest.mark.parametrize("data", [ct_slice(), multi_frame(3, bits=1), dicom_file()], ids=["ct", "seg", "none"])
    def test_it_survives_json(self, data: bytes) -> None:
        """The index keeps it as jsonb (design 4)."""
        layout = layout_from(data)
        assert Layout.from_json(orjson.loads(orjson.dumps(layout.to_json()))) == layout

    def test_big_endian_words_follow_the_samples(self) -> None:
        """16-bit samples are reversed in twos (D-054)."""
        pixel = layout_from(ct_slice(transfer_syntax=BIG_ENDIAN)).pixel_data
        assert pixel is not None
        assert pixel.word_bytes == 2


class TestSpans:
    """Where a frame is."""

    def test_native_frames_follow_each_other(self) -> None:
        """By arithmetic, to the byte (PS3.5 8.2)."""
        assert frame_span(PIXELS, 0, None) == Span(1000, 16, 0, 128, False)
        assert frame_span(PIXELS, 3, None) == Span(1048, 16, 0, 128, False)

    @pytest.mark.parametrize(
        ("index", "span"),
        [
            (0, Span(1000, 2, 0, 15, False)),
            (1, Span(1001, 3, 7, 15, False)),
            (2, Span(1003, 3, 6, 15, False)),
        ],
    )
    def test_one_bit_frames_start_inside_bytes(self, index: int, span: Span) -> None:
        """Frames of 15 bits are not padded (D-051)."""
        assert frame_span(replace(PIXELS, frame_bits=15), index, None) == span

    def test_word_swapped_frames_take_whole_words(self) -> None:
        """Odd frames of 8-bit samples in big endian OW share words (D-054)."""
        pixel = replace(PIXELS, frame_bits=72, word_bytes=2)
        assert frame_span(pixel, 0, None) == Span(1000, 10, 0, 72, False)
        assert frame_span(pixel, 1, None) == Span(1008, 10, 8, 72, False)

    def test_encapsulated_frames_come_from_the_table(self) -> None:
        """The 16 bytes of the frame say all (PS3.5 A.4)."""
        pixel = replace(PIXELS, encapsulated=True)
        assert frame_span(pixel, 1, struct.pack("<QQ", 1 << 40, 77)) == Span(1 << 40, 77, 0, 616, False)
        entry = struct.pack("<QQ", 1008, 77 | FRAGMENTED)
        assert frame_span(pixel, 1, entry) == Span(1008, 77, 0, 616, True)

    @pytest.mark.parametrize("index", [-1, 4, 1 << 40])
    def test_there_is_no_frame_beyond_the_last(self, index: int) -> None:
        """Not found, saying how many there are (D-042)."""
        with pytest.raises(NotFound, match=r"4 frame\(s\)"):
            frame_span(PIXELS, index, None)

    def test_a_missing_entry_is_not_found(self) -> None:
        """A frame table that is too short gives no garbage (D-042)."""
        with pytest.raises(NotFound):
            frame_span(replace(PIXELS, encapsulated=True), 0, b"")


class TestFrameBytes:
    """Frames as they are given out."""

    def test_whole_bytes_are_given_as_they_are(self) -> None:
        """No copy, no change for the usual case (D-053)."""
        raw = bytes(range(16))
        assert frame_bytes(frame_span(PIXELS, 1, None), raw, LAYOUT) is raw

    def test_fragments_lose_their_item_headers(self) -> None:
        """The pure codestream (D-048); a cut last fragment gives what it has."""
        first, second = b"abcd", b"efghij"
        raw = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in (first, b"", second))
        assert frame_bytes(Span(0, len(raw), 0, 0, True), raw, LAYOUT) == b"abcdefghij"
        assert frame_bytes(Span(0, len(raw), 0, 0, True), raw[:-2], LAYOUT) == b"abcdefgh"

    @given(st.integers(1, 40), st.integers(1, 6), st.randoms())
    def test_one_bit_frames_are_shifted_to_a_byte(self, frame_bits: int, frames: int, random: object) -> None:
        """A frame alone starts at bit 0 of its first byte, the bits after its end are zero (D-052)."""
        bits = [random.getrandbits(frame_bits) for _ in range(frames)]  # type: ignore[attr-defined]
        value = sum(frame << (number * frame_bits) for number, frame in enumerate(bits))
        raw = value.to_bytes((frame_bits * frames + 7) // 8, "little")
        pixel = replace(PIXELS, offset=0, length=len(raw), frames=frames, frame_bits=frame_bits)
        layout = replace(LAYOUT, pixel_data=pixel)
        for number, expected in enumerate(bits):
            span = frame_span(pixel, number, None)
            frame = frame_bytes(span, raw[span.offset : span.offset + span.length], layout)
            assert frame == expected.to_bytes((frame_bits + 7) // 8, "little")

    @pytest.mark.parametrize(
        ("word_bytes", "expected"),
        [(1, b"01234567"), (2, b"10325476"), (4, b"32107654"), (8, b"76543210")],
    )
    def test_words_are_reversed(self, word_bytes: int, expected: bytes) -> None:
        """Big endian samples of 16, 32 and 64 bits come out little endian (D-054)."""
        pixel = replace(PIXELS, offset=0, length=8, frames=1, frame_bits=64, word_bytes=word_bytes)
        raw = b"01234567"
        assert frame_bytes(frame_span(pixel, 0, None), raw, replace(LAYOUT, pixel_data=pixel)) == expected

    def test_frames_inside_words_are_cut_after_the_reversal(self) -> None:
        """8-bit frames of 3 samples stored as big endian words (D-054)."""
        stored = b"badcfe"  # abc, def in words
        pixel = replace(PIXELS, offset=0, length=6, frames=2, frame_bits=24, word_bytes=2)
        layout = replace(LAYOUT, pixel_data=pixel)
        spans = [frame_span(pixel, index, None) for index in range(2)]
        frames = [frame_bytes(span, stored[span.offset : span.offset + span.length], layout) for span in spans]
        assert frames == [b"abc", b"def"]
