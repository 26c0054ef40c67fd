"""Metadata with its long texts and numbers in place."""

import base64
import struct
from typing import Any

import orjson
import pytest
from pydicom.datadict import tag_for_keyword

from storage.dicom import dicomjson
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource
from storage.policy import Policy
from storage.retrieval.whole_metadata import has_long_values, whole_metadata
from tests.builders import BIG_ENDIAN, DEFLATED, EXPLICIT_LE, IMPLICIT_LE, dicom_file

FINDING = "Überall unauffällig. " * 4000
TEXT, POINTS, PRIVATE = "0040A160", "00700022", "00091001"


def metadata_of(file: bytes) -> bytes:
    """Return what is stored of a file."""
    header, _ = read_header(BytesSource(file))
    return dicomjson.dumps(dicomjson.encode(header).dataset)


def whole(file: bytes, room: int = 1 << 23) -> dict[str, Any]:
    """Return all of the metadata of a file."""
    read: dict[str, Any] = orjson.loads(whole_metadata(BytesSource(file), Policy(), room))
    return read


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192", "GB18030"])
def test_a_long_text_is_read_in_its_character_set(transfer_syntax: str, character_set: str) -> None:
    """84 000 letters come out as they were written, at the top and in an item, whatever the encoding (PS3.18 F.2)."""
    file = dicom_file(
        transfer_syntax=transfer_syntax,
        SpecificCharacterSet=character_set,
        TextValue=FINDING,
        ContentSequence=[{"TextValue": FINDING[::-1]}],
    )
    stored = metadata_of(file)
    assert b'"0040A160":{"vr":"UT","BulkDataURI":"0040A160"}' in stored
    assert has_long_values(stored)
    read = whole(file)
    assert read[TEXT] == {"vr": "UT", "Value": [FINDING.rstrip()]}
    assert read["0040A730"]["Value"][0][TEXT]["Value"] == [FINDING[::-1].rstrip()]
    assert {key: read[key] for key in read if key not in (TEXT, "0040A730", "00083002")} == {
        key: value for key, value in orjson.loads(stored).items() if key not in (TEXT, "0040A730")
    }


def test_an_item_has_a_character_set_of_its_own() -> None:
    """A long text of an item that states another character set than the data set is read in that (PS3.3 C.12.1.1.2)."""
    item = {"SpecificCharacterSet": "ISO_IR 144", "TextValue": "Норма. " * 20_000}
    file = dicom_file(SpecificCharacterSet="ISO_IR 100", ContentSequence=[item])
    raw = file.replace(item["TextValue"].encode("utf-8"), item["TextValue"].encode("iso-8859-5"))
    assert item["TextValue"].encode("iso-8859-5") in raw
    assert whole(raw)["0040A730"]["Value"][0][TEXT]["Value"] == [item["TextValue"].rstrip()]


@pytest.mark.parametrize(
    ("transfer_syntax", "keyword", "values"),
    [
        (IMPLICIT_LE, "GraphicData", [0.5 * number for number in range(20_000)]),
        (IMPLICIT_LE, "FrameTimeVector", [number % 90 + 10 for number in range(30_000)]),
        (EXPLICIT_LE, "SelectorUVValue", list(range(10_000))),
        (BIG_ENDIAN, "SelectorUVValue", list(range(10_000))),
    ],
)
def test_long_rows_of_numbers_are_read(transfer_syntax: str, keyword: str, values: list[float]) -> None:
    """Numbers are those that were sent, in both byte orders (PS3.5 7.3)."""
    file = dicom_file(transfer_syntax=transfer_syntax, **{keyword: values})
    assert has_long_values(metadata_of(file))
    assert whole(file)[f"{tag_for_keyword(keyword):08X}"]["Value"] == values


def test_what_is_beyond_the_room_stays_a_path() -> None:
    """Values are taken in the order of the data set while there is room for them; short ones need none."""
    items = [{"TextValue": letter * 70_000} for letter in "abc"]
    file = dicom_file(ContentSequence=[*items, {"TextValue": "d" * 60_000}])
    taken = [item[TEXT] for item in whole(file, room=150_000)["0040A730"]["Value"]]
    assert [value.get("Value", [value.get("BulkDataURI")])[0][:14] for value in taken] == [
        "a" * 14,
        "b" * 14,
        "0040A730/3/004",
        "d" * 14,
    ]


def test_binary_values_and_what_json_cannot_say_stay_paths() -> None:
    """Bytes are read by position, and NaN has no form in JSON (PS3.18 F.2.3)."""
    pixels = bytes(100_000)
    file = dicom_file(
        pixels=pixels,
        ICCProfile=bytes(5000),
        GraphicData=[1.0, float("nan")],
        RedPaletteColorLookupTableData=bytes(6000),
    )
    read = whole(file)
    assert read["7FE00010"] == {"vr": "OB", "BulkDataURI": "7FE00010"}
    assert read["00282000"] == {"vr": "OB", "BulkDataURI": "00282000"}
    assert read[POINTS] == {"vr": "FL", "BulkDataURI": POINTS}
    assert base64.b64decode(read["00281201"]["InlineBinary"]) == bytes(6000)


@pytest.mark.parametrize(
    ("attribute", "long"),
    [
        ({"vr": "UT", "BulkDataURI": TEXT}, True),
        ({"vr": "FL", "BulkDataURI": TEXT}, True),
        ({"vr": "UN", "BulkDataURI": TEXT}, True),  # the data dictionary knows it
        ({"vr": "OW", "BulkDataURI": TEXT}, False),
        ({"vr": "OB", "BulkDataURI": TEXT}, False),
        ({"vr": "UT", "Value": ['"vr":"UT","BulkDataURI":"0040A160"']}, False),
        ({"vr": "OB", "InlineBinary": "AAAA"}, False),
    ],
)
def test_only_texts_and_numbers_elsewhere_count(attribute: dict[str, str], long: bool) -> None:
    """An instance is read again for these alone, not for its pixels, whatever its texts say."""
    assert has_long_values(dicomjson.dumps({"00080018": {"vr": "UI", "Value": ["1"]}, TEXT: attribute})) is long
    unknown = dicomjson.dumps({PRIVATE: {"vr": "UN", "BulkDataURI": PRIVATE}})
    assert not has_long_values(unknown)
    assert not has_long_values(metadata_of(dicom_file(pixels=struct.pack("<H", 1) * 64)))
