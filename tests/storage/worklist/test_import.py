"""Orders without identifiers that are brought again: which is the same as before, and what never replaces another."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.database.pool import connect
from storage.dicom.json_values import values_of
from storage.worklist.item import STATUS, STEPS, WorklistItem, first_text, read_item
from storage.worklist.items import Worklist
from storage.worklist.matching import WorklistQuery
from storage.worklist.performed_steps import PerformedSteps
from tests.storage.indexed import tag
from tests.storage.worklist.test_items import ended, in_progress
from tests.storage.worklist_items import item, item_dataset, step


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    """Connections to an empty database."""
    pool = await connect(database_url)
    yield pool
    await pool.close()


def bare(**values: Any) -> dict[str, Any]:
    """A step without an ID."""
    return step(**{"ScheduledProcedureStepID": None, **values})


def order(*steps: dict[str, Any], **values: Any) -> WorklistItem:
    """An item as it is imported, with an accession number and no other identifier of its own."""
    unnamed = {"StudyInstanceUID": None, "RequestedProcedureID": None, **values}
    return read_item(item_dataset(*(steps or (bare(),)), **unnamed), repeatable=True)


async def brought(pool: Any, *items: WorklistItem) -> list[str]:
    """What becomes of the items of one import."""
    worklist = Worklist(pool)
    return [await worklist.bring(each) for each in items]


def start(found: Any) -> tuple[str, str]:
    """Modality and time of a step."""
    return first_text(found, tag("Modality")), first_text(found, tag("ScheduledProcedureStepStartTime"))


async def starts(pool: Any) -> list[tuple[str, ...]]:
    """Patient, modality and time of each step on the worklist that is still to be done, by time."""
    query = WorklistQuery(finished=False)
    found = [(one, values_of(one[STEPS])[0]) async for one in Worklist(pool).find(query)]
    assert {first_text(each, STATUS) for _, each in found} <= {"SCHEDULED"}
    return [(first_text(one, tag("PatientID")), *start(each)) for one, each in found]


PROTOCOL = [{"CodeValue": "THX", "CodingSchemeDesignator": "99X", "CodeMeaning": "Thorax"}]
OTHERS = [
    order(PatientID="P2", PatientName="Roe^Richard"),
    order(bare(Modality="MR")),
    order(bare(ScheduledStationAETitle="CT2")),
    order(bare(ScheduledProcedureStepDescription="Thorax")),
    order(bare(ScheduledProtocolCodeSequence=PROTOCOL)),
    order(RequestedProcedureID="RP2"),
    order(bare(Modality="MR"), RequestedProcedureID="RP1"),
    order(AccessionNumber="A2"),
    order(IssuerOfPatientID="ELSEWHERE"),
    item(PatientID="P2"),
]


@pytest.mark.parametrize("first", [order(), order(RequestedProcedureID="RP1"), item()], ids=["A1", "RP1", "all"])
@pytest.mark.parametrize("other", OTHERS, ids=[str(number) for number in range(len(OTHERS))])
async def test_an_order_never_replaces_another(pool: Any, first: WorklistItem, other: WorklistItem) -> None:
    """Another patient, modality, station or procedure is another exam, though the order's number is the same (G-150).

    So it is in one import and in two, and importing both again changes nothing.
    """
    assert await brought(pool, first) == ["added"]
    assert await brought(pool, other) == ["added"]
    assert await brought(pool, first, other) == ["unchanged", "unchanged"]
    assert len(await starts(pool)) == 2


UPDATES: list[tuple[str | None, dict[str, Any], dict[str, Any]]] = [
    ("A1", {}, {"ScheduledProcedureStepStartTime": "0900"}),
    ("A1", {"ScheduledProtocolCodeSequence": PROTOCOL}, {"ScheduledProcedureStepDescription": "Thorax"}),
    *(
        (number, {"ScheduledProcedureStepID": "S1"}, change)
        for number in ("A1", None)
        for change in (
            {"ScheduledProcedureStepStartTime": "0900"},
            {"ScheduledProcedureStepDescription": "Thorax"},
            {"ScheduledStationAETitle": "CT2"},
        )
    ),
]


@pytest.mark.parametrize(("number", "of_step", "change"), UPDATES, ids=str)
async def test_an_order_that_was_changed_replaces_itself(
    pool: Any, number: str | None, of_step: dict[str, Any], change: dict[str, Any]
) -> None:
    """A new time, and with a step ID anything else, changes the item it was given for (G-150)."""
    assert await brought(pool, order(bare(**of_step), AccessionNumber=number)) == ["added"]
    after = bare(**{**of_step, **change})
    assert await brought(pool, order(after, AccessionNumber=number)) == ["changed"]
    assert await brought(pool, order(after, AccessionNumber=number)) == ["unchanged"]
    assert await brought(pool, order(after, AccessionNumber=number, PatientID="p1")) == ["changed"], "same patient"


async def test_exams_that_differ_in_time_alone_are_both_kept(pool: Any) -> None:
    """Two items of one import for the same exam at different times are two exams, again and again (G-150)."""
    twice = [order(), order(bare(ScheduledProcedureStepStartTime="1400"))]
    both = [("P1", "CT", "0830"), ("P1", "CT", "1400")]
    assert await brought(pool, *twice) == ["added", "added"]
    assert await starts(pool) == both
    assert await brought(pool, *twice, *twice) == ["unchanged"] * 4
    assert await brought(pool, twice[0], order(bare(ScheduledProcedureStepStartTime="1500"))) == [
        "unchanged",
        "changed",
    ]
    assert await starts(pool) == [both[0], ("P1", "CT", "1500")]


async def test_steps_of_one_order_have_ids_of_their_own(pool: Any) -> None:
    """Whatever their order in the file, steps of an item keep the IDs their modality, station or time gave them."""
    ct, later = bare(), bare(ScheduledProcedureStepStartTime="1400")
    mr = bare(Modality="MR", ScheduledStationAETitle="MR1")
    ids = order(ct, later, mr).step_ids
    assert len(set(ids)) == 3
    assert order(mr, later, ct).step_ids == ids[::-1]
    assert order(mr).step_ids == ids[2:]
    same = order(ct, ct)
    assert len(set(same.step_ids)) == 2
    assert await brought(pool, same) == ["added"]
    assert await brought(pool, same) == ["unchanged"]


async def test_what_is_left_of_an_order_is_still_to_be_done(pool: Any) -> None:
    """When a finished exam is no longer in the export, the next of its order is not taken for it (G-150, G-171)."""
    steps = bare(), bare(ScheduledProcedureStepStartTime="1400"), bare(Modality="MR")
    whole = order(*steps)
    await brought(pool, whole)
    done = in_progress(StudyInstanceUID=whole.study_instance_uid, ScheduledProcedureStepID=whole.step_ids[0])
    await PerformedSteps(pool).create("1.5.1", done, calling_ae_title="CT1")
    await PerformedSteps(pool).change("1.5.1", ended())
    for left in (order(*steps[1:]), order(steps[2]), order(steps[1])):
        await brought(pool, left)
        assert {("P1", *start(each)) for each in left.steps} <= set(await starts(pool))
