"""Rows put straight into the index, as storing would, from DICOM JSON objects: searches need no files."""

import itertools
from typing import Any

import asyncpg
import orjson
from pydicom.datadict import dictionary_VR, tag_for_keyword

from storage.database.pool import prepare_connection
from storage.matching import attributes
from storage.matching.attributes import Level

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

_numbers = itertools.count(1)


def tag(keyword: str) -> str:
    """The tag of a keyword as DICOM JSON writes it; a tag stays as it is."""
    number = tag_for_keyword(keyword)
    return keyword if number is None else f"{number:08X}"


def dataset(**values: Any) -> dict[str, Any]:
    """A DICOM JSON object by keyword: a scalar, a list of values, [] for an empty element, a full element as a dict
    with "vr"; names as text with `=` between the groups; a sequence as a list of dicts by keyword."""
    return dict(sorted((tag(keyword), element(keyword, value)) for keyword, value in values.items()))


def element(keyword: str, value: Any) -> dict[str, Any]:
    """One element of a DICOM JSON object."""
    if isinstance(value, dict) and "vr" in value:
        return value
    vr = dictionary_VR(int(tag(keyword), 16)).split(" or ")[0] if tag_for_keyword(keyword) else "LO"
    values = value if isinstance(value, list) else [value]
    if vr == "SQ":
        values = [dataset(**item) for item in values]
    if vr == "PN":
        values = [person_name(name) for name in values]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def person_name(text: str) -> dict[str, str]:
    """A name as DICOM JSON writes it."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {group: part for group, part in groups if part}


async def connected(database_url: str) -> Any:
    """A connection with the codecs of the archive's pool."""
    connection = await asyncpg.connect(database_url)
    await prepare_connection(connection)
    return connection


async def add_instance(connection: Any, whole: dict[str, Any]) -> dict[str, Any]:
    """Index one instance; UIDs it lacks are made up. Returns the object as indexed."""
    number = next(_numbers)
    for keyword, level in (("StudyInstanceUID", "1"), ("SeriesInstanceUID", "2"), ("SOPInstanceUID", "3")):
        whole.setdefault(tag(keyword), {"vr": "UI", "Value": [f"1.9.{level}.{number}"]})
    whole.setdefault(tag("SOPClassUID"), {"vr": "UI", "Value": [CT]})
    whole[tag("AvailableTransferSyntaxUID")] = {"vr": "UI", "Value": [EXPLICIT]}
    whole = dict(sorted(whole.items()))
    study_uid, series_uid, instance_uid, sop_class = (
        whole[tag(keyword)]["Value"][0]
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    )
    study = await _insert(connection, "studies", _row(Level.STUDY, whole) | {"study_instance_uid": study_uid})
    series_row = _row(Level.SERIES, whole)
    series = await _insert(connection, "series", series_row | {"study": study, "series_instance_uid": series_uid})
    await _insert(
        connection,
        "instances",
        _row(Level.IMAGE, whole)
        | {"series": series, "sop_instance_uid": instance_uid, "sop_class_uid": sop_class}
        | {"transfer_syntax_uid": EXPLICIT, "blob": f"blob{number}", "size": 1, "sha256": b"", "layout": {}}
        | {"metadata": orjson.dumps(whole)},
    )
    await connection.execute("UPDATE series SET number_of_instances = number_of_instances + 1 WHERE id = $1", series)
    await connection.execute(
        "UPDATE studies SET number_of_instances = number_of_instances + 1, "
        "number_of_series = (SELECT count(*) FROM series WHERE study = $1), "
        "modalities = (SELECT coalesce(array_agg(DISTINCT modality ORDER BY modality), '{}') FROM series "
        "WHERE study = $1 AND modality IS NOT NULL), sop_classes = (SELECT array_agg(DISTINCT c) FROM "
        "unnest(sop_classes || $2::text) AS c) WHERE id = $1",
        study,
        sop_class,
    )
    return whole


def _row(level: Level, whole: dict[str, Any]) -> dict[str, Any]:
    return attributes.columns(level, whole) | {"attributes": attributes.select(level, whole)}


async def _insert(connection: Any, table: str, row: dict[str, Any]) -> int:
    """Insert a row unless it is there; returns its id."""
    keys = {"studies": ["study_instance_uid"], "series": ["study", "series_instance_uid"]}.get(table)
    if keys:
        where = " AND ".join(f"{key} = ${place}" for place, key in enumerate(keys, 1))
        known = await connection.fetchval(f"SELECT id FROM {table} WHERE {where}", *(row[key] for key in keys))
        if known is not None:
            return int(known)
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places}) RETURNING id"
    return int(await connection.fetchval(statement, *row.values()))
