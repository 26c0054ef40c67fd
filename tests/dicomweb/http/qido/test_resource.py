"""QIDO-RS over HTTP: the query string, headers, statuses, JSON and XML."""

import re
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from dicomweb.http.app import create_app
from dicomweb.settings import Settings
from storage.dicom import dicomxml
from tests.storage.indexed import add_instance, dataset, tag

ROOT = "/dicom-web"
BASE = "http://archive.test/dicom-web"


@pytest.fixture
async def filled(archive: Any, client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """A client of an archive with five studies, the newest of two series."""
    async with archive.pool.acquire() as connection:
        for number in range(1, 6):
            study: dict[str, Any] = {
                "StudyInstanceUID": f"1.{number}",
                "StudyDate": f"2024010{number}",
                "PatientName": f"Doe^{'ABCDE'[number - 1]}nna",
                "PatientID": f"P,{number}",
                "StudyDescription": "ab+c",
            }
            await add_instance(
                connection,
                dataset(
                    **study,
                    Modality="CT",
                    SeriesInstanceUID=f"1.{number}.1",
                    SOPInstanceUID=f"1.{number}.1.1",
                    IconImageSequence=[{"PixelData": {"vr": "OW", "BulkDataURI": "00880200/1/7FE00010"}}],
                    **{"00230010": "ACME", "00231001": "secret"},
                ),
            )
        mr = {"Modality": "MR", "SeriesInstanceUID": "1.5.2", "SOPInstanceUID": "1.5.2.1"}
        await add_instance(connection, dataset(**study, **mr))
    return client


def studies(response: httpx2.Response) -> list[str]:
    """The studies of an answer."""
    assert response.status_code == 200, response.text
    return [row[tag("StudyInstanceUID")]["Value"][0] for row in response.json()]


async def test_search_for_studies_answers_a_json_array(filled: httpx2.AsyncClient) -> None:
    """One array of objects, attributes ascending, RetrieveURL absolute (C-001, C-078, C-121)."""
    response = await filled.get(ROOT + "/studies", params={"StudyInstanceUID": "1.5"})
    assert response.headers["content-type"] == "application/dicom+json"
    (row,) = response.json()
    assert list(row) == sorted(row)
    assert row["00081190"] == {"vr": "UR", "Value": [f"{BASE}/studies/1.5"]}
    assert row["00080061"]["Value"] == ["CT", "MR"]
    assert "warning" not in response.headers


@pytest.mark.parametrize(
    ("path", "count", "url"),
    [
        ("/studies/1.5/series", 2, "/studies/1.5/series/1.5.1"),
        ("/series", 6, None),
        ("/studies/1.5/instances", 2, "/studies/1.5/series/1.5.1/instances/1.5.1.1"),
        ("/studies/1.5/series/1.5.2/instances", 1, "/studies/1.5/series/1.5.2/instances/1.5.2.1"),
        ("/instances", 6, None),
        ("/studies/1.77/series", 0, None),
    ],
)
async def test_each_resource_answers(filled: httpx2.AsyncClient, path: str, count: int, url: str | None) -> None:
    """The six resources of Table 10.6.1-1; an unknown study has no series (C-001 to C-007)."""
    response = await filled.get(ROOT + path)
    rows = response.json()
    assert response.status_code == 200
    assert len(rows) == count
    if url:
        assert rows[0]["00081190"]["Value"] == [BASE + url]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PatientID=P%2C3", ["1.3"]),
        ("PatientID=P,3", []),
        ("00100020=*%2c3", ["1.3"]),
        ("PatientName=doe%5Eanna", ["1.1"]),
        ("PatientName=doe^anna", ["1.1"]),
        ("StudyDescription=ab+c&limit=1", ["1.5"]),
        ("StudyDescription=ab%2Bc&limit=1", ["1.5"]),
        ("StudyDescription=ab%20c", []),
        ("StudyDescription=*B*&ignorecase=false", []),
        ("StudyDescription=*B%2BC&ignorecase=true&limit=1", ["1.5"]),
        ("StudyInstanceUID=1.1,1.2", ["1.2", "1.1"]),
        ("StudyInstanceUID=1.1%2C1.2", ["1.2", "1.1"]),
        ("0020000d=1.1%5C1.2", ["1.2", "1.1"]),
        ("ModalitiesInStudy=MR,US", ["1.5"]),
        ("ModalitiesInStudy=MR%2CUS", ["1.5"]),
        ("ModalitiesInStudy=MR%5CUS", ["1.5"]),
        ("ModalitiesInStudy=CT,MR&multiplevaluematching=true", ["1.5"]),
        ("Modality=MR", ["1.5"]),
        ("StudyDate=20240102-20240103", ["1.3", "1.2"]),
        ("PatientName=an&fuzzymatching=true&limit=9", ["1.1"]),
        ("PatientName=do%20enn&fuzzymatching=true", ["1.5"]),
        ("PatientName=do*&fuzzymatching=false&limit=2&offset=3", ["1.2", "1.1"]),
        ("AccessionNumber=%22%22&emptyvaluematching=true&limit=1", ["1.5"]),
        ("AccessionNumber=%22%22", []),
        ("limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060&StudyDate=20240101-", list("54321")),
        ("orderby=PatientName&limit=2", ["1.1", "1.2"]),
        ("orderby=-PatientName&limit=2", ["1.5", "1.4"]),
        ("limit=0", []),
        ("offset=99999999999999999999999", []),
        ("limit=99999999999999999999999&StudyDate=20240101", ["1.1"]),
    ],
)
async def test_query_strings_are_read_as_the_standard_says(
    filled: httpx2.AsyncClient, query: str, found: list[str]
) -> None:
    """Commas, plus signs, tags and keywords, flags, paging (A-006 to A-008, A-013, C-036 to C-058, C-110, L-001)."""
    response = await filled.get(f"{ROOT}/studies?{query}")
    assert studies(response) == [uid if "." in uid else f"1.{uid}" for uid in found]


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=%2B1",
        "limit=1&limit=1",
        "offset=1.5",
        "fuzzymatching=1",
        "fuzzymatching",
        "emptyvaluematching=True",
        "PatientID=1&00100020=1",
        "PatientID=1&PatientID=2",
        "StudyInstanceUID=1.2*",
        "StudyInstanceUID=abc",
        "StudyDate=2024",
        "StudyDate=20240230",
        "StudyDate=20240105-20240101",
        "StudyDate=2024*",
        "StudyTime=2500",
        "PatientName=%FF%FE",
        "%FF=1",
        "PatientName=a%00b",
        "orderby=Rows",
        "cursor=x",
        "cursor=WzFd",
        "00230001=1&00231001=1",
        "NumberOfStudyRelatedSeries=many",
        "TimezoneOffsetFromUTC=CET",
        "PatientName=" + "a," * 10_000,
        "StudyDescription=" + "abc*," * 5_000 + "&PatientName=" + "a," * 6_000,
        "00400275." * 3_000 + "PatientID=x",
        "includefield=" + "00400275." * 3_000 + "PatientID",
        "orderby=" + "00400275." * 3_000 + "PatientID",
    ],
)
async def test_a_wrong_value_is_a_400_that_names_the_parameter(filled: httpx2.AsyncClient, query: str) -> None:
    """Never a 500, never a silent guess (A-010, C-017, C-038, C-047, C-058, C-110, C-120)."""
    response = await filled.get(f"{ROOT}/studies?{query}")
    assert response.status_code == 400
    assert response.json()["detail"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("includeField=all", "includeField is not supported"),
        ("patientname=x", "patientname is not supported"),
        ("foo=1", "foo is not supported"),
        ("SeriesNumber=7", "SeriesNumber is not matched at this level"),
        ("PixelData=7", "PixelData is not matched"),
        ("RetrieveURL=x", "RetrieveURL is not"),
        ("0000000G=1", "0000000G is not supported"),
        ("00990099=1", "00990099 is"),
    ],
)
async def test_what_is_not_supported_is_ignored_with_a_warning(
    filled: httpx2.AsyncClient, query: str, text: str
) -> None:
    """Names are case-sensitive; an ignored key is named (A-005, A-009, C-018, C-019, A-112)."""
    response = await filled.get(f"{ROOT}/studies?{query}")
    assert len(studies(response)) == 5
    assert text in response.headers["warning"]
    assert re.fullmatch(rf'299 {re.escape(BASE)} "[^"]+"', response.headers["warning"])


async def test_an_order_of_repeated_keys_is_that_of_the_first(filled: httpx2.AsyncClient) -> None:
    """However often a key is repeated it costs no column of the statement."""
    response = await filled.get(f"{ROOT}/studies?orderby=PatientID" + ",StudyDate,PatientID" * 900)
    assert studies(response) == ["1.1", "1.2", "1.3", "1.4", "1.5"]


async def test_remaining_results_are_announced_and_the_next_page_linked(filled: httpx2.AsyncClient) -> None:
    """Limit leaves rows: a warning with their number, a link that continues, and no warning at the end (C-114)."""
    url: str | None = f"{ROOT}/studies?limit=2&includetotal=true&PatientName=d*"
    pages: list[list[str]] = []
    warnings: list[str | None] = []
    while url:
        response = await filled.get(url)
        pages.append(studies(response))
        warnings.append(response.headers.get("warning"))
        assert response.headers["x-total-count"] == "5"
        link = response.headers.get("link")
        url = None
        if link:
            match = re.fullmatch(r'<(.*)>; rel="next"', link)
            assert match
            url = urlsplit(match[1]).path + "?" + urlsplit(match[1]).query
    assert pages == [["1.5", "1.4"], ["1.3", "1.2"], ["1.1"]]
    assert warnings == [
        f'299 {BASE} "There are 3 additional results that can be requested"',
        f'299 {BASE} "There are 1 additional results that can be requested"',
        None,
    ]


async def test_warnings_come_one_a_header_line(filled: httpx2.AsyncClient) -> None:
    """Several warnings are several header lines, each quoted (A-112)."""
    response = await filled.get(f"{ROOT}/studies?foo%22%0D%0A=1&bär=2&limit=1")
    lines = response.headers.get_list("warning")
    assert len(lines) == 3
    assert all(re.fullmatch(r'299 \S+ "[ !#-\[\]-~]+"', line) for line in lines)


async def test_nothing_found_is_200_with_an_empty_array_or_204_by_setting(archive: Any, tmp_path: Any) -> None:
    """CP-2473 made it 200; a setting keeps 204 for clients that wait for it (C-112, C-113, user pain 31)."""
    for status in (200, 204):
        app = create_app(archive, Settings(data_dir=tmp_path, empty_search_status=status))
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
            response = await client.get(f"{ROOT}/studies")
            assert response.status_code == status
            assert response.content == (b"[]" if status == 200 else b"")


async def test_the_archive_caps_results(filled: httpx2.AsyncClient, archive: Any, tmp_path: Any) -> None:
    """However many are asked for, max_results rule, and the rest is announced (C-111, C-118, C-119)."""
    app = create_app(archive, Settings(data_dir=tmp_path, max_results=3, default_results=2))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        assert len(studies(await client.get(f"{ROOT}/studies?limit=4"))) == 3
        response = await client.get(f"{ROOT}/studies")
        assert len(studies(response)) == 2
        assert "There are 3 additional results" in response.headers["warning"]


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json",
        "application/dicom+json",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        "Application/DICOM+JSON;q=0.9, text/html",
    ],
)
async def test_json_for_every_accept_header_clients_send(filled: httpx2.AsyncClient, accept: str | None) -> None:
    """JSON is the default, and other entries of the list do no harm (A-021, A-034, L-004)."""
    headers = {"Accept": accept} if accept else {}
    response = await filled.get(f"{ROOT}/studies", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"


async def test_xml_comes_in_parts(filled: httpx2.AsyncClient) -> None:
    """multipart/related with one NativeDicomModel a match; the accept parameter asks as well (C-122, C-123, A-027)."""
    wanted = 'multipart/related; type="application/dicom+xml"'
    by_header = await filled.get(f"{ROOT}/studies?limit=2", headers={"Accept": wanted})
    by_parameter = await filled.get(
        f"{ROOT}/studies", params={"limit": "2", "accept": wanted}, headers={"Accept": "*/*"}
    )
    for response in (by_header, by_parameter):
        content_type = response.headers["content-type"]
        assert content_type.startswith('multipart/related; type="application/dicom+xml"; boundary=')
        boundary = content_type.rpartition("=")[2].encode()
        _, *parts, end = response.content.split(b"--" + boundary)
        assert end == b"--\r\n"
        documents = [dicomxml.decode(part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n")) for part in parts]
        assert [document["0020000D"]["Value"] for document in documents] == [["1.5"], ["1.4"]]
    empty = await filled.get(f"{ROOT}/studies?PatientID=nobody", headers={"Accept": wanted})
    assert (empty.status_code, empty.content) == (204, b"")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("studies", ["ProcedureCodeSequence"]),
        ("series", ["ProcedureCodeSequence", "PerformedProtocolCodeSequence"]),
        ("studies/1.2/series", ["PerformedProtocolCodeSequence"]),
        ("instances", ["ProcedureCodeSequence", "PerformedProtocolCodeSequence", "SourceImageSequence"]),
        ("studies/1.2/instances", ["SourceImageSequence", "ViewCodeSequence"]),
        ("studies/1.2/series/1.2.3/instances", ["SourceImageSequence", "ViewCodeSequence"]),
    ],
)
async def test_items_without_attributes_are_items(
    client: httpx2.AsyncClient, archive: Any, path: str, names: list[str]
) -> None:
    """Their number and order stay, at every level and depth, in JSON and in XML (PS3.18 F.2.5, PS3.19 A.1)."""
    items = [{}, {"CodeValue": "1", "EquivalentCodeSequence": [{}, {"CodeValue": "2"}, {}]}, {}]
    sequences = ("ProcedureCodeSequence", "PerformedProtocolCodeSequence", "SourceImageSequence")
    given = dataset(**dict.fromkeys(sequences, items), ViewCodeSequence=[{}])
    async with archive.pool.acquire() as connection:
        await add_instance(connection, given | dataset(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3"))
    asked = f"{ROOT}/{path}?includefield={','.join(names)}"
    (row,) = (await client.get(asked)).json()
    in_parts = await client.get(asked, headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    document = dicomxml.decode(in_parts.content.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0])
    for name in names:
        assert row[tag(name)] == document[tag(name)] == given[tag(name)], name


async def test_an_accept_header_nothing_fits_is_a_406_with_the_list(filled: httpx2.AsyncClient) -> None:
    """The body names what there is (A-035)."""
    response = await filled.get(f"{ROOT}/studies", headers={"Accept": "image/jpeg"})
    assert response.status_code == 406
    assert "application/dicom+json" in response.json()["available"]


async def test_head_answers_like_get_without_a_body(filled: httpx2.AsyncClient) -> None:
    """A HEAD request has the headers of GET (A-120)."""
    response = await filled.head(f"{ROOT}/studies?limit=2")
    assert response.status_code == 200
    assert "There are 3 additional" in response.headers["warning"]


@pytest.mark.parametrize("path", ["/studies/1.2.x/series", "/studies/%20/instances", f"/studies/{'1' * 65}/series"])
async def test_a_malformed_uid_in_the_path_is_a_400(filled: httpx2.AsyncClient, path: str) -> None:
    """Path UIDs are digits and dots, at most 64 (A-003, A-004)."""
    assert (await filled.get(ROOT + path)).status_code == 400


async def test_a_strict_archive_refuses_uids_with_leading_zeros(archive: Any, tmp_path: Any) -> None:
    """With strict_uids PS3.5 9.1 rules; else real files with such UIDs stay findable (A-003)."""
    for strict, status in ((True, 400), (False, 200)):
        app = create_app(archive, Settings(data_dir=tmp_path, strict_uids=strict))
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
            assert (await client.get(f"{ROOT}/studies/1.02.3/series")).status_code == status


async def test_a_study_without_modality_is_shown_without_modalities(client: httpx2.AsyncClient, archive: Any) -> None:
    """Rather than with an empty attribute, on which OHIF's whole list fails."""
    without = {"StudyInstanceUID": "1.9", "SeriesInstanceUID": "1.9.1", "SOPInstanceUID": "1.9.1.1"}
    async with archive.pool.acquire() as connection:
        await add_instance(connection, dataset(**without))
    (row,) = (await client.get(f"{ROOT}/studies?includefield=ModalitiesInStudy")).json()
    assert tag("ModalitiesInStudy") not in row and row[tag("NumberOfStudyRelatedSeries")]["Value"] == [1]


async def test_includefield_takes_repetition_lists_paths_and_all(filled: httpx2.AsyncClient) -> None:
    """By tag or keyword, of the level or above; lower levels and unknown names are left out (C-090 to C-098)."""
    asked = "includefield=StudyDescription&includefield=00080060,NoSuchThing%2C0023%31001"
    (row,) = (await filled.get(f"{ROOT}/studies?StudyInstanceUID=1.1&{asked}")).json()
    assert row[tag("StudyDescription")]["Value"] == ["ab+c"]
    assert tag("Modality") not in row
    (row,) = (await filled.get(f"{ROOT}/studies?StudyInstanceUID=1.1&includefield=all")).json()
    assert {tag("StudyDescription"), tag("SOPClassesInStudy")} <= set(row)
    (row,) = (await filled.get(f"{ROOT}/studies/1.1/series?includefield=PatientID&PatientWeight=")).json()
    assert row[tag("PatientID")]["Value"] == ["P,1"]


async def test_bulk_data_in_results_has_a_url(filled: httpx2.AsyncClient) -> None:
    """A value kept outside the JSON is named by an absolute URL, at any depth (F.2.2, A-127)."""
    (row,) = (await filled.get(f"{ROOT}/studies/1.1/instances?includefield=IconImageSequence")).json()
    item = row[tag("IconImageSequence")]["Value"][0]
    url = f"{BASE}/studies/1.1/series/1.1.1/instances/1.1.1.1/bulkdata/00880200/1/7FE00010"
    assert item["7FE00010"] == {"vr": "OW", "BulkDataURI": url}


async def test_private_keys_need_their_creator(filled: httpx2.AsyncClient) -> None:
    """With the creator as a key the private value is matched and both are returned (C-016, C-097)."""
    query = "00230010=ACME&00231001=secret"
    rows = (await filled.get(f"{ROOT}/studies/1.1/instances?{query}")).json()
    assert [(row["00230010"]["Value"], row["00231001"]["Value"]) for row in rows] == [(["ACME"], ["secret"])]
    rows = (await filled.get(f"{ROOT}/studies/1.1/instances?00230011=ACME&includefield=00231101")).json()
    assert [(row["00230011"]["Value"], row["00231101"]["Value"]) for row in rows] == [(["ACME"], ["secret"])]
    assert (await filled.get(f"{ROOT}/studies/1.1/instances?00230010=OTHER&00231001=secret")).json() == []
    assert (await filled.get(f"{ROOT}/studies/1.1/instances?00231001=secret")).status_code == 400
