"""The total order of search results, and cursors that continue in it.

Facts this module keeps:
- Every order ends in the row's own id, so that equal requests give equal answers (PS3.18 8.3.4.4.1, C-115).
- Default: studies newest first, then UID; series by number, then UID; instances by number, then UID (C-116).
- A cursor holds the order key of the last row given out. What is stored meanwhile comes before or after it, so pages
  neither repeat nor skip rows. What is unknown comes last, in either direction.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from storage.errors import InvalidQuery
from storage.matching.attributes import BY_LEVEL, Attribute, Level, attribute_of, parse_path
from storage.matching.conditions import Query, returned_levels
from storage.matching.stored_values import Bindings

ALIASES = {Level.PATIENT: "st", Level.STUDY: "st", Level.SERIES: "se", Level.IMAGE: "i"}
"""What the statements call the table of a level."""

_MOST_KEYS = 16


class OrderKey(NamedTuple):
    """One key of an order: SQL expression, its type, direction, and whether it can be NULL."""

    expression: str
    type_name: str
    descending: bool = False
    nullable: bool = False

    @property
    def sql(self) -> str:
        """The key in an ORDER BY clause."""
        direction = " DESC" if self.descending else ""
        return f"{self.expression}{direction}{' NULLS LAST' if self.nullable and self.descending else ''}"


_DEFAULTS: dict[Level, tuple[OrderKey, ...]] = {
    Level.PATIENT: (OrderKey("st.key1", "text"), OrderKey("st.key2", "text"), OrderKey("st.key3", "text")),
    Level.STUDY: (OrderKey("st.sort_key", "text", descending=True), OrderKey("st.study_instance_uid", "text")),
    Level.SERIES: (
        OrderKey("se.series_number", "bigint", nullable=True),
        OrderKey("se.series_instance_uid", "text"),
        OrderKey("se.id", "bigint"),
    ),
    Level.IMAGE: (
        OrderKey("i.instance_number", "bigint", nullable=True),
        OrderKey("i.sop_instance_uid", "text"),
        OrderKey("i.id", "bigint"),
    ),
}


def order_of(query: Query) -> tuple[OrderKey, ...]:
    """Return the order of a query's rows.

    Raises
    ------
    InvalidQuery
        `order_by` names something that cannot be sorted by, or too much.
    """
    keys: dict[str, OrderKey] = {}
    for name in query.order_by:
        key = _asked_for(query, name)
        keys.setdefault(key.expression, key)  # given again it changes nothing
    if len(keys) > _MOST_KEYS:
        raise InvalidQuery(f"orderby: at most {_MOST_KEYS} attributes can be sorted by; leave out the last ones")
    return (*keys.values(), *_DEFAULTS[query.level])


def _asked_for(query: Query, name: str) -> OrderKey:
    path = parse_path(name.removeprefix("-"))
    attribute = attribute_of(path[0], query.level) if path and len(path) == 1 else None
    if not attribute or not attribute.column or attribute.column in ("modalities", "sop_classes"):
        raise InvalidQuery(f"orderby: {_sortable(query)} can be sorted by, a leading hyphen turns the order round")
    if attribute.level not in returned_levels(query):
        raise InvalidQuery(f"orderby: {_sortable(query)} can be sorted by here")
    expression = f"{ALIASES[attribute.level]}.{attribute.column}"
    if attribute.vr == "PN":
        expression += "[1]"
    return OrderKey(
        expression,
        "bigint" if attribute.vr == "IS" else "text",
        descending=name.startswith("-"),
        nullable=not attribute.computed,
    )


def _sortable(query: Query) -> str:
    known: list[Attribute] = [attribute for level in returned_levels(query) for attribute in BY_LEVEL[level].values()]
    return ", ".join(a.keyword for a in known if a.column and a.column not in ("modalities", "sop_classes"))


def encode_cursor(values: Sequence[Any]) -> str:
    """Return the order key of a row as a text for URLs."""
    return base64.urlsafe_b64encode(orjson.dumps(list(values))).decode("ascii").rstrip("=")


def decode_cursor(cursor: str, order: Sequence[OrderKey]) -> list[Any]:
    """Read a cursor made by `encode_cursor` for the same order; raises InvalidQuery."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = orjson.loads(data)
    except (ValueError, binascii.Error):
        values = None
    if not isinstance(values, list) or len(values) != len(order) or not all(map(_fits, values, order)):
        raise InvalidQuery("cursor: use the one of the previous page, with the same other parameters")
    return values


def _fits(value: Any, key: OrderKey) -> bool:
    if value is None:
        return key.nullable
    if key.type_name == "bigint":
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, str) and "\0" not in value


def after(order: Sequence[OrderKey], values: Sequence[Any], bindings: Bindings) -> str:
    """Return the condition that a row comes after the one with these order keys."""
    key, value = order[0], values[0]
    rest = after(order[1:], values[1:], bindings) if len(order) > 1 else "FALSE"
    if value is None:
        return f"({key.expression} IS NULL AND {rest})"
    place = bindings.add(value, key.type_name)
    beyond = f"{key.expression} {'<' if key.descending else '>'} {place}"
    if key.nullable:
        return f"({beyond} OR {key.expression} IS NULL OR ({key.expression} = {place} AND {rest}))"
    # In this form PostgreSQL starts to read the index at the cursor.
    from_here = f"{key.expression} {'<=' if key.descending else '>='} {place}"
    return f"({from_here} AND ({beyond} OR {rest}))"
