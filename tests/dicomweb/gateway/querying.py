"""Small studies in an archive, and pynetdicom asking for them."""

import asyncio
from typing import Any

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from storage.archive import Archive
from tests.builders import EXPLICIT_LE, ct_slice, dataset_of, dicom_file

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
GREEK = "Διονυσιος"
FRENCH = "Buc^Jérôme"

Answer = tuple[Dataset, Dataset | None]
"""Status, with what else the command said; identifier."""


async def ask(port: int, keys: dict[str, Any] | Dataset, **options: Any) -> list[Answer]:
    """Send one C-FIND, from another thread; returns all responses."""
    return await asyncio.to_thread(find, port, keys, **options)


def find(
    port: int,
    keys: dict[str, Any] | Dataset,
    *,
    root: str = STUDY_ROOT,
    syntax: str = EXPLICIT_LE,
    offered: bytes = b"",
    cancel_after: int | None = None,
) -> list[Answer]:
    """Send one C-FIND over an association of its own.

    Parameters
    ----------
    offered : bytes
        Extended negotiation; what is answered must have its length.
    cancel_after : int, optional
        After so many matches C-CANCEL is sent.
    """
    entity = AE("FINDER")
    entity.add_requested_context(root, syntax)
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = root, offered
    association = entity.associate(
        "127.0.0.1",
        port,
        ae_title="DICOMWEB",
        ext_neg=[extended] if offered else None,  # type: ignore[list-item]
    )
    assert association.is_established
    try:
        if offered:
            granted = association.acceptor.sop_class_extended[root]  # type: ignore[index]
            assert len(granted) == len(offered)
        dataset = keys if isinstance(keys, Dataset) else dataset_of(keys)
        answers: list[Answer] = []
        for status, found in association.send_c_find(dataset, root, msg_id=7):
            answers.append((status, found))
            if len(answers) == cancel_after:
                association.send_c_cancel(7, query_model=root)
        return answers
    finally:
        association.release()


def matches(answers: list[Answer]) -> list[Dataset]:
    """The identifiers of the pending responses; the last response must be success, without one."""
    *pending, (final, nothing) = answers
    assert (final.Status, nothing) == (0x0000, None), final
    return [found for _, found in pending if found is not None]


async def store_studies(archive: Archive) -> None:
    """Store what the tests look for: two CTs of Doe, one of them with another issuer, and names of four scripts."""
    common = {"PatientID": "P1", "PatientName": "Doe^Jane"}
    first = {"study": "1.9.1", **common, "IssuerOfPatientID": "H1", "StudyDate": "20240115", "StudyTime": "101530"}
    for series, number in (("1.9.1.1", 1), ("1.9.1.1", 2), ("1.9.1.2", 1)):
        await archive.store(
            ct_slice(
                **first,
                series=series,
                instance=f"{series}.{number}",
                instance_number=number,
                SeriesNumber=int(series[-1]),
                AccessionNumber="A1",
                RequestAttributesSequence=[{"RequestedProcedureID": "R1", "ScheduledProcedureStepID": "S1"}],
                rows=8,
                columns=8,
            )
        )
    report = {"StudyInstanceUID": "1.9.1", "SeriesInstanceUID": "1.9.1.3", "SOPInstanceUID": "1.9.1.3.1"}
    first.pop("study")
    await archive.store(dicom_file(**first, **report, Modality="SR", SeriesNumber=3, AccessionNumber="A1"))
    other = {"IssuerOfPatientID": "H2", "StudyDate": "20240220", "StudyTime": "230000", "AccessionNumber": "A2"}
    await archive.store(
        ct_slice(study="1.9.2", series="1.9.2.1", **common, **other, rows=8, columns=8, StudyDescription=None)
    )
    for number, (name, character_set) in enumerate(
        (
            (JAPANESE, ["", "ISO 2022 IR 87"]),
            (KOREAN, ["", "ISO 2022 IR 149"]),
            (GREEK, "ISO_IR 126"),
            (FRENCH, "ISO_IR 100"),
        ),
        3,
    ):
        attributes = {"PatientName": name, "SpecificCharacterSet": character_set, "PatientID": f"P{number}"}
        await archive.store(dicom_file(**attributes, StudyInstanceUID=f"1.9.{number}", AccessionNumber=None))


async def store_many(archive: Archive, number: int) -> None:
    """Put so many more studies into the index, of one patient each, like the one stored last."""
    columns = (
        "study_date, study_time, study_id, study_description, patient_birth_date, patient_sex, patient_name, "
        "referring_physician_name, grams, modalities, sop_classes, number_of_series, number_of_instances, attributes"
    )
    await archive.pool.execute(
        f"INSERT INTO studies (study_instance_uid, patient_id, accession_number, sort_key, {columns}) "
        "SELECT '1.8.' || number, 'M' || number, 'MANY', study_date || lpad(number::text, 12, '0'), "
        f"{columns} FROM (SELECT * FROM studies ORDER BY id DESC LIMIT 1) AS last, generate_series(1, $1) AS number",
        number,
    )
    await archive.pool.execute("ANALYZE studies")
