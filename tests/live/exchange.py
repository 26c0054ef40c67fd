"""What the live tests say to a server and how they read its answers."""

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pydicom

from dicomweb.http.message.multipart import PART_END, closing, part_head
from tests.dicomweb.parts import parts_of
from tests.live_server import LiveServer

MESSAGE = 'multipart/related; type="application/dicom"; boundary=b'
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
CONFLICT, MISSING_IDENTIFIER, UNREADABLE = 0x0111, 0xA900, 0xC000

Key = tuple[str, str, str]
"""Study, Series and SOP Instance UID."""


def message(*files: bytes) -> bytes:
    """The body of a store request."""
    return b"".join(part_head("b", "application/dicom") + file + PART_END for file in files) + closing("b")


def store(client: httpx2.Client, *files: bytes, body: bytes | None = None) -> httpx2.Response:
    """Store files in one request; the client's base URL is the DICOMweb root."""
    content = message(*files) if body is None else body
    return client.post("studies", content=content, headers={"Content-Type": MESSAGE})


def stored_keys(answer: httpx2.Response) -> list[Key]:
    """The keys of the instances an answer calls stored, from their Retrieve URLs (PS3.18 Table I.1-1)."""
    items = answer.json().get("00081199", {}).get("Value", [])
    return [key_of(item["00081190"]["Value"][0]) for item in items]


def failures(answer: httpx2.Response) -> list[tuple[int, str]]:
    """Failure Reason and Error Comment of every instance or part that was not stored."""
    dataset = answer.json()
    items = [item for tag in ("00081198", "0008119A") for item in dataset.get(tag, {}).get("Value", [])]
    return [(item["00081197"]["Value"][0], item["00000902"]["Value"][0]) for item in items]


def key_of(url: str) -> Key:
    """The key in the URL of an instance."""
    _, study, series, instance = (
        url.replace("/series/", " ").replace("/instances/", " ").replace("/studies/", " ").split()
    )
    return study, series, instance


def path_of(key: Key) -> str:
    """The path of an instance below the DICOMweb root."""
    return "studies/{}/series/{}/instances/{}".format(*key)


def key_in(file: bytes) -> Key:
    """The key a file carries, as pydicom reads it."""
    dataset = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True, force=True)
    return str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)


def retrieve(client: httpx2.Client, path: str) -> list[bytes]:
    """The files of a study, series or instance as stored."""
    return [part.body for part in parts_of(client.get(path, headers={"Accept": DICOM}))]


@dataclass
class View:
    """One study as each resource shows it: the numbers must agree."""

    counted: int
    series: int
    modalities: list[str]
    listed: set[Key]
    described: int
    retrieved: int

    @classmethod
    def of(cls, client: httpx2.Client, study: str) -> "View":
        """Ask for a study in every way there is."""
        fields = {"StudyInstanceUID": study, "includefield": "ModalitiesInStudy"}
        (match,) = client.get("studies", params=fields).json()
        listed = client.get(f"studies/{study}/instances").json()
        return cls(
            match["00201208"]["Value"][0],
            match["00201206"]["Value"][0],
            sorted(match["00080061"]["Value"]),
            {(study, item["0020000E"]["Value"][0], item["00080018"]["Value"][0]) for item in listed},
            len(client.get(f"studies/{study}/metadata").json()),
            len(retrieve(client, f"studies/{study}")),
        )

    @property
    def agrees(self) -> bool:
        """Whether every resource shows the same number of instances and series."""
        return self.counted == len(self.listed) == self.described == self.retrieved and self.series == len(
            {series for _, series, _ in self.listed}
        )


def peak_memory(server: LiveServer) -> dict[int, int]:
    """The peak resident memory of each worker in bytes (VmHWM), by process id."""
    peaks = {}
    for pid in server.processes()[1:]:
        if b"dicomweb.http.process" in _read(pid, "cmdline"):
            line = next(line for line in _read(pid, "status").splitlines() if line.startswith(b"VmHWM:"))
            peaks[pid] = int(line.split()[1]) * 1024
    return peaks


def multipart_chunks(head: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A store request of one file whose body is made while it is sent."""
    yield part_head("b", "application/dicom") + head
    yield from chunks
    yield PART_END + closing("b")


def _read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def value(dataset: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute of a DICOM JSON object, None without one."""
    return (dataset.get(tag, {}).get("Value") or [None])[0]
