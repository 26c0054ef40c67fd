"""Multiple value matching: of which keys all values must be there (PS3.4 C.2.2.2.8)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.matching.attributes import Level
from tests.storage.indexed import add_instance, connected, dataset
from tests.storage.searching import key, search, uids


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """A connection to an empty index."""
    opened = await connected(database_url)
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("name", "wanted", "found"),
    [
        ("StudyDescription", ("Chest*",), "12"),  # of one value: matched as ever
        ("PatientName", ("doe^*",), "12"),
        ("PatientID", ("P?",), "12"),
        ("PatientID", ("P1", "P2"), "12"),
        ("AccessionNumber", ("A1", "B*"), "12"),
        ("StudyInstanceUID", ("1.1", "1.2"), "12"),
        ("RequestAttributesSequence.RequestedProcedureID", ("R1", "R2"), "12"),
        ("ModalitiesInStudy", ("C*",), "1"),  # one value for several
        ("ImageType", ("PRIM*",), "12"),
        ("OtherPatientNames", ("ro*",), "1"),
        ("ImageType", ("PRIMARY", "ORIGINAL"), "1"),  # all of them
        ("ImageType", ("PRIMARY\\ORIGINAL",), "1"),
        ("ImageType", ("ORIGINAL", "PRIM*"), ""),  # literally: T2* is a text
        ("ImageType", ("AXIAL", "T2*"), "2"),
        ("OperatorsName", ("Kim^Lee", "Ann"), "1"),
        ("OtherPatientNames", ("Roe", "ROE^*"), ""),
        ("SoftwareVersions", ("V1", "V1"), "12"),
    ],
)
async def test_of_several_values_all_are_there_and_other_keys_match_as_ever(
    connection: Any, name: str, wanted: tuple[str, ...], found: str
) -> None:
    """Only attributes of several values by definition, given several, are matched so (PS3.4 C.2.2.2.8; C-054)."""
    for number, kind in enumerate((["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY", "AXIAL", "T2*"]), 1):
        one = {"PatientID": f"P{number}", "PatientName": f"Doe^{number}", "StudyDescription": f"Chest {number}"}
        ids = {"StudyInstanceUID": f"1.{number}", "AccessionNumber": "AB"[number - 1] + "1"}
        several = {"ImageType": kind, "SoftwareVersions": ["V1", f"V{number}"], "Modality": ["CT", "MR"][number - 1]}
        several |= {
            "OperatorsName": ["Ann", ["Kim^Lee", "Lee^Kim"][number - 1]],
            "OtherPatientNames": ["Roe", "Zoe"][number - 1],
        }
        request = [{"RequestedProcedureID": f"R{number}"}]
        await add_instance(connection, dataset(**one, **ids, **several, RequestAttributesSequence=request))
    page = await search(connection, Level.IMAGE, key(name, *wanted), multiple_value=True)
    assert sorted(uids(page)) == [f"1.{number}" for number in found]
