"""Query strings as clients write them: a space as `%20` or as `+`, a plus as `%2B` or as `+` (PS3.18 8.3.1)."""

from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest

from dicomweb.http.qido.parameters import parse_search
from storage.matching.attributes import Level
from tests.storage.indexed import add_instance, dataset, tag
from tests.storage.searching import values

ROOT = "/dicom-web"

TEXTS: dict[str, list[str]] = {
    "PatientName": ["DE LA CRUZ^MARIA JOSE", "DE+LA CRUZ^MARIA JOSE", "Doe^Ann"],
    "PatientID": ["A 17", "A+17", "A17"],
    "AccessionNumber": ["A+B 1", "A B+1", "AB1"],
    "StudyDescription": ["CT HEAD W WO", "CT HEAD W+WO", "CT HEAD WWO"],
    "PatientComments": ["one two", "one+two", "onetwo"],
    "OtherPatientIDs": ["X 1", "X+1", "X1"],
}
"""Of three studies, the values of attributes with indexes and without; the third is what neither may find."""


@pytest.fixture
async def filled(archive: Any, client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """A client of an archive with the three studies."""
    zones = ("20250102101112+0100", "20250102101112-0100", "20250102111112+0200")
    async with archive.pool.acquire() as connection:
        for number, zone in enumerate(zones):
            texts = {name: choices[number] for name, choices in TEXTS.items()}
            named = {"StudyInstanceUID": f"1.{number}", "SOPInstanceUID": f"1.{number}.1.1", **texts}
            private = {"00230010": "SOME + CREATOR" if number else "SOME X CREATOR", "00231001": f"a {number}"}
            moment = {"AcquisitionDateTime": zone, "WindowCenter": number - 1, "StationName": f"S {number}"}
            await add_instance(connection, dataset(**named, **moment, **private))
    return client


async def found(client: httpx2.AsyncClient, query: str) -> list[str]:
    """The numbers of the studies a query finds."""
    response = await client.get(f"{ROOT}/instances?{query}")
    assert response.status_code == 200, response.text
    assert "warning" not in response.headers
    return sorted(values(row, "StudyInstanceUID")[0].removeprefix("1.") for row in response.json())


@pytest.mark.parametrize("name", list(TEXTS))
async def test_a_text_is_found_however_a_client_encodes_it(filled: httpx2.AsyncClient, name: str) -> None:
    """By `%20` and `%2B` itself alone, as forms write it too; by a raw plus what has a space or a plus there."""
    for number, text in enumerate(TEXTS[name][:2]):
        assert await found(filled, f"{name}={quote(text)}") == [str(number)]
        form = urlencode({name: text})  # + for a space, as in requests, dicomweb-client and URLSearchParams
        assert "%20" not in form and str(number) in await found(filled, form)
        assert str(number) in await found(filled, f"{name}={quote(text, safe='+')}")
        assert await found(filled, f"{name}={text.replace(' ', '+')}") == ["0", "1"]


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("PatientName=de+la*", "01"),
        ("PatientName=de%20la*", "0"),
        ("PatientName=de%2Bla*", "1"),
        ("PatientName=cruz+mar&fuzzymatching=true", "01"),
        ("PatientName=+DOE%5EANN+", "2"),
        ("PatientName=Nobody,Doe%5EAnn+", "2"),
        ("StudyDescription=*w+w*", ""),
        ("StudyDescription=*W+W*&ignorecase=true", "01"),
        ("StudyDescription=*W%2BW*", "1"),
        ("StudyDescription=CT+HEAD+W+WO", "01"),
        ("StudyDescription=CT+HEAD+W%2BWO", "1"),
        ("OtherPatientIDs=X+1,X%2B1&multiplevaluematching=true", "1"),
        ("PatientID=A+17,A17", "012"),
        ("PatientID=+", "012"),
        ("SOPInstanceUID=1.0.1.1+", "0"),
        ("SOPInstanceUID=1.0.1.1,+1.2.1.1", "02"),
        ("Modality=+", "012"),
        ("AcquisitionDateTime=20250102101112+0100", "02"),
        ("AcquisitionDateTime=20250102101112%2B0100", "02"),
        ("AcquisitionDateTime=20250102091112&TimezoneOffsetFromUTC=+0000", "02"),
        ("AcquisitionDateTime=20250102101112&TimezoneOffsetFromUTC=+0100", "02"),
        ("WindowCenter=+1", "2"),
        ("00230010=SOME+++CREATOR&00231001=a+1", "1"),
        ("00230010=SOME+%2B+CREATOR&00231001=a+2", "2"),
        ("00230010=SOME+X+CREATOR&00231001=a+0", "0"),
        ("search=a+17", "01"),
        ("search=A%2B17", "1"),
        ("search=de+la+c&PatientID=A+17", "01"),
        ("includefield=PatientComments,+StationName&orderby=+PatientID", "012"),
    ],
)
async def test_a_plus_is_what_its_key_can_mean(filled: httpx2.AsyncClient, query: str, studies: str) -> None:
    """A space or a plus in texts, a plus in times, offsets and numbers, a space around UIDs and names (A-013)."""
    assert await found(filled, query) == list(studies)


async def test_what_is_listed_with_spaces_comes_along(filled: httpx2.AsyncClient) -> None:
    """`includefield` as `requests` writes "A, B"; a private creator's attributes come with the creator's own value."""
    names = urlencode({"includefield": "PatientComments, StationName"})
    (row,) = (await filled.get(f"{ROOT}/instances?PatientID=A17&{names}")).json()
    assert values(row, "PatientComments") == ["onetwo"] and values(row, "StationName") == ["S 2"]
    creator = "00230010=SOME+%2B+CREATOR&00231001="
    (row,) = (await filled.get(f"{ROOT}/instances?PatientID=A17&{creator}")).json()
    assert row["00230010"]["Value"] == ["SOME + CREATOR"] and row["00231001"]["Value"] == ["a 2"]


async def test_the_next_page_is_of_the_same_search(filled: httpx2.AsyncClient) -> None:
    """The link of an answer keeps a plus as it was written."""
    answer = await filled.get(f"{ROOT}/studies?PatientID=A+17&limit=1")
    following = await filled.get(answer.links["next"]["url"])
    first, second = (response.json()[0][tag("PatientID")]["Value"] for response in (answer, following))
    assert sorted([first, second]) == [["A 17"], ["A+17"]]


async def test_a_text_that_cannot_be_looked_for_is_refused(client: httpx2.AsyncClient) -> None:
    """Where there are no studies, or too long: 400, and not everything there is (A-010)."""
    assert (await client.get("/api/worklist?search=x")).status_code == 400
    assert (await client.get(f"{ROOT}/studies?search={'x' * 257}")).status_code == 400
    assert (await client.get(f"{ROOT}/studies?search=a&search=b")).status_code == 400


def test_no_key_costs_more_than_a_few_texts() -> None:
    """A value of thousands of plus signs is a search like any other."""
    search = parse_search(b"PatientName=" + b"a+" * 2000, Level.STUDY)
    (key,) = search.query.keys
    assert [len(meant) for meant in key.alternatives("PN")] == [2]
