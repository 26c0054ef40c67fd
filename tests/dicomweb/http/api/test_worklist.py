"""`/api/worklist`: items put, searched, replaced and taken off."""

from typing import Any

import httpx2
import pytest

from tests.storage.indexed import tag
from tests.storage.searching import values
from tests.storage.worklist_items import item_dataset, step

DICOM_JSON = {"Content-Type": "application/dicom+json"}


async def add(client: httpx2.AsyncClient, *steps: dict[str, Any], **attributes: Any) -> httpx2.Response:
    """POST an item."""
    return await client.post("/api/worklist", json=item_dataset(*steps, **attributes), headers=DICOM_JSON)


async def test_an_item_is_posted_and_lives_at_its_location(client: httpx2.AsyncClient) -> None:
    """201 with Location and ETag; GET, PUT and DELETE there, and 404 afterwards (issue 4.6, design 2)."""
    added = await add(client)
    assert added.status_code == 201, added.text
    url = added.headers["location"]
    assert url.startswith("http://archive.test/api/worklist/")
    shown = await client.get(url)
    assert (shown.status_code, shown.headers["content-type"], shown.headers["etag"]) == (
        200,
        "application/dicom+json",
        '"1"',
    )
    whole = shown.json()
    assert values(whole, "RetrieveURL") == [url]
    assert values(whole, "PatientName") == [{"Alphabetic": "Doe^Jane"}]
    whole[tag("PatientID")]["Value"] = ["P7"]
    replaced = await client.put(url, json=whole)
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    assert values((await client.get(url)).json(), "PatientID") == ["P7"], "what is shown can be put"
    assert (await client.delete(url)).status_code == 204
    for method in ("GET", "DELETE"):
        gone = await client.request(method, url)
        assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")
    assert (await client.put(url, json=whole)).status_code == 404
    assert (await client.get("/api/worklist/none")).status_code == 404


async def test_identifiers_are_made_up_when_they_are_missing(client: httpx2.AsyncClient) -> None:
    """A study gets a UID of its own, which stays the same (G-150)."""
    bare = {"StudyInstanceUID": None, "RequestedProcedureID": None, "AccessionNumber": None}
    added = await add(client, step(ScheduledProcedureStepID=None), **bare)
    (study,) = values(added.json(), "StudyInstanceUID")
    assert study.startswith("2.25.")
    assert values((await client.get(added.headers["location"])).json(), "StudyInstanceUID") == [study]
    (first,) = values(added.json(), "ScheduledProcedureStepSequence")
    assert 0 < len(values(first, "ScheduledProcedureStepID")[0]) <= 16
    other = await add(client, step(ScheduledProcedureStepID=None), **bare)
    assert values(other.json(), "StudyInstanceUID") != [study]


async def test_what_is_missing_is_listed(client: httpx2.AsyncClient) -> None:
    """400 names every attribute of type 1 that has no value, in words (G-144; promise 7)."""
    refused = await add(client, step(Modality=None), PatientName=None)
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert "PatientName (0010,0010) has no value" in refused.json()["detail"]
    assert "Modality (0008,0060) has no value in item 1" in refused.json()["detail"]


NO_ITEMS: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"{", 400),
    (b"[]", 400),
    (b'"item"', 400),
    (b'{"PatientID": "x"}', 400),
    (b'{"00100020": {"vr": "LO", "Value": "x"}}', 400),
]


@pytest.mark.parametrize(("body", "status"), NO_ITEMS)
async def test_what_is_no_item_is_refused(client: httpx2.AsyncClient, body: bytes, status: int) -> None:
    """A body that is no DICOM JSON object is a 400 that says so (promise 7)."""
    refused = await client.post("/api/worklist", content=body, headers=DICOM_JSON)
    assert (refused.status_code, "detail" in refused.json()) == (status, True)


async def test_an_array_of_one_and_plain_json_are_understood(client: httpx2.AsyncClient) -> None:
    """DICOMweb clients wrap objects in arrays; two items at once are refused."""
    assert (await client.post("/api/worklist", json=[item_dataset()])).status_code == 201
    assert (await client.post("/api/worklist", json=[item_dataset(), item_dataset()])).status_code == 400


async def test_nobody_overwrites_what_he_has_not_seen(client: httpx2.AsyncClient) -> None:
    """If-Match of another version is 412, of the present one it succeeds; If-None-Match is 304 (RFC 9110 13)."""
    url = (await add(client)).headers["location"]
    assert (await client.put(url, json=item_dataset(), headers={"If-Match": '"1"'})).status_code == 200
    for header in ('"1"', '"x"', "1"):
        assert (await client.put(url, json=item_dataset(), headers={"If-Match": header})).status_code == 412
        assert (await client.delete(url, headers={"If-Match": header})).status_code == 412
    assert (await client.get(url, headers={"If-None-Match": '"2"'})).status_code == 304
    assert (await client.delete(url, headers={"If-Match": '"2"'})).status_code == 204


async def test_the_collection_is_searched_like_qido(client: httpx2.AsyncClient) -> None:
    """Attributes are keys by keyword, tag or path; items come whole, by the time they begin, in pages."""
    for number in range(4):
        steps = [step(ScheduledProcedureStepStartTime=f"{12 - number:02}00", Modality=["CT", "MR"][number % 2])]
        await add(client, *steps, step(ScheduledProcedureStepStartTime="2300"), PatientID=f"P{number}")

    async def found(query: str) -> list[str]:
        answer = await client.get(f"/api/worklist{query}")
        assert answer.status_code == 200, answer.text
        return [values(each, "PatientID")[0] for each in answer.json()]

    assert await found("") == ["P3", "P2", "P1", "P0"]
    assert await found("?PatientID=P1") == ["P1"]
    assert await found("?00100020=P1") == ["P1"]
    assert await found("?ScheduledProcedureStepSequence.Modality=MR") == ["P3", "P1"]
    assert await found("?ScheduledProcedureStepSequence.ScheduledProcedureStepStartTime=0900-1000") == ["P3", "P2"]
    assert await found("?PatientName=do*&limit=2&offset=1") == ["P2", "P1"]
    assert await found("?PatientName=jan%20do&fuzzymatching=true&limit=1") == ["P3"]
    assert await found("?AccessionNumber=none") == []


async def test_a_plus_is_a_space_or_a_plus_in_texts(client: httpx2.AsyncClient) -> None:
    """As in QIDO-RS: in columns, lists and descriptions; `%2B` and `%20` are what they are (A-013)."""
    for sign in (" ", "+"):
        described = {"ScheduledStationAETitle": f"CT{sign}1", "ScheduledProcedureStepDescription": f"Head W{sign}WO"}
        named = {"AccessionNumber": f"A{sign}1", "PatientName": f"De{sign}La^Ann"}
        await add(client, step(**described), PatientID=f"P{sign}1", **named)
    for query in ("AccessionNumber=A{}1", "PatientName=de{}la^*", "ScheduledStationAETitle=CT{}1", "PatientID=P{}1"):
        for written, meant in (("+", [" ", "+"]), ("%2B", ["+"]), ("%20", [" "])):
            answer = await client.get(f"/api/worklist?{query.format(written)}")
            assert answer.status_code == 200, answer.text
            patients = sorted(values(each, "PatientID")[0] for each in answer.json())
            assert patients == [f"P{sign}1" for sign in meant], query
    found = await client.get("/api/worklist?ScheduledProcedureStepDescription=Head+W+WO")
    assert len(found.json()) == 2


SHORTHANDS = [
    "Modality=MR",
    "00080060=MR",
    "ScheduledStationAETitle=MR1",
    "ScheduledProcedureStepStartDate=20261122",
    "ScheduledProcedureStepStartDate=20261122&ScheduledProcedureStepStartTime=0800-0900",
    "ScheduledProcedureStepDescription=Brain&Modality=MR",
    "ScheduledProtocolCodeSequence.CodeValue=BRAIN",
]


@pytest.mark.parametrize("query", SHORTHANDS)
async def test_a_key_of_the_step_needs_no_sequence_before_it(client: httpx2.AsyncClient, query: str) -> None:
    """`Modality=MR` means that of the step, as in tables and `dicomweb worklist list`."""
    brain = step(
        Modality="MR",
        ScheduledStationAETitle="MR1",
        ScheduledProcedureStepStartDate="20261122",
        ScheduledProcedureStepDescription="Brain",
        ScheduledProtocolCodeSequence=[{"CodeValue": "BRAIN"}],
    )
    await add(client, PatientID="P1")
    await add(client, brain, PatientID="P2")
    answer = await client.get(f"/api/worklist?{query}")
    assert [values(each, "PatientID") for each in answer.json()] == [["P2"]]


async def test_a_key_and_its_shorthand_are_one_key(client: httpx2.AsyncClient) -> None:
    """Given both ways, one of the two would be passed over in silence (C-017)."""
    refused = await client.get("/api/worklist?Modality=CT&ScheduledProcedureStepSequence.Modality=MR")
    assert (refused.status_code, "given more than once" in refused.json()["detail"]) == (400, True)


UNUSABLE = [
    *("Patient=1", "limit=x", "StudyInstanceUID=x", "PixelData=1", "ScheduledProcedureStepStartDate=x"),
    *("ScheduledProtocolCodeSequence=1", "ScheduledProcedureStepSequence=1", "00091001=1"),
    *("SpecificCharacterSet=ISO_IR%20100", "QueryRetrieveLevel=STUDY"),
]


@pytest.mark.parametrize("query", UNUSABLE)
async def test_a_wrong_parameter_is_named(client: httpx2.AsyncClient, query: str) -> None:
    """400 that names the parameter: a search that is not understood must not find everything (A-010)."""
    refused = await client.get(f"/api/worklist?{query}")
    assert refused.status_code == 400
    assert query.partition("=")[0] in refused.json()["detail"]
