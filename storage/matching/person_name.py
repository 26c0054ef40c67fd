"""Person names as they are compared: without case and accents, group by group (PS3.4 C.2.2.2.1.1, PS3.5 6.2.1).

`fold` and `folded_sql` do the same, one in Python, the other in PostgreSQL for names that have no column; neither
depends on the collation of the database.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any

from storage.dicom.json_values import without_nul
from storage.matching.search_text import DROPPED, SEPARATORS, clip

GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
"""The component groups, in the order PS3.5 writes them."""

# Letters that Unicode does not decompose but people leave out.
_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "ŧ": "t", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
_LETTER_MAP = str.maketrans(_LETTERS)
_MARKS = "\u0300-\u036f"  # of other scripts, marks such as the Japanese voicing tell letters apart: they stay
_MARK = re.compile(f"[{_MARKS}]+")
_VOICING = "\u3099\u309a"
_VOICED = "".join(
    kana
    for kana in map(chr, range(0x3041, 0x3100))
    if any(len(unicodedata.normalize("NFC", kana + mark)) == 1 for mark in _VOICING)
)
_CUT_APART = re.compile(f"[{_VOICED}](?=[*?])|(?<=[*?])[{_VOICING}]+")
_HALF_WIDTH = re.compile("[\uff66-\uff9f]")
# Han, kana and Hangul, which are written without spaces between the parts of a name.
_UNSPACED = re.compile(
    "[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_AROUND_CARET = re.compile(r" *\^ *")
_SPACES = re.compile(r"\s+")


def fold(text: str) -> str:
    """Return a component group, or a key for one, as it is compared.

    Case and accents vanish, runs of spaces become one, spaces around components and empty trailing components go;
    wildcards stay.
    """
    text = unicodedata.normalize("NFKD", without_nul(text))
    text = unicodedata.normalize("NFKD", text.casefold())
    text = unicodedata.normalize("NFC", _MARK.sub("", text).translate(_LETTER_MAP))
    return _AROUND_CARET.sub("^", _SPACES.sub(" ", text)).strip(" ").rstrip("^ ")


def component_groups(value: Any) -> list[str]:
    """Return the folded groups of a stored name: alphabetic, ideographic, phonetic, as far as there are any.

    Parameters
    ----------
    value : object
        A PN value of the DICOM JSON Model; a text with `=` is understood too.
    """
    if isinstance(value, Mapping):
        groups = [value.get(group) for group in GROUPS]
    elif isinstance(value, str):
        groups = list(value.split("=")[:3])
    else:
        return []
    folded = [clip(fold(group)) if isinstance(group, str) else "" for group in groups]
    while folded and not folded[-1]:
        folded.pop()
    return folded


def tokens(text: str) -> list[str]:
    """Return the words of a key for fuzzy matching, without punctuation and wildcards."""
    return fuzzy_words(fold(re.sub(r"[*?=]", " ", text))).split()


def is_half_width(text: str) -> bool:
    """Whether a key has half-width katakana, of which a voicing mark is a character of its own (ISO-IR 13)."""
    return _HALF_WIDTH.search(text) is not None


def apart(folded: str) -> str:
    """Return a folded text with its voicing marks as characters of their own; `apart_sql` does the same."""
    return unicodedata.normalize("NFD", folded)


def apart_sql(expression: str) -> str:
    """Return the SQL expression of `apart`."""
    return f"normalize({expression}, NFD)"


def together(pattern: str) -> str:
    """Return, of a key that is `apart`, what is sure about folded texts: a wildcard may stand for a voicing mark."""
    return unicodedata.normalize("NFC", _CUT_APART.sub("?", pattern))


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script without spaces between the parts of a name."""
    return _UNSPACED.fullmatch(word) is not None


def unspaced_sql(expression: str) -> str:
    """Return the SQL expression of a folded group without what is between its parts."""
    return f"translate({expression}, {_literal(' ' + SEPARATORS + DROPPED)}, '')"


def fuzzy_words(folded: str) -> str:
    """Return a folded group as words; `fuzzy_words_sql` does the same."""
    return folded.translate(str.maketrans(SEPARATORS, " " * len(SEPARATORS), DROPPED))


def fuzzy_words_sql(expression: str) -> str:
    """Return the SQL expression of `fuzzy_words`."""
    return f"translate({expression}, {_literal(SEPARATORS + DROPPED)}, {_literal(' ' * len(SEPARATORS))})"


def folded_sql(expression: str) -> str:
    """Return the SQL expression of `fold` for a text expression (Latin, Greek, Cyrillic, Armenian)."""
    upper, lower = _cases()
    text = f"normalize({expression}, NFKD)"
    text = f"translate(regexp_replace({text}, '[{_MARKS}]+', '', 'g'), {_literal(upper)}, {_literal(lower)})"
    for letter, letters in {**{k: v for k, v in _LETTERS.items() if len(v) > 1}, "ß": "ss"}.items():
        text = f"replace({text}, {_literal(letter)}, {_literal(letters)})"
    text = rf"regexp_replace(normalize({text}, NFC), '\s+', ' ', 'g')"
    return rf"rtrim(btrim(regexp_replace({text}, ' *\^ *', '^', 'g'), ' '), '^ ')"


@cache
def _cases() -> tuple[str, str]:
    """Return the letters that change one for one when a decomposed text is folded, and what they become."""
    pairs: dict[str, str] = {}
    for number in (*range(0x41, 0x5B), *range(0xA1, 0x250), *range(0x370, 0x588), *range(0x1E00, 0x2000)):
        letter = chr(number)
        if len(unicodedata.normalize("NFD", letter)) > 1:
            continue
        folded = letter.casefold().translate(_LETTER_MAP)
        if len(folded) == 1 and folded != letter:
            pairs[letter] = folded
    pairs.update({"Æ": "æ", "Œ": "œ", "Þ": "þ", "ẞ": "ß"})  # then replaced by two letters
    return "".join(pairs), "".join(pairs.values())


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
