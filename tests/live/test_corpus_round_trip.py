"""Every real file there is, through a real server and back."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_expected_length, get_nr_frames
from pydicom.sequence import Sequence

from storage.dicom.part10 import is_encapsulated
from tests.corpus import corpus_files, wheel_files
from tests.dicomweb.parts import parts_of
from tests.live.exchange import (
    CONFLICT,
    FRAMES,
    MISSING_IDENTIFIER,
    UNREADABLE,
    Key,
    failures,
    path_of,
    retrieve,
    store,
    stored_keys,
)
from tests.live_server import running_server
from tests.storage.dicom.test_dicomjson_files import differences, swapped

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

UID = re.compile(r"[0-9.]{1,64}")
AVAILABLE_TRANSFER_SYNTAX_UID = 0x00083002
IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass
class Sent:
    """A file that was sent, and what became of it: a key, or why it was refused."""

    path: Path
    data: bytes
    status: int
    key: Key | None
    refusals: list[tuple[int, str]] = field(default_factory=list)

    def read(self) -> Dataset:
        """The file as pydicom reads it."""
        return pydicom.dcmread(io.BytesIO(self.data), force=True)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of an empty server."""
    folder = tmp_path_factory.mktemp("corpus")
    with running_server(folder / "data") as server, httpx2.Client(base_url=server.root, timeout=60) as opened:
        yield opened
        assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def sent(client: httpx2.Client) -> list[Sent]:
    """Every file of the corpus and the wheels, sent in one request each."""
    return [send(client, path) for path in corpus_files() + wheel_files()]


def send(client: httpx2.Client, path: Path) -> Sent:
    data = path.read_bytes()
    answer = store(client, data)
    assert answer.status_code in (200, 202, 400, 409), (path.name, answer.status_code, answer.text)
    keys = stored_keys(answer)
    return Sent(path, data, answer.status_code, keys[0] if keys else None, failures(answer))


@pytest.fixture(scope="module")
def stored(sent: list[Sent]) -> list[Sent]:
    """Those that are stored."""
    return [file for file in sent if file.key]


def test_what_is_refused_is_refused_for_a_reason(sent: list[Sent]) -> None:
    """Everything with the four UIDs is stored, what is not says which reason it has (B-030, B-037, B-042, B-043)."""
    wrong = []
    first: dict[Key, bytes] = {}
    for file in sent:
        identifiers = identified(file)
        expected, status = None, 200
        if identifiers is None:
            expected, status = (UNREADABLE, MISSING_IDENTIFIER), 400
        elif first.setdefault(identifiers, file.data) != file.data:
            expected, status = (CONFLICT,), 409
        reasons = [reason for reason, _ in file.refusals]
        if expected is None:
            if file.key != identifiers or reasons or file.status >= 300:
                wrong.append(f"{file.path.name}: {file.status} {file.refusals}")
        elif file.status != status or len(reasons) != 1 or reasons[0] not in expected or not file.refusals[0][1]:
            wrong.append(f"{file.path.name}: {file.status} {file.refusals} and not {expected}")
    assert not wrong, wrong
    assert len(first) > 350


def identified(file: Sent) -> Key | None:
    """The key of a file whose four identifiers pydicom can read."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(file.data), force=True, stop_before_pixels=True)
    except Exception:  # whatever pydicom stumbles over
        return None
    uids = [str(dataset.get(keyword) or "") for keyword in IDENTIFIERS]
    return (uids[2], uids[3], uids[1]) if all(map(UID.fullmatch, uids)) else None


def test_every_file_comes_back(client: httpx2.Client, stored: list[Sent]) -> None:
    """Byte for byte where that is allowed; else the same elements and values, private ones too (D-001, A-045)."""
    wrong = []
    as_sent = 0
    for file in stored:
        assert file.key
        (body,) = retrieve(client, path_of(file.key))
        if body == file.data:
            as_sent += 1
            continue
        if goes_out_as_it_is(file):
            wrong.append(f"{file.path.name} has other bytes")
            continue
        wrong += [f"{file.path.name} {difference}" for difference in changed(file.read(), body)]
    assert not wrong, wrong[:20]
    assert as_sent > 250


def goes_out_as_it_is(file: Sent) -> bool:
    """Whether a file is what PS3.18 8.7.3 lets out: explicit, little endian, with all of its head, and truthful."""
    if file.data[128:132] != b"DICM":
        return False
    dataset = file.read()
    meta = getattr(dataset, "file_meta", {})
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if "FileMetaInformationGroupLength" not in meta or not dataset.is_little_endian:
        return False
    for stated, keyword in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        if meta.get(stated) and meta.get(stated) != dataset.get(keyword):
            return False  # it names another instance (B-040)
    if any(getattr(dataset.get_item(tag), "is_implicit_VR", False) for tag in list(dataset.keys())[:1]):
        return False
    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length != is_encapsulated(syntax):
        return False
    return syntax == "1.2.840.10008.1.2.1" or is_encapsulated(syntax)


def changed(before: Dataset, body: bytes) -> Iterator[str]:
    """What differs between a data set and the file it came back in."""
    after = pydicom.dcmread(io.BytesIO(body))
    if after.is_implicit_VR or not after.is_little_endian or body[128:132] != b"DICM":
        yield "did not come in Explicit VR Little Endian"
    yield from changed_elements(before, after, little_endian=bool(before.is_little_endian), bits=bits_of(before))


def bits_of(dataset: Dataset) -> int:
    return int(dataset.get("BitsAllocated") or 8)


def changed_elements(before: Dataset, after: Dataset, *, little_endian: bool, bits: int) -> Iterator[str]:
    tags = [tag for tag in sorted(before.keys()) if tag.element and tag.group > 2]
    if tags != sorted(after.keys()):
        yield f"has other elements: {sorted(set(tags) ^ set(after.keys()))}"
        return
    for tag in tags:
        try:
            was, now = before[tag], after[tag]
        except Exception:  # pydicom cannot read this value
            continue
        if was.VR == "SQ" and isinstance(was.value, Sequence) and isinstance(now.value, Sequence):
            if len(was.value) != len(now.value):
                yield f"{tag} has {len(now.value)} items"
            for one, other in zip(was.value, now.value, strict=False):
                yield from changed_elements(one, other, little_endian=little_endian, bits=bits)
        elif not same_value(was, now, little_endian, bits):
            yield f"{tag} {now.repval} was {was.repval}"


def same_value(was: Any, now: Any, little_endian: bool, bits: int) -> bool:
    expected = was.value
    if isinstance(expected, bytes):
        if not little_endian:
            words = "OW" if was.tag == 0x7FE00010 and bits == 16 else was.VR
            words = "UN" if was.tag == 0x7FE00010 and bits == 8 and was.VR != "OW" else words
            expected = swapped(words, expected, False)
        return bool((now.value or b"").startswith(expected) and len(now.value or b"") - len(expected) in (0, 1))
    return bool(now.value == expected) or str(now.value) == str(expected)


def test_the_metadata_is_what_pydicom_reads(client: httpx2.Client, stored: list[Sent]) -> None:
    """Every element of every stored file, at every depth, by its value or as bulk data (D-140 to D-166)."""
    wrong = []
    for file in stored:
        assert file.key
        (metadata,) = client.get(f"{path_of(file.key)}/metadata").json()
        dataset = file.read()
        found = differences(dataset, metadata, "", bool(dataset.is_little_endian is not False))
        wrong += [f"{file.path.name} {difference}" for difference in found]
        invented = {int(tag, 16) for tag in metadata} - set(dataset.keys()) - {AVAILABLE_TRANSFER_SYNTAX_UID}
        if invented:
            wrong.append(f"{file.path.name} has no {invented}")
    assert not wrong, wrong[:20]


def test_every_frame_is_there(client: httpx2.Client, stored: list[Sent]) -> None:
    """All frames of all images, native and compressed, hold the bytes pydicom finds (D-040 to D-054)."""
    wrong = []
    compared = 0
    for file in stored:
        assert file.key
        frames = frames_of(file)
        if frames is None:
            continue
        answer = client.get(f"{path_of(file.key)}/frames/1-{len(frames)}", headers={"Accept": FRAMES})
        if answer.status_code != 200:
            wrong.append(f"{file.path.name} {answer.status_code} {answer.text}")
            continue
        bodies = [part.body for part in parts_of(answer)]
        beyond = client.get(f"{path_of(file.key)}/frames/{len(frames) + 1}", headers={"Accept": FRAMES})
        compared += len(frames)
        if bodies != frames or beyond.status_code != 404:
            sizes = [(len(body), len(frame)) for body, frame in zip(bodies, frames, strict=False) if body != frame]
            wrong.append(f"{file.path.name} {sizes[:3]} {beyond.status_code}")
    assert not wrong, wrong
    assert compared > 700


def frames_of(file: Sent) -> list[bytes] | None:
    """The frames of a file as pydicom cuts them; None when it has none or pydicom cannot cut them."""
    dataset = file.read()
    keyword = next((name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in dataset), None)
    if keyword is None or not dataset[keyword].value:
        return None
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    data: bytes = dataset[keyword].value
    try:
        number = get_nr_frames(dataset, warn=False)
        if dataset[keyword].is_undefined_length:
            tables = (
                {"extended_offsets": (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)}
                if "ExtendedOffsetTable" in dataset
                else {}
            )
            return list(generate_frames(data, number_of_frames=number, **tables))
        if dataset.BitsAllocated == 1:
            return bit_frames(data, number, dataset.Rows * dataset.Columns)
        length = get_expected_length(dataset) // number
    except Exception:  # it has not what is needed to know
        return None
    if len(data) < length * number or (syntax is not None and is_encapsulated(syntax)):
        return None
    if dataset.is_little_endian is False:
        words = {8: "OB", 16: "OW", 32: "OL", 64: "OV"}[dataset.BitsAllocated]
        data = swapped("OW" if words == "OB" and dataset[keyword].VR == "OW" else words, data, False)
    return [data[start : start + length] for start in range(0, length * number, length)]


def bit_frames(data: bytes, number: int, bits: int) -> list[bytes]:
    """Frames of one bit a pixel, which begin anywhere in a byte (PS3.5 8.1.1)."""
    samples = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: number * bits].reshape(number, bits)
    return [np.packbits(frame, bitorder="little").tobytes() for frame in samples]


def test_every_bulk_data_uri_resolves(client: httpx2.Client, stored: list[Sent]) -> None:
    """What the metadata leaves out is there, whole, under the URL the metadata gives (D-070 to D-078, D-149)."""
    wrong = []
    fetched = 0
    for file in stored:
        assert file.key
        (metadata,) = client.get(f"{path_of(file.key)}/metadata").json()
        dataset = file.read()
        for url, path in named(metadata):
            answer = client.get(url, headers={"Accept": f"*/*, {FRAMES}"})
            fetched += 1
            if answer.status_code != 200 or not answer.content:
                wrong.append(f"{file.path.name} {path}: {answer.status_code} {answer.text[:100]}")
            elif not answer.headers["content-type"].startswith(("multipart", "image")):
                expected = value_at(dataset, path)
                if expected is not None and not padded(answer.content, expected):
                    wrong.append(f"{file.path.name} {path}: {len(answer.content)} bytes, not {len(expected)}")
    assert not wrong, wrong[:20]
    assert fetched > 300


def named(dataset: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every BulkDataURI of a DICOM JSON object with the path of its element."""
    for tag, element in dataset.items():
        if "BulkDataURI" in element:
            yield element["BulkDataURI"], prefix + tag
        if element["vr"] == "SQ":
            for number, item in enumerate(element.get("Value", []), 1):
                yield from named(item, f"{prefix}{tag}/{number}/")


def value_at(dataset: Dataset, path: str) -> bytes | None:
    """The value field at a path in little endian, None when pydicom does not keep it as bytes."""
    little_endian = dataset.is_little_endian is not False
    *steps, last = path.split("/")
    for tag, number in zip(steps[::2], steps[1::2], strict=True):
        dataset = dataset[int(tag, 16)].value[int(number) - 1]
    element = dataset.get_item(int(last, 16))
    assert element is not None
    value = element.value
    if not isinstance(value, bytes) or (last == "7FE00010" and not little_endian):
        return None  # pixels in big endian are compared frame by frame
    return swapped(str(element.VR), value, little_endian)


def padded(found: bytes, expected: bytes) -> bool:
    """Whether the bytes are the expected ones; an Encapsulated Document comes without its padding."""
    return found == expected or (found == expected[: len(found)] and len(expected) - len(found) == 1)
