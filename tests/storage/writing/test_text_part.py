"""The text of bulk data parts in a character set that was told (PS3.18 F.2)."""

from pathlib import Path

import pytest

from storage.writing.bulk_parts import BulkPart, stream
from storage.writing.text_part import text_in_utf_8


def read(folder: Path, body: bytes, charset: str | None, declared: str) -> bytes:
    """Return what is stored of a part."""
    path = folder / "part"
    path.write_bytes(body)
    text = text_in_utf_8(BulkPart("text/plain", None, path, len(body), charset), "UT", declared)
    written = b"".join(stream([text]))
    if not isinstance(text.source, Path):
        text.source.close()
    return written


@pytest.mark.parametrize(
    ("body", "charset", "declared", "text"),
    [
        (b"Gr\xf6\xdfe", "iso-8859-1", "", "Größe"),
        (b"Gr\xf6\xdfe", None, "ISO_IR 100", "Größe"),
        (b"5 \x80", "windows-1252", "ISO_IR 192", "5 €"),
        (b"plain", "us-ascii", "ISO_IR 100", "plain"),
        (b"\x1b$B;3ED\x1b(B", None, "\\ISO 2022 IR 87", "山田"),
    ],
)
def test_text_in_the_character_set_that_was_told(
    tmp_path: Path, body: bytes, charset: str | None, declared: str, text: str
) -> None:
    """The charset of the part, else the Specific Character Set."""
    assert read(tmp_path, body, charset, declared).decode() == text


@pytest.mark.parametrize(
    ("body", "charset", "declared"),
    [
        ("Größe".encode(), "us-ascii", "ISO_IR 192"),
        (b"a\x81b", "windows-1252", ""),
        (b"abc\xff\xa5", None, "ISO_IR 127"),
        (b"line\n\x1b$Z;3", None, "\\ISO 2022 IR 87"),
    ],
)
def test_bytes_that_are_nothing_in_it_are_refused(
    tmp_path: Path, body: bytes, charset: str | None, declared: str
) -> None:
    """They would be stored as U+FFFD, and what they were is lost."""
    with pytest.raises(ValueError, match="not in the character set"):
        read(tmp_path, body, charset, declared)
