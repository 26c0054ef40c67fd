"""Where a matching condition finds stored values: in a column, in an array column, in a JSON object.

Every expression made here gives NULL, never an error, for a stored value of the wrong form. Tags and texts are
bound; only names of our own columns and aliases are written into the SQL.
"""

import datetime
from collections.abc import Callable
from typing import Any, Protocol

from storage.errors import InvalidQuery
from storage.matching.person_name import GROUPS, folded_sql
from storage.matching.search_text import readings

_DAY = "((0[13578]|1[02])(0[1-9]|[12][0-9]|3[01])|(0[469]|11)(0[1-9]|[12][0-9]|30)|02(0[1-9]|[12][0-9]))"  # MMDD
_MOST = 32_760
"""PostgreSQL takes 32,767 parameters; what counts the rows adds one."""


class Bindings:
    """The parameters of a statement, and fresh aliases for its subqueries."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._aliases = 0

    def add(self, value: Any, type_name: str) -> str:
        """Bind a value; returns its place with the type spelled out, such as `$3::text`.

        Raises
        ------
        InvalidQuery
            There are more than one statement can have.
        """
        if len(self.values) >= _MOST:
            raise InvalidQuery("The keys have too many values for one search; ask for fewer at a time")
        self.values.append(value)
        return f"${len(self.values)}::{type_name}"

    def alias(self) -> str:
        """Return a name that no other subquery has."""
        self._aliases += 1
        return f"v{self._aliases}"


class Value(Protocol):
    """One stored value as SQL expressions, each in the form that keys of a kind are compared with."""

    grams: tuple[str, str] | None
    """The column of grams that covers it and the letter of its field."""

    begins_with_date: bool
    """Whether `date` goes on with a time after the date."""

    @property
    def text(self) -> str:
        """Normalised text."""
        ...

    @property
    def names(self) -> list[str]:
        """Folded component groups of a name."""
        ...

    @property
    def number(self) -> str:
        """A number."""
        ...

    @property
    def date(self) -> str:
        """YYYYMMDD."""
        ...

    @property
    def time(self) -> str:
        """HHMMSSffffff."""
        ...

    def moment(self, zone: str) -> str:
        """Return a timestamp in UTC; `zone` is the interval of values that state no offset."""
        ...


Test = Callable[[str], str]
"""Given the alias of a jsonb value, the condition on it."""


class ColumnValue:
    """A value in a column, which `attributes.columns` brought into its form already."""

    def __init__(self, column: str, gram: str | None = None, *, begins_with_date: bool = False) -> None:
        self.grams: tuple[str, str] | None = ("st.grams", gram) if gram else None
        self.begins_with_date = begins_with_date
        self.text = self.number = self.date = self.time = column
        self.names = [f"{column}[{place}]" for place in range(1, len(GROUPS) + 1)]

    def moment(self, zone: str) -> str:
        """Return the column: no column holds date-times (DT)."""
        return self.text


class JsonValue:
    """A value of the DICOM JSON Model under an alias."""

    def __init__(self, alias: str) -> None:
        self.grams: tuple[str, str] | None = None
        self.begins_with_date = False
        self._alias = alias
        self._raw = f"btrim(coalesce({alias} ->> 'Alphabetic', {alias} #>> '{{}}'), ' ')"

    @property
    def text(self) -> str:
        """Normalised text."""
        return f"normalize({self._raw}, NFC)"

    @property
    def names(self) -> list[str]:
        """Folded component groups; a value that is a text instead of an object counts as alphabetic."""
        groups = [f"({self._alias} ->> '{group}')" for group in GROUPS]
        groups[0] = self._raw
        return [folded_sql(group) for group in groups]

    @property
    def number(self) -> str:
        """A JSON number, or a text that is one."""
        form = "^[+-]?([0-9]{1,40}[.]?[0-9]{0,40}|[.][0-9]{1,40})([eE][+-]?[0-9]{1,2})?$"
        return (
            f"CASE WHEN jsonb_typeof({self._alias}) = 'number' THEN ({self._alias} #>> '{{}}')::numeric "
            f"WHEN {self._raw} ~ '{form}' THEN {self._raw}::numeric END"
        )

    @property
    def date(self) -> str:
        """YYYYMMDD."""
        form = r"^[0-9]{4}([.-]?)[0-9]{2}\1[0-9]{2}$"
        digits = f"regexp_replace({self._raw}, '[.-]', '', 'g')"
        is_day = f"{self._raw} ~ '{form}' AND {digits} ~ '^[0-9]{{4}}{_DAY}$'"
        return f'(CASE WHEN {is_day} THEN {digits} END COLLATE "C")'

    @property
    def time(self) -> str:
        """HHMMSSffffff."""
        form = "^([01][0-9]|2[0-3])(:?[0-5][0-9](:?([0-5][0-9]|60)([.][0-9]+)?)?)?$"
        digits = f"rpad(regexp_replace({self._raw}, '[:.]', '', 'g'), 12, '0')"
        return f"(CASE WHEN {self._raw} ~ '{form}' THEN {digits} END COLLATE \"C\")"

    def moment(self, zone: str) -> str:
        """Return a timestamp in UTC; a day the month does not have counts on into the next."""
        form = (
            "^([0-9]{4})(0[1-9]|1[0-2])?(0[1-9]|[12][0-9]|3[01])?([01][0-9]|2[0-3])?([0-5][0-9])?([0-5][0-9]|60)?"
            "([.][0-9]{1,6})?(?:([+-])([01][0-9])([0-5][0-9]))?$"
        )
        offset = (
            "CASE p[8] WHEN '+' THEN 1 WHEN '-' THEN -1 END * make_interval(hours => p[9]::int, mins => p[10]::int)"
        )
        return (
            "(SELECT CASE WHEN p[1] > '0000' THEN make_timestamp(p[1]::int, coalesce(p[2], '1')::int, 1, 0, 0, 0) "  # noqa: S608
            "+ make_interval(days => coalesce(p[3], '1')::int - 1, hours => coalesce(p[4], '0')::int, "
            "mins => coalesce(p[5], '0')::int, secs => (coalesce(p[6], '0') || coalesce(p[7], ''))::float8) "
            f"- coalesce({offset}, {zone}) END FROM regexp_match({self._raw}, '{form}') AS p)"
        )


def zone_sql(zone: datetime.timedelta | None, bindings: Bindings) -> str:
    """Return the interval that values without an offset from UTC are taken to be in."""
    return bindings.add(zone, "interval") if zone else "interval '0'"


def document(alias: str, *, whole: bool) -> str:
    """Return the JSON object of a row: its `attributes`, or the whole metadata of an instance.

    Parameters
    ----------
    alias : str
        `st`, `se` or `i`.
    whole : bool
        Whether the attribute is not among the row's `attributes`.
    """
    return "metadata_json(i.metadata)" if whole and alias == "i" else f"{alias}.attributes"


def in_array(column: str, condition: str) -> str:
    """Say that some entry of an array column passes; the condition calls it `entry`."""
    return f"EXISTS (SELECT FROM unnest({column}) AS entry WHERE {condition})"


def in_document(holder: str, tag: str, test: Test, bindings: Bindings, *, creator: str | None = None) -> str:
    """Say that some value of an attribute passes (C-051); for a sequence: some item (C-049).

    Parameters
    ----------
    holder : str
        Expression of a DICOM JSON object.
    tag : str
        The attribute.
    test : callable
        Gets the alias of a value, returns the condition on it.
    bindings : Bindings
        The parameters of the statement.
    creator : str or None
        Of a private attribute: its creator; the block of `tag` may then be another one in the stored object.
    """
    alias = bindings.alias()
    path = bindings.add("$.Value[*]", "text")
    if creator is None:
        element = f"{holder} -> {bindings.add(tag, 'text')}"
        return f"EXISTS (SELECT FROM jsonb_path_query({element}, {path}::jsonpath) AS {alias} WHERE {test(alias)})"
    block = bindings.alias()
    element = (
        f"{block}.holder -> ({bindings.add(tag[:4], 'text')} || {block}.number || {bindings.add(tag[6:], 'text')})"
    )
    return (
        f"EXISTS (SELECT FROM {_blocks(holder, tag, creator, block, bindings)}, "
        f"jsonb_path_query({element}, {path}::jsonpath) AS {alias} WHERE {test(alias)})"
    )


def is_empty(holder: str, tag: str, bindings: Bindings, *, creator: str | None = None) -> str:
    """Say that an attribute is absent or has no value (PS3.4 C.2.2.2.7)."""
    present = in_document(
        holder, tag, lambda alias: f"{alias} NOT IN ('null', '\"\"', '{{}}')", bindings, creator=creator
    )
    return f"NOT {present}"


def is_private_creator(tag: str) -> bool:
    """Whether a tag is that of a private creator (PS3.5 7.8.1)."""
    return int(tag[3], 16) % 2 == 1 and tag[4:6] == "00" and tag[6:] >= "10"


def has_creator(holder: str, tag: str, creator: str, bindings: Bindings) -> str:
    """Say that a private creator has reserved some block of the group of `tag`."""
    return f"EXISTS (SELECT FROM {_blocks(holder, tag, creator, bindings.alias(), bindings)})"


def _blocks(holder: str, tag: str, creator: str, alias: str, bindings: Bindings) -> str:
    """Return a subquery of the blocks a creator reserved: `holder`, the object, and `number`, two digits."""
    group = bindings.add(tag[:4] + "00", "text")
    creators = [text.strip(" ") for text in readings(creator)]
    return (
        "(SELECT whole.holder, right(element.key, 2) AS number "  # noqa: S608  names of ours, values bound
        f"FROM (SELECT {holder} AS holder OFFSET 0) AS whole, "
        "jsonb_each(CASE jsonb_typeof(whole.holder) WHEN 'object' THEN whole.holder ELSE '{}' END) AS element "
        f"WHERE left(element.key, 6) = {group} AND right(element.key, 2) >= '10' "
        f"AND btrim(element.value #>> '{{Value,0}}', ' ') = ANY({bindings.add(creators, 'text[]')})) AS {alias}"
    )
