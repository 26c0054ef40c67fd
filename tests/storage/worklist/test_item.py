"""Worklist items as they are taken in: what they must hold, what is made up (PS3.4 Table K.6-1)."""

from typing import Any

import pytest

from storage.errors import InvalidDicom
from storage.worklist.item import WorklistItem, read_item
from tests.storage.indexed import tag
from tests.storage.worklist_items import item, item_dataset, step


def value(dataset: dict[str, Any], keyword: str) -> Any:
    """The first value of an attribute."""
    return dataset[tag(keyword)]["Value"][0]


MISSING = [
    ({"PatientName": None}, "PatientName (0010,0010) has no value"),
    ({"PatientID": []}, "PatientID (0010,0020) has no value"),
    ({"ScheduledProcedureStepSequence": []}, "ScheduledProcedureStepSequence (0040,0100) has no value"),
    ({"StudyInstanceUID": "1.2.x"}, "StudyInstanceUID (0020,000D) is not a UID"),
    ({"RequestedProcedureID": "x" * 17}, "RequestedProcedureID (0040,1001) is longer than the 16 characters of SH"),
]


@pytest.mark.parametrize(("values", "says"), MISSING)
def test_an_item_without_what_every_answer_holds_is_refused(values: dict[str, Any], says: str) -> None:
    """Type 1 return keys must have values; the message names each that has none (G-144)."""
    with pytest.raises(InvalidDicom) as refused:
        read_item(item_dataset(**values))
    assert says in str(refused.value)


MISSING_IN_STEP = [
    ({"ScheduledStationAETitle": None}, "ScheduledStationAETitle (0040,0001) has no value in item 2"),
    ({"Modality": []}, "Modality (0008,0060) has no value in item 2"),
    ({"ScheduledProcedureStepStartDate": None}, "ScheduledProcedureStepStartDate (0040,0002) has no value in item 2"),
    ({"ScheduledProcedureStepStartDate": "20261341"}, "is not a date (YYYYMMDD) in item 2"),
    ({"ScheduledProcedureStepStartTime": "2561"}, "is not a time (HHMMSS) in item 2"),
    ({"ScheduledStationAETitle": "SEVENTEEN_LETTERS"}, "longer than the 16 characters of AE in item 2"),
]


@pytest.mark.parametrize(("values", "says"), MISSING_IN_STEP)
def test_a_step_without_what_every_answer_holds_is_refused(values: dict[str, Any], says: str) -> None:
    """The same for each step; the message says which step (G-144)."""
    with pytest.raises(InvalidDicom) as refused:
        read_item(item_dataset(step(), step(**values)))
    assert says in str(refused.value)
    assert "Jane" not in str(refused.value)


NONSENSE: list[Any] = [
    None,
    [],
    "item",
    {"PatientName": {"vr": "PN"}},
    {"00100010": "Doe"},
    {"00100010": {"vr": "XX", "Value": ["Doe"]}},
    item_dataset(PatientWeight={"vr": "DS", "BulkDataURI": "http://x"}),
    item_dataset(PatientSize={"vr": "US", "Value": ["tall"]}),
]


@pytest.mark.parametrize("dataset", NONSENSE, ids=str)
def test_what_is_no_dicom_json_is_refused(dataset: Any) -> None:
    """Whatever could not be encoded in an answer is not taken (PS3.18 F.2)."""
    with pytest.raises(InvalidDicom):
        read_item(dataset)


def test_identifiers_that_are_missing_are_made_up() -> None:
    """A study gets a UID under 2.25, the procedure and its steps get IDs a modality can hold (G-144, G-150)."""
    bare = step(ScheduledProcedureStepID=None)
    made = item(bare, bare, StudyInstanceUID=None, RequestedProcedureID=None)
    assert made.study_instance_uid.startswith("2.25.")
    assert len(made.study_instance_uid) <= 64
    assert value(made.attributes, "RequestedProcedureID") == "A1"
    assert made.step_ids == ["A1-1", "A1-2"]
    long = item(bare, RequestedProcedureID="0123456789ABCDEF")
    assert 0 < len(long.step_ids[0]) <= 16
    other = item(bare, StudyInstanceUID=None)
    assert other.study_instance_uid != made.study_instance_uid


def test_a_source_that_is_read_again_gives_the_same_identifiers() -> None:
    """Importing the same order again finds the same study and steps, though its time has changed (G-150)."""

    def read(**values: Any) -> WorklistItem:
        bare = {"ScheduledProcedureStepID": None, **values}
        return read_item(item_dataset(step(**bare), StudyInstanceUID=None, RequestedProcedureID=None), repeatable=True)

    first, moved = read(), read(ScheduledProcedureStepStartTime="0900")
    assert first.study_instance_uid == moved.study_instance_uid
    assert first.step_ids == moved.step_ids


def test_dates_and_times_are_written_as_the_standard_wants_them() -> None:
    """2026-11-21 and 08:30 go to the modality as 20261121 and 0830 (PS3.5 6.2)."""
    read = item(step(ScheduledProcedureStepStartDate="2026-11-21", ScheduledProcedureStepStartTime="08:30"))
    assert value(read.steps[0], "ScheduledProcedureStepStartDate") == "20261121"
    assert value(read.steps[0], "ScheduledProcedureStepStartTime") == "0830"
    assert read.step_rows()[0]["start_at"] == "20261121083000000000"


def test_everything_else_is_kept_as_it_is() -> None:
    """Attributes nobody listed, private ones and nested sequences are part of the item (K.6.1.2.2)."""
    given = item_dataset(MedicalAlerts="MRSA", PatientWeight=70.5, PatientComments="Größe\nunbekannt") | {
        "00091010": {"vr": "UN", "InlineBinary": "AAE="},
        "00090010": {"vr": "LO", "Value": ["ACME"]},
    }
    assert read_item(given).dataset == dict(sorted(given.items()))
