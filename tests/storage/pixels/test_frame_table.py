"""Finding frames: the same as pydicom on real files, and every kind of offset table and none."""

import io
import struct
import warnings
from typing import Any

import pydicom
import pytest
from pydicom.encaps import generate_frames

from storage.dicom.part10 import BytesSource, read_header
from storage.errors import InvalidDicom
from storage.pixels.frame_table import frame_table, is_video
from storage.pixels.layout import FrameTable, Layout, frame_bytes, frame_span, layout_of
from tests.builders import ABSENT, JPEG_BASELINE, dicom_file, multi_frame
from tests.corpus import corpus_files, wheel_file, wheel_files

RLE = "1.2.840.10008.1.2.5"
JPEG = b"\xff\xd8\xff\xe0"
END = b"\xff\xd9"


def frames_of(data: bytes) -> tuple[FrameTable | None, Layout, list[bytes]]:
    """The frame table, the layout, and every frame as it would be given out."""
    header, source = read_header(BytesSource(data))
    found = frame_table(source, header)
    layout = layout_of(header, found)
    frames: list[bytes] = []
    for index in range(found.frames if found else 0):
        assert found is not None
        assert layout.pixel_data is not None
        entry = None if found.table is None else found.table[16 * index : 16 * index + 16]
        span = frame_span(layout.pixel_data, index, entry)
        assert 0 <= span.offset <= span.offset + span.length <= source.length
        frames.append(frame_bytes(span, source.read(span.offset, span.length), layout))
    return found, layout, frames


def encapsulated(pixels: Any, frames: int | None = None, table: Any = "empty", **attributes: Any) -> bytes:
    number = {"NumberOfFrames": frames} if frames is not None else {}
    syntax = attributes.pop("transfer_syntax", JPEG_BASELINE)
    return dicom_file(transfer_syntax=syntax, pixels=pixels, offset_table=table, **number, **attributes)


def with_items(items: list[bytes], frames: int, transfer_syntax: str = JPEG_BASELINE) -> bytes:
    """A file whose encapsulated value is exactly these items; the first is the Basic Offset Table."""
    marker = b"\x12\x34" * 8
    data = encapsulated([marker], frames, transfer_syntax=transfer_syntax)
    start = data.index(marker) - 16
    end = data.index(marker) + len(marker)
    value = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in items)
    return data[:start] + value + data[end:]


class TestRealFiles:
    """Frames of the corpus and the wheels."""

    @pytest.mark.parametrize("files", [corpus_files, wheel_files], ids=["corpus", "wheels"])
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_compressed_frames_are_those_of_pydicom(self, files: Any) -> None:
        """Fragmented or not, with and without offset table, each frame has the same bytes (D-048, D-049)."""
        compared = 0
        for path in files():
            data = path.read_bytes()
            try:
                found, _, frames = frames_of(data)
            except InvalidDicom:
                continue
            if found is None or found.kind == "native":
                continue
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            if "PixelData" not in dataset:
                continue
            extended = None
            if "ExtendedOffsetTable" in dataset:
                extended = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
            number = int(dataset.get("NumberOfFrames") or 1)
            expected = list(generate_frames(dataset.PixelData, number_of_frames=number, extended_offsets=extended))
            assert frames == expected, path.name
            compared += len(frames)
        assert compared > 50

    @pytest.mark.parametrize("files", [corpus_files, wheel_files], ids=["corpus", "wheels"])
    def test_native_frames_cover_the_value(self, files: Any) -> None:
        """Frames of whole bytes joined are the value again, as pydicom reads it (D-043)."""
        compared = 0
        for path in files():
            data = path.read_bytes()
            try:
                found, layout, frames = frames_of(data)
            except InvalidDicom:
                continue
            pixel = layout.pixel_data
            if found is None or pixel is None or found.kind != "native" or found.warnings or pixel.frame_bits % 8:
                continue
            if pixel.word_bytes > 1:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            value = dataset[pixel.tag].value
            assert b"".join(frames) == value[: found.frames * pixel.frame_bits // 8], path.name
            assert len(value) - found.frames * pixel.frame_bits // 8 in (0, 1), path.name
            compared += 1
        assert compared > 40

    @pytest.mark.parametrize(
        ("big_endian", "little_endian"),
        [
            ("MR_small_bigendian.dcm", "MR_small.dcm"),
            ("rtdose_expb.dcm", "rtdose.dcm"),
            ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm"),
            ("liver_expb_1frame.dcm", "liver_1frame.dcm"),
        ],
    )
    def test_big_endian_frames_come_out_little(self, big_endian: str, little_endian: str) -> None:
        """16 and 32 bit samples, and 8 bit ones stored in words, equal their little endian twins (D-054)."""
        big = frames_of(wheel_file(big_endian).read_bytes())[2]
        assert big == frames_of(wheel_file(little_endian).read_bytes())[2]
        assert big

    def test_a_truncated_image_has_no_frame(self) -> None:
        """A frame that is not wholly there is not offered (D-042)."""
        found, layout, _ = frames_of(wheel_file("MR_truncated.dcm").read_bytes())
        assert found is not None
        assert (found.frames, layout.pixel_data and layout.pixel_data.frames) == (0, 0)
        assert "too short" in found.warnings[0]

    def test_a_file_without_pixels_has_no_table(self) -> None:
        """Reports and plans have no frames (D-057)."""
        found, layout, _ = frames_of(wheel_file("rtplan.dcm").read_bytes())
        assert found is None
        assert layout.pixel_data is None


class TestEncapsulated:
    """Where the frames of fragments are (D-049)."""

    @pytest.mark.parametrize("table", ["basic", "empty", "extended"])
    def test_every_offset_table_gives_the_frames(self, table: Any) -> None:
        """Extended Offset Table, Basic Offset Table, or one fragment a frame (PS3.5 A.4)."""
        pixels = [JPEG + bytes([number]) * 10 + END for number in range(4)]
        found, _, frames = frames_of(encapsulated(pixels, 4, table))
        assert frames == pixels
        assert found is not None
        assert found.warnings == []
        assert found.table is not None
        assert len(found.table) == 64

    def test_extended_lengths_leave_the_padding_out(self) -> None:
        """The true length of an odd frame is in (7FE0,0002); without, the pad byte stays (D-050)."""
        odd = JPEG + b"x" + END
        pixels = [odd, odd]
        data = encapsulated(pixels, 2, "extended")
        assert frames_of(data)[2] == [odd + b"\0"] * 2  # the builder's table has padded lengths
        padded, true = struct.pack("<2Q", 8, 8), struct.pack("<2Q", 7, 7)
        assert data.count(padded) == 1
        assert frames_of(data.replace(padded, true))[2] == pixels

    @pytest.mark.parametrize("table", ["basic", "empty"])
    def test_several_fragments_a_frame_are_joined(self, table: Any) -> None:
        """With the table, or by the codestreams that start in fragments (PS3.5 A.4; D-048)."""
        pixels = [[JPEG + b"11", b"12", b"13" + END], [JPEG + b"21" + END], [JPEG + b"31", b"32" + END]]
        assert frames_of(encapsulated(pixels, 3, table))[2] == [b"".join(frame) for frame in pixels]

    def test_a_single_frame_is_all_fragments(self) -> None:
        """Number of Frames 1 or absent: everything is one frame (PS3.5 A.4)."""
        assert frames_of(encapsulated([[b"12", b"34", b"56"]]))[2] == [b"123456"]

    def test_frames_end_where_a_jpeg_ends(self) -> None:
        """Without start markers in sight, a frame follows an end of image (PS3.5 A.4)."""
        pixels = [[JPEG + b"11", b"2222" + END + b"\0\0"], [b"nomarker", b"3333" + END]]
        assert frames_of(encapsulated(pixels, 2))[2] == [b"".join(frame) for frame in pixels]

    def test_rle_frames_start_with_their_header(self) -> None:
        """A 64-byte RLE header starts a frame (PS3.5 G.5)."""
        head = struct.pack("<16L", 1, 64, *([0] * 14))
        pixels = [[head + b"ab", b"cd"], [head + b"ef"], [head + b"gh"]]
        frames = frames_of(encapsulated(pixels, 3, transfer_syntax=RLE))[2]
        assert frames == [head + b"abcd", head + b"ef", head + b"gh"]

    def test_an_empty_fragment_at_the_end_is_no_frame(self) -> None:
        """Some writers close with an empty item (PS3.5 A.4)."""
        found, _, frames = frames_of(with_items([b"", JPEG, JPEG, b""], 2))
        assert frames == [JPEG, JPEG]
        assert found is not None
        assert found.frames == 2

    @pytest.mark.parametrize("offsets", [(0, 13), (0, 0), (12, 0), (0, 0xFFFFFFFF), (4, 16)])
    def test_a_lying_offset_table_is_ignored(self, offsets: tuple[int, int]) -> None:
        """Entries must hit fragments; else the fragments themselves decide, with a warning (PS3.5 A.4)."""
        found, _, frames = frames_of(with_items([struct.pack("<2L", *offsets), JPEG, JPEG], 2))
        assert frames == [JPEG, JPEG]
        assert found is not None
        assert "Basic Offset Table" in found.warnings[0]

    def test_a_missing_offset_table_item_is_noticed(self) -> None:
        """When the first item is a codestream already, it is the first frame (PS3.5 A.4)."""
        found, _, frames = frames_of(with_items([JPEG + b"1 ", JPEG + b"2 "], 2))
        assert frames == [JPEG + b"1 ", JPEG + b"2 "]
        assert found is not None
        assert found.warnings

    @pytest.mark.parametrize(("stated", "there"), [(5, 3), (2, 2)])
    def test_a_wrong_number_of_frames_gives_those_that_are_there(self, stated: int, there: int) -> None:
        """Never more than stated, never more than found; a warning says so (PS3.3 C.7.6.6.1.1)."""
        pixels = [JPEG + bytes([number]) * 10 + END for number in range(3)]
        found, _, frames = frames_of(encapsulated(pixels, stated))
        assert frames == pixels[:there]
        assert found is not None
        assert found.warnings

    @pytest.mark.parametrize("table", ["basic", "empty"])
    @pytest.mark.parametrize("number", [0, None])
    def test_an_unusable_number_of_frames_is_counted(self, number: int | None, table: Any) -> None:
        """Zero or empty: offset table or codestreams tell (PS3.3 C.7.6.6.1.1)."""
        pixels = [JPEG + bytes([number]) * 10 + END for number in range(3)]
        data = dicom_file(transfer_syntax=JPEG_BASELINE, pixels=pixels, offset_table=table, NumberOfFrames=number)
        assert frames_of(data)[2] == pixels

    def test_a_video_is_one_stream(self) -> None:
        """Number of Frames counts pictures, not fragments (D-056)."""
        data = encapsulated([[b"abcd", b"efgh"]], 25, transfer_syntax="1.2.840.10008.1.2.4.102.1")
        found, _, frames = frames_of(data)
        assert found is not None
        assert (found.frames, frames, found.warnings) == (1, [b"abcdefgh"], [])

    def test_a_truncated_last_fragment_stays_in_the_file(self) -> None:
        """The span ends with the file (design 1.7)."""
        data = encapsulated([JPEG + b"1" * 100, JPEG + b"2" * 100], 2)
        found, _, frames = frames_of(data[:-60])
        assert found is not None
        assert [len(frame) for frame in frames] == [104, 52]

    def test_no_fragments_are_no_frames(self) -> None:
        """Encapsulated pixel data without items (PS3.5 A.4)."""
        found, _, frames = frames_of(with_items([b""], 1))
        assert found is not None
        assert (found.frames, frames, found.table) == (0, [], b"")


class TestNative:
    """Frames by arithmetic."""

    @pytest.mark.parametrize("bits", [1, 8, 16])
    def test_frames_are_found(self, bits: int) -> None:
        """Also when 1-bit frames do not fill bytes (D-052; PS3.5 8.2)."""
        found, _, frames = frames_of(multi_frame(5, rows=5, columns=3, bits=bits))
        assert found is not None
        assert (found.frames, found.table, found.warnings) == (5, None, [])
        for number, frame in enumerate(frames, 1):
            if bits == 1:
                assert int.from_bytes(frame, "little") == (0x7FFF if number % 2 else 0)
            else:
                assert frame == number.to_bytes(bits // 8, "little") * 15

    @pytest.mark.parametrize(
        ("number", "frames", "warns"),
        [(ABSENT, 1, True), (None, 3, True), (0, 3, True), (3, 3, False), (2, 2, True), (9, 3, True)],
    )
    def test_number_of_frames_is_checked_against_the_value(self, number: Any, frames: int, warns: bool) -> None:
        """Absent means one; nonsense is computed where that is certain; too many are cut (PS3.3 C.7.6.6.1.1)."""
        data = dicom_file(pixels=bytes(3 * 64), NumberOfFrames=number)
        found, _, _ = frames_of(data)
        assert found is not None
        assert found.frames == frames
        assert bool(found.warnings) == warns

    @pytest.mark.parametrize(
        ("photometric_interpretation", "length", "frame_bits"),
        [
            ("YBR_FULL_422", 128, 1024),
            ("YBR_PARTIAL_420", 96, 768),
            ("YBR_FULL", 192, 1536),
            ("YBR_FULL_422", 192, 1536),  # written in full by a writer that kept the old interpretation
        ],
    )
    def test_subsampled_colour_has_fewer_samples(
        self, photometric_interpretation: str, length: int, frame_bits: int
    ) -> None:
        """4:2:2 has two samples a pixel, 4:2:0 one and a half (PS3.3 C.7.6.3.1.2)."""
        data = dicom_file(
            pixels=bytes(length),
            SamplesPerPixel=3,
            PhotometricInterpretation=photometric_interpretation,
            PlanarConfiguration=0,
        )
        found, layout, _ = frames_of(data)
        assert found is not None
        assert layout.pixel_data is not None
        assert (found.frames, layout.pixel_data.frame_bits) == (1, frame_bits)

    @pytest.mark.parametrize(
        ("name", "bits"), [("parametric_map_float.dcm", 32), ("parametric_map_double_float.dcm", 64)]
    )
    def test_float_pixels_have_frames(self, name: str, bits: int) -> None:
        """Float and Double Float Pixel Data (D-055)."""
        path = next(path for path in corpus_files() if path.name == name)
        found, layout, frames = frames_of(path.read_bytes())
        assert found is not None
        assert found.frames >= 1
        assert layout.pixel_data is not None
        assert layout.pixel_data.bits_allocated == bits
        assert len(frames[0]) == layout.pixel_data.rows * layout.pixel_data.columns * bits // 8

    def test_missing_rows_are_no_frames(self) -> None:
        """Nothing can be computed without the size of a frame (PS3.3 C.7.6.3)."""
        found, _, _ = frames_of(dicom_file(pixels=bytes(64), Rows=ABSENT))
        assert found is not None
        assert found.frames == 0
        assert found.warnings


@pytest.mark.parametrize(
    ("uid", "video"),
    [("1.2.840.10008.1.2.4.100", True), ("1.2.840.10008.1.2.4.106.1", True), ("1.2.840.10008.1.2.4.110", False)],
)
def test_video_syntaxes_are_known(uid: str, video: bool) -> None:
    """MPEG-2, H.264 and HEVC, not JPEG XL (PS3.5 10)."""
    assert is_video(uid) == video
