"""Text is the same in UTF-8 wherever it is cut on its way there."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dicom import utf_8
from storage.dicom.charset import RESETS, character_set
from storage.dicom.utf_8 import Utf8Writer
from tests.storage.dicom.test_charset import NAMES


def written(writer: Utf8Writer, raw: bytes, cuts: list[int]) -> bytes:
    places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    pieces = [writer.write(raw[start:end]) for start, end in itertools.pairwise(places)]
    return b"".join([*pieces, writer.rest()])


@given(st.sampled_from(NAMES), st.sampled_from(sorted(RESETS)), st.lists(st.integers(0, 200)), st.integers(1, 5))
def test_reads_may_end_anywhere(name: tuple[bytes, bytes, str], vr: str, cuts: list[int], lines: int) -> None:
    """Half a character or escape sequence waits for the rest (PS3.5 6.1.2.5.3)."""
    declared, raw, text = name
    value = b"\r\n".join([raw] * lines)
    found = written(Utf8Writer(vr, character_set(declared)), value, cuts).decode()
    assert found == character_set(declared).decode(value, RESETS[vr])
    if vr == "PN":
        assert found == "\r\n".join([text] * lines)


def test_a_text_without_lines_is_cut_at_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than one piece is held (design 1.6)."""
    monkeypatch.setattr(utf_8, "LONGEST_PIECE", 64)
    writer = Utf8Writer("UT", character_set(b"GB18030"))
    pieces = [writer.write("山田 ".encode("gb18030")) for _ in range(1000)]
    assert max(map(len, pieces)) < 128
    assert b"".join([*pieces, writer.rest()]).decode() == "山田 " * 1000
