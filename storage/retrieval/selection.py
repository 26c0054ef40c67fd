"""Instances chosen by unique keys, for retrieval: a light list of all of them, and their files a few at a time.

Facts kept here:

- Unique keys are single values or lists, matched exactly and together (PS3.4 C.4.2.2.1, C.2.2.2.1, C.2.2.2.2).
- A study may have 100 000 instances: what is held of each is what a plan needs; files are looked up when they are sent.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from sys import intern
from typing import Any

import asyncpg

from storage.database.pool import retrying, sql
from storage.retrieval.instance_file import InstanceFile

_ORDER = (
    " ORDER BY st.study_instance_uid, se.series_number, se.series_instance_uid, i.instance_number, i.sop_instance_uid"
)
_COLUMNS = ("st.patient_id", "st.study_instance_uid", "se.series_instance_uid", "i.sop_instance_uid")
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class UniqueKeys:
    """What to choose: the values of a key are alternatives, no value is no restriction."""

    patient_ids: tuple[str, ...] = ()
    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """An instance that was chosen, and what must be negotiated to send it; `row` is its place in the index."""

    row: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


async def select(pool: "asyncpg.Pool[asyncpg.Record]", keys: UniqueKeys) -> list[Chosen]:
    """Return what the keys choose; nothing when no key has a value."""
    given = [(column, list(values)) for column, values in zip(_COLUMNS, astuple(keys), strict=True) if values]
    if not given:
        return []
    where = " AND ".join(f"{column} = ANY(${number}::text[])" for number, (column, _) in enumerate(given, 1))
    statement = f"{sql('chosen_instances')} WHERE {where}{_ORDER}"

    async def read() -> list[Chosen]:
        chosen: list[Chosen] = []
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            cursor = await connection.cursor(statement, *(values for _, values in given))
            while rows := await cursor.fetch(_ROWS_AT_ONCE):
                chosen.extend(map(_chosen, rows))
        return chosen

    return await retrying(read)


async def files_of(pool: "asyncpg.Pool[asyncpg.Record]", chosen: Sequence[Chosen]) -> list[InstanceFile | None]:
    """Return the files of chosen instances in order; None for one that is gone."""
    numbers = [one.row for one in chosen]
    rows = await retrying(lambda: pool.fetch(sql("files_of_chosen"), numbers))
    found = {row["id"]: row for row in rows}
    return [InstanceFile.from_row(found[number]) if number in found else None for number in numbers]


def _chosen(row: Any) -> Chosen:
    """Make one from a row; values that many share are held once."""
    number, study, series, instance, sop_class, transfer_syntax = row
    return Chosen(number, intern(study), intern(series), instance, intern(sop_class), intern(transfer_syntax))
