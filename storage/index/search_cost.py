"""Which searches may have to read a whole table, and what the planner thinks of them.

Facts this module keeps:
- Most searches go by an index whatever their values: those are known by their keys, and nothing is asked about them.
- Of any other the planner estimates what its very statement costs, with the values at hand. Where rows are looked at to
  see whether they match, what counts is the cost without LIMIT: how soon enough are found, the planner can only guess.
"""

from typing import Any, Final

from storage.matching.attributes import Level, attribute_of
from storage.matching.conditions import Query, is_permitted
from storage.matching.query import Key
from storage.matching.search_text import SPACE_OR_PLUS, is_wild

DEAR: Final = 10_000.0
"""Cost, in the planner's unit, from which on a search is a scan: a few tenths of a second, measured."""

_ONE_ROW = frozenset(
    {"study_instance_uid", "series_instance_uid", "sop_instance_uid", "patient_id", "accession_number"}
)
"""Columns with an index by which a value leads to a few rows."""
_ORDERED = frozenset({"study_date", "modality", "modalities"})
"""Columns with an index that serves ranges or lists of values of studies."""
_PIECE: Final = 3
"""Letters in a row that a gram has."""
_FAR: Final = 10_000
"""Rows that are skipped one by one in well under that time."""


def may_scan(query: Query) -> bool:
    """Whether a search may have to read a whole table; False when an index serves it whatever its values."""
    if query.study_instance_uid is not None or any(_leads_to_few(query, key) for key in query.keys):
        return False
    if query.level is not Level.STUDY or query.order_by or query.offset > _FAR:
        return True
    return looks_at_rows(query)


def looks_at_rows(query: Query) -> bool:
    """Whether a search reads rows to see whether they match, or to count them."""
    if query.count_total or (query.text and not _has_piece(query.text)):
        return True
    return not all(_is_indexed(query, key) for key in query.keys if not key.is_universal)


async def estimated_cost(connection: Any, statement: str, values: list[Any], *, all_rows: bool) -> float:
    """Return what the planner thinks that a statement costs, in its own unit.

    Parameters
    ----------
    connection : asyncpg.Connection
        One of `storage.database.pool.searching`, so that the plan is for the values.
    statement : str
        A SELECT with a LIMIT.
    values : list
        Of its parameters.
    all_rows : bool
        Whether to look for all rows, whatever the LIMIT.
    """
    (explained,) = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values)
    plan = explained["Plan"]
    if all_rows and plan["Node Type"] == "Limit":
        plan = plan["Plans"][0]
    return float(plan["Total Cost"])


def _leads_to_few(query: Query, key: Key) -> bool:
    column = _column_of(query, key)
    if query.ignore_case or query.empty_value or key.is_universal:
        return False
    return column in _ONE_ROW and not any(is_wild(value) or SPACE_OR_PLUS in value for value in key.values)


def _is_indexed(query: Query, key: Key) -> bool:
    attribute = attribute_of(key.path[0], query.level) if len(key.path) == 1 else None
    if attribute is None or not is_permitted(query, key):
        return attribute is not None  # a key of another level is left out
    if attribute.gram and all(_has_piece(value) for value in key.values):
        return True
    wild = any(is_wild(value) for value in key.values)
    return attribute.column in _ORDERED and not wild and not query.empty_value


def _column_of(query: Query, key: Key) -> str | None:
    attribute = attribute_of(key.path[0], query.level) if len(key.path) == 1 else None
    return attribute.column if attribute and is_permitted(query, key) else None


def _has_piece(text: str) -> bool:
    """Whether a pattern has letters enough in a row for a gram."""
    pieces = text.replace(SPACE_OR_PLUS, "*").replace("?", "*").split("*")
    return any(sum(map(str.isalnum, piece)) >= _PIECE for piece in pieces)
