"""Bodies that are cut, lie, or grow without end: a clear answer, and what was whole in them is stored."""

import gzip
import io
import random
import re
import socket
import struct
import zipfile
import zlib

import httpx2
import pytest

from dicomweb.http.message.multipart import PART_END, closing, part_head
from tests.builders import ct_slice, sop_instance_uid
from tests.live.exchange import MESSAGE, failures, key_in, message, path_of, retrieve, store, stored_keys
from tests.live.hostility import image
from tests.live_server import LiveServer

MIB = 1 << 20


def test_a_body_cut_anywhere_stores_what_was_whole(hostile_client: httpx2.Client) -> None:
    """A multipart body without its end is a 400 that lists what it stored; nothing of the last part (B-018)."""
    chance = random.Random(1)
    whole = message(image(), image())
    ends = [match.start() for match in re.finditer(rb"\r\n--b(?=\r\n|--)", whole)]
    for cut in [0, 1, 4, *sorted(chance.sample(range(5, len(whole) - 2), 40)), *ends]:
        first, second = image(), image()
        body = message(first, second)
        answer = store(hostile_client, body=body[:cut])
        assert answer.status_code == 400, (cut, answer.status_code)
        complete = [file for file, end in zip((first, second), ends, strict=True) if cut > end + 4]
        keys = stored_keys(answer) if "00081199" in answer.json() else []
        assert keys == [key_in(file) for file in complete], cut
        assert hostile_client.get(path_of(key_in(second)) + "/metadata").status_code == (
            200 if len(complete) == 2 else 404
        )


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ('multipart/related; type="application/dicom"; boundary=other', None),
        ('multipart/related; type="application/dicom"; boundary=B', None),
        ('multipart/related; type="application/dicom"', None),
        ('multipart/related; type="application/dicom"; boundary=""', None),
        ('multipart/related; type="application/dicom"; boundary="' + "x" * 3000 + '"', None),
        ('multipart/related; type="application/dicom"; boundary="\xff"', None),
        (MESSAGE, b""),
        (MESSAGE, b"--b--"),
        (MESSAGE, b"\0" * 100_000),
        (MESSAGE, b"--b\r\n" + b"A" * 100_000),
        (MESSAGE, b"--b\r\n" + b"X-A: b\r\n" * 50_000 + b"\r\n\r\n--b--"),
        (MESSAGE, b"--b" * 30_000),
        (MESSAGE, b"\r\n--b\r\n" * 3_000),
        ("application/dicom", b""),
        ("application/dicom+json", b"[" * 100_000),
        ("application/dicom+json", b'{"00080018": {"vr": "UI", "Value": ["1.2"]}}'),
        ("application/dicom+json", b'[{"00080018": {"vr": "UI", "Value": [{"a": [1]}]}, "zz": 7, "": null}]'),
        ("application/dicom+json", b"\xff\xfe\x00"),
        ("application/dicom+xml", b"<a>" * 100_000),
        ("application/dicom+xml", b"<NativeDicomModel><DicomAttribute tag='zz' vr='??'/></NativeDicomModel>"),
        (
            "application/dicom+xml",
            b'<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]><a>&y;</a>',
        ),
        ("application/dicom+xml", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'),
        ("application/zip", b"PK\x05\x06" + b"\0" * 18),
        ("application/zip", b"PK\x03\x04" + b"\xff" * 5000),
        ("text/plain", b"hello"),
        ("multipart/related; type=text/html; boundary=b", b"--b\r\n\r\n\r\n--b--"),
        ("\xff\xfe;;;=\"", b""),
    ],
)  # fmt: skip
def test_bodies_that_are_not_what_they_say(
    hostile_client: httpx2.Client, content_type: str, body: bytes | None
) -> None:
    """A wrong boundary, type or structure is a 4xx with words (B-018, A-107; promise 7)."""
    content = message(image()) if body is None else body
    answer = hostile_client.post("studies", content=content, headers={b"Content-Type": content_type.encode("latin-1")})
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    told = answer.json()
    assert told.get("detail") or failures(answer)


def bomb(size: int) -> bytes:
    """So many zeros, gzipped; small."""
    compress = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(compress.compress(bytes(MIB)) for _ in range(size // MIB)) + compress.flush()


def test_a_compressed_body_may_not_grow_without_end(hostile_client: httpx2.Client) -> None:
    """A gzip bomb is a 413 long before it fills anything; a file that compresses well is stored (A-125, B-019)."""
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    answer = hostile_client.post("studies", content=bomb(600 * MIB), headers=headers)
    assert answer.status_code == 413, answer.text
    black = ct_slice(rows=2048, columns=2048)[: -2 * 2048 * 2048] + bytes(2 * 2048 * 2048)
    assert hostile_client.post("studies", content=gzip.compress(black), headers=headers).status_code == 200


def zipped(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_zip_bomb_is_refused_and_its_names_are_not_believed(
    hostile_client: httpx2.Client, hostile: LiveServer
) -> None:
    """Growth, paths, lies in the directory: 413 or stored under our own names (H-022; promise 7)."""
    post = lambda body: hostile_client.post("studies", content=body, headers={"Content-Type": "application/zip"})  # noqa: E731
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.dcm", "w") as entry:
        entry.write(b"\0" * 128 + b"DICM")
        for _ in range(400):
            entry.write(bytes(MIB))
    assert post(buffer.getvalue()).status_code == 413

    before = set(hostile.data_dir.parent.iterdir())
    inside, outside = image(), image()
    answer = post(zipped(("../../../../evil.dcm", outside), ("/etc/evil.dcm", inside), ("x" * 3000, image())))
    assert answer.status_code == 200
    assert {key_in(inside), key_in(outside)} <= set(stored_keys(answer))
    assert set(hostile.data_dir.parent.iterdir()) == before

    lying = zipped(("a.dcm", image())).replace(struct.pack("<L", len(image())), struct.pack("<L", 100))
    assert post(lying).status_code in (202, 400, 409)
    nested_zip = zipped(("inner.zip", zipped(("a.dcm", image()))), ("b.dcm", image()))
    assert post(nested_zip).status_code == 202
    for cut in (10, 100, 300):
        assert post(zipped(("a.dcm", image()))[:-cut]).status_code == 400


def test_hundreds_of_tiny_parts(hostile_client: httpx2.Client) -> None:
    """Each part has its outcome, however many and however small; the good one among them is stored (B-059)."""
    junk = [b"", b"\0", b"x", b"DICM", b"\x08\0\x05\0", b"\r\n", b"--b"[:2]] * 60
    answer = store(hostile_client, *junk)
    assert answer.status_code == 400
    assert len(failures(answer)) == len(junk)
    good = image()
    answer = store(hostile_client, *junk, good, *junk)
    assert answer.status_code == 202
    assert stored_keys(answer) == [key_in(good)]
    assert len(failures(answer)) == 2 * len(junk)


def test_a_part_of_another_type_fails_alone(hostile_client: httpx2.Client) -> None:
    """Parts that say they are something else, in any words, cost only themselves (B-005)."""
    good = image()
    kinds = ["text/html", "x" * 5000, "application/dicom\0", "\x80\xff", "application/dicom; a=" + '"' * 9, ";;;"]
    parts = b"".join(
        b"--b\r\nContent-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + image() + PART_END for kind in kinds
    )
    answer = store(hostile_client, body=parts + part_head("b", "application/dicom") + good + PART_END + closing("b"))
    assert answer.status_code in (200, 202), answer.text
    assert key_in(good) in stored_keys(answer)
    assert len(stored_keys(answer)) + len(failures(answer)) == 1 + len(kinds)


def test_a_client_that_leaves_costs_nothing(hostile_client: httpx2.Client, hostile: LiveServer) -> None:
    """Connections dropped in the middle of an upload or a download leave nothing behind (B-020; promise 6)."""
    file = ct_slice(rows=512, columns=512)
    body = message(image(), file)
    head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MESSAGE}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    for share in (0.0, 0.01, 0.5, 0.99):
        with socket.create_connection(("127.0.0.1", hostile.port)) as connection:
            connection.sendall(head.encode() + body[: int(share * len(body))])
    assert store(hostile_client, file).status_code == 200
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", hostile.port)) as connection:
            connection.sendall(f"GET /dicom-web/{path_of(key_in(file))} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            connection.recv(1000)
    assert sop_instance_uid(file) in {key[2] for key in map(key_in, retrieve(hostile_client, path_of(key_in(file))))}
    staging = hostile.data_dir / "blobs" / ".staging"
    assert not [path for path in staging.iterdir() if path.stat().st_size > 400_000]
