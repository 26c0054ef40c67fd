"""Which scheduled step a performed one belongs to: by study, order, step and patient, and never by less."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage.database.migrate import known_migrations, migrate
from storage.database.pool import sql
from storage.worklist.items import Worklist
from storage.worklist.matching import WorklistQuery
from storage.worklist.performed_steps import PerformedSteps
from tests.storage.indexed import dataset
from tests.storage.worklist.test_items import ended, in_progress, statuses
from tests.storage.worklist_items import item, step


def begun(patient_id: str | None = "P1", **request: Any) -> dict[str, Any]:
    """An N-CREATE for this patient; without one when it is None."""
    return {**in_progress(**request), **dataset(PatientID=patient_id or [])}


PATIENTS = [
    ({}, "P1", True),
    ({}, None, True),
    ({}, "p1 ", True),
    ({}, "P2", False),
    ({"StudyInstanceUID": "9.9"}, "P1", True),
    ({"StudyInstanceUID": "9.9"}, None, True),
    ({"StudyInstanceUID": "9.9"}, " p1", True),
    ({"StudyInstanceUID": "9.9"}, "P2", False),
    ({"ScheduledProcedureStepID": None}, "P2", False),
]


@pytest.mark.parametrize(("request_", "patient_id", "linked"), PATIENTS, ids=str)
async def test_what_was_performed_of_another_patient_is_not_linked(
    worklist: Worklist, performed: PerformedSteps, request_: dict[str, Any], patient_id: str | None, linked: bool
) -> None:
    """A Patient ID that contradicts the item's, other than in case or padding, belongs to another exam (G-171)."""
    await worklist.add(item())
    await performed.create("1.5.1", begun(patient_id, **request_), calling_ae_title="CT1")
    assert await statuses(worklist) == (["STARTED"] if linked else ["SCHEDULED"])


async def test_a_study_that_names_an_item_takes_no_other_of_the_order(
    worklist: Worklist, performed: PerformedSteps
) -> None:
    """The exam of one study leaves those of the same accession number and step ID on the worklist (G-171)."""
    done = await worklist.add(item())
    left = [
        await worklist.add(item(step(Modality="MR"), StudyInstanceUID="1.2.4")),
        await worklist.add(item(StudyInstanceUID="1.2.5", PatientID="P2")),
    ]
    await performed.create("1.5.1", begun(), calling_ae_title="CT1")
    await performed.change("1.5.1", ended())
    open_items = await worklist.search(WorklistQuery(finished=False), limit=10)
    assert {one.id for one in open_items} == {one.id for one in left}
    assert (await performed.get("1.5.1")).worklist_items == [done.id]


@pytest.mark.parametrize(("patient_id", "expected"), [("P2", ["SCHEDULED", "STARTED"]), (None, ["SCHEDULED"] * 2)])
async def test_an_order_number_that_names_two_exams_names_neither(
    worklist: Worklist, performed: PerformedSteps, patient_id: str | None, expected: list[str]
) -> None:
    """Two hospitals have an order A1: only the patient says whose exam was performed (G-171)."""
    for number, patient in enumerate(("P1", "P2")):
        begins = step(ScheduledProcedureStepStartTime=f"083{number}")
        await worklist.add(item(begins, StudyInstanceUID=f"1.2.{number}", PatientID=patient))
    await performed.create("1.5.1", begun(patient_id, StudyInstanceUID="9.9"), calling_ae_title="CT1")
    assert await statuses(worklist) == expected


async def test_an_exam_whose_item_is_deleted_meanwhile_takes_no_other(
    worklist: Worklist, performed: PerformedSteps
) -> None:
    """It was of a scheduled study: that it ends does not complete another study of the order (G-171)."""
    first = await worklist.add(item())
    await worklist.add(item(step(Modality="MR"), StudyInstanceUID="1.2.4"))
    await performed.create("1.5.1", begun(), calling_ae_title="CT1")
    await worklist.delete(first.id)
    await performed.change("1.5.1", ended())
    assert await statuses(worklist) == ["SCHEDULED"]


async def test_a_patient_id_corrected_while_the_exam_runs_keeps_the_link(
    worklist: Worklist, performed: PerformedSteps
) -> None:
    """An unknown patient's item gets the real ID; the modality goes on with the one it was given (IHE PIR; G-171)."""
    added = await worklist.add(item(PatientID="UNKNOWN7"))
    await performed.create("1.5.1", begun("unknown7"), calling_ae_title="CT1")
    await worklist.replace(added.id, item(PatientID="P1"))
    assert await statuses(worklist) == ["STARTED"]
    await performed.change("1.5.1", ended())
    assert await statuses(worklist) == ["COMPLETED"]
    await worklist.replace(added.id, item(PatientID="P3", StudyInstanceUID="1.2.4"))
    await worklist.replace(added.id, item(PatientID="P3"))
    assert await statuses(worklist) == ["SCHEDULED"], "with another study the item became another exam"


async def test_a_migrated_worklist_shows_what_other_exams_took_off_it(empty_database_url: str, tmp_path: Path) -> None:
    """Statuses that came of the wrong links go back; those rightly linked or given otherwise stay (G-171)."""
    for migration in (one for one in known_migrations() if one.number <= 7):
        (tmp_path / f"{migration.name}.sql").write_text(migration.text)
    await migrate(empty_database_url, folder=tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    try:
        for number, (study, patient_id, status) in enumerate(BEFORE):
            await _put_item(connection, number, study, patient_id, status)
        await connection.execute(
            "INSERT INTO performed_steps (sop_instance_uid, status, calling_ae_title, start_at, patient_id, attributes)"
            " VALUES ('1.5.1', 'COMPLETED', 'CT1', '', 'P1', '{}');"
            "INSERT INTO performed_requests VALUES ('1.5.1', 1, '1.2.0', 'A1', 'S')"
        )
        assert await migrate(empty_database_url) == [one.name for one in known_migrations() if one.number > 7]
        after = await connection.fetch(
            "SELECT status, version FROM worklist_steps JOIN worklist_items ON id = item ORDER BY study_instance_uid"
        )
        assert [tuple(row) for row in after] == AFTER
        await connection.execute("DELETE FROM worklist_items WHERE study_instance_uid = '1.2.0'")
        assert await connection.fetch("SELECT FROM worklist_progress") == [], "the study was scheduled once"
    finally:
        await connection.close()


BEFORE = [
    ("1.2.0", "P1", "COMPLETED"),
    ("1.2.1", "P1", "COMPLETED"),
    ("1.2.2", "P2", "COMPLETED"),
    ("1.2.3", "P1", "ARRIVED"),
]
AFTER = [("COMPLETED", 1), ("SCHEDULED", 2), ("SCHEDULED", 2), ("ARRIVED", 1)]


async def _put_item(connection: Any, number: int, study: str, patient_id: str, status: str) -> None:
    """Keep an item with one step as the database of version 7 did."""
    item_id = await connection.fetchval(
        "INSERT INTO worklist_items (id, study_instance_uid, accession_number, requested_procedure_id, patient_id, "
        "patient_name, attributes) VALUES (gen_random_uuid(), $1, 'A1', 'R', $2, '{}', '{}') RETURNING id",
        study,
        patient_id,
    )
    await connection.execute(
        "INSERT INTO worklist_steps VALUES ($1, 1, 'S', '{CT1}', $2, 'CT', '{}', $3, '{}')",
        *(item_id, f"2026112{number}", status),
    )


async def test_links_are_found_by_index_among_many(worklist: Worklist, pool: Any) -> None:
    """What a modality's message and an item's change ask of 10 000 exams reads no table from end to end."""
    added = await worklist.add(item())
    await pool.execute(
        "INSERT INTO worklist_items (id, study_instance_uid, accession_number, requested_procedure_id, patient_id, "
        "patient_name, attributes) SELECT gen_random_uuid(), '1.3.' || n, 'B' || n, 'R', 'M' || n, '{}', '{}' "
        "FROM generate_series(1, 10000) AS n"
    )
    await pool.execute(
        "INSERT INTO worklist_steps SELECT id, 1, 'S', '{CT1}', '2026', 'CT', '{}', 'SCHEDULED', '{}' "
        "FROM worklist_items WHERE accession_number LIKE 'B%'"
    )
    await pool.execute(
        "INSERT INTO performed_steps (sop_instance_uid, status, calling_ae_title, start_at, patient_id, attributes) "
        "SELECT '1.5.' || n, 'COMPLETED', 'CT1', '', 'M' || n, '{}' FROM generate_series(1, 10000) AS n"
    )
    await pool.execute(
        "INSERT INTO performed_requests SELECT '1.5.' || n, 1, CASE n % 2 WHEN 0 THEN '1.3.' ELSE '9.9.' END || n, "
        "'B' || n, 'S' FROM generate_series(1, 10000) AS n"
    )
    await pool.execute("ANALYZE worklist_items, worklist_steps, performed_steps, performed_requests")
    for name, values in (
        ("lock_items_performed", ["1.5.77"]),
        ("note_progress", [added.id, "1.5.77"]),
        ("take_over_progress", [added.id, [1]]),
        ("performed_step", ["1.5.77"]),
    ):
        plan = "\n".join(row[0] for row in await pool.fetch("EXPLAIN " + sql(name), *values))
        assert "Seq Scan" not in plan, f"{name}:\n{plan}"
