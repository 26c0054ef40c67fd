"""Worklist items and performed steps in the database: changes, conflicts, statuses, and many of them."""

import asyncio
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from storage.dicom.json_values import values_of
from storage.errors import NotFound
from storage.worklist.items import ItemChanged, Worklist
from storage.worklist.matching import WorklistQuery, conditions, keys_of
from storage.worklist.performed_steps import PerformedSteps, StepExists, StepFilter, StepIsFinal, WrongStatus
from tests.storage.indexed import dataset, tag
from tests.storage.worklist_items import item, step

ALL = WorklistQuery()
OPEN = WorklistQuery(finished=False)
STATUS = tag("ScheduledProcedureStepStatus")
STEPS = tag("ScheduledProcedureStepSequence")


async def statuses(worklist: Worklist, query: WorklistQuery = ALL) -> list[str]:
    """The status of each step that is found."""
    return [values_of(found[STEPS])[0][STATUS]["Value"][0] async for found in worklist.find(query)]


def in_progress(**request: Any) -> dict[str, Any]:
    """A complete N-CREATE for the step of `worklist_items.ITEM`."""
    asked = {"StudyInstanceUID": "1.2.3", "AccessionNumber": "A1", "ScheduledProcedureStepID": "SPS1", **request}
    return dataset(
        PatientID="P1",
        Modality="CT",
        PerformedStationAETitle="CT1",
        PerformedProcedureStepStartDate="20261121",
        PerformedProcedureStepStartTime="0835",
        PerformedProcedureStepStatus="IN PROGRESS",
        PerformedProcedureStepID="PPS1",
        ScheduledStepAttributesSequence=[{key: value for key, value in asked.items() if value is not None}],
    )


def ended(status: str = "COMPLETED", **values: Any) -> dict[str, Any]:
    """A complete last N-SET."""
    series = {
        **{"ProtocolName": "Abdomen", "SeriesInstanceUID": "1.2.3.1", "PerformingPhysicianName": []},
        **{"OperatorsName": [], "SeriesDescription": [], "RetrieveAETitle": []},
        "ReferencedImageSequence": [{"ReferencedSOPClassUID": "1.2", "ReferencedSOPInstanceUID": "1.2.3.1.1"}],
        "ReferencedNonImageCompositeSOPInstanceSequence": [],
    }
    return dataset(
        PerformedProcedureStepStatus=status,
        PerformedProcedureStepEndDate="20261121",
        PerformedProcedureStepEndTime="0850",
        PerformedSeriesSequence=[series],
        **values,
    )


async def test_an_item_is_added_replaced_and_deleted(worklist: Worklist) -> None:
    """Each change is one version more; what is replaced loses the steps it has no longer."""
    added = await worklist.add(item(step(), step(ScheduledProcedureStepID="SPS2")))
    assert added.version == 1
    assert await worklist.get(added.id) == added
    replaced = await worklist.replace(added.id, item(step(Modality="MR")), version=1)
    assert replaced.version == 2
    assert [values_of(found[STEPS])[0][tag("Modality")]["Value"] async for found in worklist.find(ALL)] == [["MR"]]
    with pytest.raises(ItemChanged):
        await worklist.replace(added.id, item(), version=1)
    with pytest.raises(ItemChanged):
        await worklist.delete(added.id, version=1)
    await worklist.delete(added.id, version=2)
    with pytest.raises(NotFound):
        await worklist.get(added.id)
    for nothing in (worklist.delete(added.id), worklist.replace(uuid.uuid4(), item())):
        with pytest.raises(NotFound):
            await nothing


async def test_of_two_changes_of_one_version_one_is_refused(worklist: Worklist) -> None:
    """Who has not seen the other's change does not overwrite it."""
    added = await worklist.add(item())
    tries = [worklist.replace(added.id, item(PatientID=f"P{n}"), version=1) for n in range(8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, ItemChanged) for result in results) == 7
    assert (await worklist.get(added.id)).version == 2


async def test_an_order_that_is_brought_again_replaces_itself(worklist: Worklist) -> None:
    """The same study with the same step is one item, however often and by however many it is imported."""
    assert await worklist.bring(item()) == "added"
    assert await worklist.bring(item()) == "unchanged"
    assert await worklist.bring(item(PatientName="Doe^June")) == "changed"
    assert await worklist.bring(item(step(ScheduledProcedureStepID="SPS9"))) == "added"
    other = item(StudyInstanceUID="1.2.9")
    assert sorted(await asyncio.gather(*(worklist.bring(other) for _ in range(6)))) == ["added", *["unchanged"] * 5]
    assert len(await worklist.search(ALL, limit=10)) == 3


async def test_what_is_deleted_or_changed_while_a_modality_reads_is_not_answered_as_it_was(worklist: Worklist) -> None:
    """Later answers of a query show no item that is gone, and none that does not match any more (issue 4.6)."""
    items = [
        await worklist.add(
            item(step(ScheduledProcedureStepStartTime=f"{10 + n // 60}{n % 60:02}"), StudyInstanceUID=f"1.2.{n}")
        )
        for n in range(205)
    ]
    query = WorklistQuery(keys_of(dataset(PatientID="P1")))
    found = 0
    async for _ in worklist.find(query):
        found += 1
        if found == 1:
            await worklist.delete(items[150].id)
            await worklist.replace(items[151].id, item(PatientID="P2"))
    assert found == 203


async def test_performing_a_step_moves_its_status(worklist: Worklist, performed: PerformedSteps) -> None:
    """IN PROGRESS starts the scheduled step, COMPLETED takes it off the open worklist, and its item changes (G-171)."""
    added = await worklist.add(item(step(), step(ScheduledProcedureStepID="SPS2")))
    assert await statuses(worklist) == ["SCHEDULED", "SCHEDULED"]
    assert await performed.create("1.5.1", in_progress(), calling_ae_title="CT1") == []
    assert await statuses(worklist, OPEN) == ["STARTED", "SCHEDULED"]
    assert await performed.change("1.5.1", ended()) == []
    assert await statuses(worklist) == ["COMPLETED", "SCHEDULED"]
    assert await statuses(worklist, OPEN) == ["SCHEDULED"]
    assert (await worklist.get(added.id)).version == 3
    found = await performed.get("1.5.1")
    assert (found.worklist_items, found.warnings, found.status) == ([added.id], [], "COMPLETED")
    assert found.referenced_instances == ["1.2.3.1.1"]


async def test_a_finished_step_is_found_by_who_asks_for_its_status(
    worklist: Worklist, performed: PerformedSteps
) -> None:
    """A status in the query is taken at its word although finished steps are hidden (G-152)."""
    await worklist.add(item())
    await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")
    await performed.change("1.5.1", ended("DISCONTINUED"))
    asked = keys_of(dataset(ScheduledProcedureStepSequence=[{"ScheduledProcedureStepStatus": "DISCONTINUED"}]))
    assert await statuses(worklist, OPEN) == []
    assert await statuses(worklist, WorklistQuery(asked, finished=False)) == ["DISCONTINUED"]


async def test_a_step_begun_again_is_open_again(worklist: Worklist, performed: PerformedSteps) -> None:
    """The status follows from all that was performed: what is in progress weighs more than what has ended (G-171)."""
    await worklist.add(item())
    await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")
    await performed.change("1.5.1", ended("DISCONTINUED"))
    await performed.create("1.5.2", in_progress(), calling_ae_title="CT2")
    assert await statuses(worklist) == ["STARTED"]
    await performed.change("1.5.2", ended())
    assert await statuses(worklist) == ["COMPLETED"]


async def test_a_step_begun_by_mistake_is_scheduled_again(worklist: Worklist, performed: PerformedSteps) -> None:
    """Discontinued as the wrong worklist entry (110514, DCM), the scheduled step is still to be done (CID 9300)."""
    await worklist.add(item())
    await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")
    reason = [{"CodeValue": "110514", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Incorrect worklist entry"}]
    given = ended("DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=reason)
    await performed.change("1.5.1", given)
    assert await statuses(worklist, OPEN) == ["SCHEDULED"]


LINKS = [
    ({}, True),
    ({"StudyInstanceUID": "9.9"}, True),
    ({"StudyInstanceUID": "9.9", "AccessionNumber": None}, False),
    ({"ScheduledProcedureStepID": "OTHER"}, False),
    ({"ScheduledProcedureStepID": None}, True),
    ({"ScheduledProcedureStepID": None, "StudyInstanceUID": "9.9"}, False),
]


@pytest.mark.parametrize(("request_", "linked"), LINKS, ids=str)
async def test_what_was_performed_is_linked_by_study_or_order_and_step(
    worklist: Worklist, performed: PerformedSteps, request_: dict[str, Any], linked: bool
) -> None:
    """Study or accession number together with the step's ID say what was performed; the study alone if it has one
    step (G-171)."""
    await worklist.add(item())
    await performed.create("1.5.1", in_progress(**request_), calling_ae_title="CT1")
    assert await statuses(worklist) == (["STARTED"] if linked else ["SCHEDULED"])


async def test_an_item_that_comes_late_knows_what_was_performed(worklist: Worklist, performed: PerformedSteps) -> None:
    """An order replaced without a status keeps what the modality said; a status that is given is taken."""
    added = await worklist.add(item())
    await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")
    await performed.change("1.5.1", ended())
    await worklist.replace(added.id, item(PatientName="Doe^June"))
    assert await statuses(worklist) == ["COMPLETED"]
    await worklist.replace(added.id, item(step(ScheduledProcedureStepStatus="ARRIVED")))
    assert await statuses(worklist) == ["ARRIVED"]
    await worklist.delete(added.id)
    await worklist.add(item())
    assert await statuses(worklist) == ["COMPLETED"]


async def test_a_step_begins_in_progress_and_once(performed: PerformedSteps) -> None:
    """Another status and a UID that is taken are refused (G-161, G-162)."""
    with pytest.raises(WrongStatus):
        await performed.create("1.5.1", ended(), calling_ae_title="CT1")
    await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")
    with pytest.raises(StepExists):
        await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")


async def test_a_step_that_has_ended_is_never_changed(performed: PerformedSteps) -> None:
    """Of many who end one step one succeeds; an unknown step is not found (G-164, G-165)."""
    with pytest.raises(NotFound):
        await performed.change("1.5.1", ended())
    await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")
    with pytest.raises(WrongStatus):
        await performed.change("1.5.1", dataset(PerformedProcedureStepStatus="DONE"))
    results = await asyncio.gather(*(performed.change("1.5.1", ended()) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(result, StepIsFinal) for result in results) == 5


async def test_changes_are_merged_and_sequences_replaced(performed: PerformedSteps) -> None:
    """What is not named stays; a sequence is replaced as a whole; what is fixed is not taken (G-166 to G-170)."""
    await performed.create("1.5.1", in_progress(), calling_ae_title="CT1")
    two = [{"ProtocolName": "a"}, {"ProtocolName": "b"}]
    await performed.change("1.5.1", dataset(PerformedSeriesSequence=two, PerformedProcedureStepDescription="山田"))
    given = dataset(PerformedSeriesSequence=[{"ProtocolName": "ć"}], PatientID="P9", Modality="CT")
    assert await performed.change("1.5.1", given) == [tag("PatientID")]
    found = await performed.get("1.5.1")
    assert found.dataset[tag("PerformedProcedureStepDescription")]["Value"] == ["山田"]
    assert found.dataset[tag("PerformedSeriesSequence")]["Value"] == [dataset(ProtocolName="ć")]
    assert found.dataset[tag("PatientID")]["Value"] == ["P1"]
    assert found.warnings == ["N-SET may not change PatientID (0010,0020)"]
    assert [message.operation for message in await performed.messages("1.5.1")] == ["N-CREATE", "N-SET", "N-SET"]


async def test_what_is_missing_is_told_and_kept(performed: PerformedSteps) -> None:
    """A step without what it must hold is kept with a warning for each attribute (G-163, G-168)."""
    given = dataset(PerformedProcedureStepStatus="IN PROGRESS", Modality="CT")
    missing = await performed.create("1.5.1", given, calling_ae_title="CT1")
    assert tag("ScheduledStepAttributesSequence") in missing
    assert tag("PerformedProcedureStepStartDate") in missing
    missing = await performed.change("1.5.1", dataset(PerformedProcedureStepStatus="COMPLETED"))
    assert missing == [
        tag("PerformedProcedureStepEndDate"),
        tag("PerformedProcedureStepEndTime"),
        tag("PerformedSeriesSequence"),
    ]
    found = await performed.get("1.5.1")
    assert "The step is COMPLETED and has no PerformedSeriesSequence (0040,0340)" in found.warnings


async def test_performed_steps_are_listed_the_latest_first(performed: PerformedSteps) -> None:
    """They are found by status, patient, modality, station, time, study and order."""
    for number in range(3):
        given = in_progress(StudyInstanceUID=f"1.2.{number}", AccessionNumber=f"A{number}")
        given |= dataset(PerformedProcedureStepStartTime=f"0{number}00", PatientID=f"P{number}")
        await performed.create(f"1.5.{number}", given, calling_ae_title=f"CT{number}")
    await performed.change("1.5.0", ended())

    async def found(**wanted: Any) -> list[str]:
        return [each.sop_instance_uid for each in await performed.find(StepFilter(**wanted))]

    assert await found() == ["1.5.2", "1.5.1", "1.5.0"]
    assert await found(status="COMPLETED") == ["1.5.0"]
    assert await found(patient_id="P1") == ["1.5.1"]
    assert await found(modality="MR") == []
    assert await found(calling_ae_title="CT2") == ["1.5.2"]
    assert await found(start="2026112101", end="2026112102") == ["1.5.1"]
    assert await found(study_instance_uid="1.2.2", accession_number="A2") == ["1.5.2"]


async def test_items_long_past_are_forgotten(worklist: Worklist, performed: PerformedSteps, pool: Any) -> None:
    """Those of which every step was to start before; what was begun and not ended stays, and so do performed steps."""

    def on(days: int) -> dict[str, Any]:
        date = (datetime.now() - timedelta(days=days)).strftime("%Y%m%d")
        return step(ScheduledProcedureStepStartDate=date, ScheduledProcedureStepID=f"SPS{days}")

    await worklist.add(item(on(16), on(15)))
    kept = [
        await worklist.add(item(on(16), on(13), StudyInstanceUID="1.2.4", AccessionNumber="A2")),
        await worklist.add(item(on(15), StudyInstanceUID="1.2.5", AccessionNumber="A3")),
    ]
    done = {"StudyInstanceUID": "1.2.3", "ScheduledProcedureStepID": "SPS15"}
    await performed.create("1.5.1", in_progress(**done), calling_ae_title="CT1")
    await performed.change("1.5.1", ended())
    begun = {"StudyInstanceUID": "1.2.5", "AccessionNumber": "A3", "ScheduledProcedureStepID": "SPS15"}
    await performed.create("1.5.2", in_progress(**begun), calling_ae_title="CT1")
    await worklist.forget(timedelta(days=14))
    assert {row["id"] for row in await pool.fetch("SELECT id FROM worklist_items")} == {one.id for one in kept}
    assert (await performed.get("1.5.1")).status == "COMPLETED"


async def test_ten_thousand_items_are_searched_in_no_time(worklist: Worklist, pool: Any) -> None:
    """What modalities ask for uses an index; all 10 000 are read in batches, within seconds."""
    await worklist.add(item())
    columns = "study_instance_uid, accession_number, requested_procedure_id, patient_name, attributes"
    await pool.execute(
        f"INSERT INTO worklist_items (id, patient_id, {columns}) SELECT gen_random_uuid(), 'M' || n, {columns} "
        "FROM worklist_items, generate_series(1, 10000) AS n"
    )
    await pool.execute(
        "INSERT INTO worklist_steps (item, number, scheduled_procedure_step_id, station_ae_titles, start_at, modality, "
        "status, attributes) SELECT w.id, 1, 'S', ARRAY['CT' || substr(patient_id, 2)::int % 20], "
        "'202611' || lpad((substr(patient_id, 2)::int % 28 + 1)::text, 2, '0') || '083000000000', s.modality, "
        "CASE WHEN substr(patient_id, 2)::int % 10 = 0 THEN 'SCHEDULED' ELSE 'COMPLETED' END, s.attributes "
        "FROM worklist_items w, worklist_steps s WHERE w.patient_id LIKE 'M%'"
    )
    await pool.execute("ANALYZE worklist_items, worklist_steps")
    day = {"ScheduledStationAETitle": "CT10", "ScheduledProcedureStepStartDate": "20261111", "Modality": "CT"}
    query = WorklistQuery(keys_of(dataset(ScheduledProcedureStepSequence=[day])), finished=False)
    filters = conditions(query)
    plan = await pool.fetch(
        f"EXPLAIN SELECT s.item FROM worklist_steps s JOIN worklist_items w ON w.id = s.item WHERE {filters.where}",
        *filters.bindings.values,
    )
    assert "Seq Scan on worklist_steps" not in "\n".join(row[0] for row in plan)
    assert len([found async for found in worklist.find(query)]) > 10
    begun = time.perf_counter()
    assert len([found async for found in worklist.find(ALL)]) == 10_001
    assert time.perf_counter() - begun < 15
