"""Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1.2): the Standard's examples, and what real writers get wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from storage.dicom.charset import ESCAPES, MANY_VALUES, ONE_VALUE, PERSON_NAMES, STAND_ALONE, character_set
from tests.corpus import wheel_files

JAPANESE_G0 = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
JAPANESE_HALF_WIDTH = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=" + b"\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
)
KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"

NAMES = [
    (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (b"ISO_IR 101", b"W\xb3\xb6", "Włś"),
    (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    (b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    (b"ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
    (b"ISO_IR 203", b"\xa4", "€"),
    (b"ISO_IR 166", b"\xb9\xd2\xc2", "นาย"),
    (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    (b"GBK", "Wang^XiaoDong=王^小东".encode("gbk"), "Wang^XiaoDong=王^小东"),
    (b"\\ISO 2022 IR 87", JAPANESE_G0, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (b"ISO 2022 IR 13\\ISO 2022 IR 87", JAPANESE_HALF_WIDTH, "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (b"\\ISO 2022 IR 149", KOREAN, "Hong^Gildong=洪^吉洞=홍^길동"),
    (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"),
    (b"\\ISO 2022 IR 159", b"\x1b$(D\x30\x21\x1b(B", "丂"),
    (b"ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-A\xe9\x1b-L\xd8", "éи"),
]


@pytest.mark.parametrize(("declared", "raw", "text"), NAMES)
def test_names_of_every_character_set_are_decoded(declared: bytes, raw: bytes, text: str) -> None:
    """PS3.5 Annexes H to K: each component and group of a name is read in the set active there (D-155, D-157)."""
    assert character_set(declared).decode(raw, PERSON_NAMES) == text


@pytest.mark.parametrize(
    ("declared", "codec", "value"),
    [
        (b"GB18030", "gb18030", "乗"),
        (b"GBK", "gbk", "俓"),
        (b"ISO_IR 13", "shift_jis", "十"),
        (b"\\ISO 2022 IR 87", "iso2022_jp", "卑"),
    ],
)
def test_a_backslash_byte_inside_a_character_is_no_backslash(declared: bytes, codec: str, value: str) -> None:
    """D-156, PS3.5 6.1.2.3: 5CH may be half of a two-byte character."""
    raw = value.encode(codec)
    assert b"\\" in raw
    assert character_set(declared).decode(raw + b"\\" + raw) == f"{value}\\{value}"


@pytest.mark.parametrize(
    "spelling",
    b"ISO_IR 100,ISO_IR_100,ISO IR 100,ISO-IR 100 ,iso_ir 100,ISO 2022 IR 100,ISO2022IR100,latin1".split(b","),
)
def test_misspelt_terms_are_understood(spelling: bytes) -> None:
    """User pain 14: real files spell the defined terms in many ways."""
    assert character_set(spelling).decode(b"J\xe9r\xf4me") == "Jérôme"


@pytest.mark.parametrize("spelling", [b"UTF-8", b"utf8", b"ISO_IR 192", b"ISO 2022 IR 192"])
def test_utf_8_has_many_names(spelling: bytes) -> None:
    """User pain 14: UTF-8 is declared under names that are no defined terms."""
    assert character_set(spelling).decode("王".encode()) == "王"


@pytest.mark.parametrize("declared", [b"", b"ISO_IR 6", b"NONSENSE", b"ISO_IR 999", b"\xff\xfe\\\\\\"])
def test_text_without_a_usable_declaration_is_still_readable(declared: bytes) -> None:
    """User pain 14: undeclared bytes are UTF-8 when they are, else Latin-1; nothing is lost."""
    assert character_set(declared).decode("Jérôme 王".encode()) == "Jérôme 王"
    assert character_set(declared).decode(b"J\xe9r\xf4me") == "Jérôme"


def test_bytes_that_are_no_character_are_replaced() -> None:
    """D-158: undecodable bytes become U+FFFD."""
    assert character_set(b"ISO_IR 192").decode(b"a\xffb") == "a\ufffdb"
    assert character_set(b"\\ISO 2022 IR 149").decode(b"\x1b$)C\xff\xff") in ("\ufffd", "\ufffd\ufffd")
    assert character_set(b"ISO_IR 100").decode(b"a\x1b%Gb") == "a\ufffdb"


def test_the_first_set_is_active_again_after_a_delimiter() -> None:
    """PS3.5 6.1.2.5.3: after a backslash and after a line feed text is in the first set again."""
    declared = character_set(b"ISO 2022 IR 100\\ISO 2022 IR 144")
    assert declared.decode(b"\x1b-L\xd8\\\xe9", MANY_VALUES) == "и\\é"
    assert declared.decode(b"\x1b-L\xd8\\\xd8\n\xe9", ONE_VALUE) == "и\\и\né"


def test_an_extension_that_is_never_invoked_is_used_all_the_same() -> None:
    """User pain 14: some Korean writers leave out the escape sequence."""
    assert character_set(b"\\ISO 2022 IR 149").decode("홍^길동".encode("euc_kr"), PERSON_NAMES) == "홍^길동"


def test_names_in_the_files_of_pydicom_agree_with_pydicom() -> None:
    """PS3.5 6.1: two implementations read every name of the character set files the same way."""
    compared = 0
    for path in wheel_files():
        if path.parent.name != "charset_files":
            continue
        dataset = dcmread(path, force=True)
        for element in dataset:
            if element.VR != "PN" or not element.value:
                continue
            terms = dataset.get("SpecificCharacterSet") or ""
            declared = "\\".join([terms] if isinstance(terms, str) else terms).encode()
            raw = dcmread(path, force=True).get_item(element.tag).value
            ours = character_set(declared).decode(raw, PERSON_NAMES)
            assert ours == decode_bytes(raw, convert_encodings(terms), PN_DELIMS), path.name
            compared += 1
    assert compared > 15


@given(st.text(alphabet=st.sampled_from("aé日本山田^=太郎 -")))
def test_japanese_text_agrees_with_python(text: str) -> None:
    """PS3.5 H.3: ISO 2022 IR 87 and 159 are what Python calls iso2022_jp_2, when written as the Standard asks."""
    encoded = "".join(character for character in text if character != "é")
    assert character_set(b"\\ISO 2022 IR 87").decode(encoded.encode("iso2022_jp_2"), PERSON_NAMES) == encoded


FRAGMENTS = st.one_of(st.binary(max_size=6), st.sampled_from([*ESCAPES, b"\\", b"^", b"=", b"\n"]))
DECLARED = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([name for name, _, _ in NAMES] + [name.encode() for name in STAND_ALONE]),
)


@given(DECLARED, st.lists(FRAGMENTS, max_size=8).map(b"".join))
def test_decoding_never_fails(declared: bytes, raw: bytes) -> None:
    """D-158: whatever the bytes and whatever is declared, the result can be written as UTF-8."""
    for resets in (ONE_VALUE, MANY_VALUES, PERSON_NAMES):
        text = character_set(declared).decode(raw, resets)
        assert text.encode("utf-8").decode("utf-8") == text


def test_pydicom_knows_the_same_delimiters() -> None:
    """PS3.5 6.1.2.5.3: the delimiters that reset are those pydicom has."""
    assert {bytes([byte]) for byte in range(256) if PERSON_NAMES.match(bytes([byte]))} >= {
        bytes([delimiter]) for delimiter in PN_DELIMS
    }
    assert all(ONE_VALUE.match(bytes([delimiter])) for delimiter in TEXT_VR_DELIMS)
