"""Bare data sets of messages: every encoding and character set, checked against pydicom in both directions."""

import base64
import io
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom import Dataset, config, dcmread
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from storage.dicom import data_set
from storage.dicom.charset import MANY_VALUES, PERSON_NAMES, character_set
from storage.dicom.data_set import Bounds, decode, encode
from storage.dicom.text_encoder import Unrepresentable, text_encoder
from storage.errors import InvalidDicom, LimitExceeded
from tests.corpus import corpus_files, wheel_files
from tests.storage.dicom.test_charset import JAPANESE_G0, JAPANESE_HALF_WIDTH, KOREAN, NAMES
from tests.storage.indexed import dataset, tag

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED)

IDENTIFIER = dataset(
    StudyDate="20240115",
    QueryRetrieveLevel="STUDY",
    AccessionNumber=[],
    ModalitiesInStudy=["CT", "SR"],
    PatientName="Doe^Jane",
    OtherPatientIDs=["1", None, "3"],
    NumberOfStudyRelatedInstances=300,
    RequestAttributesSequence=[{"RequestedProcedureID": "R1", "ScheduledProcedureStepID": []}, {}],
    PatientWeight=71.5,
    Rows=512,
    PixelSpacing=[0.5, 0.25],
    FrameIncrementPointer=["00181063", "00280009"],
    FloatingPointValue={"vr": "FD", "Value": [0.1, -2.0]},
    RecommendedDisplayFrameRateInFloat={"vr": "FL", "Value": [0.1]},
    EncryptedContent={"vr": "OB", "InlineBinary": "AAEC"},
    RedPaletteColorLookupTableData={"vr": "OW", "InlineBinary": "AAECAw=="},
)


def pydicom_dataset(raw: bytes, transfer_syntax_uid: str) -> Dataset:
    """The data set as pydicom reads it."""
    if transfer_syntax_uid == DEFLATED:
        import zlib

        raw = zlib.decompress(raw, -zlib.MAX_WBITS)
    explicit, little = transfer_syntax_uid != IMPLICIT_LE, transfer_syntax_uid != EXPLICIT_BE
    return read_dataset(io.BytesIO(raw), not explicit, little)


def pydicom_bytes(read: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set as pydicom writes it."""
    from pydicom.filebase import DicomBytesIO

    file = DicomBytesIO()
    file.is_implicit_VR = transfer_syntax_uid == IMPLICIT_LE
    file.is_little_endian = transfer_syntax_uid != EXPLICIT_BE
    write_dataset(file, read)
    return file.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_encoding_comes_back_as_it_was(syntax: str) -> None:
    """PS3.5 Annex A: what is encoded is decoded to the same object, in all four encodings of messages."""
    raw = encode(IDENTIFIER, syntax)
    expected = IDENTIFIER | {tag("EncryptedContent"): {"vr": "OB", "InlineBinary": "AAECAA=="}}  # padded
    assert len(raw) % 2 == 0
    assert decode(raw, syntax) == expected


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pydicom_reads_what_is_encoded(syntax: str) -> None:
    """PS3.5 7: another implementation reads the same values."""
    read = pydicom_dataset(encode(IDENTIFIER, syntax), syntax)
    assert read.PatientName == "Doe^Jane"
    assert read.ModalitiesInStudy == ["CT", "SR"]
    assert read.AccessionNumber == ""
    assert (read.Rows, read.PixelSpacing, read.PatientWeight) == (512, [0.5, 0.25], 71.5)
    assert read.RequestAttributesSequence[0].RequestedProcedureID == "R1"
    assert len(read.RequestAttributesSequence) == 2
    assert read.FrameIncrementPointer == [0x00181063, 0x00280009]
    assert read.FloatingPointValue == [0.1, -2.0]
    assert read.EncryptedContent == b"\0\1\2\0"
    assert bytes(read.RedPaletteColorLookupTableData) == (b"\1\0\3\2" if syntax == EXPLICIT_BE else b"\0\1\2\3")


def same_encoding(path: Path) -> tuple[Dataset, str] | None:
    """The header of a file and its transfer syntax; None for a damaged or a compressed one."""
    try:
        read = dcmread(path, force=True, stop_before_pixels=True)
        syntax = read.file_meta.TransferSyntaxUID
    except Exception:
        return None
    little, implicit = read.original_encoding[1], read.original_encoding[0]
    if syntax == DEFLATED or not syntax or UID(syntax).is_encapsulated:
        return None
    stated = IMPLICIT_LE if implicit else EXPLICIT_LE if little else EXPLICIT_BE
    return (read, stated) if stated == syntax else None


def as_written(whole: dict[str, Any], *, top: bool = True) -> dict[str, Any]:
    """The object with values padded, and without (0008,0005) in its items: one character set is for all of it."""
    written: dict[str, Any] = {}
    for key, attribute in whole.items():
        if attribute["vr"] == "SQ" and "Value" in attribute:
            written[key] = attribute | {"Value": [as_written(item, top=False) for item in attribute["Value"]]}
        elif "InlineBinary" in attribute:
            raw = base64.b64decode(attribute["InlineBinary"])
            padded = base64.b64encode(raw + bytes(len(raw) & 1)).decode()
            written[key] = attribute | {"InlineBinary": padded}
        elif top or key != tag("SpecificCharacterSet"):
            written[key] = attribute
    return written


def texts(read: Dataset) -> dict[str, list[str]]:
    """The text attributes of the standard by keyword, without padding."""
    return {
        element.keyword: [str(value).strip() for value in (element.value if element.VM > 1 else [element.value])]
        for element in (read[key] for key in sorted(read.keys()) if not key.is_private)
        if element.VR in ("PN", "LO", "SH", "UI", "CS", "DA", "TM", "LT") and element.keyword
        if element.keyword != "SpecificCharacterSet" and element.value
    }


def test_data_sets_of_files_keep_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """PS3.5: the headers of the corpus and of pydicom's files, decoded and encoded, are equal to pydicom."""
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    compared = 0
    for path in [*wheel_files(), *corpus_files("objects")]:
        found = same_encoding(path)
        if found is None:
            continue
        read, syntax = found
        try:
            raw = pydicom_bytes(read, syntax)
            original = as_written(decode(raw, syntax))
        except Exception:  # damaged on purpose
            continue
        for other in SYNTAXES[1:3]:
            assert decode(encode(original, other), other) == original, (path.name, other)
        character_set = data_set.read(raw, syntax).character_set
        for other in SYNTAXES:
            again = pydicom_dataset(encode(original, other, character_set=character_set), other)
            assert texts(again) == texts(read), (path.name, other)
        compared += 1
    assert compared > 60


@pytest.mark.parametrize(("declared", "raw", "text"), NAMES)
def test_text_of_every_character_set_is_encoded(declared: bytes, raw: bytes, text: str) -> None:
    """PS3.5 Annexes H to K: text is written so that it reads the same, and so that pydicom reads the same."""
    stated = declared.decode()
    encoded = encode(dataset(PatientName=text), EXPLICIT_LE, character_set=stated)
    assert data_set.read(encoded, EXPLICIT_LE) == (
        {tag("SpecificCharacterSet"): {"vr": "CS", "Value": ["ISO_IR 192"]}, **dataset(PatientName=text)},
        stated,
    )
    if declared not in (b"ISO_IR 203", b"\\ISO 2022 IR 58"):  # which pydicom does not read
        assert str(pydicom_dataset(encoded, EXPLICIT_LE).PatientName) == text


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        ("\\ISO 2022 IR 87", JAPANESE_G0),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", JAPANESE_HALF_WIDTH),
        ("\\ISO 2022 IR 149", KOREAN),
    ],
)
def test_names_are_written_as_the_examples_of_the_standard(declared: str, raw: bytes) -> None:
    """PS3.5 H.3.1, H.3.2, I.2: byte for byte, every component with its own escape sequences."""
    text = character_set(declared.encode()).decode(raw, PERSON_NAMES)
    assert text_encoder(declared).encode("PN", text) == raw


def test_another_single_byte_set_is_left_before_a_delimiter() -> None:
    """PS3.5 6.1.2.5.3: the first set is active before a delimiter and at the end of the value."""
    encoder = text_encoder("ISO 2022 IR 100\\ISO 2022 IR 144")
    assert encoder.encode("LO", "éи\\и") == b"\xe9\x1b-L\xd8\x1b-A\\\x1b-L\xd8\x1b-A"


@pytest.mark.parametrize(
    ("declared", "vr", "text"),
    [
        ("ISO_IR 100", "PN", "山田"),
        ("", "PN", "é"),
        ("NONSENSE", "LO", "é"),
        ("ISO_IR 13", "LT", "5 ¥"),
        ("ISO_IR 100", "CS", "É"),
        ("\\ISO 2022 IR 87", "PN", "é"),
        ("GBK", "PN", "Łuk^Anna"),
        ("GB18030", "PN", "\ud800"),
    ],
)
def test_text_a_character_set_has_not_is_not_written_in_it(declared: str, vr: str, text: str) -> None:
    """PS3.5 6.1.2.2: no character is replaced, and codes stay out of VRs of the default repertoire."""
    with pytest.raises(Unrepresentable):
        text_encoder(declared).encode(vr, text)


@pytest.mark.parametrize("asked_for", ["GBK", "GB18030", "ISO_IR 192"])
def test_half_a_character_is_refused_whatever_the_set_asked_for(asked_for: str) -> None:
    """Promise 7: a lone surrogate is no value in any character set."""
    with pytest.raises(InvalidDicom):
        encode(dataset(PatientName="\ud800"), EXPLICIT_LE, character_set=asked_for)


def test_a_name_that_gbk_has_not_is_written_in_utf_8() -> None:
    """G-076: one patient whose letters a stand-alone set lacks fails no answer."""
    raw = encode(dataset(PatientName="Łuk^Anna"), EXPLICIT_LE, character_set="GBK")
    read = pydicom_dataset(raw, EXPLICIT_LE)
    assert (read.SpecificCharacterSet, str(read.PatientName)) == ("ISO_IR 192", "Łuk^Anna")


def test_utf_8_is_taken_when_the_set_asked_for_has_not_all_of_the_text() -> None:
    """G-076: then all of the data set is in ISO_IR 192, and says so."""
    raw = encode(dataset(PatientName="Buc^Jérôme", PatientID="山"), EXPLICIT_LE, character_set="ISO_IR 100")
    read = pydicom_dataset(raw, EXPLICIT_LE)
    assert (read.SpecificCharacterSet, str(read.PatientName), read.PatientID) == ("ISO_IR 192", "Buc^Jérôme", "山")


def test_the_character_set_is_stated_when_it_matters_or_was_asked_for() -> None:
    """PS3.3 C.12.1.1.2: plain ASCII needs no (0008,0005)."""
    plain = dataset(PatientID="P1")
    assert encode(plain, IMPLICIT_LE, character_set="ISO_IR 100") == encode(plain, IMPLICIT_LE)
    asked = encode(dataset(SpecificCharacterSet=[], PatientID="P1"), IMPLICIT_LE, character_set="ISO_IR 100")
    assert asked == encode(plain, IMPLICIT_LE).join(
        (encode(dataset(SpecificCharacterSet="ISO_IR 100"), IMPLICIT_LE), b"")
    )
    assert encode(dataset(SpecificCharacterSet=[]), IMPLICIT_LE) == b"\x08\0\x05\0\0\0\0\0"


def test_values_json_cannot_hold_are_given_as_their_bytes() -> None:
    """RFC 8259: not-a-number goes in and out as InlineBinary, in either byte order."""
    nan = struct.pack("<d", float("nan"))
    for syntax in SYNTAXES:
        raw = encode({tag("FloatingPointValue"): {"vr": "FD", "Value": [None]}}, syntax)
        assert decode(raw, syntax) == {tag("FloatingPointValue"): {"vr": "FD"}}
    little = b"\x40\x00\x61\xa1FD\x08\x00" + nan
    read = decode(little, EXPLICIT_LE)
    assert read["0040A161"]["InlineBinary"]
    assert encode(read, EXPLICIT_LE) == little
    assert decode(encode(read, EXPLICIT_BE), EXPLICIT_BE) == read


def test_a_value_too_long_for_its_vr_is_written_as_un() -> None:
    """PS3.5 6.2.2, A-051: nothing is cut."""
    read = pydicom_dataset(
        encode({tag("PatientComments"): {"vr": "LT", "Value": ["x" * 70_000]}}, EXPLICIT_LE), EXPLICIT_LE
    )
    assert len(read[tag("PatientComments")].value) == 70_000


def test_keys_ascend_and_what_no_data_set_holds_is_left_out() -> None:
    """PS3.5 7.1: ascending order; D-159: neither group 0002 nor group lengths."""
    mixed = {
        "0040a730": {"vr": "SQ"},
        "00400100": {"vr": "SQ", "Value": [None]},
        "00100000": {"vr": "UL", "Value": [4]},
        "00020010": {"vr": "UI", "Value": [EXPLICIT_LE]},
        "00100020": {"Value": ["P1"]},
    }
    assert list(decode(encode(mixed, IMPLICIT_LE), IMPLICIT_LE)) == ["00100020", "00400100", "0040A730"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"0010": {"vr": "PN"}},
        {"00100020": {"vr": "XX"}},
        {"00100020": {"vr": "LO", "Value": "P1"}},
        {"00100020": {"vr": "LO", "Value": ["a"], "InlineBinary": ""}},
        {"00280010": {"vr": "US", "Value": [70_000]}},
        {"00400275": {"vr": "SQ", "Value": ["a"]}},
        {"7FE00010": {"vr": "OW", "BulkDataURI": "7FE00010"}},
    ],
)
def test_an_object_that_is_no_data_set_is_refused(wrong: dict[str, Any]) -> None:
    """PS3.18 F.2.2: the message names the attribute, nothing is written."""
    with pytest.raises(InvalidDicom):
        encode(wrong, EXPLICIT_LE)


def test_endless_nesting_is_refused() -> None:
    """Promise 7: no recursion without end."""
    nested: dict[str, Any] = {}
    for _ in range(100):
        nested = {"00400275": {"vr": "SQ", "Value": [nested]}}
    with pytest.raises(LimitExceeded):
        encode(nested, EXPLICIT_LE)


def test_a_data_set_cut_short_is_refused() -> None:
    """PS3.7 6.3: an identifier that ends within an element is not understood."""
    raw = encode(IDENTIFIER, EXPLICIT_LE)
    with pytest.raises(InvalidDicom):
        decode(raw[:-3], EXPLICIT_LE)
    with pytest.raises(InvalidDicom):
        decode(encode(IDENTIFIER, DEFLATED)[:-9], DEFLATED)
    assert decode(b"", EXPLICIT_LE) == {}
    assert decode(b"", DEFLATED) == {}


@pytest.mark.parametrize(
    "many",
    [
        dataset(OtherPatientIDs=["x"] * 1001),
        dataset(OtherPatientNames=["x"] * 1001),
        dataset(PatientWeight={"vr": "DS", "Value": [1] * 1001}),
        dataset(Rows={"vr": "US", "Value": [1] * 1001}),
        dataset(FloatingPointValue={"vr": "FD", "Value": [1.5] * 1001}),
        dataset(RequestAttributesSequence=[{"OtherPatientIDs": ["x"] * 501}, {"OtherPatientIDs": ["x"] * 500}]),
        {f"{0x00100020 + number:08X}": {"vr": "LO"} for number in range(1001)},
    ],
    ids=["strings", "names", "decimals", "words", "doubles", "in items", "empty"],
)
def test_nothing_is_made_of_too_many_values(many: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: a value of two bytes is a hundred times as much in memory; they are counted before."""
    raw = encode(many, EXPLICIT_LE)
    assert decode(raw, EXPLICIT_LE, Bounds(values=1001)) == many
    monkeypatch.setattr(data_set.dicomjson, "encode", None)
    with pytest.raises(LimitExceeded, match="values"):
        decode(raw, EXPLICIT_LE, Bounds(values=1000))


def test_bytes_are_one_value() -> None:
    """PS3.5 6.2: what is binary or unknown is not divided into values."""
    raw = encode({tag("EncryptedContent"): {"vr": "OB", "InlineBinary": "XFxc" * 1000}}, EXPLICIT_LE)
    assert decode(raw, EXPLICIT_LE, Bounds(values=1))


def test_a_deflated_data_set_has_the_bounds_of_what_it_inflates_to() -> None:
    """PS3.5 A.5: deflating buys nothing."""
    raw = encode(dataset(PatientComments="x" * 5000), DEFLATED)
    assert decode(raw, DEFLATED, Bounds(length=6000))
    with pytest.raises(LimitExceeded, match="inflates"):
        decode(raw, DEFLATED, Bounds(length=4000))


def test_two_hundred_thousand_uids_are_read() -> None:
    """G-093: a C-MOVE may ask for as many instances."""
    uids = [f"1.2.3.{number}" for number in range(200_000)]
    assert (
        decode(encode(dataset(SOPInstanceUID=uids), IMPLICIT_LE), IMPLICIT_LE)[tag("SOPInstanceUID")]["Value"] == uids
    )


@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
@example(b"\x08\0\x60\0XX\1\0\xff", EXPLICIT_LE)
@example(b"\x10\0\x10\0\3\0\0\0^\xff=", IMPLICIT_LE)
def test_bytes_that_are_no_data_set_raise_nothing_else(raw: bytes, syntax: str) -> None:
    """Promise 7: hostile bytes are refused or read, and what was read can be written."""
    try:
        read = decode(raw, syntax)
    except (InvalidDicom, LimitExceeded):
        return
    assert read.keys() <= decode(encode(read, syntax), syntax).keys()


@given(
    st.text(alphabet=st.sampled_from("aé日本ｱ山田^=\\ \n홍и"), max_size=12),
    st.sampled_from(
        ["ISO_IR 100", "\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 149", "GB18030", "GBK"]
    ),
)
def test_what_can_be_written_reads_the_same(text: str, declared: str) -> None:
    """PS3.5 6.1.2.5: encoder and decoder agree on where the first set is active again."""
    try:
        raw = text_encoder(declared).encode("LO", text)
    except Unrepresentable:
        return
    assert character_set(declared.encode()).decode(raw, MANY_VALUES) == text
