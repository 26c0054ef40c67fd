"""Every resource of real files: nothing is a 5xx, nothing differs from what pydicom reads."""

import io
from pathlib import Path
from typing import Any

import httpx2
import pydicom
import pytest
from pydicom.encaps import generate_frames

from dicomweb.http.wado.request import NATIVE
from tests.corpus import corpus_files, wheel_files
from tests.dicomweb.parts import parts_of

STORED = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}
LARGEST = 1_000_000
EXPLICIT = "1.2.840.10008.1.2.1"


def small(files: list[Path]) -> list[Path]:
    return [file for file in files if file.stat().st_size < LARGEST]


@pytest.mark.parametrize("source", ["wheels", "corpus"])
async def test_every_stored_file_can_be_read_in_every_way(
    archive: Any, client: httpx2.AsyncClient, source: str
) -> None:
    """Instance, metadata, each bulk data URI, first and last frame (D-001, D-020, D-025, D-045, D-059)."""
    read = 0
    for file in small(wheel_files() if source == "wheels" else corpus_files()):
        data = file.read_bytes()
        outcome = await archive.store(data)
        if outcome.status != "stored":  # a duplicate, a conflict, or one that is malformed on purpose
            continue
        path = (
            f"/dicom-web/studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
            f"/instances/{outcome.sop_instance_uid}"
        )
        await check_instance(client, path, data, file.name)
        await check_metadata(client, path, file.name)
        read += 1
    assert read > 100


async def check_instance(client: httpx2.AsyncClient, path: str, data: bytes, name: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200, (name, answer.text)
    sent = pydicom.dcmread(io.BytesIO(answer.content), force=True, defer_size=None)
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={sent.file_meta.TransferSyntaxUID}"
    assert sent.file_meta.TransferSyntaxUID not in NATIVE - {EXPLICIT}, name
    length = len(answer.content)
    tail = await client.get(path, headers={"Range": f"bytes={length // 2}-"})
    assert tail.content == answer.content[length // 2 :], name
    if "PixelData" not in sent or sent.file_meta.TransferSyntaxUID.startswith("1.2.840.10008.1.2.4.10"):
        return
    try:
        frames = int(sent.get("NumberOfFrames") or 1)
    except ValueError:  # a file with invalid values
        return
    if sent.file_meta.TransferSyntaxUID == EXPLICIT:
        length = sent.Rows * sent.Columns * sent.SamplesPerPixel * sent.BitsAllocated // 8
        if len(sent.PixelData) == length * frames + length * frames % 2 and sent.BitsAllocated >= 8:
            frame = await client.get(f"{path}/frames/{frames}", headers={"Accept": "application/octet-stream"})
            assert frame.content == sent.PixelData[length * (frames - 1) : length * frames], name
        return
    try:
        expected = list(generate_frames(sent.PixelData, number_of_frames=frames))
    except ValueError:  # pydicom cannot tell the frames apart
        return
    for number in {1, frames}:
        frame = await client.get(f"{path}/frames/{number}", headers=STORED)
        if frame.status_code != 404:
            (part,) = parts_of(frame)
            assert part.body.rstrip(b"\0") == expected[number - 1].rstrip(b"\0"), (name, number)


async def check_metadata(client: httpx2.AsyncClient, path: str, name: str) -> None:
    answer = await client.get(f"{path}/metadata")
    (dataset,) = answer.json()
    xml = await client.get(f"{path}/metadata", headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    assert xml.status_code == 200, name
    for uri in uris_of(dataset):
        value = await client.get(uri, headers=STORED)
        assert value.status_code == 200 and parts_of(value), (name, uri, value.text[:200])
        plain = await client.get(uri)
        assert plain.status_code == 200, (name, uri)


def uris_of(dataset: dict[str, Any]) -> list[str]:
    found = []
    for attribute in dataset.values():
        if "BulkDataURI" in attribute:
            found.append(attribute["BulkDataURI"])
        if attribute["vr"] == "SQ":
            found += [uri for item in attribute.get("Value", []) for uri in uris_of(item)]
    return found
