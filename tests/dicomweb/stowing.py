"""Messages to the store resources, and what their answers say."""

from collections.abc import AsyncIterable
from typing import Any

import httpx2

from dicomweb.http.message.multipart import PART_END, closing, part_head
from storage.archive import Archive
from storage.errors import NotFound

CT = "1.2.840.10008.5.1.4.1.1.2"
MESSAGE = 'multipart/related; type="application/dicom"; boundary=b'


def message(*files: bytes, content_type: str = "application/dicom", end: bytes = closing("b")) -> bytes:
    return b"".join(part_head("b", content_type) + file + PART_END for file in files) + end


def sequence(answer: httpx2.Response, tag: str) -> list[dict[str, Any]]:
    return answer.json().get(tag, {}).get("Value", [])


def stored(answer: httpx2.Response) -> list[str]:
    return [item["00081155"]["Value"][0] for item in sequence(answer, "00081199")]


def failed(answer: httpx2.Response) -> list[tuple[str, int]]:
    return [(item["00081155"]["Value"][0], item["00081197"]["Value"][0]) for item in sequence(answer, "00081198")]


def others(answer: httpx2.Response) -> list[int]:
    return [item["00081197"]["Value"][0] for item in sequence(answer, "0008119A")]


async def post(
    client: httpx2.AsyncClient,
    body: bytes | AsyncIterable[bytes],
    content_type: str | None = MESSAGE,
    path: str = "/studies",
    **headers: str,
) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        named["Content-Type"] = content_type
    return await client.post("/dicom-web" + path, content=body, headers=named)


async def read_back(archive: Archive, study: str) -> list[bytes]:
    """The files of a study as they are given out, in the order of the archive; none when there is no such study."""
    try:
        instances = await archive.instances(study)
    except NotFound:
        return []
    files = [await archive.part10(instance) for instance in instances]
    return [b"".join([chunk async for chunk in file.stream()]) for file in files]
