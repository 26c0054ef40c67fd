"""DCMTK's findscu asks for the worklist, and its worklist server answers the same from the same files.

Where the two differ, on purpose:

- wlmscpfs knows a list of keys and answers FF01 without the rest; every attribute of an item is a key here.
- A sequence wlmscpfs has nothing for may come with an item of empty attributes; here it comes empty (type 2, PS3.4
  Table K.6-1).
- Names match without case and accents here (PS3.4 C.2.2.2.1 lets them), by case in wlmscpfs.
- Our answers state the status of the step, SCHEDULED when none was given, and (0008,0005) when there are letters beyond
  ASCII; wlmscpfs leaves it out unless it is told to keep it. It calls a pregnancy nobody stated unknown (4).
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword

from dicomweb.importing.worklist_files import items_in
from storage.archive import Archive
from storage.worklist.item import read_item
from storage.worklist.items import Worklist
from tests.builders import dataset_of, part10
from tests.dcmtk import find_program
from tests.dicomweb.gateway.serving import listening
from tests.dicomweb.scu.remote_archive import wait_for_port
from tests.live_server import free_port
from tests.storage.worklist_items import ITEM, STEP

FINDSCU, WLMSCPFS = find_program("findscu") or "", find_program("wlmscpfs") or ""
pytestmark = pytest.mark.skipif(not (FINDSCU and WLMSCPFS), reason="needs DCMTK (Debian package dcmtk)")
CODE = {"CodeValue": "C1", "CodingSchemeDesignator": "99X", "CodingSchemeVersion": "1", "CodeMeaning": "Meaning"}
REFERENCE = {"ReferencedSOPClassUID": "1.2.840.10008.3.1.2.3.1", "ReferencedSOPInstanceUID": "1.2.99"}
FULL: dict[str, Any] = {
    **ITEM,
    "InstitutionName": "Hospital",
    "InstitutionAddress": "Street 1",
    "ReferringPhysicianName": "Miller^Hans",
    "AdmittingDiagnosesDescription": "Pain",
    "ReferencedStudySequence": [REFERENCE],
    "ReferencedPatientSequence": [REFERENCE],
    "OtherPatientIDs": ["O1", "O2"],
    "OtherPatientNames": "Doe^Janet",
    "PatientSize": "1.7",
    "PatientWeight": "70.5",
    "PatientAddress": "Street 2",
    "MilitaryRank": "None",
    "MedicalAlerts": "MRSA",
    "Allergies": "Latex",
    "EthnicGroup": "E",
    "SmokingStatus": "NO",
    "AdditionalPatientHistory": "History",
    "PregnancyStatus": 2,
    "LastMenstrualDate": "20261101",
    "PatientComments": "Comment",
    "RequestingPhysician": "Smith^John",
    "RequestingService": "Surgery",
    "RequestedProcedureCodeSequence": [CODE],
    "AdmissionID": "ADM1",
    "IssuerOfAdmissionID": "HIS",
    "SpecialNeeds": "Wheelchair",
    "CurrentPatientLocation": "Ward 3",
    "PatientState": "Stable",
    "ReasonForTheRequestedProcedure": "Reason",
    "RequestedProcedurePriority": "STAT",
    "PatientTransportArrangements": "Bed",
    "RequestedProcedureLocation": "Room 1",
    "ConfidentialityCode": "C",
    "ReportingPriority": "HIGH",
    "NamesOfIntendedRecipientsOfResults": "Brown^Emma",
    "RequestedProcedureComments": "None",
    "ReasonForTheImagingServiceRequest": "Reason",
    "IssueDateOfImagingServiceRequest": "20261120",
    "IssueTimeOfImagingServiceRequest": "1200",
    "OrderEnteredBy": "Clerk^A",
    "OrderEntererLocation": "Desk",
    "OrderCallbackPhoneNumber": "123",
    "PlacerOrderNumberImagingServiceRequest": "PO1",
    "FillerOrderNumberImagingServiceRequest": "FO1",
    "ImagingServiceRequestComments": "None",
    "ConfidentialityConstraintOnPatientDataDescription": "None",
    "ScheduledProcedureStepSequence": [
        {
            **STEP,
            "RequestedContrastAgent": "Iodine",
            "ScheduledProcedureStepEndDate": "20261121",
            "ScheduledProcedureStepEndTime": "0900",
            "ScheduledPerformingPhysicianName": "Kwan^Lee",
            "ScheduledProtocolCodeSequence": [CODE],
            "ScheduledStationName": "STN1",
            "ScheduledProcedureStepLocation": "Room 2",
            "PreMedication": "None",
            "ScheduledProcedureStepStatus": "ARRIVED",
            "CommentsOnTheScheduledProcedureStep": "Comment",
        }
    ],
}
"""Every return key of wlmscpfs."""

SCARCE: dict[str, Any] = {
    **{"PatientName": "Roe^Richard", "PatientID": "P2", "RequestedProcedureID": "RP2", "StudyInstanceUID": "1.2.4"},
    "RequestedProcedureDescription": "MR",
    "ScheduledProcedureStepSequence": [
        {
            **STEP,
            "Modality": "MR",
            "ScheduledStationAETitle": "MR1",
            "ScheduledProcedureStepStartDate": "20261122",
            "ScheduledProcedureStepStartTime": "141500",
        }
    ],
}
LATIN: dict[str, Any] = {
    **SCARCE,
    **{
        "PatientName": "Buc^Jérôme",
        "PatientID": "P3",
        "StudyInstanceUID": "1.2.5",
        "SpecificCharacterSet": "ISO_IR 100",
    },
}


FILE = {"SOPClassUID": "1.2.840.10008.5.1.4.31", "SOPInstanceUID": "1.2.77"}
"""What makes files of them."""


@contextlib.contextmanager
def wlmscpfs(folder: Path) -> Iterator[int]:
    """DCMTK's worklist server on the files of a folder; gives its port."""
    port = free_port()
    command = [WLMSCPFS, "-s", "-csk", "-dfp", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def ports(archive: Archive, tmp_path: Path) -> AsyncIterator[tuple[int, int]]:
    """Our port and that of wlmscpfs, both with the same three worklist files."""
    database = tmp_path / "worklists" / "DICOMWEB"
    database.mkdir(parents=True)
    (database / "lockfile").touch()
    for number, values in enumerate((FULL, SCARCE, LATIN)):
        path = database / f"{number}.wl"
        path.write_bytes(part10(dataset_of({**values, **FILE})))
        ((_, dataset),) = items_in(path)
        await Worklist(archive.pool).add(read_item(dataset))
    with wlmscpfs(database.parent) as theirs:
        async with listening(archive) as ours:
            yield ours, theirs


async def answers(port: int, folder: Path, *keys: str) -> list[Dataset]:
    """What findscu -W gets."""
    folder.mkdir(parents=True)
    options = [part for key in keys for part in ("-k", key)]
    command = [FINDSCU, "-W", "-v", "-aec", "DICOMWEB", "-X", "-od", str(folder), "127.0.0.1", str(port), *options]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
    assert b"Success" in ran.stdout + ran.stderr, ran.stderr
    return [dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]


UNSAID = {
    "ScheduledProcedureStepStatus": ("", "SCHEDULED"),
    "SpecificCharacterSet": ("", "ISO_IR 100"),
    "PregnancyStatus": ("", "4"),
}
"""What only one of the two says."""


def told(dataset: Dataset) -> dict[str, Any]:
    """What an answer says: its attributes with a value."""
    dataset.decode()
    found: dict[str, Any] = {}
    for element in dataset:
        if element.VR == "SQ":
            value: Any = [inner for inner in map(told, element.value) if inner]
        else:
            value = str(element.value or "")
        if value and value not in UNSAID.get(element.keyword, ()):
            found[element.keyword] = value
    return found


STEP_KEY = "ScheduledProcedureStepSequence[0]."


def numbered(*path: str) -> str:
    """A path of keywords as tags: of retired attributes the two dictionaries have other names."""
    tags = [tag_for_keyword(keyword) or 0 for keyword in path]
    return "[0].".join(f"({tag >> 16:04x},{tag & 0xFFFF:04x})" for tag in tags)


def paths(values: dict[str, Any], *above: str) -> Iterator[str]:
    """The path of every attribute in an item."""
    for keyword, value in values.items():
        if isinstance(value, list) and isinstance(value[0], dict):
            yield from paths(value[0], *above, keyword)
        else:
            yield numbered(*above, keyword)


QUERIES = [
    list(paths(FULL)),
    ["PatientName=Doe*", "PatientID"],
    ["PatientName=*Jane", "PatientID"],
    ["PatientID=P2", "PatientName"],
    ["AccessionNumber=A1", "PatientID"],
    ["RequestedProcedureID=RP2", "PatientID"],
    ["RequestedProcedurePriority=STAT", "PatientID"],
    ["ReferringPhysicianName=Mill*", "PatientID"],
    ["RequestingPhysician=Smith*", "PatientID"],
    ["AdmissionID=ADM1", "PatientID"],
    ["PatientSex=F", "PatientID"],
    ["PatientSex=M", "PatientID"],
    [f"{STEP_KEY}Modality=MR", "PatientID"],
    [f"{STEP_KEY}ScheduledStationAETitle=CT1", "PatientID"],
    [f"{STEP_KEY}ScheduledPerformingPhysicianName=Kwan*", "PatientID"],
    [f"{STEP_KEY}ScheduledProcedureStepStartDate=20261122", "PatientID"],
    [f"{STEP_KEY}ScheduledProcedureStepStartDate=20261120-20261121", "PatientID"],
    [f"{STEP_KEY}ScheduledProcedureStepStartDate=20261122-", "PatientID"],
    [f"{STEP_KEY}ScheduledProcedureStepStartTime=1400-1500", "PatientID"],
    [
        f"{STEP_KEY}ScheduledProcedureStepStartDate=20261121-20261122",
        f"{STEP_KEY}ScheduledProcedureStepStartTime=0900-1300",
        "PatientID",
    ],
]


def of_patient(said: dict[str, Any]) -> str:
    """By what answers are ordered before they are compared."""
    return str(said["PatientID"])


@pytest.mark.parametrize("keys", QUERIES, ids=lambda keys: ",".join(keys)[:60])
async def test_findscu_gets_what_wlmscpfs_would_answer(ports: tuple[int, int], tmp_path: Path, keys: list[str]) -> None:
    """The same files, query and answers, for every matching and return key of wlmscpfs (G-141 to G-149)."""
    ours, theirs = [[told(each) for each in await answers(port, tmp_path / str(port), *keys)] for port in ports]
    assert sorted(ours, key=of_patient) == sorted(theirs, key=of_patient)


async def test_an_empty_step_sequence_is_answered_with_all_that_wlmscpfs_tells(
    ports: tuple[int, int], tmp_path: Path
) -> None:
    """An empty sequence gets at least what wlmscpfs makes of it, which forgets the protocol codes (G-149)."""
    keys = ("PatientID", "ScheduledProcedureStepSequence")
    ours, theirs = [
        sorted(await answers(port, tmp_path / str(port), *keys), key=lambda each: each.PatientID) for port in ports
    ]
    for one, other in zip(ours, theirs, strict=True):
        mine, wanted = (each.ScheduledProcedureStepSequence[0] for each in (one, other))
        assert {element.tag for element in wanted} <= {element.tag for element in mine}
        assert told(mine) == {**told(mine), **told(wanted)}
    assert ours[0].ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence[0].CodeValue == "C1"
