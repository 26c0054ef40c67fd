"""The DICOM JSON Model (PS3.18 Annex F): every VR by literals, hostile bytes by hypothesis."""

import base64
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dicom import dicomjson
from storage.dicom.dicomjson import Encoded, decimal_string, integer_string
from storage.dicom.elements import Dataset, Element, Encoding, Header
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource
from storage.dicom.vr import LONG_VR, SHORT_VR
from tests.builders import dicom_file, multi_frame

VRS = sorted({*SHORT_VR.values(), *LONG_VR.values()} - {"SQ"})
CHARACTER_SETS = [b"", b"ISO_IR 100", b"ISO_IR 192", b"GB18030", b"GBK", b"ISO_IR 13", b"\\ISO 2022 IR 87", b"WRONG"]
TAG = 0x00091001


def dataset(*elements: tuple[int, str, Any]) -> Dataset:
    """Elements at made-up places: the value of tag t starts at t's low byte."""
    return {
        tag: Element(tag, vr, value, tag & 0xFF, len(value) if isinstance(value, bytes) else 0)
        for tag, vr, value in elements
    }


def encode(elements: Dataset, *, little_endian: bool = True, **options: Any) -> Encoded:
    encoding = Encoding(little_endian=little_endian)
    return dicomjson.encode(Header({}, elements, "1.2.840.10008.1.2.1", encoding, True, 0, 0), **options)


def attribute(vr: str, raw: bytes, *, charset: bytes | None = None, little_endian: bool = True) -> dict[str, Any]:
    """Encode one private element and return its JSON object."""
    elements = dataset((TAG, vr, raw))
    if charset is not None:
        elements = dataset((0x00080005, "CS", charset)) | elements
    return encode(elements, little_endian=little_endian).dataset[f"{TAG:08X}"]


VALUES = [
    ("AE", b" STORE   ", ["STORE"]),
    ("AS", b"034Y", ["034Y"]),
    ("CS", b"ORIGINAL\\PRIMARY\\AXIAL ", ["ORIGINAL", "PRIMARY", "AXIAL"]),
    ("CS", b"MPG\\\\XR3", ["MPG", None, "XR3"]),
    ("DA", b"20240115", ["20240115"]),
    ("DA", b"2024.01.15", ["2024.01.15"]),
    ("DT", b"20240115103000.123456+0100", ["20240115103000.123456+0100"]),
    ("TM", b"101530.25 ", ["101530.25"]),
    ("UI", b"1.2.3\0", ["1.2.3"]),
    ("UI", b"1.2.3\\4.5.6\0\0", ["1.2.3", "4.5.6"]),
    ("LO", b" leading and trailing \0", ["leading and trailing"]),
    ("SH", b"a\\b ", ["a", "b"]),
    ("UC", b"  kept\\b ", ["  kept", "b"]),
    ("LT", b"  kept\\not split\r\n ", ["  kept\\not split\r\n"]),
    ("ST", b" a\\b", [" a\\b"]),
    ("UT", b"  text\0", ["  text"]),
    ("UR", b"http://a/b\\c  ", ["http://a/b\\c"]),
    ("PN", b"Doe^John^^Dr^", [{"Alphabetic": "Doe^John^^Dr^"}]),
    ("PN", b"A^B=C^D=E^F", [{"Alphabetic": "A^B", "Ideographic": "C^D", "Phonetic": "E^F"}]),
    ("PN", b"A==C", [{"Alphabetic": "A", "Phonetic": "C"}]),
    ("PN", b"A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
    ("IS", b" 12\\-3 \\+4\\", [12, -3, 4, None]),
    ("IS", b"2.0 ", [2]),
    ("DS", b"0.5\\1e3\\-0.25 ", [0.5, 1000.0, -0.25]),
    ("DS", b"1,5 ", ["1,5"]),
    ("US", b"\x01\x00\xff\xff", [1, 65535]),
    ("SS", b"\xff\xff", [-1]),
    ("UL", b"\xff\xff\xff\xff", [4294967295]),
    ("SL", b"\xff\xff\xff\xff", [-1]),
    ("UV", struct.pack("<QQ", 2**53, 2**64 - 1), [2**53, "18446744073709551615"]),
    ("SV", struct.pack("<qq", -5, -(2**63)), [-5, "-9223372036854775808"]),
    ("FL", struct.pack("<ff", 0.1, -2.5), [0.1, -2.5]),
    ("FD", struct.pack("<d", 0.1), [0.1]),
    ("AT", b"\x28\x00\x09\x00\xe0\x7f\x10\x00", ["00280009", "7FE00010"]),
]


@pytest.mark.parametrize(("vr", "raw", "values"), VALUES)
def test_values_by_vr(vr: str, raw: bytes, values: list[Any]) -> None:
    """D-143 to D-155, Table F.2.3-1: each VR has its form in JSON, without padding."""
    assert attribute(vr, raw) == {"vr": vr, "Value": values}


TEXT_VRS = ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]


@pytest.mark.parametrize(
    ("vr", "raw"), [(vr, b"") for vr in VRS] + [(vr, raw) for vr in TEXT_VRS for raw in (b"  ", b"\0\0")]
)
def test_empty_attributes_have_their_vr_only(vr: str, raw: bytes) -> None:
    """D-142, F.2.5: never `[]`, `[""]` or `[null]`; text of padding only is empty."""
    assert attribute(vr, raw) == {"vr": vr}


@pytest.mark.parametrize("vr", ["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
def test_binary_values_are_inline_up_to_the_threshold(vr: str) -> None:
    """D-151, D-152, F.2.7: Base64 of the value field; beyond the threshold a BulkDataURI, its place recorded."""
    small, large = bytes(range(256)) * 16, bytes(4098)
    assert attribute(vr, small) == {"vr": vr, "InlineBinary": base64.b64encode(small).decode()}
    encoded = encode(dataset((TAG, vr, large)))
    assert encoded.dataset == {"00091001": {"vr": vr, "BulkDataURI": "00091001"}}
    assert encoded.bulk == {"00091001": (1, 4098, vr)}


@pytest.mark.parametrize(("vr", "code"), [("OW", "H"), ("OL", "L"), ("OF", "f"), ("OD", "d"), ("OV", "Q"), ("OB", "B")])
def test_binary_values_of_big_endian_files_are_swapped(vr: str, code: str) -> None:
    """D-152: InlineBinary is little endian whatever the file is."""
    values = (1, 2, 3)
    big = attribute(vr, struct.pack(f">3{code}", *values), little_endian=False)
    assert base64.b64decode(big["InlineBinary"]) == struct.pack(f"<3{code}", *values)


@pytest.mark.parametrize(
    ("vr", "raw", "values"), [value for value in VALUES if value[0] in ("US", "SS", "UL", "SL", "FD", "AT")]
)
def test_numbers_of_big_endian_files(vr: str, raw: bytes, values: list[Any]) -> None:
    """PS3.5 7.3: the same numbers come out of a big endian file."""
    width = {"US": 2, "SS": 2, "AT": 2, "UL": 4, "SL": 4, "FD": 8}[vr]
    swapped = b"".join(raw[at : at + width][::-1] for at in range(0, len(raw), width))
    assert attribute(vr, swapped, little_endian=False) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("vr", "code"), [("FL", "f"), ("FD", "d")])
def test_numbers_that_json_does_not_have_become_bulk_data(vr: str, code: str, value: float) -> None:
    """D-149, I-029: no bare NaN; the whole element is fetched from the file instead."""
    encoded = encode(dataset((TAG, vr, struct.pack(f"<2{code}", 1, value))))
    assert encoded.dataset["00091001"] == {"vr": vr, "BulkDataURI": "00091001"}
    assert encoded.bulk["00091001"] == (1, 2 * struct.calcsize(code), vr)
    assert encoded.warnings == ["00091001"]


DECIMALS = [
    ("0", 0), ("512", 512), ("-7", -7), ("+3.", 3.0), (".5", 0.5), ("1E-3", 0.001),
    ("123456789012345", 123456789012345),
    ("1234567890123456", "1234567890123456"), ("0.12345678901234567", "0.12345678901234567"), ("1e400", "1e400"),
    ("1e-400", "1e-400"), ("0.35156250000000000", 0.3515625), ("1,5", "1,5"), ("nan", "nan"), ("Infinity", "Infinity"),
    ("1_0", "1_0"), ("0x10", "0x10"), ("1 2", "1 2"), ("", ""), ("١", "١"), ("0e99999", "0e99999"), ("0e5", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), DECIMALS)
def test_decimal_strings_are_numbers_when_nothing_is_lost(text: str, value: float | str) -> None:
    """D-146, D-164: numbers for viewers, the text itself when it is no number or has more than 15 digits."""
    assert decimal_string(text) == value
    assert type(decimal_string(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-0", 0),
        ("2.0", 2),
        ("2.5", "2.5"),
        (str(2**53), 2**53),
        (str(2**53 + 1), str(2**53 + 1)),
        ("x", "x"),
    ],
)
def test_integer_strings_are_numbers_when_nothing_is_lost(text: str, value: int | str) -> None:
    """D-146, user pain 7: "2.0" does not break the answer, and no digits are lost."""
    assert integer_string(text) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_singles_are_the_shortest_numbers_that_mean_the_same(value: float) -> None:
    """D-148: FL reads 0.1, not 0.10000000149011612, and is the same single again."""
    (number,) = attribute("FL", struct.pack("<f", value))["Value"]
    assert np.float32(number) == np.float32(value)
    assert len(json.dumps(number)) <= len(repr(value))


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [("US", b"\1\0\2", [1]), ("FD", bytes(12), [0.0]), ("AT", bytes(6), ["00000000"]), ("UL", b"\1", None)],
)
def test_values_of_odd_length_use_what_fits(vr: str, raw: bytes, values: list[Any] | None) -> None:
    """User pain 7: one broken element costs only itself, and is told of."""
    encoded = encode(dataset((TAG, vr, raw)))
    assert encoded.dataset["00091001"].get("Value") == values
    assert encoded.warnings == ["00091001"]


def test_keys_are_ascending_without_group_lengths_and_file_meta() -> None:
    """D-140, D-159: 8 uppercase hexadecimal digits in ascending order."""
    elements = dataset(
        (0x00100020, "LO", b"x"), (0x00080000, "UL", bytes(4)), (0x00020010, "UI", b"1.2"), (0x0008103E, "LO", b"y")
    )
    assert list(encode(elements).dataset) == ["0008103E", "00100020"]


def test_sequences() -> None:
    """D-144, F.2.5: items are objects, an empty item is {}, an empty sequence has its vr only."""
    items = [dataset((0x00100020, "LO", b"x")), {}]
    elements = dataset((0x00081115, "SQ", items), (0x00081140, "SQ", []), (0x00082112, "SQ", b""))
    assert encode(elements).dataset == {
        "00081115": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["x"]}}, {}]},
        "00081140": {"vr": "SQ"},
        "00082112": {"vr": "UN"},
    }


def test_places_inside_sequences_are_paths() -> None:
    """D-153: a BulkDataURI is tags and, between them, the number of the item from 1."""
    deep = dataset((TAG, "OB", bytes(5000)), (0x00091002, "US", b"\1"))
    elements = dataset((0x30060039, "SQ", [{}, dataset((0x30060040, "SQ", [deep]))]))
    encoded = encode(elements)
    assert encoded.bulk == {"30060039/2/30060040/1/00091001": (1, 5000, "OB")}
    assert encoded.warnings == ["30060039/2/30060040/1/00091002"]
    item = encoded.dataset["30060039"]["Value"][1]["30060040"]["Value"][0]
    assert item["00091001"]["BulkDataURI"] == "30060039/2/30060040/1/00091001"


def test_what_stays_in_the_file_is_bulk_data() -> None:
    """D-151: pixel data never inline, values left in the file neither, lookup tables always."""
    lut = bytes(131072)
    encoded = encode(
        {
            0x00281201: Element(0x00281201, "OW", lut, 10, len(lut)),
            0x00283006: Element(0x00283006, "US", lut, 20, len(lut)),
            0x00420011: Element(0x00420011, "OB", None, 30, 99999),
            0x30060050: Element(0x30060050, "DS", None, 40, 99999),
            0x7FE00001: Element(0x7FE00001, "OV", None, 50, 0),
            0x7FE00010: Element(0x7FE00010, "OB", b"\1\2", 60, 2),
        }
    )
    assert len(base64.b64decode(encoded.dataset["00281201"]["InlineBinary"])) == len(lut)
    assert len(encoded.dataset["00283006"]["Value"]) == 65536
    assert encoded.dataset["7FE00001"] == {"vr": "OV"}
    assert encoded.bulk == {
        "00420011": (30, 99999, "OB"),
        "30060050": (40, 99999, "DS"),
        "7FE00010": (60, 2, "OB"),
    }
    assert encode(dataset((0x7FE00010, "OW", b""))).dataset == {"7FE00010": {"vr": "OW"}}


def test_long_texts_and_tables_of_numbers_are_bulk_data() -> None:
    """D-153: other VRs are inline up to sixteen times the threshold."""
    assert "Value" in attribute("UT", b"x" * 65536)
    assert attribute("UT", b"x" * 65538) == {"vr": "UT", "BulkDataURI": "00091001"}
    assert encode(dataset((TAG, "UN", bytes(20))), bulk_threshold=10).bulk


def test_text_is_unicode_and_says_so() -> None:
    """C-125, D-157: (0008,0005) reads ISO_IR 192 when there was one or when text is beyond ASCII, else it is absent."""
    latin = dataset((0x00080005, "CS", b"ISO_IR 100"), (0x00100010, "PN", b"J\xe9r\xf4me"))
    assert encode(latin).dataset == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Jérôme"}]},
    }
    undeclared = dataset((0x00080001, "UL", bytes(4)), (0x00080016, "UI", b"1"), (0x00100010, "PN", "é".encode()))
    assert list(encode(undeclared).dataset) == ["00080001", "00080005", "00080016", "00100010"]
    assert "00080005" not in encode(dataset((0x00100010, "PN", b"Doe"))).dataset


def test_an_item_may_have_its_own_character_set() -> None:
    """D-157, PS3.3 C.12.1.1.2: (0008,0005) of an item holds for that item, that of the enclosing data set otherwise."""
    greek = dataset((0x00080005, "CS", b"ISO_IR 126"), (0x00100020, "LO", b"\xe1"))
    elements = dataset(
        (0x00080005, "CS", b"ISO_IR 144"), (0x00081115, "SQ", [greek, dataset((0x00100020, "LO", b"\xd0"))])
    )
    items = encode(elements).dataset["00081115"]["Value"]
    assert items[0] == {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}, "00100020": {"vr": "LO", "Value": ["α"]}}
    assert items[1] == {"00100020": {"vr": "LO", "Value": ["а"]}}


@pytest.mark.parametrize(("charset", "codec"), [(b"GB18030", "gb18030"), (b"GBK", "gbk")])
def test_values_are_split_after_decoding(charset: bytes, codec: str) -> None:
    """D-155, D-156: the backslash byte of a two-byte character does not split."""
    assert attribute("LO", "乗\\乗".encode(codec), charset=charset)["Value"] == ["乗", "乗"]


def test_there_is_no_nul_in_the_text() -> None:
    """Inner NUL becomes U+FFFD, since jsonb cannot hold it; D-154: a trailing one is padding."""
    assert attribute("LO", b"a\0b\\c\0")["Value"] == ["a\ufffdb", "c"]
    assert attribute("UT", b"a\0b\0")["Value"] == ["a\ufffdb"]
    assert attribute("PN", b"a\0b=c\0 ")["Value"] == [{"Alphabetic": "a\ufffdb", "Ideographic": "c"}]


def test_unknown_vrs_are_given_as_un() -> None:
    """D-163: a VR that is none becomes UN, so the answer stays legal."""
    assert attribute("??", b"\1\2") == {"vr": "UN", "InlineBinary": "AQI="}


ITEMS = st.recursive(
    st.dictionaries(
        st.integers(0x00080001, 0x7FE0FFFF),
        st.tuples(st.sampled_from([*VRS, "??"]), st.one_of(st.none(), st.binary(max_size=24))),
        max_size=5,
    ),
    lambda inner: st.dictionaries(
        st.integers(0x00080001, 0x7FE0FFFF), st.tuples(st.just("SQ"), st.lists(inner, max_size=2))
    ),
    max_leaves=6,
)


def elements_of(drawn: Any) -> Dataset:
    return {
        tag: Element(
            tag, vr, [elements_of(item) for item in value] if isinstance(value, list) else value, 7, len(value or b"")
        )
        for tag, (vr, value) in drawn.items()
    }


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def check_legal(encoded: dict[str, Any]) -> None:
    assert list(encoded) == sorted(encoded)
    for attribute in encoded.values():
        assert len({"Value", "InlineBinary", "BulkDataURI"} & set(attribute)) <= 1
        assert attribute.get("Value") not in ([], [None], [""])
        for item in attribute.get("Value", ()) if attribute["vr"] == "SQ" else ():
            check_legal(item)


@given(ITEMS, st.sampled_from(CHARACTER_SETS), st.booleans())
def test_whatever_the_bytes_the_answer_is_json(drawn: Any, charset: bytes, little_endian: bool) -> None:
    """D-141, D-149, D-165, RFC 8259: random bytes in every VR and character set never raise and give legal JSON."""
    elements = dataset((0x00080005, "CS", charset)) | elements_of(drawn)
    encoded = encode(elements, little_endian=little_endian)
    text = dicomjson.dumps(encoded.dataset)
    parsed = json.loads(text.decode("utf-8"), parse_constant=refuse)
    assert b"\\u0000" not in text
    check_legal(parsed)


@given(st.sampled_from(VRS), st.sampled_from(CHARACTER_SETS), st.binary(max_size=64))
def test_no_value_of_any_vr_raises(vr: str, charset: bytes, raw: bytes) -> None:
    """User pain 7: every accepted instance gives RFC 8259 JSON."""
    text = dicomjson.dumps(attribute(vr, raw, charset=charset))
    json.loads(text, parse_constant=refuse)
    assert b"\\u0000" not in text


def test_defined_and_undefined_lengths_give_the_same_json() -> None:
    """D-166: how the length of a sequence was written does not show."""
    sequence = [{"ReferencedSOPInstanceUID": "1.2.3"}, {}]
    explicit = dicom_file(
        ReferencedImageSequence=sequence, SOPInstanceUID="1.2", StudyInstanceUID="1", SeriesInstanceUID="2"
    )
    implicit = dicom_file(
        ReferencedImageSequence=sequence,
        SOPInstanceUID="1.2",
        StudyInstanceUID="1",
        SeriesInstanceUID="2",
        transfer_syntax="1.2.840.10008.1.2",
    )
    first, second = (dicomjson.encode(read_header(BytesSource(file))[0]).dataset for file in (explicit, implicit))
    assert first == second


def test_the_place_of_bulk_data_is_its_place_in_the_file() -> None:
    """D-151: offset and length point at the value field in the stored file."""
    file = multi_frame(2, rows=4, columns=4)
    header, _ = read_header(BytesSource(file))
    offset, length, vr = dicomjson.encode(header).bulk["7FE00010"]
    assert (file[offset : offset + length], vr) == (b"\1\0" * 16 + b"\2\0" * 16, "OW")
