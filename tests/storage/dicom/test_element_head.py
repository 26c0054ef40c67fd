"""Heads of elements that are not written as their transfer syntax wants, put together byte by byte."""

import io
import itertools
import string
import struct
import subprocess
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.dicom import dicomjson
from storage.dicom.data_set import decode
from storage.dicom.element_head import LITTLE_ENDIAN, UNKNOWN, HeadReader, Place
from storage.dicom.elements import Dataset, Header
from storage.dicom.part10 import BytesSource, file_meta_bytes, read_header
from storage.dicom.vr import LONG_VR, SHORT_VR, tag_of
from storage.errors import InvalidDicom, LimitExceeded
from storage.writing.reencode import explicit_little_endian
from tests.builders import BIG_ENDIAN, EXPLICIT_LE, IMPLICIT_LE
from tests.dcmtk import program
from tests.storage.encoded import UNDEFINED, header_of, implicit, item, part10

LITTLE, BIG = "<", ">"
ORDERS = {LITTLE: EXPLICIT_LE, BIG: BIG_ENDIAN}
CREATOR, ODD, AFTER = 0x00090010, 0x00091001, 0x00091002
SOP_CLASS, NAME, PATIENT_ID, ROWS, SERIES = map(
    tag_of, ("SOPClassUID", "PatientName", "PatientID", "Rows", "SeriesInstanceUID")
)
REFERENCED, PIXELS = tag_of("ReferencedImageSequence"), tag_of("PixelData")
ITEM_DELIMITER, SEQUENCE_DELIMITER = 0xFFFEE00D, 0xFFFEE0DD

NO_LETTERS = (b"??", b"  ", b"\0\0", b"--", b"lo", b"1a", b"\x01\x02", b"\xff\xfe", b"U\0", b"\0N")
"""What writers put in the place of a VR, with a 16-bit length after it; DCMTK reads the first five."""

FUTURE = (b"ZZ", b"XY", b"OX", b"AA", b"IX")
"""Not in PS3.5 Table 6.2-1, so of 32-bit length (7.1.2)."""

MADE_OF_TWO_BYTES = [bytes(pair) for pair in itertools.product(range(256), repeat=2)]
UPPER_CASE = {a.encode() + b.encode() for a, b in itertools.product(string.ascii_uppercase, repeat=2)}


def short(tag: int, code: bytes, value: bytes, order: str = LITTLE) -> bytes:
    """An element with a 16-bit length."""
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, code, len(value)) + value


def long(tag: int, code: bytes, value: bytes, order: str = LITTLE, length: int | None = None) -> bytes:
    """An element with a 32-bit length after two reserved bytes."""
    stated = len(value) if length is None else length
    return struct.pack(order + "HH2sHL", tag >> 16, tag & 0xFFFF, code, 0, stated) + value


def bare(tag: int, length: int = 0, order: str = LITTLE) -> bytes:
    """An item or a delimiter."""
    return struct.pack(order + "HHL", tag >> 16, tag & 0xFFFF, length)


def around(odd: bytes, order: str = LITTLE) -> bytes:
    """A data set with an odd private element in the middle of it."""
    return b"".join(
        (
            short(SOP_CLASS, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0", order),
            short(CREATOR, b"LO", b"ODD ", order),
            odd,
            short(NAME, b"PN", b"Doe^Jane", order),
            short(ROWS, b"US", struct.pack(order + "H", 2), order),
            long(PIXELS, b"OW", bytes(range(8)), order),
        )
    )


def is_whole(dataset: Dataset) -> bool:
    """Whether everything around the odd element was read."""
    name, pixels = dataset.get(NAME), dataset.get(PIXELS)
    return bool(name and pixels and name.value == b"Doe^Jane" and pixels.length == 8 and pixels.vr == "OW")


def items_of(dataset: Dataset, tag: int) -> list[Dataset]:
    """The items of a sequence."""
    items = dataset[tag].value
    assert isinstance(items, list)
    return items


def given_out(header: Header, data: bytes) -> pydicom.Dataset:
    """The file as it is given out, read by pydicom."""
    return pydicom.dcmread(io.BytesIO(b"".join(explicit_little_endian(BytesSource(data), header))))


class TestVrsThatAreNotKnown:
    """One odd element costs neither itself nor what follows it."""

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("code", FUTURE)
    def test_a_future_vr_has_a_32_bit_length(self, code: bytes, order: str) -> None:
        """Two reserved bytes and four of length, as for all VRs outside Table 7.1-2 (PS3.5 7.1.2)."""
        for value in (b"", b"ABCD", bytes(70_000)):
            header = header_of(part10(around(long(ODD, code, value, order), order), ORDERS[order]), keep=100_000)
            assert (header.dataset[ODD].vr, header.dataset[ODD].value) == ("UN", value)
            assert is_whole(header.dataset)
            assert header.regular  # legal, and so given out as it is
            assert header.has_preamble

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("code", NO_LETTERS)
    def test_bytes_that_are_no_letters_have_a_16_bit_length(self, code: bytes, order: str) -> None:
        """DCMTK assumes two bytes of length; such a file is not given out as it is (PS3.5 7.1.2)."""
        for value in (b"", b"ABCD", b"AB" * 15_000):
            header = header_of(part10(around(short(ODD, code, value, order), order), ORDERS[order]))
            assert (header.dataset[ODD].vr, header.dataset[ODD].value) == ("UN", value)
            assert is_whole(header.dataset)
            assert not header.has_preamble

    @pytest.mark.parametrize("code", NO_LETTERS)
    def test_they_may_have_a_32_bit_length_as_well(self, code: bytes) -> None:
        """What follows the value tells."""
        header = header_of(part10(around(long(ODD, code, b"ABCDEF"))))
        assert header.dataset[ODD].value == b"ABCDEF"
        assert is_whole(header.dataset)

    def test_a_vr_of_letters_may_have_a_16_bit_length(self) -> None:
        """An invented VR, as some writers have it: what follows the value tells."""
        header = header_of(part10(around(short(ODD, b"ZZ", b"ABCDEF"))))
        assert header.dataset[ODD].value == b"ABCDEF"
        assert is_whole(header.dataset)
        assert not header.regular

    def test_every_code_of_two_bytes_is_read(self) -> None:
        """All 65536: of 32-bit length when they are capital letters, else of 16-bit length (PS3.5 7.1.2)."""
        following = short(NAME, b"PN", b"Doe^Jane") + long(PIXELS, b"OW", bytes(0x6000))
        for code in set(MADE_OF_TWO_BYTES) - set(SHORT_VR) - set(LONG_VR):
            is_future = code in UPPER_CASE
            data = (long if is_future else short)(ODD, code, b"ABCD") + following
            reader = HeadReader(BytesSource(data), LITTLE_ENDIAN)
            head = reader.explicit(data[:12], Place(0, len(data), False))
            assert head == (UNKNOWN, 4, 12 if is_future else 8, is_future), code

    @pytest.mark.parametrize(
        "pixels", [bytes(0x180000), bytes(range(0, 256, 2)) * 0x3000, b"\x28\0\x10\0\4\0\0\0" * 0x30000]
    )
    @pytest.mark.parametrize("code", NO_LETTERS)
    def test_a_large_image_behind_one_does_not_mislead(self, code: bytes, pixels: bytes) -> None:
        """Whatever its samples look like where a 32-bit length would end."""
        following = short(NAME, b"PN", b"Doe^Jane") + long(PIXELS, b"OW", pixels)
        for value in (b"AB", b"ABCDEFGH"):
            dataset = header_of(part10(around(b"")[:34] + short(ODD, code, value) + following)).dataset
            assert (dataset[ODD].value, dataset[PIXELS].length) == (value, len(pixels))

    def test_several_in_a_row_are_read(self) -> None:
        """Each of another kind, with nothing but the next one to tell where a value ends."""
        odd = b"".join(short(ODD + at, code, b"ABCD") for at, code in enumerate(NO_LETTERS[:5]))
        odd += b"".join(long(ODD + 16 + at, code, b"EFGH") for at, code in enumerate(FUTURE))
        dataset = header_of(part10(around(odd))).dataset
        assert [dataset[ODD + at].value for at in range(5)] == [b"ABCD"] * 5
        assert [dataset[ODD + 16 + at].value for at in range(5)] == [b"EFGH"] * 5
        assert is_whole(dataset)

    @pytest.mark.parametrize("code", [*NO_LETTERS[:5], *FUTURE])
    def test_they_are_read_at_the_ends_of_items(self, code: bytes) -> None:
        """First and last in items of defined and of undefined length (PS3.5 7.5)."""
        odd = long(ODD, code, b"ABCD") if code in FUTURE else short(ODD, code, b"ABCD")
        inner = (
            odd + short(NAME, b"PN", b"A^B ") + odd.replace(b"\x01\x10", b"\x02\x10", 1).replace(b"\x09", b"\x11", 1)
        )
        open_ended = bare(0xFFFEE000, UNDEFINED) + inner + bare(ITEM_DELIMITER)
        for items in (item(inner) * 2, open_ended * 2, item(inner) + open_ended + item(inner)):
            for sequence in (
                long(REFERENCED, b"SQ", items),
                long(REFERENCED, b"SQ", items + bare(SEQUENCE_DELIMITER), length=UNDEFINED),
            ):
                dataset = header_of(part10(short(SOP_CLASS, b"UI", b"1.2\0") + sequence + around(b"")[34:])).dataset
                for read in items_of(dataset, REFERENCED):
                    assert [element.value for element in read.values()] == [b"ABCD", b"A^B ", b"ABCD"]
                assert is_whole(dataset)

    @pytest.mark.parametrize("code", [*NO_LETTERS[:5], *FUTURE])
    def test_one_may_be_the_first_or_the_last(self, code: bytes) -> None:
        """The first element of a data set does not make it an implicit one (PS3.5 7.1)."""
        odd = long if code in FUTURE else short
        dataset = header_of(part10(odd(0x00080001, code, b"ABCD") + around(b""))).dataset
        assert dataset[0x00080001].value == b"ABCD"
        assert is_whole(dataset)
        assert header_of(part10(around(b"") + odd(0xFFFCFFFC, code, b"ABCD"))).dataset[0xFFFCFFFC].value == b"ABCD"

    def test_what_the_dictionary_knows_is_read_by_it(self) -> None:
        """As with UN, where the value can be of that VR (PS3.5 6.2.2; D-163); the byte order is that of the file."""
        for order, syntax in ORDERS.items():
            rows = struct.pack(order + "H", 513)
            data = b"".join(
                (
                    short(SOP_CLASS, b"UI", b"1.2\0", order),
                    short(NAME, b"pn", b"Doe^Jane", order),
                    long(PATIENT_ID, b"ZZ", b"P1", order),
                    short(ROWS, b"us", rows, order),
                    short(tag_of("Columns"), b"us", b"abc", order),
                )
            )
            header = header_of(part10(data, syntax))
            vrs = {tag: element.vr for tag, element in header.dataset.items()}
            assert vrs == {SOP_CLASS: "UI", NAME: "PN", PATIENT_ID: "LO", ROWS: "US", tag_of("Columns"): "UN"}
            assert dicomjson.encode(header).dataset["00280010"] == {"vr": "US", "Value": [513]}

    def test_a_future_vr_of_undefined_length_may_hold_items(self) -> None:
        """All that has a 32-bit length may (PS3.5 7.1.3, 7.5)."""
        content = item(short(NAME, b"PN", b"A^B ")) + bare(SEQUENCE_DELIMITER)
        dataset = header_of(part10(around(long(ODD, b"ZZ", content, length=UNDEFINED)))).dataset
        assert dataset[ODD].vr == "SQ"
        assert items_of(dataset, ODD)[0][NAME].value == b"A^B "
        assert is_whole(dataset)

    def test_file_meta_information_may_have_them(self) -> None:
        """Group 0002 ends where it ends (PS3.10 7.1)."""
        syntax = short(0x00020010, b"UI", EXPLICIT_LE.encode() + b"\0")
        meta = syntax + long(0x00020099, b"ZZ", b"ABCD") + short(0x0002009A, b"??", b"EF")
        length = short(0x00020000, b"UL", struct.pack("<L", len(meta)))
        header = header_of(bytes(128) + b"DICM" + length + meta + around(b""))
        assert header.file_meta[0x00020099].value == b"ABCD"
        assert is_whole(header.dataset)

    @pytest.mark.parametrize("order", ORDERS)
    def test_messages_may_have_them(self, order: str) -> None:
        """Identifiers of C-FIND and data sets of N-CREATE are read as files are (PS3.7 6.3)."""
        for odd in (long(ODD, b"ZZ", b"ABCD", order), short(ODD, b"??", b"ABCD", order)):
            decoded = decode(around(odd, order), ORDERS[order])
            assert decoded["00091001"] == {"vr": "UN", "InlineBinary": "QUJDRA=="}
            assert decoded["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}


class TestWhatIsGivenOut:
    """Files with odd heads are given out as legal DICOM."""

    @pytest.mark.parametrize("odd", [short(ODD, b"??", b"ABCD"), long(ODD, b"lo", b"ABCD"), implicit(ODD, b"ABCD")])
    def test_other_readers_find_every_value(self, odd: bytes, tmp_path: Path) -> None:
        """PS3.5 7.1.2: pydicom and DCMTK read the same from what is written anew."""
        data = part10(around(odd))
        header = header_of(data)
        assert not header.regular
        read = given_out(header, data)
        assert (read[ODD].VR, read[ODD].value) == ("UN", b"ABCD")
        assert (read.PatientName, read.Rows, read.PixelData) == ("Doe^Jane", 2, bytes(range(8)))
        file = tmp_path / "given.dcm"
        file.write_bytes(b"".join(explicit_little_endian(BytesSource(data), header)))
        dump = subprocess.run([program("dcmdump"), file], capture_output=True, text=True, check=True)
        assert not dump.stderr
        assert "(0009,1001) UN 41\\42\\43\\44" in dump.stdout
        assert "[Doe^Jane]" in dump.stdout
        assert "(7fe0,0010) OW 0100\\0302\\0504\\0706" in dump.stdout


class TestImplicitInExplicit:
    """Some writers switch to Implicit VR in between."""

    @pytest.mark.parametrize(
        "name", [b"Doe ", b"DOE^JOHN", b"THOMAS", b"\x08\0\x16\0UI\4\0", b"x" * 0x2020, b"UI" * 9, b""]
    )
    def test_an_element_without_vr_is_read(self, name: bytes) -> None:
        """Even when its value looks like the head of an element (PS3.5 7.1.3)."""
        switched = implicit(NAME, name) + implicit(PATIENT_ID, b"P1")
        data = short(SOP_CLASS, b"UI", b"1.2\0") + switched + short(SERIES, b"UI", b"1.3\0")
        header = header_of(part10(data))
        assert [element.value for element in header.dataset.values()] == [b"1.2\0", name, b"P1", b"1.3\0"]
        assert [element.vr for element in header.dataset.values()] == ["UI", "PN", "LO", "UI"]
        assert not header.regular

    def test_a_long_value_without_vr_is_read(self) -> None:
        """Its length may have no low bytes at all."""
        text = tag_of("TextValue")
        data = around(b"")[:34] + implicit(text, b"x" * 0x20000) + long(PIXELS, b"OW", b"1234")
        dataset = header_of(part10(data)).dataset
        assert dataset[text].length == 0x20000
        assert dataset[PIXELS].value == b"1234"

    @pytest.mark.parametrize("length", [0x4141, 0x4955])
    def test_the_items_of_un_are_implicit(self, length: int) -> None:
        """Also when a length looks like a VR: "AA", "UI" (PS3.5 6.2.2, CP-246)."""
        value = bytes(length + length % 2)
        content = item(implicit(ODD, value[:length]) + implicit(AFTER, b"ab")) + bare(SEQUENCE_DELIMITER)
        header = header_of(part10(around(long(ODD, b"UN", content, length=UNDEFINED))))
        assert [element.length for element in items_of(header.dataset, ODD)[0].values()] == [length, 2]
        assert is_whole(header.dataset)
        assert header.has_preamble

    def test_what_follows_an_empty_item_is_not_its_first_element(self) -> None:
        """The last item of UN has no element (PS3.5 7.5.1), and a sequence comes next: the file is as it should be."""
        data, empty = around(b""), bare(0xFFFEE000)
        follower = long(tag_of("SourceImageSequence"), b"SQ", empty + bare(SEQUENCE_DELIMITER), length=UNDEFINED)
        header = header_of(part10(data[:34] + long(REFERENCED, b"UN", empty) + follower + data[34:]))
        assert items_of(header.dataset, REFERENCED) == items_of(header.dataset, tag_of("SourceImageSequence")) == [{}]
        assert is_whole(header.dataset)
        assert header.regular and header.has_preamble


INNER = short(tag_of("ReferencedSOPClassUID"), b"UI", b"1.2\0") + short(
    tag_of("ReferencedSOPInstanceUID"), b"UI", b"1.2.3.45"
)


def explicit_sequence(content: bytes, *, defined: bool) -> bytes:
    """A sequence in Explicit VR of one item."""
    if defined:
        return long(REFERENCED, b"SQ", item(content))
    open_ended = bare(0xFFFEE000, UNDEFINED) + content + bare(ITEM_DELIMITER) + bare(SEQUENCE_DELIMITER)
    return long(REFERENCED, b"SQ", open_ended, length=UNDEFINED)


class TestExplicitInImplicit:
    """Items, and elements, in Explicit VR inside Implicit VR data sets."""

    @pytest.mark.parametrize("defined", [True, False])
    @pytest.mark.parametrize("tag", [0x00091001, REFERENCED])
    @pytest.mark.parametrize("nested", [True, False])
    def test_items_in_explicit_vr_are_read(self, nested: bool, tag: int, defined: bool) -> None:
        """What is in them, and what follows the sequence (PS3.5 7.5); the file given out is Explicit VR throughout."""
        content = INNER
        if nested:
            content = explicit_sequence(INNER, defined=defined) + short(tag_of("SeriesNumber"), b"IS", b"3 ")
        items = item(content)
        if not defined:
            items = bare(0xFFFEE000, UNDEFINED) + content + bare(ITEM_DELIMITER)
        sequence = implicit(tag, items + bare(SEQUENCE_DELIMITER), UNDEFINED)
        data = part10(
            implicit(SOP_CLASS, b"1.2\0")
            + (sequence if tag == REFERENCED else implicit(CREATOR, b"ODD ") + sequence)
            + implicit(NAME, b"Doe^Jane")
            + implicit(PIXELS, bytes(8)),
            IMPLICIT_LE,
        )
        header = header_of(data)
        assert is_whole(header.dataset)
        assert not header.regular  # so that no peer is sent these bytes
        read = given_out(header, data)
        found = read[tag].value[0]
        if nested:
            assert found.SeriesNumber == 3
            found = found[REFERENCED].value[0]
        assert found.ReferencedSOPInstanceUID == "1.2.3.45"
        assert read.PixelData == bytes(8)

    def test_elements_in_explicit_vr_are_read(self) -> None:
        """Where their lengths make no sense in Implicit VR."""
        data = implicit(SOP_CLASS, b"1.2\0") + short(NAME, b"PN", b"Doe^Jane") + implicit(PATIENT_ID, b"P1")
        header = header_of(part10(data, IMPLICIT_LE))
        assert [element.value for element in header.dataset.values()] == [b"1.2\0", b"Doe^Jane", b"P1"]
        assert not header.regular

    def test_lengths_that_look_like_a_vr_are_lengths(self) -> None:
        """An implicit item that begins with 0x4955 bytes is not one of VR "UI" (PS3.5 7.1.3)."""
        content = implicit(ODD, bytes(0x4955 + 1)[:-1]) + implicit(NAME, b"A^B ")
        data = implicit(SOP_CLASS, b"1.2\0") + implicit(REFERENCED, item(content)) + implicit(NAME, b"Doe^Jane")
        header = header_of(part10(data, IMPLICIT_LE))
        read = items_of(header.dataset, REFERENCED)[0]
        assert (read[ODD].length, read[NAME].value) == (0x4955, b"A^B ")
        assert header.regular


class TestLongValuesAsUn:
    """CP-1066: a value too long for its VR's 16-bit length comes as UN."""

    CONTOUR = b"\\".join(b"%d" % number for number in range(100_000, 110_001))

    @pytest.mark.parametrize("order", ORDERS)
    def test_it_is_read_as_what_the_dictionary_knows(self, order: str) -> None:
        """At any depth, as the same value in Implicit VR is (PS3.5 6.2.2)."""
        contour, contours = tag_of("ContourData"), tag_of("ContourSequence")
        content = long(contour, b"UN", self.CONTOUR, order)
        items = bare(0xFFFEE000, len(content), order) + content
        header = header_of(part10(around(b"", order) + long(contours, b"SQ", items, order), ORDERS[order]))
        encoded = dicomjson.encode(header).dataset["30060040"]["Value"][0]["30060050"]
        assert encoded == {"vr": "DS", "BulkDataURI": "30060040/1/30060050"}
        whole = dicomjson.encode(header, bulk_threshold=0).bulk["30060040/1/30060050"]
        assert whole[1:] == (len(self.CONTOUR), "DS")

    def test_it_is_un_again_when_it_is_written(self) -> None:
        """No 16-bit length can hold it (PS3.5 6.2.2)."""
        data = part10(around(long(tag_of("ContourData"), b"UN", self.CONTOUR)))
        read = given_out(header_of(data), data)
        assert (read["ContourData"].VR, read["ContourData"].value) == ("UN", self.CONTOUR)


@st.composite
def odd_files(draw: st.DrawFn) -> bytes:
    """A data set with elements of any two bytes as VR, cut anywhere."""
    order = draw(st.sampled_from(list(ORDERS)))
    odd = b""
    for at in range(draw(st.integers(1, 4))):
        write = draw(st.sampled_from((short, long)))
        code = draw(st.one_of(st.binary(min_size=2, max_size=2), st.sampled_from((*NO_LETTERS, *FUTURE))))
        odd += write(ODD + at, code, draw(st.binary(max_size=24)), order)
    syntax = draw(st.sampled_from((EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, "1.2.3")))
    data = around(odd, order)
    return part10(data[: draw(st.integers(0, len(data)))], syntax)


class TestAnyBytes:
    """Whatever the heads say, reading ends, and stays within the file."""

    @settings(max_examples=400)
    @given(odd_files())
    def test_odd_files_are_read_or_refused(self, data: bytes) -> None:
        """Only our own errors come out; what was read can be given out and read again (design 1.7)."""
        try:
            header = header_of(data)
        except (InvalidDicom, LimitExceeded):
            return
        assert all(0 <= element.offset <= len(data) - element.length for element in header.dataset.values())
        again = b"".join(explicit_little_endian(BytesSource(data), header))
        written = {tag for tag in header.dataset if tag & 0xFFFF and tag >= 0x00040000}
        if written & {SOP_CLASS, NAME}:
            assert set(read_header(BytesSource(again))[0].dataset) == written

    @pytest.mark.parametrize("odd", [short(ODD, b"??", b"ABCD"), long(ODD, b"ZZ", b"ABCD"), implicit(ODD, b"ABCD")])
    def test_a_file_cut_anywhere_keeps_what_came_before(self, odd: bytes) -> None:
        """Truncated at each byte, elements that are whole are read (design 1.7)."""
        data = around(odd)
        start = len(file_meta_bytes(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=EXPLICIT_LE))
        whole = header_of(part10(data)).dataset
        for end in range(len(data)):
            try:
                dataset = header_of(part10(data[:end])).dataset
            except InvalidDicom:
                assert end < 40
                continue
            for tag, element in whole.items():
                if tag != ODD and element.offset + element.length <= start + end:
                    assert dataset[tag] == element, (end, f"{tag:08X}")

    def test_a_file_of_odd_heads_alone_takes_no_longer_than_others(self) -> None:
        """Each is looked at a few times, not each with all that follow it (design 1.6)."""
        heads = struct.pack("<HH2sH", 0x0009, 0x1001, b"??", 0) * 30_000
        assert header_of(part10(around(b"")[:34] + heads)).dataset[ODD].length == 0
