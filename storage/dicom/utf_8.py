"""Text in any character set -> UTF-8, a piece after the other.

Facts kept here:
- The control characters LF, CR, FF and TAB are single bytes in every character set of DICOM, and the first set is
  active again after them (PS3.5 6.1.2.5.3), so that text can be cut after one.
- Memory is bounded: a piece without any is cut at a space.
"""

from typing import Final

from storage.dicom.charset import RESETS, CharacterSet

LONGEST_PIECE: Final = 16 << 20
"""Bytes of a text without control characters that are decoded together."""


class Utf8Writer:
    """Writes the value field of one text in UTF-8.

    Parameters
    ----------
    vr : str
        One of `charset.RESETS`.
    character_set : CharacterSet
        Of the value field.
    """

    def __init__(self, vr: str, character_set: CharacterSet) -> None:
        self._resets = RESETS[vr]
        self._character_set = character_set
        self._pending = b""

    def write(self, chunk: bytes) -> bytes:
        """Return what can be written of all chunks so far, b"" until there is a place to cut."""
        self._pending += chunk
        end = max(map(self._pending.rfind, (b"\n", b"\r", b"\f", b"\t"))) + 1
        if not end and len(self._pending) >= LONGEST_PIECE:
            end = self._pending.rfind(b" ") + 1 or len(self._pending)
        return self._written(end)

    def rest(self) -> bytes:
        """Return the end of the text."""
        return self._written(len(self._pending))

    def _written(self, end: int) -> bytes:
        piece, self._pending = self._pending[:end], self._pending[end:]
        return self._character_set.decode(piece, self._resets).encode("utf-8")
