"""Unicode -> text of a data set in a given Specific Character Set (0008,0005), the other direction of `charset`.

Facts this module keeps (PS3.3 C.12.1.1.2, PS3.5 6.1.2 and Annexes H to K):

* Only PN, LO, SH, ST, LT, UT and UC may be in another set than the default repertoire (PS3.5 6.1.2.2).
* What is not ASCII is written in the first set that has it; a set that is not the first is invoked by its escape
  sequence, once for every piece between delimiters.
* Before a delimiter, a control character and the end of a value the first set is active again: a two-byte set in G0
  is left by an escape sequence, and so is another set in G1 when the first set has a G1 of its own.
* Python's shift_jis would write the yen sign as a backslash: of ISO_IR 13 only the katakana are taken.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from storage.dicom.charset import ESCAPES, REGISTRATION, RESETS, RIGHT_HALF, STAND_ALONE

_ESCAPE_OF: Final = {right: escape for escape, (_, right) in ESCAPES.items() if right}
_TWO_BYTE_LEFT: Final = {"87": ("JIS X 0208", b"\x1b$B"), "159": ("JIS X 0212", b"\x1b$(D")}
_LOW_HALF: Final = bytes(byte & 0x7F for byte in range(256))
_SINGLE_SHIFT_THREE: Final = 0x8F
_KATAKANA: Final = ("\uff61", "\uff9f")

_RESETS: Final = {vr: re.compile(pattern.pattern.decode("ascii")) for vr, pattern in RESETS.items()}
"""What separates the pieces of a text, by the VRs that may be in other character sets."""


class Unrepresentable(Exception):
    """The text has a character that the character set has not."""


@dataclass(frozen=True, slots=True)
class _Repertoire:
    """One of the sets: where it is designated, its codec or name, and the escape sequence that does it."""

    in_left_half: bool
    name: str
    escape: bytes

    def encode(self, character: str) -> bytes | None:
        """Return the code of a character that is not ASCII, None when the set has it not."""
        if self.in_left_half:
            raw = _encoded("euc_jp", character)
            if self.name == "JIS X 0212":
                return raw[1:].translate(_LOW_HALF) if len(raw) == 3 and raw[0] == _SINGLE_SHIFT_THREE else None
            return raw.translate(_LOW_HALF) if len(raw) == 2 and raw[0] > 0xA0 else None
        if self.name == "shift_jis":
            return _encoded(self.name, character) if _KATAKANA[0] <= character <= _KATAKANA[1] else None
        raw = _encoded(self.name, character)
        return raw if raw and min(raw) >= 0xA0 else None


@lru_cache(maxsize=4096)
def _encoded(codec: str, character: str) -> bytes:
    try:
        return character.encode(codec)
    except UnicodeEncodeError:
        return b""


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """How the text of a data set is written.

    Attributes
    ----------
    specific_character_set : str
        What (0008,0005) then says.
    codec : str
        Of a character set that stands alone; empty for the others.
    """

    specific_character_set: str
    codec: str = ""
    _sets: tuple[_Repertoire, ...] = field(default=())
    _first_right: str = ""  # the set in G1 where no escape sequence was written

    def encode(self, vr: str, text: str) -> bytes:
        """Return a whole value field, all its values.

        Raises
        ------
        Unrepresentable
            It has a character that the character set has not, or that the VR may not hold.

        Standard
        --------
        PS3.5 6.1.2.3 to 6.1.2.5.
        """
        if text.isascii():
            return text.encode("ascii")
        if self.codec:
            return self._whole(text)
        resets = _RESETS.get(vr)
        if resets is None:
            raise Unrepresentable
        pieces = resets.split(unicodedata.normalize("NFC", text))
        return b"".join(piece.encode("ascii") if piece.isascii() else self._piece(piece) for piece in pieces)

    def _whole(self, text: str) -> bytes:
        """Encode in a set that stands alone; what UTF-8 has not (half a surrogate pair) stays a ValueError."""
        try:
            return text.encode(self.codec)
        except UnicodeEncodeError:
            if self.codec == UTF_8.codec:
                raise
            raise Unrepresentable from None

    def _piece(self, text: str) -> bytes:
        """Encode what stands between two delimiters; it begins and ends with the first set active."""
        raw = bytearray()
        left, right = "", self._first_right
        home_left = b"\x1b(J" if self._first_right == "shift_jis" else b"\x1b(B"
        for character in text:
            if character.isascii():
                if left:
                    raw += home_left
                    left = ""
                raw.append(ord(character))
                continue
            chosen, code = self._choose(character)
            if chosen.in_left_half and left != chosen.name:
                raw += chosen.escape
                left = chosen.name
            elif not chosen.in_left_half and right != chosen.name:
                raw += chosen.escape
                right = chosen.name
            raw += code
        if left:
            raw += home_left
        if self._first_right and right != self._first_right:
            raw += _ESCAPE_OF[self._first_right]
        return bytes(raw)

    def _choose(self, character: str) -> tuple[_Repertoire, bytes]:
        for candidate in self._sets:
            code = candidate.encode(character)
            if code is not None:
                return candidate, code
        raise Unrepresentable


UTF_8: Final = TextEncoder("ISO_IR 192", "utf_8")


@lru_cache(maxsize=256)
def text_encoder(specific_character_set: str) -> TextEncoder:
    r"""Return what writes text in a character set; terms that are not known have no characters but ASCII.

    Parameters
    ----------
    specific_character_set : str
        A value of (0008,0005), such as `ISO_IR 100` or `\ISO 2022 IR 87`; empty for ASCII.

    Standard
    --------
    PS3.3 C.12.1.1.2, Tables C.12-2 to C.12-5.
    """
    terms = [term.strip(" \0").upper() for term in specific_character_set[:1024].split("\\")]
    numbers = [_number(term) for term in terms]
    if codec := STAND_ALONE.get(numbers[0]):
        return TextEncoder(specific_character_set, codec)
    sets: list[_Repertoire] = []
    for number in numbers:
        if number in _TWO_BYTE_LEFT:
            sets.append(_Repertoire(True, *_TWO_BYTE_LEFT[number]))
        elif name := RIGHT_HALF.get(number):
            sets.append(_Repertoire(False, name, _ESCAPE_OF[name]))
    return TextEncoder(specific_character_set, "", tuple(sets), RIGHT_HALF.get(numbers[0], ""))


def _number(term: str) -> str:
    """Return the registration number of a defined term, or the term where it has none."""
    registered = REGISTRATION.search(term)
    return registered.group(1) if registered else term
