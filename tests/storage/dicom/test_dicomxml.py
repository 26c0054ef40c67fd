"""The Native DICOM Model (PS3.19 A.1): literals, round trips of drawn and of real data sets, and refusals."""

from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dicom import dicomxml
from storage.dicom.dicomjson import encode
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource
from storage.errors import ArchiveError, InvalidDicom, LimitExceeded
from tests.corpus import wheel_files

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" '
)


def body(dataset: dict[str, Any]) -> str:
    """Encode and return what is inside of the root element."""
    text = dicomxml.encode(dataset).decode("utf-8")
    assert text.startswith(HEAD + 'xml:space="preserve">')
    return text[text.index(">", len(HEAD)) + 1 :].removesuffix("</NativeDicomModel>")


def read(content: str, namespace: str = "") -> dict[str, Any]:
    return dicomxml.decode(f"<NativeDicomModel{namespace}>{content}</NativeDicomModel>".encode())


EXAMPLES = [
    (
        {"00080008": {"vr": "CS", "Value": ["MPG", None, "XR3"]}},
        '<DicomAttribute tag="00080008" vr="CS" keyword="ImageType"><Value number="1">MPG</Value>'
        '<Value number="2"></Value><Value number="3">XR3</Value></DicomAttribute>',
    ),
    (
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "^Bob^^Dr.", "Ideographic": "王^小東"}, None]}},
        '<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1"><Alphabetic><FamilyName>'
        "</FamilyName><GivenName>Bob</GivenName><MiddleName></MiddleName><NamePrefix>Dr.</NamePrefix></Alphabetic>"
        "<Ideographic><FamilyName>王</FamilyName><GivenName>小東</GivenName></Ideographic></PersonName>"
        '<PersonName number="2"></PersonName></DicomAttribute>',
    ),
    (
        {"00081115": {"vr": "SQ", "Value": [{"0020000E": {"vr": "UI", "Value": ["1.2"]}}, {}]}},
        '<DicomAttribute tag="00081115" vr="SQ" keyword="ReferencedSeriesSequence"><Item number="1"><DicomAttribute '
        'tag="0020000E" vr="UI" keyword="SeriesInstanceUID"><Value number="1">1.2</Value></DicomAttribute></Item>'
        '<Item number="2"></Item></DicomAttribute>',
    ),
    ({"00100020": {"vr": "LO"}}, '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID"/>'),
    (
        {"7FE00010": {"vr": "OW", "BulkDataURI": 'http://a/b?c=1&d="2"'}},
        '<DicomAttribute tag="7FE00010" vr="OW" keyword="PixelData"><BulkData uri=\'http://a/b?c=1&amp;d="2"\'/>'
        "</DicomAttribute>",
    ),
    (
        {"00281201": {"vr": "OW", "InlineBinary": "AAE="}},
        '<DicomAttribute tag="00281201" vr="OW" keyword="RedPaletteColorLookupTableData"><InlineBinary>AAE='
        "</InlineBinary></DicomAttribute>",
    ),
    (
        {"00090011": {"vr": "LO", "Value": ["ACME & Co"]}, "00091102": {"vr": "US", "Value": [7]}},
        '<DicomAttribute tag="00090011" vr="LO"><Value number="1">ACME &amp; Co</Value></DicomAttribute>'
        '<DicomAttribute tag="00090002" vr="US" privateCreator="ACME &amp; Co"><Value number="1">7</Value>'
        "</DicomAttribute>",
    ),
    (
        {"00280009": {"vr": "AT", "Value": ["00181063"]}, "00280030": {"vr": "DS", "Value": [0.5, "1,5"]}},
        '<DicomAttribute tag="00280009" vr="AT" keyword="FrameIncrementPointer"><Value number="1">00181063</Value>'
        '</DicomAttribute><DicomAttribute tag="00280030" vr="DS" keyword="PixelSpacing"><Value number="1">0.5</Value>'
        '<Value number="2">1,5</Value></DicomAttribute>',
    ),
]


@pytest.mark.parametrize(("dataset", "content"), EXAMPLES)
def test_every_form_of_an_attribute(dataset: dict[str, Any], content: str) -> None:
    """D-161, A-140, PS3.19 Table A.1.5-2: UTF-8 with declaration; each form is written by the table, and read back."""
    assert body(dataset) == content
    assert read(content) == dataset


def test_a_private_attribute_gets_a_block_of_its_creator() -> None:
    """PS3.19 Table A.1.5-2, D-160: the block is not sent, so it is found or reserved."""
    private = '<DicomAttribute tag="00090001" vr="LO" privateCreator="{}"><Value number="1">{}</Value></DicomAttribute>'
    reserved = '<DicomAttribute tag="00090012" vr="LO"><Value number="1">A</Value></DicomAttribute>'
    assert read(private.format("A", "x") + reserved + private.format("B", "y")) == {
        "00090010": {"vr": "LO", "Value": ["B"]},
        "00090012": {"vr": "LO", "Value": ["A"]},
        "00091001": {"vr": "LO", "Value": ["y"]},
        "00091201": {"vr": "LO", "Value": ["x"]},
    }
    twice = read(private.format("A", "x") + private.format("A", "y"))
    assert [twice[key]["Value"] for key in ("00090010", "00090011", "00091001", "00091101")] == [
        ["A"],
        ["A"],
        ["x"],
        ["y"],
    ]


def test_a_group_full_of_creators_is_refused() -> None:
    """PS3.5 7.8.1: a group has 240 blocks."""
    private = '<DicomAttribute tag="00090001" vr="LO" privateCreator="{}"/>'
    with pytest.raises(InvalidDicom, match="0009"):
        read("".join(private.format(number) for number in range(241)))


def test_a_private_attribute_without_creator_keeps_its_tag() -> None:
    """D-160: an attribute whose creator is missing is not lost."""
    dataset = {"00091102": {"vr": "LO", "Value": ["x"]}}
    assert read(body(dataset)) == dataset


def test_what_other_writers_do_is_read() -> None:
    """B-008: namespace, missing vr, lower case tags, SingleByte, uuid, white space and values out of order."""
    dataset = read(
        """
        <DicomAttribute tag="0020000d" keyword="StudyInstanceUID"><Value number="1">1.2</Value></DicomAttribute>
        <DicomAttribute tag="00080008" vr="CS"><Value number="2">B</Value><Value number="1">A</Value></DicomAttribute>
        <DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><SingleByte><GivenName>Bob</GivenName>
        </SingleByte></PersonName></DicomAttribute>
        <DicomAttribute tag="7FE00010" vr="OB"><BulkData uuid="3bcfc4fe-a3ba-4a1c-8d2c-1"/></DicomAttribute>
        <DicomAttribute tag="00280010" vr="US"><Value number="1"> 512 </Value></DicomAttribute>
        <DicomAttribute tag="00091001" vr="OB"><InlineBinary> AA
        E= </InlineBinary></DicomAttribute>""",
        ' xmlns:n="http://dicom.nema.org/PS3.19/models/NativeDICOM"',
    )
    assert dataset == {
        "00080008": {"vr": "CS", "Value": ["A", "B"]},
        "00091001": {"vr": "OB", "InlineBinary": "AAE="},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "^Bob"}]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "00280010": {"vr": "US", "Value": [512]},
        "7FE00010": {"vr": "OB", "BulkDataURI": "3bcfc4fe-a3ba-4a1c-8d2c-1"},
    }


def test_characters_xml_does_not_have_are_replaced() -> None:
    """XML 1.0 2.2: control characters become U+FFFD; carriage returns survive."""
    dataset = {"00204000": {"vr": "LT", "Value": ["a\x1bb\x00c\ufffe\r\n\td"]}}
    assert read(body(dataset)) == {"00204000": {"vr": "LT", "Value": ["a\ufffdb\ufffdc\ufffd\r\n\td"]}}


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><NativeDicomModel>&b;</NativeDicomModel>'
REFUSED = [
    BOMB,
    b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
    b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><NativeDicomModel>&e;</NativeDicomModel>',
    b"",
    b"<NativeDicomModel>",
    b"not xml",
    b"<NativeDicomModel>&undefined;</NativeDicomModel>",
    b"<html/>",
    b'<?xml version="1.0" encoding="nonsense"?><NativeDicomModel/>',
    b'<NativeDicomModel><DicomAttribute tag="0010" vr="LO"/></NativeDicomModel>',
    b'<NativeDicomModel><DicomAttribute vr="LO"/></NativeDicomModel>',
    b'<NativeDicomModel><DicomAttribute tag="00100020"/><DicomAttribute tag="00100020"/></NativeDicomModel>',
    b'<NativeDicomModel><DicomAttribute tag="00280010" vr="US"><Value number="1">many</Value></DicomAttribute>'
    b"</NativeDicomModel>",
    b'<NativeDicomModel><DicomAttribute tag="00189087" vr="FD"><Value number="1">nan</Value></DicomAttribute>'
    b"</NativeDicomModel>",
    b'<NativeDicomModel><DicomAttribute tag="00280010" vr="US"><Value number="x">1</Value></DicomAttribute>'
    b"</NativeDicomModel>",
    b'<NativeDicomModel><DicomAttribute tag="00280106"><Value number="1">1</Value></DicomAttribute></NativeDicomModel>',
]


@pytest.mark.parametrize("document", REFUSED)
def test_bad_documents_are_refused(document: bytes) -> None:
    """B-008, B-018: no document types (so no entity bombs, no files fetched), no broken documents or values."""
    with pytest.raises(InvalidDicom):
        dicomxml.decode(document)


def test_nesting_has_a_limit() -> None:
    """User pain 37: hostile nesting ends in a clear refusal."""
    open_item = '<DicomAttribute tag="00081115" vr="SQ"><Item number="1">'
    close_item = "</Item></DicomAttribute>"
    assert read(open_item * 60 + close_item * 60)
    with pytest.raises(LimitExceeded):
        read(open_item * 5000 + close_item * 5000)


CHARACTERS = "aZ 0^=\\é王𠀋\u2028\ufffd\x85<>&]\"'"
TEXTS = st.text(st.sampled_from(CHARACTERS + "\t\n\r"), min_size=1, max_size=8)
NAME = st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "LO": TEXTS,
    "UT": TEXTS,
    "US": st.integers(0, 65535),
    "SV": st.integers(-(2**53), 2**53) | st.just(str(2**60)),
    "FD": st.floats(allow_nan=False, allow_infinity=False),
    "DS": st.floats(-1e6, 1e6).map(lambda number: round(number, 6)) | st.just("1,5"),
    "PN": st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), NAME, min_size=1),
}


def listed(vr: str) -> st.SearchStrategy[dict[str, Any]]:
    values = st.lists(st.none() | VALUES[vr], max_size=3).filter(lambda drawn: drawn != [None])
    return values.map(lambda drawn: {"vr": vr, "Value": drawn} if drawn else {"vr": vr})


ATTRIBUTES = st.sampled_from(sorted(VALUES)).flatmap(listed)
TAGS = st.integers(0x0008, 0x7FE0).flatmap(
    lambda group: st.integers(0x10, 0xFFFF).map(lambda number: f"{group & 0xFFFE:04X}{number:04X}")
)
DATASETS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(TAGS, ATTRIBUTES, max_size=4),
    lambda inner: st.dictionaries(
        TAGS, st.lists(inner, min_size=1, max_size=2).map(lambda items: {"vr": "SQ", "Value": items}), max_size=2
    ),
    max_leaves=4,
)


@given(DATASETS)
def test_reading_gives_back_what_was_written(dataset: dict[str, Any]) -> None:
    """PS3.18 F.3: JSON and XML carry the same data set."""
    assert dicomxml.decode(dicomxml.encode(dataset)) == dataset


def test_real_files_come_back_the_same() -> None:
    """D-161: all of pydicom's files go through XML unchanged, but for control characters."""
    compared = 0
    for path in wheel_files():
        try:
            header, _ = read_header(BytesSource(path.read_bytes()))
        except ArchiveError:
            continue
        dataset = encode(header).dataset
        document = dicomxml.encode(dataset)
        assert fromstring(document).tag.endswith("NativeDicomModel")
        assert comparable(dicomxml.decode(document)) == comparable(dataset), path.name
        compared += 1
    assert compared > 150


def comparable(value: Any) -> Any:
    """Without the characters that XML does not have."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return value.translate(dicomxml.ILLEGAL) if isinstance(value, str) else value


@given(st.binary(max_size=80))
def test_garbage_is_refused_and_nothing_worse(document: bytes) -> None:
    """B-018: any bytes give a data set or our own error."""
    try:
        dataset = dicomxml.decode(b"<NativeDicomModel>" + document + b"</NativeDicomModel>")
    except ArchiveError as error:
        assert str(error)
    else:
        assert fromstring(dicomxml.encode(dataset)).tag.endswith("NativeDicomModel")
