"""Worklist items for the tests, written shortly by keyword."""

from typing import Any

from storage.worklist.item import WorklistItem, read_item
from tests.storage.indexed import dataset

STEP: dict[str, Any] = {
    "ScheduledStationAETitle": "CT1",
    "ScheduledProcedureStepStartDate": "20261121",
    "ScheduledProcedureStepStartTime": "0830",
    "Modality": "CT",
    "ScheduledProcedureStepID": "SPS1",
    "ScheduledProcedureStepDescription": "Abdomen",
}
ITEM: dict[str, Any] = {
    "PatientName": "Doe^Jane",
    "PatientID": "P1",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "AccessionNumber": "A1",
    "RequestedProcedureID": "RP1",
    "RequestedProcedureDescription": "CT of the abdomen",
    "StudyInstanceUID": "1.2.3",
}


def step(**values: Any) -> dict[str, Any]:
    """A step by keyword, on top of `STEP`; None takes an attribute away."""
    return {keyword: value for keyword, value in {**STEP, **values}.items() if value is not None}


def item_dataset(*steps: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The DICOM JSON object of an item, on top of `ITEM`; None takes an attribute away."""
    whole = {**ITEM, "ScheduledProcedureStepSequence": list(steps) or [step()], **values}
    return dataset(**{keyword: value for keyword, value in whole.items() if value is not None})


def item(*steps: dict[str, Any], **values: Any) -> WorklistItem:
    """The same, read."""
    return read_item(item_dataset(*steps, **values))
