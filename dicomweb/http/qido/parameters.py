"""The query string of a search, read into a `Query` (PS3.18 8.3.4).

Facts and clauses this module keeps:
- Names are case-sensitive; tags may be written in either case (8.3.1, 8.3.4.1; A-005, A-008).
- A space is `%20` and a plus sign `%2B`. A `+` is what the standard takes it for, a plus, and what forms, browsers and
  Python's `requests` take it for, a space: in texts it matches both, in dates, times and numbers it is a plus, in
  lists of names a space (A-013).
- Values are split at commas before percent-decoding, so that `%2C` is part of a value; in `includefield`, UIDs and
  code strings, which hold no comma, it separates too, as browsers write it (8.3.4.1; A-007).
- An attribute may be given once (8.3.4.1; C-017). What is not understood is ignored with a warning (8.3; C-018); what
  is understood and wrong is a 400 that names the parameter (A-010, C-120).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote_to_bytes

from storage.errors import InvalidQuery
from storage.matching.attributes import Level, Tag8, parse_path, tag_of, vr_of
from storage.matching.conditions import Include, Key, Query
from storage.matching.search_text import SPACE_OR_PLUS
from storage.matching.stored_values import is_private_creator

PARAMETERS: dict[str, str] = {
    "limit": "most results of this answer",
    "offset": "matches to skip",
    "includefield": "attributes to return as well, by keyword, tag or path; `all` for everything the levels have",
    "fuzzymatching": "true: names are also found when every word of the key begins some part of them",
    "emptyvaluematching": 'true: the value "" finds attributes without a value',
    "multiplevaluematching": "true: of attributes that may have several values, all that a key has must be there",
    "ignorecase": "extension: true: texts other than codes match whatever their case",
    "search": "extension: a text that begins a word of the patient's name, the patient ID or the accession number",
    "orderby": "extension: attributes to sort by, a leading hyphen for descending",
    "cursor": "extension: where the previous page ended, from its Link header",
    "includetotal": "extension: true answers with the number of all matches in X-Total-Count",
    "accept": "media types, before those of the Accept header",
    "charset": "ignored: text is UTF-8",
}
"""The parameters that are not attributes, and what they mean; for the conformance statement (A-012)."""

_REPEATABLE = frozenset({"includefield", "accept", "charset", "orderby"})
_SPLIT_AFTER_DECODING = frozenset({"UI", "CS"})
_PLUS_IS = {
    **dict.fromkeys(("DA", "TM", "DT", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"), "+"),
    **dict.fromkeys(("AT", "UI"), " "),
}
"""What a `+` is in keys of VRs that are not text."""
_TIMEZONE = tag_of("TimezoneOffsetFromUTC")
_MOST_PARAMETERS = 1000
_LONGEST_TEXT = 256
_UNSIGNED = re.compile(r"[0-9]{1,18}")
_MORE_DIGITS = re.compile(r"[0-9]{19,}")


@dataclass(slots=True)
class Search:
    """What a query string says.

    Attributes
    ----------
    query : Query
        The search.
    warnings : list of str
        What was ignored, in ASCII.
    """

    query: Query
    warnings: list[str]


@dataclass(slots=True)
class _Given:
    """The parameters of a query string, decoded as far as that is right before they are understood."""

    attributes: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def parse_search(
    query_string: bytes,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    *,
    default_results: int = 5000,
    max_results: int = 5000,
) -> Search:
    """Read the query string of a search.

    Parameters
    ----------
    query_string : bytes
        As it came, still percent-encoded.
    level : Level
        What is searched for.
    study_instance_uid, series_instance_uid : str or None
        From the path.
    default_results, max_results : int
        Results without `limit`, and at most.

    Raises
    ------
    InvalidQuery
        A parameter is wrong; the message names it.

    Standard
    --------
    PS3.18 8.3.4, 10.6.1.2.
    """
    given = _read(query_string)
    creators = {path: value for path, (_, value) in given.attributes.items() if is_private_creator(path[-1]) and value}
    limit = _unsigned(given, "limit")
    query = Query(
        level,
        tuple(_key(path, name, raw, creators) for path, (name, raw) in given.attributes.items()),
        study_instance_uid,
        series_instance_uid,
        limit=min(default_results if limit is None else limit, max_results),
        offset=_unsigned(given, "offset") or 0,
        cursor=given.others.get("cursor", [None])[0],
        order_by=tuple(_names(given, "orderby")),
        fuzzy=_flag(given, "fuzzymatching"),
        empty_value=_flag(given, "emptyvaluematching"),
        multiple_value=_flag(given, "multiplevaluematching"),
        ignore_case=_flag(given, "ignorecase"),
        text=_text(given, "search"),
        count_total=_flag(given, "includetotal"),
    )
    includes, everything = _includes(given, creators)
    return Search(replace(query, include=includes, include_all=everything), given.warnings)


def _read(query_string: bytes) -> _Given:
    given = _Given()
    for name, raw in _pairs(query_string):
        if name in PARAMETERS:
            values = given.others.setdefault(name, [])
            if values and name not in _REPEATABLE:
                raise InvalidQuery(f"{name} is given more than once")
            values.append(_decoded(name, raw, SPACE_OR_PLUS if name == "search" else " "))
        elif path := parse_path(name):
            if path in given.attributes:
                raise InvalidQuery(
                    f"{_shown(name)} is given more than once, here as {_shown(given.attributes[path][0])}"
                )
            given.attributes[path] = (name, raw)
        else:
            given.warnings.append(f"The parameter {_shown(name)} is not supported and was ignored")
    return given


def _pairs(query_string: bytes) -> Iterator[tuple[str, str]]:
    """Yield names, decoded, and values, not decoded."""
    parts = [part for part in query_string.decode("latin-1").split("&") if part]
    if len(parts) > _MOST_PARAMETERS:
        raise InvalidQuery(f"At most {_MOST_PARAMETERS} parameters are read")
    for part in parts:
        name, _, value = part.partition("=")
        yield _decoded("The name of a parameter", name), value


def _plus(tag: Tag8) -> str:
    """Return what a `+` is in a key."""
    return "+" if tag == _TIMEZONE else _PLUS_IS.get(vr_of(tag) or "", SPACE_OR_PLUS)


def _decoded(name: str, raw: str, plus: str = "+") -> str:
    """Decode percent-encoded UTF-8 (A-006), in which a `+` is `plus`."""
    try:
        text = unquote_to_bytes(raw.replace("+", quote(plus)).encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidQuery(f"{_shown(name)} is not percent-encoded UTF-8") from None
    if "\0" in text:
        raise InvalidQuery(f"{_shown(name)} holds a NUL character")
    return text


def _key(path: tuple[str, ...], name: str, raw: str, creators: dict[tuple[str, ...], str]) -> Key:
    """Make a matching key; a private one needs its creator beside it (C-016)."""
    separated = vr_of(path[-1]) in _SPLIT_AFTER_DECODING
    pieces = [raw] if separated else raw.split(",")
    decoded = [_decoded(name, piece, _plus(path[-1])) for piece in pieces]
    values = decoded[0].split(",") if separated else decoded
    creator = _creator(path, creators)
    if creator is None and _is_private(path[-1]) and not is_private_creator(path[-1]):
        block = path[-1][:4] + "00" + path[-1][4:6]
        raise InvalidQuery(f"{_shown(name)} is private: its creator must be given too, as {block}=...")
    return Key(path, tuple(value for value in values if value), _shown(name), creator)


def _is_private(tag: str) -> bool:
    return int(tag[3], 16) % 2 == 1


def _creator(path: tuple[str, ...], creators: dict[tuple[str, ...], str]) -> str | None:
    tag = path[-1]
    if not _is_private(tag) or is_private_creator(tag):
        return None
    raw = creators.get((*path[:-1], f"{tag[:4]}00{tag[4:6]}"))
    return _decoded(tag, raw, SPACE_OR_PLUS) if raw is not None else None


def _names(given: _Given, parameter: str) -> list[str]:
    """Return what a parameter lists, without the spaces around it."""
    listed = [name.strip(" ") for text in given.others.get(parameter, ()) for name in text.split(",")]
    return [name for name in listed if name]


def _includes(given: _Given, creators: dict[tuple[str, ...], str]) -> tuple[tuple[Include, ...], bool]:
    """Read `includefield`: what is unknown is left out (C-096), `all` goes with others (C-091)."""
    names = _names(given, "includefield")
    paths = dict.fromkeys(path for name in names if (path := parse_path(name)))
    found = [Include(path, _creator(path, creators)) for path in paths]
    return (
        tuple(entry for entry in found if entry.creator is not None or not _is_private(entry.path[-1])),
        "all" in names,
    )


def _unsigned(given: _Given, name: str) -> int | None:
    if name not in given.others:
        return None
    text = given.others[name][0]
    if _MORE_DIGITS.fullmatch(text):
        return 10**18
    if not _UNSIGNED.fullmatch(text):
        raise InvalidQuery(f"{name} must be an unsigned integer")
    return int(text)


def _flag(given: _Given, name: str) -> bool:
    text = given.others.get(name, ["false"])[0]
    if text not in ("true", "false"):
        raise InvalidQuery(f"{name} must be true or false")
    return text == "true"


def _text(given: _Given, name: str) -> str:
    text = given.others.get(name, [""])[0]
    if len(text) > _LONGEST_TEXT:
        raise InvalidQuery(f"{name}: at most {_LONGEST_TEXT} characters are looked for")
    return text


def _shown(name: str) -> str:
    """Return a name fit for a header: ASCII, short, nothing that ends a line or a quoted text."""
    return quote(name[:64], safe=" .-_~")
