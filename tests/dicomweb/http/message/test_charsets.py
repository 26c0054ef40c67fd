"""Which character set text is written in (PS3.18 8.8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.http.message.charsets import charsets
from dicomweb.http.message.media_types import parse_accept


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("UTF-8", ("utf-8",)),
        ("ISO_IR 192", ("utf-8",)),
        ('"ISO_IR 100"', ("iso-8859-1",)),
        ("ISO 2022 IR 126, latin1;q=0.2", ("iso-8859-7", "iso-8859-1")),
        ("iso-8859-2;q=0.1,gb18030", ("gb18030", "iso-8859-2")),
        ("iso-8859-2;q=0, gbk;q=x", ("gbk",)),
        ("*", ("utf-8",)),
        ("ISO 2022 IR 149", ("euc-kr",)),
        ("ISO_IR 6", ("us-ascii",)),
        ("ISO-8859-1, iso_8859_1, latin-1", ("iso-8859-1",)),
    ],
)
def test_names_of_both_kinds_by_weight(query: str, found: tuple[str, ...]) -> None:
    """IANA names and Defined Terms, quoted or not, the best first, each once (A-141, A-145)."""
    assert charsets((), "text/plain", query, None) == found


@pytest.mark.parametrize(
    "name", ["x-none", "utf-7", "rot13", "undefined", "a\0b", "", ";", "ISO_IR 87", "idna", "utf-16"]
)
def test_what_is_not_known_or_not_safe_is_ignored(name: str) -> None:
    """The next thing that names one decides, UTF-8 in the end (A-142 to A-144)."""
    assert charsets((), "text/plain", name, None) == ("utf-8",)
    assert charsets((), "text/plain", name, "gbk") == ("gbk",)


def test_the_media_type_goes_before_the_query_and_that_before_the_header() -> None:
    """A-142; of the accepted media types the one that is answered with counts."""
    ranges = parse_accept("text/html; charset=gbk, text/plain; charset=iso-8859-5; q=0.5, text/plain; charset=gb18030")
    assert charsets(ranges, "text/plain", "iso-8859-1", "iso-8859-2") == ("gb18030", "iso-8859-5")
    assert charsets(ranges, "text/xml", "iso-8859-1", "iso-8859-2") == ("iso-8859-1",)
    assert charsets(ranges, "text/xml", None, "iso-8859-2") == ("iso-8859-2",)


@given(st.text(), st.text())
def test_any_text_is_understood_or_ignored(query: str, header: str) -> None:
    """Whatever is asked for, what comes out can be written in."""
    found = charsets((), "text/plain", query, header)
    assert found and all("Muller".encode(charset) == b"Muller" for charset in found)
