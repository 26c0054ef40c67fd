r"""The SQL conditions that say what a search asks for (PS3.4 C.2.2.2); pure.

Facts and clauses this module keeps:
- Single values match exactly, with case unless told otherwise, but names (PN) without case and accents in any component
  group (C.2.2.2.1).
- Wildcards exist for AE CS LO LT PN SH ST UC UR UT only (C.2.2.2.4); `*` alone and the empty value match all.
- Several values of a key: any of them, the list of UIDs being the standard case (C.2.2.2.2). With
  `multiplevaluematching` all of them, without wildcards, if the attribute has several by definition (C.2.2.2.8): other
  keys are matched as ever. A stored value of several matches when one of its values does (C.2.2.3).
- Date and time ranges given together are one range, unless the requester did not negotiate that (C.2.2.2.5.4).
- Keys inside a sequence must hold in the same item (C.2.2.2.6).
- Values are bound, never written into the statement.

The statement calls the tables `st` (studies), `se` (series) and `i` (instances).
"""

import datetime
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from storage.errors import InvalidQuery
from storage.matching.attributes import (
    BY_LEVEL,
    RETRIEVE_URL,
    Attribute,
    Level,
    Tag8,
    attribute_of,
    has_several_values,
    level_of,
    tag_of,
    vr_of,
)
from storage.matching.date_time import DAY_END, DAY_START, Range, date_range, time_range, utc_offset
from storage.matching.match_kinds import MULTIPLE, Kinds, Match, kind_of, split_values
from storage.matching.query import Include, Key, Query
from storage.matching.search_text import SPACE_OR_PLUS, is_wild, normal
from storage.matching.stored_values import (
    Bindings,
    ColumnValue,
    JsonValue,
    document,
    has_creator,
    in_array,
    in_document,
    is_empty,
    is_private_creator,
)
from storage.matching.text_search import text_condition

__all__ = ["Conditions", "Include", "Key", "Level", "Query", "conditions", "is_permitted", "returned_levels"]

_TIMEZONE = tag_of("TimezoneOffsetFromUTC")
_CHARACTER_SET = tag_of("SpecificCharacterSet")
_AVAILABILITY = tag_of("InstanceAvailability")
_MODALITY = tag_of("Modality")
_MODALITIES_IN_STUDY = tag_of("ModalitiesInStudy")
_TABLES = {Level.PATIENT: "st", Level.STUDY: "st", Level.SERIES: "se", Level.IMAGE: "i"}
_DATE_TIME_PAIRS = tuple(
    (tag_of(date), tag_of(time), level)
    for date, time, level in (
        ("StudyDate", "StudyTime", Level.STUDY),
        ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", Level.SERIES),
    )
)
_ARRAYS = frozenset({"modalities", "sop_classes"})
_EMPTY_TOKEN = '""'
_LONGEST_VALUE = 4096
_MOST_VALUES = 10_000


@dataclass(slots=True)
class Conditions:
    """The filter of a query.

    Attributes
    ----------
    sql : list of str
        Conditions to be joined by AND.
    bindings : Bindings
        The values of their parameters.
    keys : list of Key
        The keys that are matched, universal ones included; their attributes are returned (C-076).
    warnings : list of str
        What was ignored; free of values.
    """

    sql: list[str]
    bindings: Bindings
    keys: list[Key] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


_Group: TypeAlias = "dict[Tag8, Key | _Group]"


def returned_levels(query: Query) -> tuple[Level, ...]:
    """Return the levels whose attributes are matched and returned: the rows' own and those above that no scope fixes.

    Standard
    --------
    PS3.18 Table 10.6.1-4, 10.6.3.3.1 to 10.6.3.3.3.
    """
    if query.level is Level.PATIENT:
        return (Level.PATIENT,)
    levels: list[Level] = [query.level]
    if query.level is Level.IMAGE and query.series_instance_uid is None:
        levels.append(Level.SERIES)
    if query.level > Level.STUDY and query.study_instance_uid is None:
        levels.append(Level.STUDY)
    if Level.STUDY in levels:
        levels.append(Level.PATIENT)
    return tuple(sorted(levels))


def is_permitted(query: Query, key: Key) -> bool:
    """Whether a key is of a level this search matches; Modality of a study means that of any of its series."""
    if query.level is Level.STUDY and key.path == (_MODALITY,):
        return True
    return level_of(key.path[0], query.level) in returned_levels(query)


def conditions(query: Query) -> Conditions:
    """Translate a query's scope and keys.

    Raises
    ------
    InvalidQuery
        A value is not of the form its VR asks for; the message names the key, not the value. All keys together have
        more values than one statement can.

    Standard
    --------
    PS3.4 C.2.2.2; PS3.18 8.3.4.
    """
    result = Conditions([], Bindings())
    for alias, column, uid in (
        ("st", "study_instance_uid", query.study_instance_uid),
        ("se", "series_instance_uid", query.series_instance_uid),
    ):
        if uid is not None:
            result.sql.append(f"{alias}.{column} = {result.bindings.add(uid, 'text')}")
    if query.text.strip("* " + SPACE_OR_PLUS):
        result.sql.append(text_condition(query.text, result.bindings))
    kinds = _kinds(query)
    for key in query.keys:
        if _is_usable(query, key, result.warnings):
            result.keys.append(key)
    remaining = [key for key in result.keys if not key.is_universal]
    if query.combined_datetime:
        remaining = _combined_ranges(remaining, kinds, result)
    for tag, node in _grouped(remaining).items():
        result.sql.append(_condition(query, tag, node, kinds, result.bindings))
    return result


def _kinds(query: Query) -> Kinds:
    zones = [key for key in query.keys if key.path == (_TIMEZONE,) and not key.is_universal]
    zone = utc_offset(zones[0].label, zones[0].values[0]) if zones else None
    return Kinds(query.fuzzy, zone=zone, ignore_case=query.ignore_case)


def _is_usable(query: Query, key: Key, warnings: list[str]) -> bool:
    """Check a key's values; add a warning when it cannot be matched."""
    if len(key.values) > _MOST_VALUES or any(len(value) > _LONGEST_VALUE for value in key.values):
        raise InvalidQuery(f"{key.label}: at most {_MOST_VALUES} values of {_LONGEST_VALUE} characters are matched")
    if any("\0" in value for value in key.values):
        raise InvalidQuery(f"{key.label}: a value holds a NUL character")
    if key.path in ((_TIMEZONE,), (_CHARACTER_SET,)):  # say how the query is to be read, never matched (C.2.2.2)
        return False
    if not is_permitted(query, key):
        warnings.append(f"{key.label} is not matched at this level and was ignored")
        return False
    if _is_matchable(query, key):
        return True
    warnings.append(f"{key.label} is not supported as a matching key and was ignored")
    return False


def _is_matchable(query: Query, key: Key) -> bool:
    *sequences, last = key.path
    if last == RETRIEVE_URL or any(vr_of(tag) != "SQ" for tag in sequences):
        return False
    if key.creator is not None or is_private_creator(last):
        return True
    if key.is_universal:
        return vr_of(last) is not None
    attribute = attribute_of(last, query.level) if not sequences else None
    if attribute and attribute.computed and attribute.column is None and last != _AVAILABILITY:
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
            if isinstance(inner, Key):
                raise InvalidQuery(f"{key.label}: the sequence itself is a key already")
            node = inner
        if key.path[-1] in node:
            raise InvalidQuery(f"{key.label}: the attribute is given twice")
        node[key.path[-1]] = key
    return root


def _condition(query: Query, tag: Tag8, node: "Key | _Group", kinds: Kinds, bindings: Bindings) -> str:
    """Return the condition of one top-level attribute."""
    if query.level is Level.STUDY and tag == _MODALITY:
        tag = _MODALITIES_IN_STUDY
    attribute = attribute_of(tag, query.level)
    alias = _TABLES[attribute.level if attribute else Level.IMAGE]
    if isinstance(node, Key) and attribute and attribute.computed and attribute.column is None:
        wanted = {value for given in node.values for value in split_values("CS", given)}
        return "TRUE" if "ONLINE" in wanted else "FALSE"
    if isinstance(node, Key) and attribute and attribute.column and _is_in_column(query, attribute, node):
        return _column_condition(query, attribute, node, f"{alias}.{attribute.column}", kinds, bindings)
    stored = attribute is not None and tag in BY_LEVEL[attribute.level] and not attribute.computed
    return _document_condition(query, tag, node, document(alias, whole=not stored), kinds, bindings)


def _is_in_column(query: Query, attribute: Attribute, key: Key) -> bool:
    """A value without meaning, such as a bad date, is not in the column, and yet the attribute is not empty."""
    return attribute.computed or not _asks_for_empty(query, key)


def _column_condition(
    query: Query, attribute: Attribute, key: Key, column: str, kinds: Kinds, bindings: Bindings
) -> str:
    if attribute.column in _ARRAYS:
        return _array_condition(query, attribute, key, column, kinds, bindings)
    if _asks_for_empty(query, key):
        return f"{column} IS NULL"
    is_study_date = attribute.column == "study_date"  # which sort_key begins with, in the order of the results
    value = ColumnValue("st.sort_key" if is_study_date else column, attribute.gram, begins_with_date=is_study_date)
    return _joined([match(value, bindings) for match in key.matches(kinds, attribute.vr)], every=False)


def _array_condition(
    query: Query, attribute: Attribute, key: Key, column: str, kinds: Kinds, bindings: Bindings
) -> str:
    """Say that a computed attribute of several values has the key's; without wildcards an index serves it."""
    if _asks_for_empty(query, key):
        return f"{column} = '{{}}'"
    vr = attribute.vr
    every = _is_every(query, attribute.tag, vr, key)
    matches = key.matches(replace(kinds, multiple=every), vr)  # checks the values
    texts = [[normal(vr, text) for text in meant] for meant in key.alternatives(vr)]
    if every and all(len(meant) == 1 for meant in texts):
        return f"{column} @> {bindings.add([meant[0] for meant in texts], 'text[]')}"
    if not every and not any(is_wild(text) for meant in texts for text in meant):
        return f"{column} && {bindings.add([text for meant in texts for text in meant], 'text[]')}"
    entry = ColumnValue("entry")
    return _joined([in_array(column, match(entry, bindings)) for match in matches], every=every)


def _document_condition(
    query: Query, tag: Tag8, node: "Key | _Group", holder: str, kinds: Kinds, bindings: Bindings
) -> str:
    """Return the condition of an attribute in a JSON object, or in an item of a sequence in it."""
    if not isinstance(node, Key):

        def in_item(item: str) -> str:
            return " AND ".join(
                _document_condition(query, inner, entry, item, kinds, bindings) for inner, entry in node.items()
            )

        return in_document(holder, tag, in_item, bindings)
    if _asks_for_empty(query, node):
        return is_empty(holder, tag, bindings, creator=node.creator)
    if is_private_creator(tag):
        return _joined([has_creator(holder, tag, value, bindings) for value in node.values], every=False)
    vr = (vr_of(tag) or "LO") if node.creator is None else "LO"
    every = _is_every(query, tag, vr, node)

    def has_value(match: Match) -> str:
        return in_document(holder, tag, lambda value: match(JsonValue(value), bindings), bindings, creator=node.creator)

    return _joined([has_value(match) for match in node.matches(replace(kinds, multiple=every), vr)], every=every)


def _joined(found: list[str], *, every: bool) -> str:
    return f"({(' AND ' if every else ' OR ').join(found)})" if found else "TRUE"


def _is_every(query: Query, tag: Tag8, vr: str, key: Key) -> bool:
    """Whether all values of the key must be there (PS3.4 C.2.2.2.8)."""
    return query.multiple_value and vr in MULTIPLE and has_several_values(tag) and len(key.alternatives(vr)) > 1


def _asks_for_empty(query: Query, key: Key) -> bool:
    return query.empty_value and key.values == (_EMPTY_TOKEN,)


def _combined_ranges(keys: list[Key], kinds: Kinds, result: Conditions) -> list[Key]:
    """Turn pairs of a date range and a time range into one condition each; returns the other keys."""
    by_path = {key.path: key for key in keys}
    for date_tag, time_tag, level in _DATE_TIME_PAIRS:
        date_key, time_key = by_path.get((date_tag,)), by_path.get((time_tag,))
        if date_key is None or time_key is None:
            continue
        if not (_is_range(date_key) and _is_range(time_key)) and kinds.zone is None:
            continue
        if len(date_key.values) != 1 or len(time_key.values) != 1 or _EMPTY_TOKEN in date_key.values + time_key.values:
            continue
        dates = date_range(date_key.label, date_key.values[0])
        several_days = dates.low is None or dates.high is None or dates.low < dates.high
        times = time_range(time_key.label, time_key.values[0], across_days=several_days)
        table = _TABLES[level]
        columns = [f"{table}.{BY_LEVEL[level][tag].column}" for tag in (date_tag, time_tag)]
        if kinds.zone is None:
            result.sql.append(_combined(columns[0], columns[1], dates, times, result.bindings))
        else:
            zoned = _combined_in_zone(columns[0], columns[1], table, dates, times, kinds.zone, result.bindings)
            result.sql.append(zoned)
        keys = [key for key in keys if key.path not in ((date_tag,), (time_tag,))]
    return keys


def _is_range(key: Key) -> bool:
    return len(key.values) == 1 and "-" in key.values[0]


def _combined(date: str, time: str, dates: Range[str], times: Range[str], bindings: Bindings) -> str:
    """Say that date and time lie in one range; an unknown time is not in a part of a day."""
    low, high = times.low or DAY_START, times.high or DAY_END
    if date == "st.study_date":
        return _in_sort_key(dates, low, high, bindings)
    found = [f"{date} IS NOT NULL"]
    if dates.low:
        day = bindings.add(dates.low, "text")
        found.append(f"{date} >= {day}")
        if low > DAY_START:
            found.append(f"({date} > {day} OR {time} >= {bindings.add(low, 'text')})")
    if dates.high:
        day = bindings.add(dates.high, "text")
        found.append(f"{date} <= {day}")
        if high < DAY_END:
            found.append(f"({date} < {day} OR {time} <= {bindings.add(high, 'text')})")
    return f"({' AND '.join(found)})"


def _in_sort_key(dates: Range[str], low: str, high: str, bindings: Bindings) -> str:
    """Say the same of the study's date and time, which are one text that an index orders."""
    first = "0" if dates.low is None else dates.low + (low if low > DAY_START else "")
    found = [f"st.sort_key >= {bindings.add(first, 'text')}"]
    if dates.high and high == DAY_END:
        found.append(f"st.sort_key < {bindings.add(dates.high + ':', 'text')}")
    elif dates.high:
        found.append(f"st.sort_key <= {bindings.add(dates.high + high, 'text')}")
        found.append(f"st.sort_key <> {bindings.add(dates.high, 'text')}")
    return f"({' AND '.join(found)})"


def _combined_in_zone(
    date: str, time: str, table: str, dates: Range[str], times: Range[str], zone: datetime.timedelta, bindings: Bindings
) -> str:
    """The same for a requester in another zone than the equipment; a value without offset is taken as in the zone."""
    offset = f"{table}.attributes #>> '{{{_TIMEZONE},Value,0}}'"
    shift = (
        f"CASE WHEN {offset} ~ '^[+-][01][0-9][0-5][0-9]$' THEN {bindings.add(zone, 'interval')} - "
        f"make_interval(hours => left({offset}, 3)::int, mins => (left({offset}, 1) || right({offset}, 2))::int) "
        "ELSE interval '0' END"
    )
    moment = (
        f"make_timestamp(left({date}, 4)::int, substr({date}, 5, 2)::int, right({date}, 2)::int, "
        f"left({time}, 2)::int, substr({time}, 3, 2)::int, 0) + make_interval(secs => substr({time}, 5)::float8 / 1e6)"
    )
    found = [f"{date} IS NOT NULL", f"{time} IS NOT NULL"]
    days = datetime.timedelta(days=2)
    for day, clock, sign, rest in ((dates.low, times.low, ">=", DAY_START), (dates.high, times.high, "<=", DAY_END)):
        if day:
            at = _moment(day, clock or rest)
            found.append(f"({moment} + {shift}) {sign} {bindings.add(at, 'timestamp')}")
            margin = _shifted(at, -days if sign == ">=" else days)  # so that the index on the date can be used
            found.append(f"{date} {sign} {bindings.add(margin.date().isoformat().replace('-', ''), 'text')}")
    return f"({' AND '.join(found)})"


def _moment(day: str, clock: str) -> datetime.datetime:
    """Return a moment; a second of 60 is the first one of the next minute, as in the statement."""
    minute = datetime.datetime(int(day[:4]), int(day[4:6]), int(day[6:]), int(clock[:2]), int(clock[2:4]))
    return _shifted(minute, datetime.timedelta(microseconds=int(clock[4:])))


def _shifted(moment: datetime.datetime, by: datetime.timedelta) -> datetime.datetime:
    try:
        return moment + by
    except OverflowError:
        return moment
