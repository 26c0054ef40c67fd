"""Entity tags and byte ranges."""

import pytest

from dicomweb.http.message.conditional import RangeBeyondEndError, entity_tag, is_unchanged, requested_range

TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "unchanged"),
    [
        (None, False),
        ("", False),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ('"x"', False),
        ("*", True),
        ("abc", False),
    ],
)
def test_if_none_match_compares_weakly(header: str | None, unchanged: bool) -> None:
    """A tag that gzip made weak still matches (RFC 9110 13.1.2; A-117)."""
    assert is_unchanged(header, TAG) is unchanged


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 10)),
        ("bytes=90-500", (90, 10)),
        ("bytes=-5", (95, 5)),
        ("bytes=-500", (0, 100)),
        ("Bytes = 1 - 1", (1, 1)),
        (None, None),
        ("bytes=5-2", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges_are_read_as_http_says(header: str | None, expected: tuple[int, int] | None) -> None:
    """Malformed and multiple ranges give the whole body (RFC 9110 14.2; A-115)."""
    assert requested_range(header, None, TAG, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=-0", "bytes=100-200"])
def test_a_range_beyond_the_end_cannot_be_satisfied(header: str) -> None:
    """Such a range is a 416 (RFC 9110 15.5.17; A-115)."""
    with pytest.raises(RangeBeyondEndError):
        requested_range(header, None, TAG, 100)


@pytest.mark.parametrize(
    ("if_range", "etag", "partial"),
    [(TAG, TAG, True), ('"old"', TAG, False), ('W/"abc"', 'W/"abc"', False), ("Mon, 01 Jan 2024", TAG, False)],
)
def test_if_range_needs_the_same_strong_tag(if_range: str, etag: str, partial: bool) -> None:
    """A range of another representation is answered with all of it (RFC 9110 13.1.5)."""
    assert (requested_range("bytes=0-1", if_range, etag, 100) is not None) is partial


def test_a_tag_depends_on_every_piece() -> None:
    """Pieces are not run together: ("ab", "c") is not ("a", "bc")."""
    tags = {entity_tag("ab", "c"), entity_tag("a", "bc"), entity_tag("abc"), entity_tag(b"abc", "")}
    assert len(tags) == 4
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)
