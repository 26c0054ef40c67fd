"""URLs, heads and parameters of any kind: a clear answer, never a 500."""

import random
import socket

import httpx2
import pytest

from storage.matching.attributes import ATTRIBUTES
from tests.live.exchange import key_in, path_of, store
from tests.live.hostility import image
from tests.live_server import LiveServer


def raw(server: LiveServer, request: bytes) -> int:
    """Send bytes as they are; the status of the answer, 0 when the connection was just closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        try:
            connection.sendall(request)
            answer = connection.recv(65536)
        except ConnectionError:
            return 0
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /dicom-web/studies/../../../../etc/passwd HTTP/1.1",
        b"GET /dicom-web/studies/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1",
        b"GET /dicom-web/studies/%2e%2e/metadata HTTP/1.1",
        b"GET /dicom-web/studies/1.2%00/metadata HTTP/1.1",
        b"GET /dicom-web/studies/%ff%fe/series/1/instances/1 HTTP/1.1",
        b"GET /dicom-web/studies/1.2/series/1.2/instances/1.2/bulkdata/../../../../etc/passwd HTTP/1.1",
        b"GET /dicom-web/studies/1.2/series/1.2/instances/1.2/bulkdata/%2e%2e%2f%2e%2e HTTP/1.1",
        b"GET /dicom-web/studies/1.2/series/1.2/instances/1.2/bulkdata/7FE00010%00 HTTP/1.1",
        b"GET /dicom-web/studies/1.2/series/1.2/instances/1.2/frames/0 HTTP/1.1",
        b"GET /dicom-web/studies/1.2/series/1.2/instances/1.2/frames/1-999999999 HTTP/1.1",
        b"GET /dicom-web/studies/1.2/series/1.2/instances/1.2/frames/" + b"1," * 20_000 + b"1 HTTP/1.1",
        b"GET /dicom-web/studies/1.2/series/1.2/instances/1.2/frames/%D9%A1 HTTP/1.1",
        b"GET /dicom-web/studies?PatientName=" + b"A" * 200_000 + b" HTTP/1.1",
        b"GET /dicom-web/" + b"studies/" * 20_000 + b" HTTP/1.1",
        b"GET /dicom-web/studies/" + b"1" * 65 + b"/metadata HTTP/1.1",
        b"POST /dicom-web/studies/..%2f..%2f1 HTTP/1.1\r\nContent-Type: application/dicom\r\nContent-Length: 0",
        b"DELETE /dicom-web/studies/1.2 HTTP/1.1",
        b"PUT /dicom-web/studies HTTP/1.1\r\nContent-Length: 0",
        b"TRACE /dicom-web/studies HTTP/1.1",
        b"GET /dicom-web/studies HTTP/1.1\r\nX-Big: " + b"a" * 200_000,
        b"GET /dicom-web/studies HTTP/1.1" + b"\r\nX-Many: a" * 20_000,
        b"POST /dicom-web/studies HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"POST /dicom-web/studies HTTP/1.1\r\nContent-Type: application/dicom\r\nContent-Length: -5",
        b"POST /dicom-web/studies HTTP/1.1\r\nContent-Type: application/dicom\r\nContent-Length: 99999999999999999999",
        b"POST /dicom-web/studies HTTP/1.1\r\nContent-Type: application/dicom\r\nTransfer-Encoding: gzip, nonsense",
        b"GET /dicom-web/studies HTTP/9.9",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"\0" * 1000,
    ],
    ids=lambda line: line[:60].decode("latin-1"),
)
def test_urls_and_heads_of_any_kind(hostile_client: httpx2.Client, hostile: LiveServer, request_line: bytes) -> None:
    """Paths that climb, numbers that are none, heads without end: a 4xx or a closed connection (A-004, D-042)."""
    status = raw(hostile, request_line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert status == 0 or 400 <= status < 500, status


HOSTILE_VALUES = [
    "%00", "%FF%FE", "%ED%A0%80", "'", "%25%5F%5C", "*" * 5000, "?" * 5000, "%22%22", "\\\\\\", "^=^=^=^", "-", "--",
    "99999999-00000000", "1e999", "-1", "NaN", "%F0%9F%92%80", "a%0D%0AX-Evil:1", "(" * 2000, "1.2.3,%5C,..,", "%",
]  # fmt: skip


OTHER_KEYS = [
    "limit", "offset", "cursor", "includefield", "fuzzymatching", "orderby", "accept", "00100010", "zz", "", ".",
    "RequestAttributesSequence.ScheduledProcedureStepID", "0040A730.00080100.00080102", "0040A730.", "00091001",
]  # fmt: skip


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
def test_search_values_of_any_kind(hostile_client: httpx2.Client, level: str) -> None:
    """Every key with odd values is 200 or 400, never a 500 (A-010, C-035, C-038, C-047)."""
    store(hostile_client, image())
    chance = random.Random(level)
    keys = [attribute.keyword for attribute in ATTRIBUTES] + OTHER_KEYS
    pairs = [(key, value) for key in keys for value in chance.sample(HOSTILE_VALUES, 3)]
    pairs += [(key, value) for key in ("PatientName", "StudyDate", "StudyInstanceUID") for value in HOSTILE_VALUES]
    for key, value in pairs:
        answer = hostile_client.get(f"{level}?{key}={value}&limit=1")
        assert answer.status_code in (200, 400, 406, 413), (key, value[:50], answer.status_code, answer.text)


ACCEPTS = [
    "", ",", ";", "a" * 5000, "*/*;" * 2000, 'multipart/related; type="', "\xff", "application/dicom; q=\x01",
    "application/dicom;q=NaN", "application/dicom;q=1e9", ",".join(f"a/b{number}" for number in range(2000)),
]  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTS, ids=lambda text: ascii(text[:20]))
def test_accept_headers_of_any_kind(hostile_client: httpx2.Client, text: str) -> None:
    """What makes no sense is passed over; nothing acceptable left is a 406, never a 500 (A-024, A-025)."""
    file = image()
    assert store(hostile_client, file).status_code == 200
    path = path_of(key_in(file))
    for resource in (path, f"{path}/metadata", f"{path}/frames/1", f"{path}/bulkdata/7FE00010", "studies?limit=1"):
        for name in (b"Accept", b"Range", b"If-None-Match", b"Accept-Encoding"):
            answer = hostile_client.get(resource, headers={name: text.encode("latin-1")})
            assert answer.status_code in (200, 400, 406, 416), (resource, name, answer.status_code)
