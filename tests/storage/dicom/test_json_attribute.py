"""Members that the DICOM JSON Model does not have: refused when a value would be lost, else named (PS3.18 F.2.2)."""

from typing import Any

import pytest

from storage.dicom import data_set, dicomxml
from storage.dicom.part10 import EXPLICIT_LE
from storage.errors import InvalidDicom
from storage.writing.compose import compose
from tests.storage.writing.test_compose import IDENTITY, composed, read

TEXT = {"vr": "LO", "Value": ["a"]}

LOST: list[tuple[str, dict[str, Any], str]] = [
    ("00081030", {"vr": "LO", "value": ["a"]}, r'\(0008,1030\): "value"'),
    ("00081030", {"vr": "LO", "Values": ["a"]}, '"Values"'),
    ("00081030", {"vr": "LO", "VALUE": ["a"], "Value": []}, '"VALUE"'),
    ("00081030", {"vr": "LO", "Value": ["a"], "value": ["b"]}, '"value"'),
    ("00081030", {"VR": "LO", "value": ["a"]}, r'\(0008,1030\): "(VR|value)"'),
    ("00081030", {"vr": "LO", "text": "a"}, '"text"'),
    ("00100010", {"vr": "PN", "name": "Doe^Jane"}, '"name"'),
    ("00420011", {"vr": "OB", "inlineBinary": "AAAA"}, r'\(0042,0011\): "inlineBinary"'),
    ("00420011", {"vr": "OB", "InlineBinary": "", "inlineBinary": "AAAA"}, '"inlineBinary"'),
    ("7FE00010", {"vr": "OW", "BulkDataURL": "x.raw"}, r'\(7FE0,0010\): "BulkDataURL"'),
    ("7FE00010", {"vr": "OW", "BulkDataUri": "x.raw"}, '"BulkDataUri"'),
    ("7FE00010", {"vr": "OW", "dataFragment": [None, {}]}, '"dataFragment"'),
    ("00081032", {"vr": "SQ", "Items": [{"00080100": TEXT}]}, r'\(0008,1032\): "Items"'),
    ("00081032", {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "value": ["a"]}}]}, r'\(0008,0104\): "value"'),
    ("00081032", {"vr": "SQ", "Value": [{"CodeMeaning": TEXT}]}, "CodeMeaning"),
    ("00100010", {"vr": "PN", "Value": [{"alphabetic": "Doe^Jane"}]}, r'\(0010,0010\): "alphabetic"'),
    ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Kanji": "山田"}]}, '"Kanji"'),
    ("00100010", {"vr": "PN", "Value": [{"Alphabetic": {"FamilyName": "Doe"}}]}, r"\(0010,0010\)"),
]


@pytest.mark.parametrize(("key", "attribute", "named"), LOST)
def test_a_value_under_another_name_is_refused(key: str, attribute: dict[str, Any], named: str) -> None:
    """The instance is not stored without the value; the reason has the tag and the member."""
    with pytest.raises(InvalidDicom, match=named):
        composed({key: attribute})


@pytest.mark.parametrize(("key", "attribute", "named"), [entry for entry in LOST if entry[0] != "7FE00010"])
def test_messages_lose_no_value_either(key: str, attribute: dict[str, Any], named: str) -> None:
    """A worklist item or an identifier is held to the same."""
    with pytest.raises(InvalidDicom, match=named):
        data_set.encode({key: attribute}, EXPLICIT_LE)


@pytest.mark.parametrize(
    ("attributes", "warnings"),
    [
        ({"00081030": TEXT | {"keyword": "x"}}, ['"keyword" of (0008,1030) was left out.']),
        ({"00081030": TEXT | {"value": []}}, ['"value" of (0008,1030) was left out.']),
        ({"00081030": {"vr": "LO", "keyword": "StudyDescription"}}, ['"keyword" of (0008,1030) was left out.']),
        ({"00081030": {"vr": "LO", "name": "Study Description"}}, ['"name" of (0008,1030) was left out.']),
        ({"00081030": {"vr": "LO", "tag": "00081030"}}, ['"tag" of (0008,1030) was left out.']),
        ({"00081030": {"vr": "LO", "Value": None, "x": None}}, ['"x" of (0008,1030) was left out.']),
        (
            {key: TEXT | {"name": "n"} for key in ("00081030", "0008103E", "00081040")},
            ['"name" of (0008,1030) and 2 more was left out.'],
        ),
    ],
)
def test_what_is_beside_a_value_is_named(attributes: dict[str, Any], warnings: list[str]) -> None:
    """Nothing is lost by leaving it out, and it is told which; one name once, however many attributes have it."""
    result = compose(IDENTITY | attributes, lambda uri: [])
    assert result.warnings == warnings
    dataset = read(b"".join(result.chunks))
    assert dataset.StudyDescription == (attributes["00081030"].get("Value") or [""])[0]


def test_an_attribute_is_there_once() -> None:
    """Tags that differ by letter case are one attribute, and its second value would be lost."""
    with pytest.raises(InvalidDicom, match=r"\(0008,103E\).*twice"):
        composed({"0008103E": TEXT, "0008103e": TEXT})


def xml(inner: str) -> dict[str, Any]:
    """Return the data set of a document with identifiers and more."""
    model = dicomxml.encode(IDENTITY).decode().replace("</NativeDicomModel>", f"{inner}</NativeDicomModel>")
    return dicomxml.decode(model.encode())


def attribute(content: str, tag: str = "00081030", vr: str = "LO", more: str = "") -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}"{more}>{content}</DicomAttribute>'


@pytest.mark.parametrize(
    ("inner", "named"),
    [
        (attribute('<value number="1">x</value>'), r'\(0008,1030\): "<value>"'),
        (attribute('<Value number="1">a</Value><value number="2">x</value>'), '"<value>"'),
        (attribute("x"), r'\(0008,1030\): "#text"'),
        (attribute("", more=' value="x"'), '"@value"'),
        (attribute('<Value number="1">a<b>x</b></Value>'), "<b> within <Value>"),
        (attribute('<inlineBinary>AAAA</inlineBinary>', "00420011", "OB"), '"<inlineBinary>"'),
        (attribute("<InlineBinary>AAAA</InlineBinary>" * 2, "00420011", "OB"), r"\(0042,0011\): InlineBinary"),
        (attribute('<InlineBinary>AAAA</InlineBinary><BulkData uri="x"/>', "00091001", "OB"), "only one of"),
        (attribute('<bulkdata uri="x"/>', "00420011", "OB"), '"<bulkdata>"'),
        (attribute('<Items><Item number="1"/></Items>', "00081032", "SQ", ' x="y"'), "0008,1032"),
        (attribute('<PersonName number="1"><alphabetic><FamilyName>Doe</FamilyName></alphabetic></PersonName>',
                   "00100010", "PN"), r'\(0010,0010\): "<alphabetic>"'),
        (attribute('<PersonName number="1"><Alphabetic><Family>Doe</Family></Alphabetic></PersonName>',
                   "00100010", "PN"), '"<Family>"'),
        (attribute('<PersonName number="1"><Alphabetic>Doe^Jane</Alphabetic></PersonName>', "00100010", "PN"), "#text"),
        (attribute('<PersonName number="1">Doe^Jane</PersonName>', "00100010", "PN"), "#text"),
        ('<dicomAttribute tag="00081030" vr="LO"><Value number="1">x</Value></dicomAttribute>', "<dicomAttribute>"),
        ("x", "#text"),
    ],
)  # fmt: skip
def test_xml_loses_no_value_either(inner: str, named: str) -> None:
    """An element, XML attribute or text that the Native DICOM Model does not have is refused by name (PS3.19 A.1.5)."""
    with pytest.raises(InvalidDicom, match=named):
        compose(xml(inner), lambda uri: [])


def test_xml_attributes_beside_a_value_are_named() -> None:
    """What describes an attribute is left out, and told."""
    result = compose(xml(attribute('<Value number="1">a</Value>', more=' name="n" xml:lang="en"')), lambda uri: [])
    assert result.warnings == ['"@name" of (0008,1030) was left out.']
    assert read(b"".join(result.chunks)).StudyDescription == "a"
