"""The rows of a batch of instances: studies, series, instances, counters, changes; all inside one transaction.

Lock order: new studies by UID, then existing ones by UID. Whoever holds a study may write everything below it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from storage.database.pool import sql
from storage.index.arrival import Arrival
from storage.index.correction import correct
from storage.index.record import Record
from storage.matching.conditions import Level

_Rows = Mapping[tuple[str, str, str], Any]


async def lock_studies(connection: Any, records: Iterable[Record]) -> dict[str, Any]:
    """Return the locked study rows of the records by UID, made from the first record where there was none."""
    first = {record.study_instance_uid: record for record in reversed(list(records))}
    while True:
        present = {row["study_instance_uid"] for row in await connection.fetch(sql("present_studies"), list(first))}
        new = [{"study_instance_uid": uid, **first[uid].row(Level.STUDY)} for uid in sorted(set(first) - present)]
        await _insert(connection, "studies", new, "ON CONFLICT (study_instance_uid) DO NOTHING")
        rows = await connection.fetch(sql("lock_studies"), list(first))
        if len(rows) == len(first):  # else one was removed meanwhile
            return {row["study_instance_uid"]: row for row in rows}


async def write_rows(
    connection: Any, studies: dict[str, Any], arrivals: list[Arrival], rows: _Rows, correcting: list[Arrival]
) -> None:
    """Write what lies below locked studies.

    Parameters
    ----------
    studies
        The locked study rows by UID.
    arrivals
        What to store, no two of one key; a row of that key, if there is one, is replaced.
    rows
        The existing instance rows by key.
    correcting
        Those of the arrivals that describe their study and series from now on.
    """
    series, new_series = await _series(connection, studies, [arrival.record for arrival in arrivals])
    version = await connection.fetchval(sql("new_version"))
    values = [
        {
            "series": series[_series_key(studies, arrival.record)],
            "sop_instance_uid": arrival.record.sop_instance_uid,
            "sop_class_uid": arrival.record.sop_class_uid,
            "blob": arrival.blob.name,
            "size": arrival.blob.size,
            "sha256": arrival.blob.sha256,
            "checksums": arrival.blob.checksums,
            "version": version,
            **arrival.record.instance,
        }
        for arrival in arrivals
    ]
    new = [value for arrival, value in zip(arrivals, values, strict=True) if arrival.key not in rows]
    replaced = [value for arrival, value in zip(arrivals, values, strict=True) if arrival.key in rows]
    await _insert(connection, "instances", new)
    await _insert(connection, "instances", replaced, _replace(replaced))
    recount = await correct(connection, studies, series, correcting, rows)
    new_records = [arrival.record for arrival in arrivals if arrival.key not in rows]
    await _count_series(connection, studies, series, arrivals, new_records, version)
    await _count_studies(connection, studies, new_series, arrivals, new_records, version)
    if recount:
        await connection.execute(sql("recount_studies"), recount, version)
    await _append_changes(connection, arrivals, rows)


async def _insert(connection: Any, table: str, rows: list[dict[str, Any]], conflict: str = "") -> None:
    """Insert rows of equal columns; names come from our own tables, values are bound."""
    if not rows:
        return
    columns = list(rows[0])
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) {conflict}"  # noqa: S608
    await connection.executemany(statement, [[row[column] for column in columns] for row in rows])


def _replace(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    columns = [column for column in rows[0] if column not in ("series", "sop_instance_uid")]
    assignments = ", ".join(f"{column} = EXCLUDED.{column}" for column in columns)
    return f"ON CONFLICT (sop_instance_uid, series) DO UPDATE SET {assignments}"


def _series_key(studies: dict[str, Any], record: Record) -> tuple[int, str]:
    return studies[record.study_instance_uid]["id"], record.series_instance_uid


async def _series(
    connection: Any, studies: dict[str, Any], records: list[Record]
) -> tuple[dict[tuple[int, str], int], dict[tuple[int, str], Record]]:
    """Return the series row ids by (study row, UID), and the records that made new ones."""
    first = {_series_key(studies, record): record for record in reversed(records)}
    keys = sorted(first)
    ids = await _series_ids(connection, keys)
    new = {key: first[key] for key in keys if key not in ids}
    if new:
        rows = [
            {"study": key[0], "series_instance_uid": key[1], **record.row(Level.SERIES)} for key, record in new.items()
        ]
        await _insert(connection, "series", rows)
        ids = await _series_ids(connection, keys)
    return ids, new


async def _series_ids(connection: Any, keys: list[tuple[int, str]]) -> dict[tuple[int, str], int]:
    rows = await connection.fetch(sql("rows_of_series"), [study for study, _ in keys], [uid for _, uid in keys])
    return {(row["study"], row["series_instance_uid"]): row["id"] for row in rows}


async def _append_changes(connection: Any, arrivals: list[Arrival], rows: _Rows) -> None:
    """Append the batch to the change feed: last of all, since from here to the commit nobody else can."""
    kinds = ["instance.replaced" if arrival.key in rows else "instance.stored" for arrival in arrivals]
    uids = [[arrival.key[place] for arrival in arrivals] for place in range(3)]
    await connection.execute(sql("append_changes"), kinds, *uids)


async def _count_series(
    connection: Any,
    studies: dict[str, Any],
    series: dict[tuple[int, str], int],
    arrivals: list[Arrival],
    new: list[Record],
    version: int,
) -> None:
    counts = Counter(_series_key(studies, record) for record in new)
    touched = sorted({_series_key(studies, arrival.record) for arrival in arrivals})
    await connection.executemany(sql("count_series"), [(series[key], counts[key], version) for key in touched])


async def _count_studies(
    connection: Any,
    studies: dict[str, Any],
    new_series: dict[tuple[int, str], Record],
    arrivals: list[Arrival],
    new: list[Record],
    version: int,
) -> None:
    instances = Counter(record.study_instance_uid for record in new)
    series = Counter(record.study_instance_uid for record in new_series.values())
    new_modalities = {(r.study_instance_uid, r.row(Level.SERIES)["modality"]) for r in new_series.values()}
    rows = []
    for uid in sorted({arrival.record.study_instance_uid for arrival in arrivals}):
        study = studies[uid]
        modalities = {modality for study_uid, modality in new_modalities if study_uid == uid and modality}
        classes = {arrival.record.sop_class_uid for arrival in arrivals if arrival.record.study_instance_uid == uid}
        rows.append(
            (
                study["id"],
                series[uid],
                instances[uid],
                sorted(modalities | set(study["modalities"])),
                sorted(classes | set(study["sop_classes"])),
                version,
            )
        )
    await connection.executemany(sql("count_study"), rows)
