"""Huge objects go in and out in constant memory (design promise 6)."""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.builders import EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE, ct_slice, encapsulated, new_uid
from tests.dicomweb.parts import parts_of
from tests.live.exchange import (
    DICOM,
    FRAMES,
    MESSAGE,
    Key,
    message,
    multipart_chunks,
    path_of,
    peak_memory,
    stored_keys,
)
from tests.live_server import LiveServer, running_server

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")

LARGE = int(os.environ.get("DICOMWEB_TEST_LARGE_BYTES", str(600 * 10**6)))
"""Bytes of the largest object; at most 4.29e9, which is what an explicit length can say."""

MOST_MEMORY = 200 * 2**20
"""Peak resident memory of any worker, in bytes."""

ROWS = 512
FRAME = ROWS * ROWS * 2  # bytes
PIXEL_DATA_OW = b"\xe0\x7f\x10\0OW\0\0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that has seen nothing large yet."""
    with running_server(tmp_path_factory.mktemp("large") / "data", "--workers", "2") as running:
        yield running


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx2.Client]:
    """A client of the server; no worker has grown when the test is over."""
    with httpx2.Client(base_url=server.root, timeout=600) as opened:
        yield opened
    peaks = peak_memory(server)
    assert len(peaks) == 2
    assert max(peaks.values()) < MOST_MEMORY, peaks


def frame(number: int) -> bytes:
    """Frame `number` of the made-up object, counted from 1; no two are alike."""
    return struct.pack("<Q", number) * (FRAME // 8)


def frames(count: int) -> Iterator[bytes]:
    return map(frame, range(1, count + 1))


def head_of(key: Key, count: int, transfer_syntax: str = EXPLICIT_LE) -> bytes:
    """Everything before the pixels of a native multi-frame image."""
    one = ct_slice(*key, rows=ROWS, columns=ROWS, transfer_syntax=transfer_syntax, NumberOfFrames=count)
    return one[: -FRAME - 4] + struct.pack("<L", count * FRAME)


def new_key() -> Key:
    return new_uid(), new_uid(), new_uid()


def upload(client: httpx2.Client, head: bytes, chunks: Callable[[], Iterator[bytes]]) -> bytes:
    """Store one file that is made while it is sent; returns the SHA-256 of what was sent."""
    digest = hashlib.sha256(head)

    def counted() -> Iterator[bytes]:
        for chunk in chunks():
            digest.update(chunk)
            yield chunk

    answer = client.post("studies", content=multipart_chunks(head, counted()), headers={"Content-Type": MESSAGE})
    assert answer.status_code == 200, answer.text
    assert len(stored_keys(answer)) == 1
    return digest.digest()


def download(
    client: httpx2.Client, path: str, accept: str = "application/dicom; transfer-syntax=*"
) -> tuple[bytes, int]:
    """The SHA-256 and the length of an answer that is never held as a whole."""
    digest, length = hashlib.sha256(), 0
    with client.stream("GET", path, headers={"Accept": accept}) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_bytes(1 << 20):
            digest.update(chunk)
            length += len(chunk)
        assert length == int(answer.headers.get("content-length", length))
    return digest.digest(), length


def test_a_huge_native_object(client: httpx2.Client) -> None:
    """Up and down as a stream, digest equal, any frame readable, metadata small (D-001, D-040, B-020; promise 6)."""
    key, count = new_key(), LARGE // FRAME
    head = head_of(key, count)
    sent = upload(client, head, lambda: frames(count))
    assert download(client, path_of(key)) == (sent, len(head) + count * FRAME)
    for number in (1, count // 2, count):
        (part,) = parts_of(client.get(f"{path_of(key)}/frames/{number}", headers={"Accept": FRAMES}))
        assert part.body == frame(number)
    assert client.get(f"{path_of(key)}/frames/{count + 1}", headers={"Accept": FRAMES}).status_code == 404
    assert len(client.get(f"{path_of(key)}/metadata").content) < 20_000
    _, length = download(client, f"{path_of(key)}/frames/1-{count}", FRAMES)
    assert length > count * FRAME
    pixels = download(client, f"{path_of(key)}/bulkdata/7FE00010", "application/octet-stream")
    assert pixels[1] == count * FRAME


def test_a_huge_object_in_implicit_vr(client: httpx2.Client) -> None:
    """What must be re-encoded is streamed too, with the right length told in advance (A-045; promise 6)."""
    key, count = new_key(), LARGE // 3 // FRAME
    upload(client, head_of(key, count, IMPLICIT_LE), lambda: frames(count))
    digest, length = hashlib.sha256(), 0
    with client.stream("GET", path_of(key), headers={"Accept": "application/dicom; transfer-syntax=*"}) as answer:
        stated = int(answer.headers["content-length"])
        begun = b""
        for chunk in answer.iter_bytes(1 << 20):
            if len(begun) < 4096:
                begun += chunk
            length += len(chunk)
            digest.update(chunk)
    assert length == stated
    start = begun.index(PIXEL_DATA_OW) + len(PIXEL_DATA_OW) + 4
    expected = hashlib.sha256(begun[:start])
    for one in frames(count):
        expected.update(one)
    assert digest.digest() == expected.digest()


def test_a_huge_object_of_small_fragments(client: httpx2.Client) -> None:
    """Tens of thousands of compressed frames: the table is made while streaming, each is one read (D-048)."""
    key, size = new_key(), 4096
    count = LARGE // 3 // (size + 8)
    uids = dict(zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), key, strict=True))
    small = encapsulated([b"\xff\xd8\xff\xd9"], offset_table="empty", transfer_syntax=JPEG_BASELINE, **uids)
    small = small.replace(b"\x28\0\x08\0IS\2\0" + b"1 ", b"\x28\0\x08\0IS\x08\0" + b"%08d" % count)
    head = small[: small.index(b"\xe0\x7f\x10\0OB\0\0") + 12 + 8]

    def fragment(number: int) -> bytes:
        return b"\xff\xd8" + struct.pack("<L", number) * ((size - 4) // 4) + b"\xff\xd9"

    def chunks() -> Iterator[bytes]:
        for start in range(1, count + 1, 256):
            numbers = range(start, min(start + 256, count + 1))
            yield b"".join(b"\xfe\xff\0\xe0" + struct.pack("<L", size) + fragment(number) for number in numbers)
        yield b"\xfe\xff\xdd\xe0" + bytes(4)

    sent = upload(client, head, chunks)
    assert download(client, path_of(key))[0] == sent
    parts = parts_of(client.get(f"{path_of(key)}/frames/1,{count // 2},{count}", headers={"Accept": FRAMES}))
    assert [part.body for part in parts] == [fragment(number) for number in (1, count // 2, count)]
    _, length = download(client, f"{path_of(key)}/bulkdata/7FE00010", FRAMES)
    assert length > count * size


def test_a_study_of_many_files(client: httpx2.Client) -> None:
    """Hundreds of files in one request and in one answer (B-019, D-001; promise 6)."""
    study, series = new_uid(), new_uid()
    count = LARGE // 4 // FRAME
    slices = [ct_slice(study, series, rows=ROWS, columns=ROWS, instance_number=number) for number in range(1, 4)]
    sizes = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sizes
        for number in range(count):
            original = slices[number % 3]
            uid = b"1.2.826.0.1.3680043.10.1561."
            place = original.index(uid, original.index(b"\x08\0\x18\0UI"))
            length = original.index(b"\x08\0\x20\0DA") - place
            file = original[:place] + (b"1.2.3.%d" % number).ljust(length, b"\0") + original[place + length :]
            sizes += len(file)
            yield message(file)[: -len(b"--b--\r\n")]
        yield b"--b--\r\n"

    answer = client.post("studies", content=chunks(), headers={"Content-Type": MESSAGE})
    assert answer.status_code in (200, 202), answer.text
    assert len(stored_keys(answer)) == count
    _, length = download(client, f"studies/{study}", DICOM)
    assert length > sizes
    assert len(client.get(f"studies/{study}/instances", params={"limit": 5000}).json()) == count
