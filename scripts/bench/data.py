"""Made-up studies to measure with: CT images with a header as long as scanners write it."""

import datetime
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import asyncpg

from storage.database.pool import prepare_connection
from storage.matching.attributes import Level, columns, select
from tests.builders import ct_slice, dataset_of

STUDY, SERIES, INSTANCE = (f"1.2.826.0.1.3680043.10.1561.9.{level}.100000000" for level in (1, 2, 3))
BOUNDARY = b"bench-boundary"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
FAMILY_NAMES = ["Adams", "Baker", "Clark", "Davis", "Evans", "Fischer", "Garcia", "Hoffmann", "Jansen", "Kowalski"]
GIVEN_NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Klara", "Liam"]
MODALITIES = ["CT", "MR", "CR", "US", "DX", "PT", "MG", "XA"]


def uid(level: int, number: int) -> str:
    """Return a UID of the length of the template's, so that it can be put in its place."""
    return f"1.2.826.0.1.3680043.10.1561.9.{level}.1{number:08}"


@cache
def _template(rows: int) -> bytes:
    """One CT image with some 250 elements, about half of them private, as scanners write them."""
    private = {0x00091000 + number: ("DS", [number / 8, number / 4, number / 2]) for number in range(1, 120)}
    described = dict.fromkeys(("ProtocolName", "StationName", "InstitutionName"), "Bench")
    codes = [{"CodeValue": str(n), "CodingSchemeDesignator": "99B", "CodeMeaning": f"code {n}"} for n in range(20)]
    references = [{"ReferencedSOPClassUID": "1.2.3", "ReferencedSOPInstanceUID": f"1.2.3.{n}"} for n in range(10)]
    return ct_slice(
        STUDY,
        SERIES,
        INSTANCE,
        rows=rows,
        columns=rows,
        elements={0x00090010: ("LO", "BENCH")} | private,
        ProcedureCodeSequence=codes,
        ReferencedImageSequence=references,
        **described,
    )


def ct_image(study: int, series: int, instance: int, rows: int = 512) -> bytes:
    """Return one CT image of rows x rows 16 bit samples with the numbers as its UIDs; about 0.5 MB for 512."""
    image = _template(rows)
    for place, level, number in ((STUDY, 1, study), (SERIES, 2, series), (INSTANCE, 3, instance)):
        image = image.replace(place.encode(), uid(level, number).encode())
    return image


def stow_body(images: list[bytes]) -> bytes:
    """Return a multipart/related body of the images (PS3.18 10.5)."""
    part = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(part + image + b"\r\n" for image in images) + b"--" + BOUNDARY + b"--\r\n"


def study_json(number: int, chance: random.Random) -> dict[str, Any]:
    """Return the DICOM JSON of the patient, study and series attributes of a made-up study."""
    day = datetime.date(2015, 1, 1) + datetime.timedelta(days=chance.randrange(3650))
    name = f"{chance.choice(FAMILY_NAMES)}{number % 977}^{chance.choice(GIVEN_NAMES)}^{number % 31}"
    modality = MODALITIES[number % len(MODALITIES)]
    dataset = dataset_of(
        {
            "StudyInstanceUID": uid(1, number),
            "SeriesInstanceUID": uid(2, number),
            "StudyDate": f"{day:%Y%m%d}",
            "StudyTime": f"{number % 24:02}{number % 60:02}00",
            "AccessionNumber": f"A{number:07}",
            "PatientName": name,
            "PatientID": f"PAT{number // 2:07}",
            "PatientBirthDate": f"{1930 + number % 80}0{1 + number % 9}15",
            "PatientSex": "FM"[number % 2],
            "ReferringPhysicianName": f"{chance.choice(FAMILY_NAMES)}^Doctor",
            "StudyDescription": f"{modality} study {number % 401}",
            "StudyID": str(number),
            "Modality": modality,
            "SeriesNumber": 1,
            "SeriesDescription": "Axial",
        }
    )
    found: dict[str, Any] = dataset.to_json_dict()
    return found


async def insert_studies(database_url: str, count: int, first: int = 0) -> None:
    """Write studies of one series into the index itself, without files: for searches only."""
    connection = await asyncpg.connect(database_url)
    await prepare_connection(connection)
    try:
        chance = random.Random(first)
        made = [study_json(number, chance) for number in range(first, first + count)]
        await _copy(connection, "studies", (_study_row(dataset) for dataset in made))
        rows = await connection.fetch("SELECT study_instance_uid, id FROM studies")
        ids = {row["study_instance_uid"]: row["id"] for row in rows}
        await _copy(connection, "series", (_series_row(dataset, ids) for dataset in made))
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


def _study_row(dataset: dict[str, Any]) -> dict[str, Any]:
    return {
        "study_instance_uid": dataset["0020000D"]["Value"][0],
        **columns(Level.STUDY, dataset),
        "attributes": select(Level.STUDY, dataset),
        "modalities": dataset["00080060"]["Value"],
        "sop_classes": ["1.2.840.10008.5.1.4.1.1.2"],
        "number_of_series": 1,
        "number_of_instances": 1,
    }


def _series_row(dataset: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    return {
        "study": ids[dataset["0020000D"]["Value"][0]],
        "series_instance_uid": dataset["0020000E"]["Value"][0],
        **columns(Level.SERIES, dataset),
        "attributes": select(Level.SERIES, dataset),
        "number_of_instances": 1,
    }


async def _copy(connection: Any, table: str, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows)
    names = list(first)
    records = [tuple(first.values()), *(tuple(row[name] for name in names) for row in rows)]
    await connection.copy_records_to_table(table, records=records, columns=names)
