"""Text of a data set -> Unicode, by Specific Character Set (0008,0005); cannot fail.

Facts this module keeps (PS3.3 C.12.1.1.2, PS3.5 6.1 and Annexes H to K):

* Without escape sequences text is in the character set of the first value of (0008,0005).
* ISO 2022 escape sequences say themselves which set they designate, to G0 (the bytes below 80H) or to G1 (those above),
  so the further values of (0008,0005) matter only to lenient reading.
* The first set is active again after CR, LF, FF, TAB, after the backslash between values and, in person names, after
  ^ and =.
* In a two-byte set in G0 the bytes 5CH, 5EH and 3DH are halves of characters, not delimiters: decode first, then split.
* UTF-8, GB18030 and GBK know no escape sequences.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

ESCAPE: Final = b"\x1b"

ONE_VALUE: Final = re.compile(rb"([\t\n\f\r]+)")
"""What resets the character set in ST, LT and UT."""
MANY_VALUES: Final = re.compile(rb"([\t\n\f\r\\]+)")
"""What resets it in text that the backslash separates."""
PERSON_NAMES: Final = re.compile(rb"([\t\n\f\r\\^=]+)")
"""What resets it in PN."""
RESETS: Final = {
    **dict.fromkeys(("ST", "LT", "UT"), ONE_VALUE),
    **dict.fromkeys(("LO", "SH", "UC"), MANY_VALUES),
    "PN": PERSON_NAMES,
}
"""What resets it, by the VRs that may be in another set than the default repertoire (PS3.5 6.1.2.2)."""

# Number of ISO_IR nnn and ISO 2022 IR nnn -> codec of ASCII in G0 with that set in G1 (PS3.3 Tables C.12-2 to C.12-4)
SINGLE_BYTE: Final = {
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "166": "iso8859_11",
    "203": "iso8859_15",
    "13": "shift_jis",
}
RIGHT_HALF: Final = SINGLE_BYTE | {"149": "euc_kr", "58": "gb2312"}
STAND_ALONE: Final = {"192": "utf_8", "UTF8": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}

# Escape sequence -> (two-byte set of G0 or "" for a one-byte set, codec of G1); None: that half stays as it is
ESCAPES: Final[dict[bytes, tuple[str | None, str | None]]] = {
    b"\x1b(B": ("", None),
    b"\x1b(J": ("", None),
    b"\x1b$B": ("JIS X 0208", None),
    b"\x1b$@": ("JIS X 0208", None),
    b"\x1b$(D": ("JIS X 0212", None),
    b"\x1b)I": (None, "shift_jis"),
    b"\x1b$)C": (None, "euc_kr"),
    b"\x1b$)A": (None, "gb2312"),
    b"\x1b-A": (None, "latin_1"),
    b"\x1b-B": (None, "iso8859_2"),
    b"\x1b-C": (None, "iso8859_3"),
    b"\x1b-D": (None, "iso8859_4"),
    b"\x1b-F": (None, "iso8859_7"),
    b"\x1b-G": (None, "iso8859_6"),
    b"\x1b-H": (None, "iso8859_8"),
    b"\x1b-L": (None, "iso8859_5"),
    b"\x1b-M": (None, "iso8859_9"),
    b"\x1b-T": (None, "iso8859_11"),
    b"\x1b-b": (None, "iso8859_15"),
}
ESCAPE_SEQUENCE: Final = re.compile(rb"(\x1b[\x20-\x2f]+[\x30-\x7e]|\x1b\$[@B])")
TWO_BYTE_RUN: Final = re.compile(rb"((?:[\x21-\x7e]{2})+)")
REGISTRATION: Final = re.compile(r"IR\D{0,3}(\d{1,3})$")
LATIN: Final = re.compile(r"(?:ISO\D?8859|LATIN)\D?(\d{1,2})$")
HIGH_HALF: Final = bytes(byte | 0x80 for byte in range(256))


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """How the text of a data set is to be read.

    `codec` is a Python codec, or None when nothing usable was declared: then text that is UTF-8 is read as such and
    anything else as Latin-1. `extensible` says whether ISO 2022 escape sequences are obeyed, `declared` is the value of
    (0008,0005) it was made from.
    """

    codec: str | None = None
    extensible: bool = True
    declared: str = ""

    def decode(self, raw: bytes, resets: re.Pattern[bytes] = MANY_VALUES) -> str:
        """Return `raw` as Unicode; bytes that are nothing in this character set become U+FFFD.

        Parameters
        ----------
        raw : bytes
            The whole value field, of all values.
        resets : pattern
            ONE_VALUE, MANY_VALUES or PERSON_NAMES, by the VR.

        Standard
        --------
        PS3.5 6.1.2.5.3; PS3.18 F.2.
        """
        if raw.isascii() and ESCAPE not in raw:
            return raw.decode("ascii")
        if self.extensible and ESCAPE in raw:
            return _decode_extended(raw, self.codec, resets)
        return _decode(raw, self.codec)


UNDECLARED: Final = CharacterSet()


@lru_cache(maxsize=256)
def character_set(specific_character_set: bytes) -> CharacterSet:
    r"""Return the character set that the raw value of (0008,0005) stands for; misspelt terms are understood.

    Parameters
    ----------
    specific_character_set : bytes
        The value field, such as `b"ISO_IR 100"` or `b"\\ISO 2022 IR 87 "`.

    Standard
    --------
    PS3.3 C.12.1.1.2, Tables C.12-2 to C.12-5.
    """
    declared = specific_character_set[:1024].decode("latin_1").strip(" \0")
    codecs = [_term(term) for term in declared.split("\\")]
    first = codecs[0]
    if first in STAND_ALONE.values():
        return CharacterSet(first, False, declared)
    # ASCII as the first value leaves the bytes above 80H to the first extension: some writers never invoke it
    return CharacterSet(next((codec for codec in codecs if codec is not None), None), True, declared)


def _term(term: str) -> str | None:
    name = term.strip(" \0").upper()
    compact = re.sub(r"[ _\-]", "", name)
    for known, codec in STAND_ALONE.items():
        if compact in (known, f"ISO2022{known}"):
            return codec
    if compact in ("GB2312", "ISO202258"):
        return "gb2312"
    if registered := REGISTRATION.search(name):
        number = registered.group(1)
        return STAND_ALONE.get(number) or RIGHT_HALF.get(number)
    if latin := LATIN.search(name):
        part = int(latin.group(1))
        return f"iso8859_{part}" if 1 <= part <= 16 and part != 12 else None
    return None


def _decode(raw: bytes, codec: str | None) -> str:
    if codec is not None:
        return raw.decode(codec, "replace")
    try:
        return raw.decode("utf_8")
    except UnicodeDecodeError:
        return raw.decode("latin_1")


def _decode_extended(raw: bytes, first: str | None, resets: re.Pattern[bytes]) -> str:
    text: list[str] = []
    left, right = "", first
    for piece in ESCAPE_SEQUENCE.split(raw):
        if piece in ESCAPES:
            new_left, new_right = ESCAPES[piece]
            left = left if new_left is None else new_left
            right = right if new_right is None else new_right
        elif ESCAPE_SEQUENCE.fullmatch(piece):
            text.append("\ufffd")
        else:
            # within a two-byte set only the control characters are delimiters
            for run in (ONE_VALUE if left else resets).split(piece):
                if resets.fullmatch(run) and (not left or ONE_VALUE.fullmatch(run)):
                    left, right = "", first
                text.append(_decode_two_byte(run, left, right) if left else _decode(run, right))
    return "".join(text)


def _decode_two_byte(run: bytes, left: str, right: str | None) -> str:
    """Decode bytes while a 94x94 set is in G0; spaces, control characters and G1 are decoded as usual."""
    text: list[str] = []
    for part in TWO_BYTE_RUN.split(run):
        if not TWO_BYTE_RUN.fullmatch(part):
            text.append(_decode(part, right))
            continue
        high = part.translate(HIGH_HALF)
        if left == "JIS X 0212":  # EUC-JP reaches it through single shift three
            high = b"".join(b"\x8f" + high[at : at + 2] for at in range(0, len(high), 2))
        text.append(high.decode("euc_jp", "replace"))
    return "".join(text)
