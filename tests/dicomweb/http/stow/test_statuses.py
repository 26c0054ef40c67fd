"""What a store request is answered with, one row a situation (PS3.18 Table 10.5.3-1)."""

import io
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import httpx2
import imagecodecs
import numpy as np
import pytest
from starlette.applications import Starlette

from dicomweb.http.app import assemble
from dicomweb.http.message.multipart import PART_END, closing, part_head
from dicomweb.http.stow import resource as stow
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.policy import Policy
from tests.builders import ABSENT, ct_slice, dicom_file, new_uid
from tests.dicomweb.http.stow.test_metadata import metadata, referring
from tests.dicomweb.stowing import MESSAGE, failed, message, others, post, stored

STUDY, SERIES, INSTANCE = new_uid(), new_uid(), new_uid()
KEPT = ct_slice(STUDY, SERIES, INSTANCE)
OTHER = ct_slice(STUDY, SERIES, INSTANCE, PatientID="another")
REFUSED_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
JSON = "application/dicom+json"
DICOM = "application/dicom"
ZIP = "application/zip"
MODULE, PROBLEM = "application/dicom+json", "application/problem+json"


@pytest.fixture
def app(archive: Archive, tmp_path: Path) -> Starlette:
    """The store resources of an archive that has `KEPT`, and takes no structure sets."""
    archive.policy = Policy(refused_sop_classes=frozenset((REFUSED_CLASS,)), max_instance_bytes=1 << 20)
    return assemble(archive, Settings(data_dir=tmp_path / "data", allowed_hosts=["archive.test"]), stow.ROUTES)


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def with_jpeg(rows: int) -> bytes:
    """Return a message of metadata and a JPEG of 4 rows."""
    dataset = referring("a") | {"00280010": {"vr": "US", "Value": [rows]}}
    stream = imagecodecs.jpeg8_encode(np.zeros((4, 4), np.uint8))
    parts = ((JSON, None, json.dumps(dataset).encode()), ("image/jpeg", "a", stream))
    return b"".join(part_head("b", kind, place) + data + PART_END for kind, place, data in parts) + closing("b")


class Situation(NamedTuple):
    """A request, and the status and kind of answer it gets."""

    name: str
    body: bytes
    status: int
    kind: str = MODULE
    content_type: str = MESSAGE
    path: str = "/studies"


MISSPELT = metadata(**{"00081030": {"vr": "LO", "value": ["a"]}})
METADATA = f'multipart/related; type="{JSON}"; boundary=b'
SITUATIONS = [
    Situation("one good file", ct_slice(), 200, content_type=DICOM),
    Situation("two good files", message(ct_slice(), ct_slice()), 200),
    Situation("the same again", message(KEPT), 200),
    Situation("a good and a bad one", message(ct_slice(), b"text"), 202),
    Situation("a good one and a conflict", message(ct_slice(), OTHER), 202),
    # bad syntax
    Situation("an empty body as a file", b"", 400, content_type=DICOM),
    Situation("text as a file", b"this is no DICOM", 400, content_type=DICOM),
    Situation("a file cut short in its head", KEPT[:140], 400, content_type=DICOM),
    Situation("an empty part", message(b""), 400),
    Situation("one bad part", message(b"text"), 400),
    Situation("two bad parts of different kinds", message(b"text", dicom_file(StudyInstanceUID=ABSENT)), 400),
    Situation("a part of another type", message(b"text", content_type="text/plain"), 400),
    Situation("no UID", message(dicom_file(SOPInstanceUID=ABSENT)), 400),
    Situation("metadata that is no data set", b"[1]", 400, content_type=JSON),
    Situation("metadata with a misspelt member", json.dumps([MISSPELT]).encode(), 400, content_type=JSON),
    Situation("metadata that refers to nothing", json.dumps([referring("a")]).encode(), 400, content_type=JSON),
    Situation("an archive of a broken file", zipped(**{"a.dcm": b"text"}), 400, content_type=ZIP),
    # bad syntax of the message: nothing to list
    Situation("an empty message", b"", 400, PROBLEM),
    Situation("a message without parts", closing("b"), 400, PROBLEM),
    Situation("a message cut short", message(KEPT)[:500], 400, PROBLEM),
    Situation("another boundary", message(KEPT).replace(b"--b", b"--c"), 400, PROBLEM),
    Situation("metadata that is no JSON", b"{", 400, PROBLEM, JSON),
    Situation("no archive", b"PK", 400, PROBLEM, ZIP),
    Situation("an archive without DICOM", zipped(a=b"text"), 400, PROBLEM, ZIP),
    Situation("a message cut short behind a good file", message(ct_slice(), ct_slice())[:-300], 400),
    Situation("a message cut short behind a bad part", message(b"text", KEPT)[:-300], 400),
    # conflicts
    Situation("another file under stored UIDs", message(OTHER), 409),
    Situation("another study than that of the path", message(ct_slice()), 409, path=f"/studies/{new_uid()}"),
    Situation("a class that is refused", message(dicom_file(SOPClassUID=REFUSED_CLASS)), 409),
    Situation("a picture that is another", with_jpeg(64), 409, content_type=METADATA),
    Situation("conflicts of two kinds", message(OTHER, dicom_file(SOPClassUID=REFUSED_CLASS)), 409),
    Situation("a conflict and text", message(OTHER, b"text"), 409),
    Situation("an archive of a conflict and text", zipped(**{"a.dcm": OTHER, "b.dcm": b"text"}), 409, content_type=ZIP),
    # others
    Situation("a file that is too large", message(dicom_file(pixels=bytes(1 << 21))), 413),
    Situation("a type that is not taken", message(KEPT), 415, PROBLEM, "multipart/mixed; boundary=b"),
]  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
async def test_statuses_of_store_requests(client: httpx2.AsyncClient, archive: Archive, situation: Situation) -> None:
    """400 is for bad syntax, 409 for conflicts and mixtures; both list what failed and why (B-058 to B-062)."""
    assert (await archive.store(KEPT)).error is None
    answer = await post(client, situation.body, situation.content_type, situation.path)
    assert (answer.status_code, answer.headers["content-type"]) == (situation.status, situation.kind), answer.text
    if situation.kind == PROBLEM:
        assert answer.json()["detail"]
    else:
        assert bool(stored(answer)) == (situation.status < 300 or "good" in situation.name)
        assert bool(failed(answer) or others(answer)) == (situation.status != 200)
