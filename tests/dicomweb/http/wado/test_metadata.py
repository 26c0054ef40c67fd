"""Retrieving metadata (PS3.18 10.4.1.2)."""

from typing import Any
from xml.etree import ElementTree

import httpx2
import orjson
import pytest

from dicomweb.http.wado.metadata import with_urls
from tests.builders import ct_slice, new_uid
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.loopback import listening
from tests.dicomweb.parts import parts_of

XML = 'multipart/related; type="application/dicom+xml"'


@pytest.mark.parametrize("level", ["study", "series", "instance"])
async def test_metadata_is_an_array_at_every_level(archive: Any, client: httpx2.AsyncClient, level: str) -> None:
    """One JSON array, even of one instance, with absolute bulk data URLs that answer (D-020, D-021, D-025)."""
    (path,) = await stored(archive, ct_slice())
    target = {"study": path.split("/series")[0], "series": path.split("/instances")[0], "instance": path}[level]
    answer = await client.get(f"{target}/metadata")
    assert answer.headers["content-type"] == "application/dicom+json"
    (dataset,) = answer.json()
    assert list(dataset) == sorted(dataset) and not any(tag.startswith("0002") for tag in dataset)
    url = dataset["7FE00010"]["BulkDataURI"]
    assert url == f"http://archive.test{path}/bulkdata/7FE00010"
    assert len((await client.get(url)).content) == 64 * 64 * 2


async def test_metadata_is_in_order(archive: Any, client: httpx2.AsyncClient) -> None:
    """Instances come by instance number (D-012)."""
    study, series = new_uid(), new_uid()
    await stored(archive, *(ct_slice(study, series, instance_number=number) for number in (10, 2, 1)))
    datasets = (await client.get(f"/dicom-web/studies/{study}/metadata")).json()
    assert [dataset["00200013"]["Value"] for dataset in datasets] == [[1], [2], [10]]


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        "application/json",
        "application/dicom+json, application/json",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        "*/*",
        "application/*",
        'multipart/related; type="application/octet-stream", application/dicom+json;q=0.5, junk',
    ],
)
async def test_every_client_gets_json(archive: Any, client: httpx2.AsyncClient, accept: str) -> None:
    """The Accept headers of OHIF, dicomweb-client and browsers are all understood (A-034, L-004)."""
    (path,) = await stored(archive, ct_slice())
    answer = await client.get(f"{path}/metadata", headers={"Accept": accept})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/dicom+json"


async def test_urls_follow_the_client(archive: Any, client: httpx2.AsyncClient) -> None:
    """Behind a proxy URLs are those of the proxy, and the tag differs (A-127, A-117)."""
    (path,) = await stored(archive, ct_slice())
    proxied = {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https"}
    one, two = await client.get(f"{path}/metadata"), await client.get(f"{path}/metadata", headers=proxied)
    assert two.json()[0]["7FE00010"]["BulkDataURI"].startswith("https://pacs.example/dicom-web/studies/")
    assert one.headers["etag"] != two.headers["etag"]


async def test_unchanged_metadata_is_a_304(archive: Any, client: httpx2.AsyncClient) -> None:
    """A new instance changes the tag of its series; the compressed form's tag counts, too (A-117)."""
    study, series = new_uid(), new_uid()
    await stored(archive, ct_slice(study, series))
    target = f"/dicom-web/studies/{study}/series/{series}/metadata"
    first = await client.get(target, headers={"Accept-Encoding": "gzip"})
    tag = {"If-None-Match": first.headers["etag"]}
    assert first.headers["etag"].startswith("W/") and first.headers["cache-control"] == "private, no-cache"
    assert (await client.get(target, headers=tag)).status_code == 304
    await stored(archive, ct_slice(study, series))
    changed = await client.get(target, headers=tag)
    assert changed.status_code == 200 and len(changed.json()) == 2


async def test_xml_is_one_native_model_per_part(archive: Any, client: httpx2.AsyncClient) -> None:
    """XML in UTF-8 with declaration, bulk data by URL (D-020, D-161, A-140)."""
    study = new_uid()
    paths = await stored(archive, ct_slice(study, PatientName="Буков^Иван"), ct_slice(study, instance_number=2))
    parts = parts_of(await client.get(f"/dicom-web/studies/{study}/metadata", headers={"Accept": XML}))
    assert [part.headers["Content-Location"] for part in parts] == [
        f"http://archive.test{path}/metadata" for path in paths
    ]
    assert parts[0].headers["Content-Type"].startswith("application/dicom+xml")
    assert parts[0].body.startswith(b"<?xml") and "Буков".encode() in parts[0].body
    ElementTree.fromstring(parts[1].body)
    assert f"{paths[1]}/bulkdata/7FE00010".encode() in parts[1].body


async def test_other_types_are_a_406_with_the_list(archive: Any, client: httpx2.AsyncClient) -> None:
    """406 says what there is (A-035)."""
    (path,) = await stored(archive, ct_slice())
    refused = await client.get(f"{path}/metadata", headers={"Accept": "text/html"})
    assert refused.status_code == 406 and "application/dicom+json" in refused.json()["available"]
    assert (await client.get(f"{path.split('/series')[0]}9/metadata")).status_code == 404


async def test_a_large_series_streams(archive: Any, app: Any) -> None:
    """Many instances arrive as one valid array, compressed on the way (D-029, D-165)."""
    study, series = new_uid(), new_uid()
    await stored(archive, *(ct_slice(study, series, rows=8, columns=8, instance_number=n) for n in range(1, 301)))
    target = f"/dicom-web/studies/{study}/series/{series}/metadata"
    async with listening(app) as url, httpx2.AsyncClient(base_url=url) as client:
        for encoding in ("gzip", "identity"):
            answer = await client.get(target, headers={"Accept-Encoding": encoding})
            assert answer.headers.get("content-encoding", "identity") == encoding
            assert answer.headers["transfer-encoding"] == "chunked"
            numbers = [dataset["00200013"]["Value"][0] for dataset in orjson.loads(answer.content)]
            assert numbers == list(range(1, 301))
        head = await client.head(target)
        assert head.status_code == 200 and head.content == b"" and head.headers["etag"]


def test_only_the_place_of_bulk_data_is_filled_in() -> None:
    """Text that looks like a placeholder is escaped in JSON and stays as it is."""
    text = orjson.dumps({"0": {"Value": ['"BulkDataURI":"x']}, "1": {"BulkDataURI": "7FE00010"}})
    assert orjson.loads(with_urls(text, "http://h/i")) == {
        "0": {"Value": ['"BulkDataURI":"x']},
        "1": {"BulkDataURI": "http://h/i/bulkdata/7FE00010"},
    }
