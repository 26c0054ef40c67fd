"""Files rewritten to Explicit VR Little Endian hold what the stored ones hold."""

import io
import struct
import warnings
import zlib

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from storage.dicom.elements import Dataset, Header
from storage.dicom.part10 import BytesSource, FileSource, Source, file_meta_bytes, read_header
from storage.dicom.vr import swapped, tag_of
from storage.errors import InvalidDicom
from storage.writing.reencode import explicit_little_endian, explicit_little_endian_length, rewritten_data_set
from tests.builders import BIG_ENDIAN, DEFLATED, EXPLICIT_LE, IMPLICIT_LE, ct_slice, dataset_only, dicom_file
from tests.corpus import corpus_files, wheel_file, wheel_files

LARGE = 3_000_001


def rewritten(data: bytes) -> bytes:
    header, source = read_header(BytesSource(data))
    result = b"".join(explicit_little_endian(source, header))
    assert len(result) == explicit_little_endian_length(source, header)
    return result


def implicit_file(header: Header, source: Source) -> bytes:
    """Return the data set in Implicit VR, with file meta information so that it can be read again."""
    result = rewritten_data_set(source, header, explicit_vr=False)
    data = b"".join(result.chunks())
    assert len(data) == result.length
    named = [text_of(header, source, tag_of(keyword)) for keyword in ("SOPClassUID", "SOPInstanceUID")]
    meta = file_meta_bytes(sop_class_uid=named[0], sop_instance_uid=named[1], transfer_syntax_uid=IMPLICIT_LE)
    return meta + data


def text_of(header: Header, source: Source, tag: int) -> str:
    """Return the text of an element of the data set."""
    element = header.dataset.get(tag)
    return source.read(element.offset, element.length).decode("ascii").rstrip("\0 ") if element else "1.2"


def little_endian_value(dataset: Dataset, tag: int, source: Source, header: Header) -> bytes:
    element = dataset[tag]
    value = source.read(element.offset, element.length)
    is_pixels = tag == tag_of("PixelData")
    if not header.encoding.little_endian and not (is_pixels and element.vr == "OW"):
        value = swapped(element.vr, value)
    return value


def compare(
    before: Dataset, after: Dataset, old: tuple[Header, Source], new: tuple[Header, Source], *, vrs: bool = True
) -> None:
    """Same tags, VRs and values; but no group lengths, no words in big endian, even lengths, and UN for long text."""
    assert [tag for tag in before if tag & 0xFFFF and tag >= 0x00040000] == list(after)
    for tag, element in after.items():
        was = before[tag]
        assert not vrs or element.vr in (was.vr, "UN" if was.length > 0xFFFE else was.vr)
        assert element.encapsulated == was.encapsulated
        if isinstance(element.value, list):
            assert isinstance(was.value, list)
            assert len(element.value) == len(was.value)
            for inner, inner_was in zip(element.value, was.value, strict=True):
                compare(inner_was, inner, old, new, vrs=vrs)
            continue
        expected = little_endian_value(before, tag, old[1], old[0])
        value = new[1].read(element.offset, element.length)
        if tag == tag_of("PixelData") and not old[0].encoding.little_endian and was.vr == "OW":
            assert sorted(value) == sorted(expected)  # the order is checked with pydicom's twins
            continue
        assert value[: len(expected)] == expected
        assert len(value) - len(expected) == (0 if element.encapsulated else len(expected) & 1)


class TestRoundTrip:
    """Real files of every encoding."""

    def test_every_real_file_keeps_every_element(self) -> None:
        """All elements at all depths, those that may go out as they are included (A-045, A-046)."""
        count = 0
        for path in corpus_files() + wheel_files():
            try:
                old = read_header(BytesSource(path.read_bytes()))
            except InvalidDicom:
                continue
            new = read_header(BytesSource(b"".join(explicit_little_endian(old[1], old[0]))))
            assert new[0].has_preamble, path.name
            assert not new[0].warnings, path.name
            compare(old[0].dataset, new[0].dataset, old, new)
            count += 1
        assert count > 400

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_pydicom_reads_the_same_from_both(self) -> None:
        """An independent reader finds equal data sets (A-045)."""
        count = 0
        for path in corpus_files() + wheel_files():
            data = path.read_bytes()
            try:
                header, source = read_header(BytesSource(data))
            except InvalidDicom:
                continue
            if header.has_preamble and header.encoding.explicit_vr and header.encoding.little_endian:
                continue
            old = pydicom.dcmread(io.BytesIO(data), force=True)
            new = pydicom.dcmread(io.BytesIO(b"".join(explicit_little_endian(source, header))))
            native = ("PixelData" in old) and not old["PixelData"].is_undefined_length
            if not header.encoding.little_endian and native:
                del old.PixelData, new.PixelData
            for tag in [tag for tag in old.keys() if tag & 0xFFFF == 0 or tag < 0x00040000]:  # noqa: SIM118
                del old[tag]
            for element, other in zip(old, new, strict=True):
                assert element.tag == other.tag, path.name
                expected = element.value
                if isinstance(expected, bytes) and not header.encoding.little_endian:
                    expected = swapped(element.VR, expected)
                assert other.value == expected, (path.name, element, other)
            count += 1
        assert count > 60

    @pytest.mark.parametrize(
        ("big", "little"),
        [
            ("MR_small_bigendian.dcm", "MR_small.dcm"),
            ("rtdose_expb_1frame.dcm", "rtdose_1frame.dcm"),
            ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm"),
            ("liver_expb_1frame.dcm", "liver_1frame.dcm"),
        ],
    )
    def test_big_endian_pixels_equal_their_little_endian_twins(self, big: str, little: str) -> None:
        """Bytes of Pixel Data after the swap (D-054)."""
        ours = pydicom.dcmread(io.BytesIO(rewritten(wheel_file(big).read_bytes())))
        assert ours.PixelData == pydicom.dcmread(wheel_file(little)).PixelData

    @pytest.mark.parametrize("transfer_syntax", [IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
    def test_the_same_data_set_from_every_encoding(self, transfer_syntax: str) -> None:
        """One image written in each encoding comes out as the same bytes (A-045, A-046)."""
        same = {"study": "1.2.3", "series": "1.2.4", "instance": "1.2.5"}
        expected = dataset_only(rewritten(ct_slice(**same)))
        assert dataset_only(rewritten(ct_slice(**same, transfer_syntax=transfer_syntax))) == expected

    def test_compressed_pixels_keep_their_syntax(self) -> None:
        """Only the header of a bare compressed data set is written anew (PS3.5 A.4)."""
        data = wheel_file("MR_small_RLE.dcm").read_bytes()
        ours = pydicom.dcmread(io.BytesIO(rewritten(dataset_only(data))))
        theirs = pydicom.dcmread(io.BytesIO(data))
        assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
        assert ours.PixelData == theirs.PixelData


class TestImplicit:
    """The bare data set for a peer that takes nothing but the default transfer syntax."""

    def test_every_uncompressed_real_file_keeps_every_element(self) -> None:
        """All elements at all depths with their values, private ones and those of unknown VR included (PS3.5 A.1)."""
        count = 0
        for path in corpus_files() + wheel_files():
            try:
                old = read_header(BytesSource(path.read_bytes()))
            except InvalidDicom:
                continue
            if is_compressed(old[0].dataset):
                continue
            new = read_header(BytesSource(implicit_file(*old)))
            assert not new[0].encoding.explicit_vr, path.name
            assert not new[0].warnings, path.name
            compare(old[0].dataset, new[0].dataset, old, new, vrs=False)
            count += 1
        assert count > 300

    @pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, BIG_ENDIAN, DEFLATED])
    def test_the_same_data_set_from_every_encoding(self, transfer_syntax: str) -> None:
        """One image written in each encoding comes out as pydicom writes it in Implicit VR (PS3.5 7.1.3)."""
        same = {"study": "1.2.3", "series": "1.2.4", "instance": "1.2.5"}
        header, source = read_header(BytesSource(ct_slice(**same, transfer_syntax=transfer_syntax)))
        expected = dataset_only(ct_slice(**same, transfer_syntax=IMPLICIT_LE))
        assert dataset_only(implicit_file(header, source)) == expected

    def test_unknown_and_private_elements_keep_their_bytes(self) -> None:
        """UN is Implicit VR Little Endian already, in Big Endian files too (PS3.5 6.2.2)."""
        private = {0x00110010: ("LO", "TESTS"), 0x00111001: ("UN", b"\1\2\3\4"), 0x00111002: ("OB", b"\5\6")}
        for syntax in (EXPLICIT_LE, BIG_ENDIAN):
            header, source = read_header(BytesSource(dicom_file(elements=private, transfer_syntax=syntax)))
            data = implicit_file(header, source)
            assert struct.pack("<HHL", 0x0011, 0x1001, 4) + b"\1\2\3\4" in data
            assert struct.pack("<HHL", 0x0011, 0x1002, 2) + b"\5\6" in data

    def test_a_value_too_long_for_a_short_vr_comes_back_from_un(self) -> None:
        """Lengths have 32 bits for every element; what was UN for its length only is as it was (PS3.5 7.1.3)."""
        tag = tag_of("ContourData")
        value = b"1.5\\" * 20_000
        start = struct.pack("<HHL", 0x0008, 0x0060, 2) + b"CT"
        element = struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
        meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=IMPLICIT_LE)
        header, source = read_header(BytesSource(rewritten(meta + start + element)))
        assert dataset_only(implicit_file(header, source)) == start + element

    def test_large_values_are_streamed(self) -> None:
        """Never more than 1 MiB at a time, whatever the size of a value (design 1.6)."""
        pixels = bytes(range(250)) * (LARGE // 250 // 2 * 2)
        header, source = read_header(BytesSource(dicom_file(pixels=pixels, Rows=50, Columns=len(pixels) // 50)))
        assert max(map(len, rewritten_data_set(source, header, explicit_vr=False).chunks())) <= 1 << 20


def is_compressed(dataset: Dataset) -> bool:
    return any(
        element.encapsulated or (isinstance(element.value, list) and any(map(is_compressed, element.value)))
        for element in dataset.values()
    )


class TestDetails:
    """What Explicit VR Little Endian asks for."""

    def test_the_file_meta_is_new_but_keeps_the_senders_elements(self) -> None:
        """Transfer syntax and implementation are ours, the rest stays true (PS3.10 7.1; A-050)."""
        data = ct_slice(transfer_syntax=IMPLICIT_LE)
        meta = pydicom.dcmread(io.BytesIO(rewritten(data))).file_meta
        before = pydicom.dcmread(io.BytesIO(data)).file_meta
        assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert meta.MediaStorageSOPInstanceUID == before.MediaStorageSOPInstanceUID
        assert meta.ImplementationClassUID != before.ImplementationClassUID

    def test_a_long_value_of_a_short_vr_becomes_un(self) -> None:
        """A 16-bit length cannot say more than 65534 bytes (A-051)."""
        tag = tag_of("ContourData")
        value = b"1.5\\" * 20_000
        start = struct.pack("<HHL", 0x0008, 0x0060, 2) + b"CT"
        element = struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
        meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=IMPLICIT_LE)
        data = rewritten(meta + start + element)
        assert data.endswith(struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"UN", 0, len(value)) + value)
        assert read_header(BytesSource(data))[0].dataset[tag].vr == "DS"  # by the dictionary (CP-1066)

    def test_odd_values_are_padded(self) -> None:
        """Text with a space, bytes with zero (PS3.5 6.2, 7.1)."""
        name = struct.pack("<HHL", 0x0010, 0x0010, 3) + b"Doe"
        private = struct.pack("<HHL", 0x0011, 0x1001, 1) + b"\7"
        header = read_header(BytesSource(rewritten(name + private)))[0]
        assert header.dataset[0x00100010].value == b"Doe "
        assert header.dataset[0x00111001].value == b"\7\0"

    def test_group_lengths_are_dropped(self) -> None:
        """They were retired and would be wrong (PS3.5 7.2)."""
        length = struct.pack("<HHLL", 0x0010, 0x0000, 4, 10)
        name = struct.pack("<HHL", 0x0010, 0x0010, 4) + b"Doe "
        assert list(read_header(BytesSource(rewritten(length + name)))[0].dataset) == [0x00100010]

    @pytest.mark.parametrize("transfer_syntax", [IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
    def test_large_values_are_streamed(self, transfer_syntax: str) -> None:
        """Never more than 1 MiB at a time, whatever the size of a value (design 1.6)."""
        pixels = bytes(range(250)) * (LARGE // 250 // 2 * 2)
        data = dicom_file(
            pixels=pixels, Rows=50, Columns=len(pixels) // 100, BitsAllocated=16, transfer_syntax=transfer_syntax
        )
        header, source = read_header(BytesSource(data))
        chunks = list(explicit_little_endian(source, header))
        assert max(map(len, chunks)) <= 1 << 20
        expected = swapped("OW", pixels) if transfer_syntax == BIG_ENDIAN else pixels
        assert b"".join(chunks).endswith(expected)

    def test_nested_big_endian_words_are_swapped(self) -> None:
        """Numbers inside sequences too (A-045)."""
        item = {"ReferencedFrameNumber": 1, "Rows": 258, "ExposureTimeInuS": 1.5, "SelectorFDValue": 2.5}
        item |= {"FrameIncrementPointer": 0x00181063, "SelectorULValue": 0x01020304}
        data = dicom_file(ReferencedImageSequence=[item], transfer_syntax=BIG_ENDIAN)
        read = pydicom.dcmread(io.BytesIO(rewritten(data))).ReferencedImageSequence[0]
        assert (read.Rows, read.SelectorFDValue, read.SelectorULValue) == (258, 2.5, 0x01020304)
        assert read.FrameIncrementPointer == 0x00181063

    def test_a_file_that_shrank_is_noticed(self) -> None:
        """The promised length is kept or the transfer breaks off; never shifted bytes (design 1.7)."""
        data = ct_slice(rows=300, columns=300, transfer_syntax=IMPLICIT_LE)
        header, _ = read_header(BytesSource(data))
        with pytest.raises(OSError, match="shorter"):
            list(explicit_little_endian(BytesSource(data[:-1000]), header))

    def test_a_truncated_fragment_is_made_whole(self) -> None:
        """What follows the pixels must not be taken for their rest (PS3.5 A.4)."""
        data = dataset_only(wheel_file("MR_small_RLE.dcm").read_bytes())
        header = read_header(BytesSource(data))[0]
        pixels = header.dataset[tag_of("PixelData")]
        cut = data[: pixels.offset + pixels.length - 101]
        again, source = read_header(BytesSource(rewritten(cut)))
        assert again.warnings == []
        after = again.dataset[tag_of("PixelData")]
        assert source.read(after.offset + 20, 2000) == cut[pixels.offset + 20 : pixels.offset + 2020]

    def test_deflated_files_are_inflated(self) -> None:
        """The output is plain (A-046)."""
        path = wheel_file("image_dfl.dcm")
        with FileSource(path) as file:
            header, source = read_header(file)
            result = b"".join(explicit_little_endian(source, header))
        meta_end = header.dataset_offset
        inflated = zlib.decompress(path.read_bytes()[meta_end:], -15)
        assert source.read(meta_end, len(inflated)) == inflated
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pydicom.dcmread(io.BytesIO(result)).PixelData == pydicom.dcmread(path).PixelData
        assert read_header(BytesSource(result))[0].transfer_syntax_uid == EXPLICIT_LE
