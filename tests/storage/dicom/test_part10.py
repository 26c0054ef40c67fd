"""Reading DICOM files: the same elements as pydicom, positions in the file, odd elements, file meta information."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataelem import RawDataElement

from storage.dicom import element_parser
from storage.dicom.element_parser import ElementParser
from storage.dicom.elements import Dataset, Element, Encoding, Limits
from storage.dicom.part10 import BytesSource, FileSource, Source, file_meta_bytes, read_header
from storage.dicom.source import inflated
from storage.dicom.vr import explicit_element, explicit_head, tag_of
from storage.errors import InvalidDicom
from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ct_slice,
    dataset_only,
    dicom_file,
    without_preamble,
)
from tests.corpus import corpus_files, wheel_file, wheel_files
from tests.storage.encoded import SEQUENCE_DELIMITER, SOP_CLASS, UNDEFINED, header_of, implicit, item, part10


def pydicom_read(data: bytes) -> pydicom.Dataset | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(io.BytesIO(data), force=True)
    except Exception:
        return None


def differences(ours: Dataset, theirs: pydicom.Dataset, source: Source, where: str = "") -> list[str]:
    """What pydicom reads otherwise, at any depth."""
    tags = set(theirs.keys())
    found = [f"{where} {int(tag):08X} is only read by pydicom" for tag in tags - set(ours)]
    for tag, element in ours.items():
        raw = theirs.get_item(tag) if tag in theirs else None
        if raw is None:
            found.append(f"{where} {tag:08X} is only read here")
            continue
        converted = theirs[tag]
        known_group_length = tag & 0xFFFF == 0 and element.vr == "UL"  # of private groups, UN for pydicom
        long_un = converted.VR == "UN" and element.length >= 0xFFFF  # which pydicom leaves what it says it is
        if element.vr != converted.VR and not known_group_length and not long_un:
            found.append(f"{where} {tag:08X} is {element.vr}, for pydicom {converted.VR}")
        elif isinstance(element.value, list):
            items = list(converted.value)
            if len(items) != len(element.value):
                found.append(f"{where} {tag:08X} has {len(element.value)} items, for pydicom {len(items)}")
            for number, (ours_item, their_item) in enumerate(zip(element.value, items, strict=False), 1):
                found += differences(ours_item, their_item, source, f"{where}/{tag:08X}[{number}]")
        elif isinstance(raw, RawDataElement) and source.read(element.offset, element.length) != (raw.value or b""):
            found.append(f"{where} {tag:08X} has another value")
    return found


class TestTheSameAsPydicom:
    """An independent reader agrees on every real file."""

    @pytest.mark.parametrize("files", [corpus_files, wheel_files], ids=["corpus", "wheels"])
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_every_real_file_has_the_same_elements_vrs_and_values(self, files: Any) -> None:
        """The tags, VRs and raw values at all depths are those pydicom reads (PS3.5 7; D-162, D-163)."""
        more = {"emri_small_jpeg_2k_lossless_too_short.dcm"}  # pydicom drops everything of it
        compared = 0
        for path in files():
            data = path.read_bytes()
            theirs = pydicom_read(data)
            try:
                header, source = read_header(BytesSource(data))
            except InvalidDicom:
                assert theirs is None or len(theirs) <= 1, path.name
                continue
            if theirs is None or path.name in more:
                continue
            found = differences(header.dataset, theirs, source)
            found += differences(header.file_meta, theirs.file_meta, source, "meta")
            assert not found, (path.name, found[:5])
            compared += 1
        assert compared > 200

    def test_small_windows_give_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the parser's reads happen to end changes nothing (PS3.5 7)."""
        for name in ("rtplan.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "nested_priv_SQ.dcm"):
            path = wheel_file(name)
            whole = header_of(path.read_bytes())
            with monkeypatch.context() as patch, FileSource(path) as source:
                patch.setattr(element_parser, "FIRST_WINDOW", 16)
                patch.setattr(element_parser, "LARGEST_WINDOW", 16)
                assert read_header(source)[0] == whole

    def test_positions_are_those_of_the_values_at_any_depth(self) -> None:
        """Bulk data inside sequences is found in the file by its position (D-022)."""

        def check(dataset: Dataset, data: bytes) -> int:
            seen = 0
            for element in dataset.values():
                if isinstance(element.value, list):
                    seen += sum(check(inner, data) for inner in element.value)
                elif element.value is not None:
                    assert data[element.offset : element.offset + element.length] == element.value
                    seen += 1
            return seen

        for name in ("rtplan.dcm", "rtstruct.dcm", "UN_sequence.dcm", "priv_SQ.dcm"):
            data = wheel_file(name).read_bytes()
            assert check(header_of(data).dataset, data) > 1


class TestEncodings:
    """The bytes tell how they are encoded, whatever the file says."""

    @pytest.mark.parametrize(
        ("transfer_syntax", "encoding"),
        [
            (EXPLICIT_LE, Encoding()),
            (IMPLICIT_LE, Encoding(explicit_vr=False)),
            (BIG_ENDIAN, Encoding(little_endian=False)),
            (DEFLATED, Encoding(deflated=True)),
        ],
    )
    def test_each_uncompressed_transfer_syntax_is_read(self, transfer_syntax: str, encoding: Encoding) -> None:
        """All four encodings give the same patient (PS3.5 Annex A)."""
        header, source = read_header(BytesSource(ct_slice(transfer_syntax=transfer_syntax)))
        assert (header.transfer_syntax_uid, header.encoding) == (transfer_syntax, encoding)
        assert header.has_preamble
        assert header.dataset[tag_of("PatientName")].value == b"Doe^Jane"
        assert header.dataset[tag_of("Rows")].vr == "US"
        assert header.file_length == source.length
        assert list(header.dataset) == sorted(header.dataset)

    @pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN])
    def test_a_bare_data_set_is_read(self, transfer_syntax: str) -> None:
        """Without preamble and file meta information the encoding is inferred (PS3.10 7)."""
        header = header_of(dataset_only(ct_slice(transfer_syntax=transfer_syntax)))
        assert header.transfer_syntax_uid == transfer_syntax
        assert not header.has_preamble
        assert not header.file_meta

    def test_file_meta_without_preamble_is_read(self) -> None:
        """Some senders leave the preamble out; such a file is not given out as it is (PS3.10 7.1)."""
        header = header_of(without_preamble(ct_slice()))
        assert header.transfer_syntax_uid == EXPLICIT_LE
        assert not header.has_preamble

    @pytest.mark.parametrize("really", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN])
    @pytest.mark.parametrize("stated", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
    def test_a_wrong_transfer_syntax_does_not_mislead(self, really: str, stated: str) -> None:
        """The bytes are believed, with a warning (PS3.5 A; A-050)."""
        if stated == DEFLATED and really == IMPLICIT_LE:
            return  # not told apart from a damaged stream
        header = header_of(part10(dataset_only(ct_slice(transfer_syntax=really)), stated))
        assert header.transfer_syntax_uid == really
        assert header.dataset[tag_of("PatientName")].value == b"Doe^Jane"
        assert header.has_preamble == (stated == really)
        assert bool(header.warnings) == (stated != really)

    def test_a_wrong_group_length_is_not_given_out(self) -> None:
        """The file meta information is read by its elements; with a wrong length it is written anew (PS3.10 7.1)."""
        data = bytearray(ct_slice())
        data[140:144] = struct.pack("<L", 7)
        header = header_of(bytes(data))
        assert header.transfer_syntax_uid == EXPLICIT_LE
        assert not header.has_preamble

    def test_file_meta_in_implicit_vr_is_read(self) -> None:
        """A writer's error that occurs (PS3.10 7.1 wants Explicit VR)."""
        meta = implicit(0x00020010, EXPLICIT_LE.encode() + b"\0")
        header = header_of(bytes(128) + b"DICM" + meta + SOP_CLASS)
        assert header.transfer_syntax_uid == EXPLICIT_LE
        assert not header.has_preamble

    def test_native_pixels_under_a_compressed_syntax(self) -> None:
        """Pixel Data of defined length and full size is native, whatever is stated (PS3.5 A.4)."""
        header = header_of(part10(dataset_only(ct_slice()), "1.2.840.10008.1.2.4.80"))
        assert header.transfer_syntax_uid == EXPLICIT_LE

    @pytest.mark.parametrize(
        ("name", "uid"),
        [
            ("SC_rgb_jpeg_gdcm.dcm", "1.2.840.10008.1.2.4.70"),
            ("MR_small_RLE.dcm", "1.2.840.10008.1.2.5"),
            ("MR_small_jpeg_ls_lossless.dcm", "1.2.840.10008.1.2.4.80"),
            ("MR_small_jp2klossless.dcm", "1.2.840.10008.1.2.4.90"),
            ("SC_rgb_dcmtk_+eb+cr.dcm", "1.2.840.10008.1.2.4.50"),
            ("JPEG2000.dcm", "1.2.840.10008.1.2.4.91"),
        ],
    )
    def test_the_syntax_of_encapsulated_pixels_is_inferred(self, name: str, uid: str) -> None:
        """A bare data set with compressed pixels says what it is by its first codestream (PS3.5 A.4)."""
        assert header_of(dataset_only(wheel_file(name).read_bytes())).transfer_syntax_uid == uid

    def test_zlib_wrapped_and_damaged_deflate(self) -> None:
        """A zlib header is tolerated; a cut stream gives what it has, noise is refused (PS3.5 A.5)."""
        dataset = dataset_only(ct_slice())
        wrapped = header_of(part10(zlib.compress(dataset), DEFLATED))
        assert wrapped.dataset.keys() == header_of(part10(dataset)).dataset.keys()
        assert not wrapped.warnings
        raw = zlib.compress(dataset)[2:-4]
        cut = header_of(part10(raw[: len(raw) // 2], DEFLATED))
        assert tag_of("PatientName") in cut.dataset
        assert any("cut short" in text for text in cut.warnings)
        with pytest.raises(InvalidDicom, match="inflated"):
            header_of(part10(b"\xff" * 64, DEFLATED))


class TestElements:
    """Odd elements are read as other readers do."""

    def test_un_is_retyped_where_the_dictionary_knows(self) -> None:
        """UN of a standard attribute gets its VR; what cannot be that VR stays UN (PS3.5 6.2.2; D-163)."""
        rows, columns, code = tag_of("Rows"), tag_of("Columns"), tag_of("ConceptNameCodeSequence")
        content = item(implicit(tag_of("CodeValue"), b"T-1 "))
        header = header_of(
            part10(
                SOP_CLASS
                + explicit_element(rows, "UN", b"\x10\0")
                + explicit_head(columns, "UN", 3)
                + b"\x10\0\0"
                + explicit_element(code, "UN", content)
            )
        )
        assert (header.dataset[rows].vr, header.dataset[columns].vr) == ("US", "UN")
        assert header.dataset[code].vr == "SQ"
        assert header.dataset[code].value == [
            {tag_of("CodeValue"): Element(tag_of("CodeValue"), "SH", b"T-1 ", header.dataset[code].offset + 16, 4)}
        ]

    def test_un_of_undefined_length_is_an_implicit_sequence(self) -> None:
        """CP-246: the content is Implicit VR, and what follows is explicit again (PS3.5 6.2.2)."""
        content = item(implicit(0x00091001, b"ab")) + SEQUENCE_DELIMITER
        after = explicit_element(tag_of("PatientName"), "PN", b"Doe^Jane")
        header = header_of(part10(SOP_CLASS + explicit_head(0x00091002, "UN", UNDEFINED) + content + after))
        element = header.dataset[0x00091002]
        assert element.vr == "SQ"
        assert element.length == len(content) - 8
        assert isinstance(element.value, list)
        assert element.value[0][0x00091001].value == b"ab"
        assert header.dataset[tag_of("PatientName")].value == b"Doe^Jane"

    def test_a_big_endian_un_keeps_its_little_endian_bytes(self) -> None:
        """The content of UN is little endian in every transfer syntax, so words in it are not retyped (PS3.5 6.2.2)."""
        big = struct.pack(">HH2sHL", 0x0028, 0x0010, b"UN", 0, 2) + b"\x10\0"
        start = struct.pack(">HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
        header = header_of(part10(start + big, BIG_ENDIAN))
        assert header.dataset[tag_of("Rows")] == Element(tag_of("Rows"), "UN", b"\x10\0", header.file_length - 2, 2)

    @pytest.mark.parametrize(("representation", "vr"), [(0, "US"), (1, "SS")])
    def test_us_or_ss_follows_the_enclosing_pixel_representation(self, representation: int, vr: str) -> None:
        """An item without Pixel Representation takes the one around it, even when that comes later (D-162)."""
        inner = implicit(tag_of("SmallestImagePixelValue"), b"\1\0")
        data = (
            implicit(tag_of("SOPClassUID"), b"1.2\0")
            + implicit(tag_of("ReferencedImageSequence"), item(inner))
            + implicit(tag_of("PixelRepresentation"), struct.pack("<H", representation))
            + implicit(tag_of("PixelPaddingValue"), b"\1\0")
        )
        header = header_of(part10(data, IMPLICIT_LE))
        assert header.dataset[tag_of("PixelPaddingValue")].vr == vr
        items = header.dataset[tag_of("ReferencedImageSequence")].value
        assert isinstance(items, list)
        assert items[0][tag_of("SmallestImagePixelValue")].vr == vr

    @pytest.mark.parametrize(("entries", "vr"), [(1, "US"), (256, "OW")])
    def test_lut_data_follows_its_descriptor(self, entries: int, vr: str) -> None:
        """LUT Data of a single entry is US, else OW (PS3.3 C.11.1.1.1; D-162)."""
        data = (
            implicit(tag_of("SOPClassUID"), b"1.2\0")
            + implicit(tag_of("LUTDescriptor"), struct.pack("<HHH", entries, 0, 16))
            + implicit(tag_of("LUTData"), b"\1\0" * entries)
        )
        assert header_of(part10(data, IMPLICIT_LE)).dataset[tag_of("LUTData")].vr == vr

    def test_disorder_duplicates_and_padding(self) -> None:
        """Elements come out ascending, of two the last; zeros at the end are no elements (PS3.5 7.1)."""
        name, identifier = tag_of("PatientName"), tag_of("PatientID")
        data = (
            SOP_CLASS
            + explicit_element(identifier, "LO", b"P1")
            + explicit_element(name, "PN", b"A")
            + explicit_element(name, "PN", b"B")
            + bytes(4096)
        )
        header = header_of(part10(data))
        assert list(header.dataset) == [tag_of("SOPClassUID"), name, identifier]
        assert header.dataset[name].value == b"B "
        assert len(header.warnings) == 2

    def test_delimiters_may_be_missing_at_the_end(self) -> None:
        """A sequence that the end of the file cuts off keeps its items (PS3.5 7.5.2)."""
        sequence = explicit_head(tag_of("ReferencedImageSequence"), "SQ", UNDEFINED)
        content = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED) + SOP_CLASS
        header = header_of(part10(SOP_CLASS + sequence + content))
        items = header.dataset[tag_of("ReferencedImageSequence")].value
        assert isinstance(items, list)
        assert list(items[0]) == [tag_of("SOPClassUID")]
        assert header.warnings

    def test_a_missing_item_delimiter_ends_at_the_sequence_delimiter(self) -> None:
        """What follows the sequence stays outside of it (PS3.5 7.5.2)."""
        sequence = explicit_head(tag_of("ReferencedImageSequence"), "SQ", UNDEFINED)
        content = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED) + SOP_CLASS + SEQUENCE_DELIMITER
        name = explicit_element(tag_of("PatientName"), "PN", b"Doe^Jane")
        header = header_of(part10(SOP_CLASS + sequence + content + name))
        assert header.dataset[tag_of("PatientName")].value == b"Doe^Jane"

    def test_command_elements_are_left_out(self) -> None:
        """Group 0000 belongs to messages, not to files (PS3.7 6.3)."""
        command = implicit(0x00000000, b"\x0c\0\0\0") + implicit(0x00000100, b"\1\0")
        header = header_of(part10(command + SOP_CLASS))
        assert list(header.dataset) == [tag_of("SOPClassUID")]

    def test_elements_after_encapsulated_pixels_are_read(self) -> None:
        """The end of the fragments is found without their content, even one that looks like a delimiter (PS3.5 A.4)."""
        fragments = item(b"") + item(SEQUENCE_DELIMITER * 3) + SEQUENCE_DELIMITER
        pixels = explicit_head(tag_of("PixelData"), "OB", UNDEFINED) + fragments
        padding = explicit_element(0xFFFCFFFC, "OB", b"\0\0")
        header = header_of(part10(SOP_CLASS + pixels + padding, "1.2.840.10008.1.2.5"))
        element = header.dataset[tag_of("PixelData")]
        assert (element.value, element.encapsulated, element.length) == (None, True, len(fragments) - 8)
        assert header.dataset[0xFFFCFFFC].value == b"\0\0"


class TestSources:
    """Bytes by position."""

    def test_a_file_reads_short_only_at_its_end(self, tmp_path: Path) -> None:
        """Positions beyond the end give nothing (PS3.10)."""
        path = tmp_path / "bytes"
        path.write_bytes(b"0123456789")
        with FileSource(path) as source:
            assert source.length == 10
            assert source.read(2, 3) == b"234"
            assert source.read(8, 100) == b"89"
            assert source.read(20, 1) == b""

    def test_inflating_keeps_positions(self) -> None:
        """What precedes the data set is copied, so file meta positions stay true (PS3.5 A.5)."""
        deflater = zlib.compressobj(wbits=-15)
        source, complete = inflated(BytesSource(b"head" + deflater.compress(b"body") + deflater.flush()), 4, 100)
        assert (source.read(0, 100), complete) == (b"headbody", True)


class TestFileMeta:
    """Our own file meta information."""

    def test_it_is_complete_and_carries_others_over(self) -> None:
        """Type 1 elements are there, a true group length, and the sender's own elements (PS3.10 7.1)."""
        extra = header_of(dicom_file(file_meta={"SourceApplicationEntityTitle": "MODALITY"})).file_meta
        meta = file_meta_bytes(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid="1.2.3",
            transfer_syntax_uid="1.2.4",
            extra=extra,
        )
        read = pydicom.dcmread(io.BytesIO(meta)).file_meta
        assert meta[:132] == bytes(128) + b"DICM"
        assert read.FileMetaInformationGroupLength == len(meta) - 144
        assert read.FileMetaInformationVersion == b"\0\1"
        assert (read.MediaStorageSOPInstanceUID, read.TransferSyntaxUID) == ("1.2.3", "1.2.4")
        assert read.SourceApplicationEntityTitle == "MODALITY"
        assert read.ImplementationClassUID.is_valid

    def test_group_end_stops_at_the_next_group(self) -> None:
        """The group is followed by its elements, not by its stated length (PS3.10 7.1)."""
        data = ct_slice()
        parser = ElementParser(BytesSource(data), Limits(), 1000)
        assert parser.group_end(132, 2, explicit=True) == len(data) - len(dataset_only(data))
