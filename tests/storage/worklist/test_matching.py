"""Which worklist items a query finds: every kind of key, against a real PostgreSQL (PS3.4 K.2.2, Table K.6-1)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.database.pool import connect
from storage.dicom.json_values import values_of
from storage.errors import InvalidQuery
from storage.worklist.items import Worklist
from storage.worklist.matching import WorklistQuery, conditions, keys_of
from tests.storage.indexed import dataset, tag
from tests.storage.worklist_items import item, step

PROTOCOL = {"CodeValue": "CTABD", "CodingSchemeDesignator": "99X", "CodeMeaning": "Abdomen with contrast"}


@pytest.fixture
async def worklist(database_url: str) -> AsyncIterator[Worklist]:
    """Three orders: Jane (CT, two steps), Yamada (MR), and Łukasz of whom little is known."""
    pool = await connect(database_url)
    worklist = Worklist(pool)
    await worklist.add(
        item(
            step(ScheduledPerformingPhysicianName="Kwan^Lee", ScheduledProtocolCodeSequence=[PROTOCOL]),
            step(
                ScheduledProcedureStepID="SPS2", ScheduledProcedureStepStartTime="1415", ScheduledStationAETitle="CT2"
            ),
            ReferringPhysicianName="Müller^Hans",
            RequestingPhysician="Smith",
            AdmissionID="ADM1",
            RequestedProcedurePriority="STAT",
            CurrentPatientLocation="Ward 3",
            PatientWeight=70.5,
        )
    )
    await worklist.add(
        item(
            step(
                ScheduledProcedureStepID="SPS3",
                Modality="MR",
                ScheduledStationAETitle=["MR1", "MR2"],
                ScheduledProcedureStepStartDate="20261122",
                ScheduledProcedureStepStartTime="0005",
            ),
            PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
            PatientID="P2",
            PatientSex="M",
            AccessionNumber="A2",
            RequestedProcedureID="RP2",
            StudyInstanceUID="1.2.4",
        )
    )
    await worklist.add(
        item(
            step(ScheduledProcedureStepID="SPS4", ScheduledProcedureStepStartDate="20261123", Modality="US"),
            PatientName="Wałęsa^Łukasz",
            PatientID="P3",
            PatientSex=None,
            AccessionNumber=None,
            RequestedProcedureID="RP3",
            StudyInstanceUID="1.2.5",
        )
    )
    yield worklist
    await pool.close()


async def found(worklist: Worklist, identifier: dict[str, Any], **options: Any) -> list[str]:
    """The Scheduled Procedure Step IDs of the answers."""
    query = WorklistQuery(keys_of(identifier), **options)
    steps = [values_of(answer[tag("ScheduledProcedureStepSequence")]) async for answer in worklist.find(query)]
    assert all(len(items) == 1 for items in steps)
    return [items[0][tag("ScheduledProcedureStepID")]["Value"][0] for items in steps]


def key(**values: Any) -> dict[str, Any]:
    """An identifier with keys of the step."""
    return dataset(ScheduledProcedureStepSequence=[values])


ALL = ["SPS1", "SPS2", "SPS3", "SPS4"]

OF_THE_STEP = [
    ({"ScheduledStationAETitle": "CT1"}, ["SPS1", "SPS4"]),
    ({"ScheduledStationAETitle": "MR2"}, ["SPS3"]),
    ({"ScheduledStationAETitle": "MR*"}, ["SPS3"]),
    ({"ScheduledStationAETitle": "ct1"}, []),
    ({"Modality": "MR"}, ["SPS3"]),
    ({"Modality": ["MR", "US"]}, ["SPS3", "SPS4"]),
    ({"ScheduledProcedureStepStartDate": "20261121"}, ["SPS1", "SPS2"]),
    ({"ScheduledProcedureStepStartDate": "20261121-20261122"}, ["SPS1", "SPS2", "SPS3"]),
    ({"ScheduledProcedureStepStartDate": "-20261121"}, ["SPS1", "SPS2"]),
    ({"ScheduledProcedureStepStartDate": "20261122-"}, ["SPS3", "SPS4"]),
    ({"ScheduledProcedureStepStartTime": "0830"}, ["SPS1", "SPS4"]),
    ({"ScheduledProcedureStepStartTime": "083000.000"}, ["SPS1", "SPS4"]),
    ({"ScheduledProcedureStepStartTime": "0000-0800"}, ["SPS3"]),
    ({"ScheduledPerformingPhysicianName": "kwan*"}, ["SPS1"]),
    ({"ScheduledProcedureStepID": "SPS2"}, ["SPS2"]),
    ({"ScheduledProtocolCodeSequence": [{"CodeValue": "CTABD"}]}, ["SPS1"]),
    ({"ScheduledProtocolCodeSequence": [{"CodeValue": "CTABD", "CodingSchemeDesignator": "DCM"}]}, []),
    ({"ScheduledProcedureStepDescription": "Abd?men"}, ALL),
    ({"ScheduledProcedureStepStatus": "SCHEDULED"}, ALL),
    ({"ScheduledProcedureStepStatus": "COMPLETED"}, []),
]


@pytest.mark.parametrize(("keys", "expected"), OF_THE_STEP, ids=str)
async def test_keys_of_the_step_find_the_steps_they_match(
    worklist: Worklist, keys: dict[str, Any], expected: list[str]
) -> None:
    """Station, date, time, modality, performing physician and every other attribute of the step match (G-141)."""
    assert await found(worklist, key(**keys)) == expected


OF_THE_PROCEDURE = [
    ({"PatientName": "doe^jane"}, ["SPS1", "SPS2"]),
    ({"PatientName": "D*"}, ["SPS1", "SPS2"]),
    ({"PatientName": "*山田*"}, ["SPS3"]),
    ({"PatientName": "=山田^太郎"}, ["SPS3"]),
    ({"PatientName": "walesa*"}, ["SPS4"]),
    ({"PatientID": "P3"}, ["SPS4"]),
    ({"PatientID": "P?"}, ALL),
    ({"PatientSex": "F"}, ["SPS1", "SPS2"]),
    ({"AccessionNumber": "A2"}, ["SPS3"]),
    ({"RequestedProcedureID": "RP1"}, ["SPS1", "SPS2"]),
    ({"RequestedProcedurePriority": "STAT"}, ["SPS1", "SPS2"]),
    ({"ReferringPhysicianName": "muller*"}, ["SPS1", "SPS2"]),
    ({"RequestingPhysician": "SMITH"}, ["SPS1", "SPS2"]),
    ({"AdmissionID": "ADM1"}, ["SPS1", "SPS2"]),
    ({"StudyInstanceUID": "1.2.4"}, ["SPS3"]),
    ({"StudyInstanceUID": ["1.2.3", "1.2.5"]}, ["SPS1", "SPS2", "SPS4"]),
    ({"CurrentPatientLocation": "Ward*"}, ["SPS1", "SPS2"]),
    ({"PatientWeight": 70.5}, ["SPS1", "SPS2"]),
    ({"PatientBirthDate": "19691231-19700101"}, ALL),
]


@pytest.mark.parametrize(("keys", "expected"), OF_THE_PROCEDURE, ids=str)
async def test_keys_of_patient_visit_and_procedure_match(
    worklist: Worklist, keys: dict[str, Any], expected: list[str]
) -> None:
    """Every matching key of wlmscpfs, and any other attribute of the item, selects its steps (G-141)."""
    assert await found(worklist, dataset(**keys)) == expected


COMBINED = [
    ("20261121-20261122", "1200-0100", ["SPS2", "SPS3"]),
    ("20261121-20261123", "1415-0005", ["SPS2", "SPS3"]),
    ("20261121-", "1415-", ["SPS2", "SPS3", "SPS4"]),
    ("-20261122", "-0004", ["SPS1", "SPS2"]),
    ("20261121", "0800-0900", ["SPS1"]),
    ("20261121", "1415", ["SPS2"]),
    ("20261121-20261123", "0830", ["SPS1", "SPS4"]),
]


@pytest.mark.parametrize(("date", "time", "expected"), COMBINED)
async def test_a_date_and_a_time_are_one_moment(worklist: Worklist, date: str, time: str, expected: list[str]) -> None:
    """Ranges of date and time given together are one range, without any negotiation (G-142; K.5.1)."""
    keys = key(ScheduledProcedureStepStartDate=date, ScheduledProcedureStepStartTime=time)
    assert await found(worklist, keys) == expected


async def test_what_is_not_known_matches_no_key_with_a_value(worklist: Worklist) -> None:
    """An unknown value fails against a key that has one, and only then (G-147; K.2.2.1.1.1)."""
    assert "SPS4" not in await found(worklist, dataset(AccessionNumber="A?"))
    assert "SPS4" not in await found(worklist, dataset(ReferringPhysicianName="M*"))
    assert "SPS4" not in await found(worklist, dataset(PatientSex="O"))
    assert await found(worklist, dataset(AccessionNumber=[], PatientSex=[], RequestingPhysician="*")) == ALL


EMPTY: list[dict[str, Any]] = [
    {},
    dataset(ScheduledProcedureStepSequence=[]),
    dataset(ScheduledProcedureStepSequence=[{}]),
    dataset(ScheduledProcedureStepSequence=[{"Modality": [], "ScheduledStationAETitle": "*"}]),
    dataset(QueryRetrieveLevel="WORKLIST", SpecificCharacterSet="ISO_IR 100", TimezoneOffsetFromUTC="+0100"),
]


@pytest.mark.parametrize("identifier", EMPTY, ids=str)
async def test_empty_keys_and_sequences_find_everything(worklist: Worklist, identifier: dict[str, Any]) -> None:
    """Nothing asked for in particular, in whatever form, is everything, in the order of time (G-149, G-140)."""
    assert await found(worklist, identifier) == ALL


async def test_all_keys_must_hold_in_one_step(worklist: Worklist) -> None:
    """Keys inside the sequence hold in the same step, together with those outside (C.2.2.2.6; G-143)."""
    first = {"ScheduledStationAETitle": "CT1", "ScheduledProcedureStepStartTime": "1415"}
    assert await found(worklist, key(**first)) == []
    both = dataset(PatientID="P1", ScheduledProcedureStepSequence=[{"ScheduledStationAETitle": "CT2"}])
    assert await found(worklist, both) == ["SPS2"]


async def test_names_match_by_their_beginnings_when_fuzzy_matching_was_negotiated(worklist: Worklist) -> None:
    """Byte 3 of the extended negotiation makes the words of a name match any of its parts (G-153)."""
    assert await found(worklist, dataset(PatientName="jan do")) == []
    assert await found(worklist, dataset(PatientName="jan do"), fuzzy=True) == ["SPS1", "SPS2"]


WRONG = [
    key(ScheduledProcedureStepStartDate="21.11.2026"),
    key(ScheduledProcedureStepStartTime="25"),
    dataset(StudyInstanceUID="*.3"),
    dataset(ScheduledProcedureStepSequence=[{"Modality": "CT"}, {"Modality": "MR"}]),
]


@pytest.mark.parametrize("identifier", WRONG, ids=str)
def test_a_key_of_the_wrong_form_is_refused_by_its_name(identifier: dict[str, Any]) -> None:
    """A key that cannot be understood is an error that names it, and holds no value of it (G-151)."""
    with pytest.raises(InvalidQuery, match=r"\([0-9A-F]{4},[0-9A-F]{4}\)"):
        conditions(WorklistQuery(keys_of(identifier)))


def test_a_query_never_has_more_values_than_postgresql_takes() -> None:
    """Too many values are refused with what to do, never a failure of the archive."""
    with pytest.raises(InvalidQuery, match="ask for fewer at a time"):
        conditions(WorklistQuery(tuple(keys_of(key(PatientName=[f"a{number}" for number in range(11_000)])))))


def test_keys_that_cannot_be_matched_are_told() -> None:
    """Binary and private keys are left out, which the answers say with FF01 (G-151)."""
    identifier = dataset(PatientID="P1") | {"00091001": {"vr": "LO", "Value": ["x"]}}
    found = conditions(WorklistQuery(keys_of(identifier)))
    assert found.unmatched == ["(0009,1001)"]
    assert len(found.sql) == 1
