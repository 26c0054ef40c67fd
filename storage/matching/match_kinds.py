"""How keys of each VR are compared with stored values (PS3.4 C.2.2.2.1 to C.2.2.2.6); pure.

A match is a function from a stored value's SQL expressions to a condition. `kind_of` is the table of VRs.
"""

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from storage.errors import InvalidQuery
from storage.matching.date_time import Range, date_range, date_time_range, time_range
from storage.matching.person_name import (
    apart,
    apart_sql,
    fold,
    fuzzy_words_sql,
    is_half_width,
    is_unspaced,
    together,
    tokens,
    unspaced_sql,
)
from storage.matching.search_text import clip, is_wild, like_pattern, normal, pattern_grams
from storage.matching.stored_values import Bindings, Value, zone_sql

Match: TypeAlias = Callable[[Value, Bindings], str]

MULTIPLE = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
"""VRs of multiple value matching (PS3.4 C.2.2.2.8)."""

_CASELESS = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The ways of matching that a query negotiated.

    Attributes
    ----------
    fuzzy : bool
        Names match by the beginnings of their parts.
    multiple : bool
        Every value of the key must be there; no character is a wildcard then.
    zone : timedelta or None
        Offset from UTC the requester's times are in.
    ignore_case : bool
        Texts that people write (not codes, which are in capitals) match whatever their case.
    """

    fuzzy: bool = False
    multiple: bool = False
    zone: datetime.timedelta | None = None
    ignore_case: bool = False

    def text(self, vr: str, label: str, value: str) -> Match:
        """Match a text: the very value, or a pattern."""
        wanted = normal(vr, value)
        if vr == "AT":
            wanted = _tag(label, wanted)
        operator = "ILIKE" if self.ignore_case and vr in _CASELESS else "LIKE"
        if vr not in _WILD or self.multiple or (operator == "LIKE" and not is_wild(wanted)):
            wanted = clip(wanted)
            return lambda stored, bindings: f"{stored.text} = {bindings.add(wanted, 'text')}"
        pattern = like_pattern(wanted if is_wild(wanted) else clip(wanted))
        return lambda stored, bindings: _narrowed(
            stored, [wanted], f"{stored.text} {operator} {bindings.add(pattern, 'text')}", bindings
        )

    def name(self, vr: str, label: str, value: str) -> Match:
        """Match a name group by group; a key without `=` may match any group (C-032)."""
        literal = self._literal_name(value)
        words = tokens(value) if self.fuzzy else []
        if not words:
            return literal
        fuzzy = _fuzzy_name(
            words, half_width=is_half_width(value)
        )  # viewers send wildcards with the flag: it must never find less than they do
        return lambda stored, bindings: _joined([literal(stored, bindings), fuzzy(stored, bindings)], " OR ")

    def _literal_name(self, value: str) -> Match:
        half_width = is_half_width(value)
        groups = [apart(fold(group)) if half_width else fold(group) for group in value.split("=")[:3]]
        operator = " AND "
        if len(groups) == 1:
            groups, operator = groups * 3, " OR "
        return lambda stored, bindings: self._groups(stored, groups, operator, bindings, half_width=half_width)

    def _groups(self, stored: Value, groups: list[str], operator: str, bindings: Bindings, *, half_width: bool) -> str:
        """Compare each folded key with the stored group at its place; keys that match all say nothing."""
        found = [
            _group(column, group, bindings, literal=self.multiple)
            for column, group in zip(_names(stored, half_width=half_width), groups, strict=False)
            if group.strip("*")
        ]
        if not found:
            return "TRUE"
        patterns = [together(group) if half_width else group for group in dict.fromkeys(groups) if group]
        return _narrowed(stored, patterns, _joined(found, operator), bindings)

    def uid(self, vr: str, label: str, value: str) -> Match:
        """Match one UID."""
        return self.uid_list(label, [value])

    def uid_list(self, label: str, values: Sequence[str]) -> Match:
        """Match any UID of a list (PS3.4 C.2.2.2.2)."""
        uids = [value.strip(" ") for value in values]
        if any(not _UID.fullmatch(uid) for uid in uids):
            raise InvalidQuery(f"{label}: a UID is 1 to 64 digits and dots, and takes no wildcards")
        if len(uids) == 1:
            return lambda stored, bindings: f"{stored.text} = {bindings.add(uids[0], 'text')}"
        return lambda stored, bindings: f"{stored.text} = ANY({bindings.add(uids, 'text[]')})"

    def number(self, vr: str, label: str, value: str) -> Match:
        """Match a number by its value (C-061)."""
        if not _NUMBER.fullmatch(value.strip(" ")):
            raise InvalidQuery(f"{label}: not a number")
        number = Decimal(value.strip(" "))
        if number == number.to_integral_value() and -(2**63) <= number < 2**63:
            return lambda stored, bindings: f"{stored.number} = {bindings.add(int(number), 'bigint')}"
        return lambda stored, bindings: f"{stored.number} = {bindings.add(number, 'numeric')}"

    def date(self, vr: str, label: str, value: str) -> Match:
        """Match a date or a range of dates."""
        wanted = date_range(label, value)
        return lambda stored, bindings: _within(
            stored.date, _of_prefix(wanted) if stored.begins_with_date else wanted, "text", bindings
        )

    def time(self, vr: str, label: str, value: str) -> Match:
        """Match a time or a range of times."""
        wanted = time_range(label, value)
        return lambda stored, bindings: _within(stored.time, wanted, "text", bindings)

    def date_time(self, vr: str, label: str, value: str) -> Match:
        """Match a date-time or a range of them, offsets from UTC considered."""
        wanted = date_time_range(label, value, self.zone or datetime.timedelta())
        return lambda stored, bindings: _within(
            stored.moment(zone_sql(self.zone, bindings)), wanted, "timestamp", bindings
        )


Kind: TypeAlias = Callable[[Kinds, str, str, str], Match]
"""Of the ways negotiated, a VR, the key's name and one value, the match; raises InvalidQuery."""

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("AE", "AS", "AT", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), Kinds.text),
    **dict.fromkeys(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"), Kinds.number),
    "PN": Kinds.name,
    "UI": Kinds.uid,
    "DA": Kinds.date,
    "TM": Kinds.time,
    "DT": Kinds.date_time,
}


def kind_of(vr: str) -> Kind | None:
    """Return how a VR is matched; None for binary values and sequences."""
    return _KINDS.get(vr)


def split_values(vr: str, value: str) -> list[str]:
    """Split a key of a VR whose values hold neither comma nor backslash (C-036, C-037, C-053)."""
    return re.split(r"[,\\]", value) if vr in ("UI", "CS") else [value]


def _tag(label: str, text: str) -> str:
    digits = re.sub(r"[(), ]", "", text).upper()
    if not _TAG.fullmatch(digits):
        raise InvalidQuery(f"{label}: a tag is 8 hexadecimal digits")
    return digits


def _of_prefix(days: Range[str]) -> Range[str]:
    """Return the range of texts that begin with the days; a colon sorts after every digit."""
    return Range(days.low or "0", days.high + ":" if days.high else None)


def _within(stored: str, wanted: Range[str] | Range[datetime.datetime], type_name: str, bindings: Bindings) -> str:
    if wanted.single:
        return f"{stored} = {bindings.add(wanted.low, type_name)}"
    found = []
    if wanted.low is not None:
        found.append(f"{stored} >= {bindings.add(wanted.low, type_name)}")
    if wanted.high is not None:
        found.append(f"{stored} <= {bindings.add(wanted.high, type_name)}")
    return _joined(found, " AND ")


def _narrowed(stored: Value, patterns: list[str], exact: str, bindings: Bindings) -> str:
    """Put the grams of all patterns beside the exact condition, so that an index can be used."""
    if stored.grams is None:
        return exact
    column, field = stored.grams
    needed = list(dict.fromkeys(gram for pattern in patterns for gram in pattern_grams(field, pattern)))
    if not needed:
        return exact
    # Within CASE the planner estimates by the grams alone; it would take the two conditions for independent.
    return f"(CASE WHEN {exact} THEN TRUE END AND {column} @> needed_grams({bindings.add(needed, 'text[]')}))"


def _group(column: str, wanted: str, bindings: Bindings, *, literal: bool) -> str:
    """Say that one component group matches a folded key."""
    if literal or not is_wild(wanted):
        return f"{column} = {bindings.add(clip(wanted), 'text')}"
    exact = f"{column} LIKE {bindings.add(like_pattern(wanted), 'text')}"
    if wanted.endswith("^*"):  # DOE^* is what workstations send for any Doe, and empty last components are not stored
        exact = f"({exact} OR {column} LIKE {bindings.add(like_pattern(wanted[:-2]), 'text')})"
    return exact


def any_of(matches: Sequence[Match]) -> Match:
    """Return the match that one of several is enough for."""
    if len(matches) == 1:
        return matches[0]
    return lambda stored, bindings: _joined([match(stored, bindings) for match in matches], " OR ")


def _joined(found: list[str], operator: str) -> str:
    return f"({operator.join(found)})"


def _names(stored: Value, *, half_width: bool) -> list[str]:
    return [apart_sql(column) for column in stored.names] if half_width else stored.names


def _fuzzy_name(wanted: list[str], *, half_width: bool) -> Match:
    """Every word is the beginning of some part of the name, in any group (C-056).

    Words of scripts without spaces, alone and together, may go on over the end of a part.
    """
    unspaced = [word for word in wanted if is_unspaced(word)]
    ways = [wanted]
    if len(unspaced) > 1:
        ways.append([*(word for word in wanted if word not in unspaced), "".join(unspaced)])

    def match(stored: Value, bindings: Bindings) -> str:
        names = _names(stored, half_width=half_width)
        parts = [*names, *map(unspaced_sql, names)] if unspaced else names
        text = fuzzy_words_sql(f"concat_ws(' ', '', {', '.join(parts)})")
        return _joined([_begins(stored, text, words, half_width, bindings) for words in ways], " OR ")

    return match


def _begins(stored: Value, text: str, words: list[str], half_width: bool, bindings: Bindings) -> str:
    """Say that every word stands at the beginning of one in a text of words."""
    words = [apart(word) if half_width else word for word in words]
    found = [f"{text} LIKE {bindings.add(f'% {like_pattern(word)}%', 'text')}" for word in words]
    patterns = [together(f"{word}*") if half_width else f"{word}*" for word in words]
    # where the parts of a name meet nobody knows: only the characters are sure
    patterns = [
        "*".join(pattern) if is_unspaced(word) else pattern for word, pattern in zip(words, patterns, strict=True)
    ]
    return _narrowed(stored, patterns, _joined(found, " AND "), bindings)
