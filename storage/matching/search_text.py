"""Text as it is compared: normalised, cut to what an index can hold, turned into LIKE patterns and trigrams.

Facts this module keeps:
- Matching happens on Unicode in form NFC (C-060); padding is no part of a value (PS3.5 6.2).
- A B-tree of PostgreSQL refuses keys over 2704 bytes: columns and the values compared with them are cut alike.
- Grams only narrow down; the exact condition stands beside them. So they may say yes too often, never no wrongly:
  they are made character by character, so that any piece of a text has grams the whole text has too.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from storage.dicom.json_values import without_nul

LONGEST = 256
"""Characters of a text that columns keep."""

_TRAILING_ONLY = frozenset({"LT", "ST", "UC", "UR", "UT"})  # leading spaces belong to these values (PS3.5 6.2)
_SHORT_GRAMS = frozenset("NI")
"""Fields people search in while they type, where one and two letters must be quick as well."""

_MOST_GRAMS = 6

SPACE_OR_PLUS: Final = "\ufdd0"
"""In a key: what may be a space or a plus sign. It is none of Unicode's characters, so no text holds it."""

_MOST_APART = 4

SEPARATORS = "^-,;/_&()="
DROPPED = "'’`´\".:"
_WORDS = str.maketrans(SEPARATORS, " " * len(SEPARATORS), DROPPED)


def normal(vr: str, text: str) -> str:
    """Return `text` as values of `vr` are compared: NFC, without padding."""
    text = unicodedata.normalize("NFC", without_nul(text))
    return text.rstrip(" ") if vr in _TRAILING_ONLY else text.strip(" ")


def clip(text: str) -> str:
    """Return the part of a normalised text that columns keep."""
    return text[:LONGEST]


def readings(text: str) -> list[str]:
    """Return what a key may mean: every `SPACE_OR_PLUS` a space or a plus; where there are many, all of them the same.

    As texts of their own, each is matched as any other key is, and through the same indexes.
    """
    first, *others = text.split(SPACE_OR_PLUS)
    places = len(others)
    signs = itertools.product(" +", repeat=places) if places <= _MOST_APART else [(sign,) * places for sign in " +"]
    return [first + "".join(map("".join, zip(chosen, others, strict=True))) for chosen in signs]


def is_wild(text: str) -> bool:
    """Whether a key holds a wildcard (PS3.4 C.2.2.2.4)."""
    return "*" in text or "?" in text


def like_pattern(text: str) -> str:
    r"""Return the LIKE pattern of a key with wildcards; `%`, `_` and `\` in it stand for themselves (C-035)."""
    escaped = re.sub(r"([\\%_])", r"\\\1", re.sub(r"\*+", "*", text))
    return escaped.replace("*", "%").replace("?", "_")


def words(text: str) -> str:
    """Return a folded name as words: separators become spaces, apostrophes and dots vanish, character by character."""
    return text.translate(_WORDS)


def grams(field: str, texts: str | Iterable[str]) -> set[str]:
    """Return the grams of a column's value: the letter of the field and three characters, for some also two and one.

    Parameters
    ----------
    field : str
        The letter that tags them.
    texts : str or iterable of str
        A normalised text, or the folded component groups of a name.
    """
    found: set[str] = set()
    for text in (texts,) if isinstance(texts, str) else texts:
        if text:
            padded = f" {_gram_text(text)} "
            for size in (1, 2, 3) if field in _SHORT_GRAMS else (3,):
                found.update(field + padded[at : at + size] for at in range(len(padded) - size + 1))
    found.discard(field + " ")
    return found


def pattern_grams(field: str, pattern: str) -> list[str]:
    """Return grams that every text matching a key (with or without wildcards) must have.

    The key is normalised (a name: folded); an empty answer means that nothing can be said.
    """
    pieces = re.split(r"[*?]+", pattern)
    pieces = [_gram_text(piece) for piece in pieces]
    pieces[0] = " " + pieces[0]
    pieces[-1] = pieces[-1] + " "
    sizes = (3, 2, 1) if field in _SHORT_GRAMS else (3,)
    found: dict[str, None] = {}
    for piece in pieces:
        size = next((size for size in sizes if len(piece) >= size), 0)
        if size:
            found.update(dict.fromkeys(field + piece[at : at + size] for at in range(len(piece) - size + 1)))
    found.pop(field + " ", None)
    chosen = list(found)
    step = -(-len(chosen) // _MOST_GRAMS) or 1
    return chosen[::-step]  # from the end: of the numbers of an archive it is the last digits that differ


def _gram_text(text: str) -> str:
    return words(text.casefold())
