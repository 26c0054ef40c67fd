"""Worklist queries: what a request asks for, and the SQL conditions that say the same; pure.

Facts and clauses this module keeps:

- A row is one scheduled procedure step `s` of an item `w`, so that keys inside the Scheduled Procedure Step Sequence
  hold in one step (PS3.4 C.2.2.2.6; G-143).
- Date and time of the step are one moment: a range of dates with a range of times is one range (G-142).
- A value that is not known fails against a key with a value, contrary to Query/Retrieve (K.2.2.1.1.1; G-147).
- Any of several values may match, which is the standard's only for UIDs (C.2.2.2.2).
- An empty key, a lone asterisk, an empty sequence and one with an empty item match everything (K.2.2.1.2; G-149).
- Query/Retrieve Level, character set and offset from UTC are never matched (K.4.1.1.3.1; G-140).
- Every attribute can be a key: those without a column are matched in the JSON of the item.
- Finished steps are found only by whoever asks for their status (G-152).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from storage.dicom.json_values import values_of
from storage.errors import InvalidQuery
from storage.matching.attributes import tag_of, vr_of
from storage.matching.conditions import Key
from storage.matching.date_time import DAY_END, DAY_START, Range, date_range, time_range
from storage.matching.match_kinds import Kinds, Match, kind_of
from storage.matching.person_name import GROUPS
from storage.matching.search_text import is_wild, normal
from storage.matching.stored_values import Bindings, ColumnValue, JsonValue, in_array, in_document, is_private_creator
from storage.worklist.item import DATE, ITEM_COLUMNS, STATUS, STEP_COLUMNS, STEPS, TIME, path_in_item

UNMATCHED: Final = frozenset(
    map(tag_of, ("SpecificCharacterSet", "QueryRetrieveLevel", "QueryRetrieveView", "TimezoneOffsetFromUTC"))
)
"""What in an identifier says how it is to be read."""

UNFINISHED: Final = "s.status NOT IN ('COMPLETED', 'DISCONTINUED')"
"""As the index of the open steps has it."""

_ARRAYS: Final = frozenset({"station_ae_titles"})
_LONGEST_VALUE: Final = 4096
_MOST_KEYS: Final = 500

_Group: TypeAlias = "dict[str, Key | _Group]"


@dataclass(frozen=True, slots=True)
class WorklistQuery:
    """What is looked for.

    Attributes
    ----------
    keys : tuple of Key
        What must hold.
    fuzzy : bool
        Whether names match by the beginnings of their parts (negotiated, G-153).
    finished : bool
        Whether steps that are completed or discontinued are found without being asked for.
    """

    keys: tuple[Key, ...] = ()
    fuzzy: bool = False
    finished: bool = True


@dataclass(slots=True)
class WorklistConditions:
    """The filter of a query.

    Attributes
    ----------
    sql : list of str
        Conditions on `s` and `w`, to be joined by AND.
    bindings : Bindings
        The values of their parameters.
    unmatched : list of str
        Names of the keys that cannot be matched and were left out: the answers are FF01 (G-151).
    """

    sql: list[str]
    bindings: Bindings
    unmatched: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        """The conditions as one."""
        return " AND ".join(self.sql) or "TRUE"


def keys_of(identifier: Mapping[str, Any], path: tuple[str, ...] = ()) -> tuple[Key, ...]:
    """Return the keys with a value of a request's identifier.

    Parameters
    ----------
    identifier : mapping
        DICOM JSON object.

    Raises
    ------
    InvalidQuery
        A sequence has more than one item, or there are too many keys.

    Standard
    --------
    PS3.4 K.2.2.1, C.2.2.2.6.
    """
    keys: list[Key] = []
    for tag, attribute in identifier.items():
        here = (*path, tag)
        if not path and tag in UNMATCHED:
            continue
        if attribute.get("vr") == "SQ":
            items = [item for item in values_of(attribute) if isinstance(item, Mapping) and item]
            if len(items) > 1:
                raise InvalidQuery(f"{_shown(here)}: a sequence in a query has one item (PS3.4 C.2.2.2.6)")
            keys += keys_of(items[0], here) if items else ()
        elif "InlineBinary" in attribute:
            keys.append(Key(here, ("binary",), _shown(here)))
        elif values := tuple(_text(value) for value in values_of(attribute)):
            keys.append(Key(here, values, _shown(here)))
    if len(keys) > _MOST_KEYS:
        raise InvalidQuery(f"a query has at most {_MOST_KEYS} keys")
    return tuple(keys)


def query_of(keys: Sequence[Key], *, fuzzy: bool = False) -> WorklistQuery:
    """Return the query of somebody who names attributes, those of the step with or without its sequence before them.

    Raises
    ------
    InvalidQuery
        A key can match nothing, is given twice or is wrong; the message names it.
    """
    query = WorklistQuery(tuple(replace(key, path=path_in_item(key.path)) for key in keys), fuzzy)
    known: set[tuple[str, ...]] = set()
    for key in query.keys:
        if key.path in known:
            raise InvalidQuery(f"{key.label} is given more than once")
        known.add(key.path)
    never = [key.label for key in query.keys if UNMATCHED.intersection(key.path)]
    if unmatched := never or conditions(query).unmatched:
        raise InvalidQuery(f"{unmatched[0]} cannot be searched for")
    return query


def conditions(query: WorklistQuery) -> WorklistConditions:
    """Translate a query.

    Raises
    ------
    InvalidQuery
        A value is not of the form its VR asks for; the message names the key, not the value.

    Standard
    --------
    PS3.4 K.2.2.1, Table K.6-1; C.2.2.2.
    """
    result = WorklistConditions([], Bindings())
    kinds = Kinds(query.fuzzy)
    wanted: list[Key] = []
    for key in query.keys:
        _check(key)
        if key.is_universal:
            continue
        if _is_matchable(key):
            wanted.append(key)
        else:
            result.unmatched.append(key.label)
    tree = _grouped(wanted)
    steps = tree.pop(STEPS, {})
    if isinstance(steps, Key):
        raise InvalidQuery(f"{steps.label}: a sequence is searched by the attributes in its item")
    asks_for_status = STATUS in steps
    result.sql += _start(steps.pop(DATE, None), steps.pop(TIME, None), result.bindings)
    for tag, node in steps.items():
        result.sql.append(_condition(tag, node, "s", STEP_COLUMNS, kinds, result.bindings))
    for tag, node in tree.items():
        result.sql.append(_condition(tag, node, "w", ITEM_COLUMNS, kinds, result.bindings))
    if not query.finished and not asks_for_status:
        result.sql.append(UNFINISHED)
    return result


def _text(value: Any) -> str:
    """Return a value of the DICOM JSON Model as it stands in a data set."""
    if isinstance(value, Mapping):
        return "=".join(str(value.get(group) or "") for group in GROUPS).rstrip("=")
    return str(value)


def _shown(path: Sequence[str]) -> str:
    return " > ".join(f"({tag[:4]},{tag[4:]})" for tag in path)


def _check(key: Key) -> None:
    if any(len(value) > _LONGEST_VALUE or "\0" in value for value in key.values):
        raise InvalidQuery(f"{key.label}: a value holds a NUL character or more than {_LONGEST_VALUE} characters")


def _is_matchable(key: Key) -> bool:
    *sequences, last = key.path
    if any(vr_of(tag) != "SQ" for tag in sequences) or is_private_creator(last):
        return False
    vr = vr_of(last)
    return vr is not None and kind_of(vr) is not None


def _grouped(keys: list[Key]) -> _Group:
    """Return the keys as a tree, so that those of one sequence stand together."""
    root: _Group = {}
    for key in keys:
        node = root
        for tag in key.path[:-1]:
            inner = node.setdefault(tag, {})
            assert not isinstance(inner, Key), "the last tag of a key is no sequence"
            node = inner
        node[key.path[-1]] = key
    return root


def _start(date: "Key | _Group | None", time: "Key | _Group | None", bindings: Bindings) -> list[str]:
    """Say when a step begins: both keys together are one range of moments."""
    if not isinstance(date, Key):
        return [] if not isinstance(time, Key) else [_time_alone(time, bindings)]
    dates = date_range(date.label, _one(date))
    if not isinstance(time, Key):
        low, high = dates.low or "0", dates.high + ":" if dates.high else None  # a colon sorts after every digit
        return _between(low, high, bindings)
    several_days = dates.low is None or dates.high is None or dates.low < dates.high
    times = time_range(time.label, _one(time), across_days=several_days)
    if times.single and several_days:  # a moment of no particular day
        return [*_start(date, None, bindings), _time_alone(time, bindings)]
    low = dates.low + (times.low or DAY_START) if dates.low else "0"
    high = dates.high + (times.high or DAY_END) if dates.high else None
    return _between(low, high, bindings)


def _between(low: str, high: str | None, bindings: Bindings) -> list[str]:
    found = [f"s.start_at >= {bindings.add(low, 'text')}"]
    return found if high is None else [*found, f"s.start_at <= {bindings.add(high, 'text')}"]


def _time_alone(key: Key, bindings: Bindings) -> str:
    wanted: Range[str] = time_range(key.label, _one(key))
    low, high = wanted.low or DAY_START, wanted.high or DAY_END
    return f"substr(s.start_at, 9) BETWEEN {bindings.add(low, 'text')} AND {bindings.add(high, 'text')}"


def _one(key: Key) -> str:
    values = [value for value in key.values if value.strip(" ")]
    if len(values) != 1:
        raise InvalidQuery(f"{key.label}: one date or time, or one range, is matched (PS3.4 Table K.6-1)")
    return values[0]


def _condition(
    tag: str, node: "Key | _Group", alias: str, columns: Mapping[str, str], kinds: Kinds, bindings: Bindings
) -> str:
    """Return the condition of one attribute of the item or the step; nothing is true of what is not known."""
    if not isinstance(node, Key) or tag not in columns:
        return _document_condition(f"{alias}.attributes", tag, node, kinds, bindings)
    vr = vr_of(tag) or "LO"
    if columns[tag] in _ARRAYS:
        return _array_condition(f"{alias}.{columns[tag]}", vr, node, kinds, bindings)
    value = ColumnValue(f"{alias}.{columns[tag]}")
    return _any([match(value, bindings) for match in node.matches(kinds, vr)])


def _array_condition(array: str, vr: str, key: Key, kinds: Kinds, bindings: Bindings) -> str:
    """Say that one of several stored values matches; without wildcards an index serves it."""
    texts = [normal(vr, text) for meant in key.alternatives(vr) for text in meant]
    if not any(is_wild(text) for text in texts):
        return f"{array} && {bindings.add(texts, 'text[]')}"
    entry = ColumnValue("entry")
    return _any([in_array(array, match(entry, bindings)) for match in key.matches(kinds, vr)])


def _document_condition(holder: str, tag: str, node: "Key | _Group", kinds: Kinds, bindings: Bindings) -> str:
    """Return the condition of an attribute in a JSON object, or of what is in one item of a sequence."""
    if not isinstance(node, Key):

        def in_item(item: str) -> str:
            found = [_document_condition(item, inner, entry, kinds, bindings) for inner, entry in node.items()]
            return " AND ".join(found)

        return in_document(holder, tag, in_item, bindings)

    def has_value(match: Match) -> str:
        return in_document(holder, tag, lambda value: match(JsonValue(value), bindings), bindings)

    return _any([has_value(match) for match in node.matches(kinds, vr_of(tag) or "LO")])


def _any(found: list[str]) -> str:
    return f"({' OR '.join(found)})"
