"""Reading hostile and damaged files: limits, bytes that are no DICOM, and files cut short or overwritten."""

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.dicom import element_parser
from storage.dicom.elements import Limits
from storage.dicom.part10 import BytesSource, read_header
from storage.dicom.vr import explicit_element, explicit_head, tag_of
from storage.errors import InvalidDicom, LimitExceeded
from tests.builders import DEFLATED
from tests.corpus import wheel_file
from tests.storage.encoded import SEQUENCE_DELIMITER, SOP_CLASS, UNDEFINED, header_of, item, part10


class TestLimits:
    """A hostile file costs neither memory nor the stack."""

    def test_large_values_stay_in_the_file_but_lookup_tables(self) -> None:
        """Only values up to `keep` are held, and palettes, which viewers want inline (D-021)."""
        lut, text = tag_of("RedPaletteColorLookupTableData"), tag_of("TextValue")
        data = part10(
            SOP_CLASS + explicit_element(lut, "OW", bytes(70_000)) + explicit_element(text, "UT", b"x" * 70_000)
        )
        header = header_of(data)
        assert header.dataset[lut].value == bytes(70_000)
        assert header.dataset[text].value is None
        assert header_of(data, keep=100_000).dataset[text].value == b"x" * 70_000

    def test_deep_nesting_is_refused(self) -> None:
        """Ten thousand sequences inside each other neither crash nor pass (design 1.7)."""
        level = explicit_head(tag_of("ContentSequence"), "SQ", UNDEFINED)
        level += struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
        with pytest.raises(LimitExceeded, match="64"):
            header_of(part10(SOP_CLASS + level * 10_000))

    def test_64_levels_are_read(self) -> None:
        """The limit itself is allowed (design 1.7)."""
        content = b""
        for _ in range(64):
            content = explicit_element(tag_of("ContentSequence"), "SQ", item(content))
        assert header_of(part10(SOP_CLASS + content)).dataset[tag_of("ContentSequence")].vr == "SQ"
        content = explicit_element(tag_of("ContentSequence"), "SQ", item(content))
        with pytest.raises(LimitExceeded):
            header_of(part10(SOP_CLASS + content))

    def test_too_many_elements_items_or_fragments_are_refused(self) -> None:
        """Elements, items and fragments count (design 1.7)."""
        limits = Limits(max_elements=1000)
        names = b"".join(explicit_element(0x00091000 + number, "LO", b"") for number in range(2000))
        empty_items = explicit_head(tag_of("ContentSequence"), "SQ", 16_000) + item(b"") * 2000
        pixels = explicit_head(tag_of("PixelData"), "OB", UNDEFINED) + item(b"") * 2000 + SEQUENCE_DELIMITER
        same = explicit_element(tag_of("PatientName"), "PN", b"") * 2000
        for content in (names, empty_items, pixels, same):
            with pytest.raises(LimitExceeded):
                header_of(part10(SOP_CLASS + content), limits=limits)

    def test_inflation_is_bounded(self) -> None:
        """A deflate bomb ends at the limit (A-046)."""
        bomb = zlib.compress(SOP_CLASS + explicit_element(tag_of("TextValue"), "UT", b"x" * 5_000_000))[2:-4]
        with pytest.raises(LimitExceeded):
            header_of(part10(bomb, DEFLATED), limits=Limits(max_inflated_bytes=1_000_000))

    @pytest.mark.parametrize("length", [0x7FFFFFFE, 0xFFFFFFFE])
    def test_a_lying_length_allocates_nothing(self, length: int) -> None:
        """A length beyond the end gives what is there (PS3.5 7.1)."""
        header = header_of(part10(SOP_CLASS + explicit_head(tag_of("TextValue"), "UT", length) + b"abc"))
        assert header.dataset[tag_of("TextValue")].value == b"abc"
        assert header.warnings

    def test_memory_of_a_very_large_header_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After much was read, values above 1 KB are left in the file (design 1.6)."""
        monkeypatch.setattr(element_parser, "KEPT_BYTES", 1 << 17)
        values = b"".join(explicit_element(0x00091000 + number, "UT", b"x" * 50_000) for number in range(40))
        dataset = header_of(part10(SOP_CLASS + values)).dataset
        assert dataset[0x00091000].value is not None
        assert dataset[0x00091020].value is None


class TestNotDicom:
    """What is no DICOM is refused with words that say what it seems to be."""

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", "empty"),
            (b"abc", "too short"),
            (b"PK\x03\x04" + bytes(200), "ZIP"),
            (b"%PDF-1.7\n" + b"0" * 200, "PDF"),
            (b"\x89PNG\r\n\x1a\n" + bytes(200), "PNG"),
            (b"<html><body>Not here</body></html>", "HTML"),
            (b'{"a": [1, 2, 3]}', "JSON"),
            (b"The quick brown fox jumps over the lazy dog. " * 9, "text"),
            (bytes(4096), "no DICOM"),
            (bytes(range(256)) * 4, "no DICOM"),
        ],
    )
    def test_other_bytes_are_refused(self, data: bytes, text: str) -> None:
        """Clear words instead of garbage elements (B-028; PS3.4 B.2.3)."""
        with pytest.raises(InvalidDicom, match=text):
            header_of(data)

    def test_a_data_set_of_noise_is_refused(self) -> None:
        """File meta information alone does not make noise a data set (PS3.4 B.2.3)."""
        with pytest.raises(InvalidDicom, match="damaged"):
            header_of(part10(bytes(range(7, 256)) * 10))


SMALL_FILES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_RLE.dcm",
    "image_dfl.dcm",
    "rtplan.dcm",
    "UN_sequence.dcm",
    "nested_priv_SQ.dcm",
)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A real file, cut short and with bytes overwritten."""
    data = bytearray(wheel_file(draw(st.sampled_from(SMALL_FILES))).read_bytes())
    interesting = min(len(data), 4096)
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, interesting - 1))
        patch = draw(st.one_of(st.binary(min_size=1, max_size=8), st.just(b"\xff\xff\xff\xff"), st.just(bytes(4))))
        data[at : at + len(patch)] = patch
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def lies_in_the_file(data: bytes) -> bool:
    """Whether all elements that are read are inside the file; what is refused with our own errors has none."""
    try:
        header, source = read_header(BytesSource(data))
    except (InvalidDicom, LimitExceeded):
        return True
    return all(0 <= element.offset <= source.length - element.length for element in header.dataset.values())


class TestDamage:
    """Whatever the bytes are, the answer is a header or one of our errors."""

    @settings(max_examples=300)
    @given(damaged_files())
    def test_damaged_files_are_read_or_refused(self, data: bytes) -> None:
        """Only InvalidDicom and LimitExceeded come out, and all positions lie in the file (design 1.7)."""
        assert lies_in_the_file(data)

    @settings(max_examples=200)
    @given(st.binary(max_size=400), st.booleans())
    def test_random_bytes_are_read_or_refused(self, data: bytes, with_meta: bool) -> None:
        """The same for noise, with and without file meta information (design 1.7)."""
        assert lies_in_the_file(part10(data) if with_meta else data)
