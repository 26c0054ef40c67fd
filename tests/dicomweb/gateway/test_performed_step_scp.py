"""Performed procedure steps over real associations (PS3.4 F.7)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydicom import Dataset

from storage.archive import Archive
from storage.worklist.items import Worklist
from storage.worklist.performed_steps import PerformedSteps, StepFilter
from tests.dicomweb.gateway.serving import listening
from tests.dicomweb.gateway.worklist_peer import EVERYTHING, ask, matches, report
from tests.storage.searching import values
from tests.storage.worklist_items import item

BEGUN: dict[str, Any] = {
    "PatientID": "P1",
    "PatientName": "Doe^Jane",
    "Modality": "CT",
    "PerformedStationAETitle": "CT1",
    "PerformedProcedureStepStartDate": "20261121",
    "PerformedProcedureStepStartTime": "0835",
    "PerformedProcedureStepStatus": "IN PROGRESS",
    "PerformedProcedureStepID": "PPS1",
    "PerformedSeriesSequence": [],
    "ScheduledStepAttributesSequence": [
        {"StudyInstanceUID": "1.2.3", "AccessionNumber": "A1", "ScheduledProcedureStepID": "SPS1"}
    ],
}
SERIES: dict[str, Any] = {
    "ProtocolName": "Abdomen",
    "SeriesInstanceUID": "1.2.3.1",
    "SeriesDescription": "",
    "PerformingPhysicianName": "",
    "OperatorsName": "",
    "RetrieveAETitle": "",
    "ReferencedImageSequence": [],
    "ReferencedNonImageCompositeSOPInstanceSequence": [],
}
ENDED: dict[str, Any] = {
    "PerformedProcedureStepStatus": "COMPLETED",
    "PerformedProcedureStepEndDate": "20261121",
    "PerformedProcedureStepEndTime": "0850",
    "PerformedSeriesSequence": [SERIES],
}


@pytest.fixture
async def port(archive: Archive) -> AsyncIterator[int]:
    """A gateway with the step of `worklist_items.ITEM` on its worklist."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    await Worklist(archive.pool).add(item())
    async with listening(archive) as port:
        yield port


async def reported(port: int, *messages: tuple[str, str, dict[str, Any]], **options: Any) -> list[Dataset]:
    """Send messages from another thread; returns the statuses."""
    return await asyncio.to_thread(report, port, *messages, **options)


async def test_a_step_is_begun_and_ended(archive: Archive, port: int) -> None:
    """N-CREATE and N-SET succeed, and the scheduled step leaves the worklist (G-160, G-171, G-152)."""
    statuses = await reported(port, ("create", "1.5.1", BEGUN), ("set", "1.5.1", ENDED))
    assert [status.Status for status in statuses] == [0x0000, 0x0000]
    assert matches(await ask(port, EVERYTHING)) == []
    step = await PerformedSteps(archive.pool).get("1.5.1")
    assert (step.status, step.calling_ae_title, step.warnings) == ("COMPLETED", "CT1", [])


REFUSED: list[tuple[str, list[tuple[str, str, dict[str, Any]]], int]] = [
    ("begun as completed", [("create", "1.5.1", {**BEGUN, "PerformedProcedureStepStatus": "COMPLETED"})], 0x0106),
    ("begun without status", [("create", "1.5.1", {"Modality": "CT"})], 0x0106),
    ("begun twice", [("create", "1.5.1", BEGUN), ("create", "1.5.1", BEGUN)], 0x0111),
    ("unknown", [("set", "1.5.9", ENDED)], 0x0112),
    ("no UID", [("set", "1.5.x", ENDED)], 0x0117),
    ("ended twice", [("create", "1.5.1", BEGUN), ("set", "1.5.1", ENDED), ("set", "1.5.1", ENDED)], 0x0110),
    ("odd status", [("create", "1.5.1", BEGUN), ("set", "1.5.1", {"PerformedProcedureStepStatus": "DONE"})], 0x0106),
]


@pytest.mark.parametrize(("messages", "expected"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_what_must_not_be_is_refused(
    port: int, messages: list[tuple[str, str, dict[str, Any]]], expected: int
) -> None:
    """Status, uniqueness, existence and finality are strict (G-161, G-162, G-164, G-165)."""
    *before, last = await reported(port, *messages)
    assert all(status.Status == 0x0000 for status in before)
    assert last.Status == expected
    if expected == 0x0110:
        assert (last.ErrorID, "no longer be updated" in last.ErrorComment) == (0xA710, True)


async def test_a_step_that_lacks_something_is_kept_with_a_warning(archive: Archive, port: int) -> None:
    """0107 tells what a modality left out; the step is kept and performs its worklist step all the same (G-163)."""
    begun = {keyword: value for keyword, value in BEGUN.items() if keyword != "PerformedProcedureStepID"}
    created, ended = await reported(
        port, ("create", "1.5.1", begun), ("set", "1.5.1", {"PerformedProcedureStepStatus": "DISCONTINUED"})
    )
    assert (created.Status, "missing" in created.ErrorComment) == (0x0107, True)
    assert (ended.Status, 0x00400340 in ended.AttributeIdentifierList) == (0x0107, True)
    step = await PerformedSteps(archive.pool).get("1.5.1")
    assert (step.status, len(step.warnings)) == ("DISCONTINUED", 4)


async def test_what_is_fixed_is_not_changed_and_told(archive: Archive, port: int) -> None:
    """An N-SET of the patient or the order is not taken, the rest of it is (G-166)."""
    _, changed = await reported(
        port,
        ("create", "1.5.1", BEGUN),
        ("set", "1.5.1", {"PatientID": "P9", "PerformedProcedureStepDescription": "x"}),
    )
    assert (changed.Status, changed.AttributeIdentifierList) == (0x0107, 0x00100020)
    step = await PerformedSteps(archive.pool).get("1.5.1")
    assert values(step.dataset, "PatientID") == ["P1"]
    assert values(step.dataset, "PerformedProcedureStepDescription") == ["x"]


async def test_character_sets_of_one_step_may_differ(archive: Archive, port: int) -> None:
    """What was created in one character set and changed in another is merged in Unicode (G-169)."""
    begun = {**BEGUN, "SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"}
    ended = {**ENDED, "SpecificCharacterSet": "ISO_IR 100", "PerformedProcedureStepDescription": "Schädel"}
    statuses = await reported(port, ("create", "1.5.1", begun), ("set", "1.5.1", ended))
    assert [status.Status for status in statuses] == [0, 0]
    step = await PerformedSteps(archive.pool).get("1.5.1")
    assert values(step.dataset, "PatientName") == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]
    assert values(step.dataset, "PerformedProcedureStepDescription") == ["Schädel"]


async def test_a_modality_may_leave_the_uid_to_us(archive: Archive, port: int) -> None:
    """Without a SOP Instance UID one is made up and told (PS3.7 10.1.5.1.4)."""
    (created,) = await reported(port, ("create", "", BEGUN))
    assert created.Status == 0x0000
    (step,) = await PerformedSteps(archive.pool).find(StepFilter())
    assert step.sop_instance_uid.startswith("2.25.")
