"""What a file that takes another's place tells anew of its study and series.

A study (with its patient) and a series are described by the instance that was stored first, so that a stray later one
changes nothing. A file that takes the place of another is a correction: from then on it describes them, the newest
one last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.index.arrival import Arrival
from storage.matching.conditions import Level


async def correct(
    connection: Any,
    studies: Mapping[str, Any],
    series: Mapping[tuple[int, str], int],
    correcting: Sequence[Arrival],
    rows: Mapping[tuple[str, str, str], Any],
) -> list[int]:
    """Describe studies and series by what corrects them.

    Parameters
    ----------
    connection
        In the transaction that locked the studies.
    studies, series
        The study rows by UID, and the ids of series rows by study row and UID.
    correcting
        What is stored and takes the place of another file, no two of one key. What only heals one is not among them.
    rows
        The instance rows as they were, by key.

    Returns
    -------
    list of int
        The study rows whose modalities or SOP classes may have become fewer.
    """
    correcting = sorted(correcting, key=lambda arrival: (arrival.corrects or 0, arrival.blob.name))
    recount = set()
    of_studies = {studies[arrival.key[0]]["id"]: arrival for arrival in correcting}
    of_series = {series[studies[arrival.key[0]]["id"], arrival.key[1]]: arrival for arrival in correcting}
    for row, arrival in sorted(of_studies.items()):
        await _describe(connection, "studies", row, arrival.record.row(Level.STUDY))
    for row, arrival in sorted(of_series.items()):
        if await _describe(connection, "series", row, arrival.record.row(Level.SERIES)):
            recount.add(studies[arrival.key[0]]["id"])
    for arrival in correcting:
        before = rows.get(arrival.key)
        if before is not None and before["sop_class_uid"] != arrival.record.sop_class_uid:
            recount.add(studies[arrival.key[0]]["id"])
    return sorted(recount)


async def _describe(connection: Any, table: str, row: int, values: Mapping[str, Any]) -> bool:
    """Write other values into a row; returns whether they were others. Names come from our own tables."""
    columns = list(values)
    assignments = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, 2))
    place = columns.index("attributes") + 2
    statement = f"UPDATE {table} SET {assignments} WHERE id = $1 AND attributes IS DISTINCT FROM ${place}"  # noqa: S608
    done: str = await connection.execute(statement, row, *(values[column] for column in columns))
    return done != "UPDATE 0"
