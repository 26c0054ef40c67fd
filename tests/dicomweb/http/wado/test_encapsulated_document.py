"""Encapsulated Documents: their type and their true length (PS3.3 C.24.2)."""

import base64
from typing import Any

import pytest

from dicomweb.http.wado.encapsulated_document import document_type, inline_document


def document(body: bytes, mime: object = "application/pdf", length: object = None) -> dict[str, Any]:
    """Return the metadata of a document that is given inline."""
    return {
        "00420011": {"vr": "OB", "InlineBinary": base64.b64encode(body).decode()},
        "00420012": {"vr": "LO", "Value": [mime]},
        "00420015": {"vr": "UL", "Value": [length]},
    }


@pytest.mark.parametrize(
    ("mime", "expected"),
    [
        ("application/pdf", "application/pdf"),
        (" Text/XML ", "text/xml"),
        ("model/stl", "model/stl"),
        ("pdf", None),
        ("text/html\r\nSet-Cookie: a=b", None),
        (None, None),
        (5, None),
    ],
)
def test_a_document_has_the_type_it_says_if_that_is_one(mime: object, expected: str | None) -> None:
    """What goes into a header is a media type and nothing else (D-076)."""
    assert document_type(document(b"", mime)) == expected
    assert document_type({key: value for key, value in document(b"", mime).items() if key != "00420011"}) is None


@pytest.mark.parametrize(
    ("body", "mime", "length", "expected"),
    [
        (b"%PDF\0", "application/pdf", None, b"%PDF"),
        (b"%PDF\0", "application/pdf", 5, b"%PDF\0"),
        (b"<a/>\0\0", "text/xml", 5, b"<a/>\0"),
        (b"<a/>\0\0", "text/xml", 4, b"<a/>\0\0"),
        (b"<a/>\0\0", "text/xml", None, b"<a/>\0\0"),
        (b"", "application/pdf", None, b""),
        (b"", "application/pdf", 0, b""),
        (b"", "application/pdf", -1, b""),
    ],
)
def test_a_document_comes_without_its_pad_byte(body: bytes, mime: str, length: int | None, expected: bytes) -> None:
    """The length that is stated is believed when it can be true; a PDF without one ends before a NUL (D-076)."""
    assert inline_document(document(body, mime, length)) == expected


@pytest.mark.parametrize("inline", [5, "YQ"])
def test_what_is_no_base64_is_no_document(inline: object) -> None:
    """Metadata of any kind gives an answer (design 1.7)."""
    assert inline_document({"00420011": {"vr": "OB", "InlineBinary": inline}}) == b""


def test_a_large_document_is_not_in_the_metadata() -> None:
    """It is read as a value of its own (D-070)."""
    assert inline_document({"00420011": {"vr": "OB", "BulkDataURI": "00420011"}}) is None
