"""Searches: filter, stable order, then limit, all in SQL (PS3.18 10.6, PS3.4 C.4.1).

Facts this module keeps:
- Rows are studies, series or instances, never joined rows: levels above are joined by key (one row), levels below are
  asked through what the storing transaction maintains.
- What remains is counted up to `COUNT_LIMIT` rows: enough for a reader, and cheap.
- The connection plans for the values at hand and cuts statements off (`storage.database.pool.searching`).
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from storage.errors import QueryTooBroad
from storage.index.search_cost import estimated_cost, looks_at_rows
from storage.index.search_order import OrderKey, after, decode_cursor, encode_cursor, order_of
from storage.index.search_rows import RowPlan, plan_rows
from storage.matching.attributes import Level
from storage.matching.conditions import Conditions, Query, conditions

COUNT_LIMIT = 2_000
"""Remaining rows that are counted; beyond it is "at least"."""

_TABLES = {
    Level.STUDY: "studies st",
    Level.SERIES: "series se JOIN studies st ON st.id = se.study",
    Level.IMAGE: "instances i JOIN series se ON se.id = i.series JOIN studies st ON st.id = se.study",
}
_PATIENT_KEYS = (
    "coalesce(st.patient_id, '') AS key1, coalesce(st.issuer_of_patient_id, '') AS key2, "
    "CASE WHEN st.patient_id IS NULL THEN array_to_string(st.patient_name, '=') ELSE '' END AS key3"
)
_LARGEST = 2**62


@dataclass(slots=True)
class Page:
    """The answer to a query.

    Attributes
    ----------
    rows : list of dict
        DICOM JSON objects, attributes ascending; without RetrieveURL, values that lie elsewhere as BulkDataURI relative
        to the instance.
    remaining : int or None
        Matches after this page, counted up to `COUNT_LIMIT`; None when that was not asked for and there are some.
    remaining_is_minimum : bool
        Whether there may be more than that.
    next_cursor : str or None
        Where the next page begins; None at the end.
    total : int or None
        All matches, when asked for.
    warnings : list of str
        What was ignored; free of values.
    """

    rows: list[dict[str, Any]]
    remaining: int | None = 0
    remaining_is_minimum: bool = False
    next_cursor: str | None = None
    total: int | None = None
    warnings: list[str] = field(default_factory=list)


async def find(connection: Any, query: Query) -> Page:
    """Run a search.

    Parameters
    ----------
    connection : asyncpg.Connection
        One of `storage.database.pool.searching`.
    query : Query
        What is searched.

    Returns
    -------
    Page
        At most `query.limit` rows.

    Raises
    ------
    InvalidQuery
        A key, the order or the cursor is wrong.
    QueryTooBroad
        The database cut the statement off.

    Standard
    --------
    PS3.18 8.3.4.4.1, 10.6.3; PS3.4 C.4.1.3.
    """
    try:
        return await _find(connection, query)
    except asyncpg.QueryCanceledError as error:
        raise QueryTooBroad("The search took too long; add a study date, patient or accession number.") from error


async def cost(connection: Any, query: Query) -> float:
    """Return what the planner thinks that a search costs, see `storage.index.search_cost`; raises InvalidQuery."""
    search = _Statement(query)
    return await estimated_cost(connection, search.sql, search.values, all_rows=looks_at_rows(query))


class _Statement:
    """The statement of a search, and what else is asked about the same rows."""

    def __init__(self, query: Query) -> None:
        filters = conditions(query)
        bindings = filters.bindings
        self.plan: RowPlan = plan_rows(query, filters.keys)
        self.order: tuple[OrderKey, ...] = order_of(query)
        self.warnings = filters.warnings
        self.limit, self.offset = min(query.limit, _LARGEST), min(query.offset, _LARGEST)
        source = _source(query, filters)
        where = [] if query.level is Level.PATIENT else list(filters.sql)
        self.unpaged = f"FROM {source}{_where(where)}", list(bindings.values)
        if query.cursor is not None:
            where.append(after(self.order, decode_cursor(query.cursor, self.order), bindings))
        self.filtered = f"FROM {source}{_where(where)}", list(bindings.values)
        columns = [f"{expression} AS {name}" for name, expression in self.plan.columns.items()]
        columns += [f"{key.expression} AS order{place}" for place, key in enumerate(self.order)]
        self.sql = (
            f"SELECT {', '.join(columns)} {self.filtered[0]} ORDER BY {', '.join(key.sql for key in self.order)} "
            f"LIMIT {bindings.add(self.limit + 1, 'bigint')} OFFSET {bindings.add(self.offset, 'bigint')}"
        )
        self.values = bindings.values


async def _find(connection: Any, query: Query) -> Page:
    search = _Statement(query)
    limit, offset, order = search.limit, search.offset, search.order
    records = await connection.fetch(search.sql, *search.values)
    page = Page([], warnings=search.warnings)
    if len(records) > limit:
        records = records[:limit]
        if records:
            page.next_cursor = encode_cursor([records[-1][f"order{place}"] for place in range(len(order))])
        page.remaining = None
        if query.count_remaining:
            passed = offset + len(records)
            counted = await _count(connection, *search.filtered, passed + COUNT_LIMIT + 1)
            page.remaining = min(max(0, counted - passed), COUNT_LIMIT)
            page.remaining_is_minimum = counted - passed > COUNT_LIMIT
    if query.count_total:
        page.total = await _count(connection, *search.unpaged, _LARGEST)
    plan = search.plan
    whole = "metadata" in plan.columns or len(records) > 1000
    page.rows = await asyncio.to_thread(plan.rows, records) if whole else plan.rows(records)
    return page


def _source(query: Query, filters: Conditions) -> str:
    """Return what rows are taken from; patients are the newest study of each that passes the filter."""
    if query.level is not Level.PATIENT:
        return _TABLES[query.level]
    return (
        f"(SELECT DISTINCT ON (key1, key2, key3) st.*, {_PATIENT_KEYS} FROM studies st{_where(filters.sql)} "  # noqa: S608
        "ORDER BY key1, key2, key3, st.sort_key DESC, st.study_instance_uid) st"
    )


def _where(found: list[str]) -> str:
    return f" WHERE {' AND '.join(found)}" if found else ""


async def _count(connection: Any, filtered: str, values: list[Any], at_most: int) -> int:
    place = f"${len(values) + 1}::bigint"
    statement = f"SELECT count(*) FROM (SELECT {filtered} LIMIT {place}) AS matches"  # noqa: S608  values are bound
    return int(await connection.fetchval(statement, *values, at_most))
