"""Whatever is sent, the answer is clear, the neighbours are stored, the server lives, and the log tells nobody's name."""

import gzip
import io
import json
import random
import re
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pydicom.datadict import dictionary_VR

from dicomweb.multipart import PART_END, closing, part_head
from storage.attributes import ATTRIBUTES
from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT_LE,
    big_sequence,
    ct_slice,
    dicom_file,
    encapsulated,
    multi_frame,
    new_uid,
    sop_instance_uid,
)
from tests.corpus import corpus_files, wheel_files
from tests.live.exchange import (
    DICOM,
    FRAMES,
    MESSAGE,
    MISSING_IDENTIFIER,
    Key,
    failures,
    key_in,
    message,
    path_of,
    retrieve,
    store,
    stored_keys,
)
from tests.live_server import LiveServer, running_server

PATIENT = "Zzyzxova^Hildegunde"
MUTANTS = 300
MIB = 1 << 20


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server of this module's own; whatever it was sent, its log must be clean in the end."""
    with running_server(tmp_path_factory.mktemp("hostile") / "data", "--workers", "2") as server:
        yield server
        log = server.log.read_text(errors="replace")
        assert "Traceback" not in log and "unforeseen" not in log, log[-5000:]
        assert not re.search("zzyzxova|hildegunde", log, re.IGNORECASE)
        assert "another one starts" not in log


@pytest.fixture
def client(hostile: LiveServer) -> Iterator[httpx2.Client]:
    """A client of the server, which still stores and finds when the test is over."""
    with httpx2.Client(base_url=hostile.root, timeout=60) as opened:
        yield opened
        good = image()
        assert store(opened, good).status_code == 200
        assert retrieve(opened, path_of(key_in(good))) == [good]
        assert opened.get(f"{hostile.url}/health/ready").status_code == 200


def image() -> bytes:
    """A small valid image of the patient who must not be in the log."""
    return ct_slice(rows=8, columns=8, PatientName=PATIENT)


def store_among_good(client: httpx2.Client, *hostile_files: bytes) -> httpx2.Response:
    """Send files between two good ones; the good ones are stored whatever happens to the others."""
    before, after = image(), image()
    answer = store(client, before, *hostile_files, after)
    assert answer.status_code in (200, 202), answer.text
    assert {key_in(before), key_in(after)} <= set(stored_keys(answer))
    reported = len(stored_keys(answer)) + len(failures(answer))
    assert reported == 2 + len(hostile_files)
    return answer


def read_in_every_way(client: httpx2.Client, key: Key) -> None:
    """Ask for an instance in every form; never a 5xx, and JSON that is JSON."""
    path = path_of(key)
    study, series, instance = key
    for resource, accept in (
        (path, DICOM),
        (path, "application/dicom; transfer-syntax=*"),
        (f"{path}/metadata", "application/dicom+json"),
        (f"{path}/metadata", 'multipart/related; type="application/dicom+xml"'),
        (f"{path}/frames/1", FRAMES),
        (f"{path}/bulkdata", FRAMES),
        (f"{path}/pixeldata", FRAMES),
        (f"studies/{study}/instances?SOPInstanceUID={instance}&includefield=all", "application/dicom+json"),
        (f"studies?StudyInstanceUID={study}&includefield=all", "application/dicom+json"),
        (f"studies/{study}/series?SeriesInstanceUID={series}", "application/dicom+json"),
    ):
        answer = client.get(resource, headers={"Accept": accept})
        assert answer.status_code in (200, 404, 406), (resource, answer.status_code, answer.text[:300])
        if answer.headers["content-type"].endswith("json"):
            json.loads(answer.content)


@pytest.mark.parametrize("path", corpus_files("malformed"), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_malformed_files_cost_only_themselves(client: httpx2.Client, path: Path) -> None:
    """Real broken files: stored or refused with a reason, between two good ones (promise 7; B-030, B-059)."""
    answer = store_among_good(client, path.read_bytes())
    assert all(text for _, text in failures(answer))
    for key in stored_keys(answer):
        read_in_every_way(client, key)


def test_a_body_cut_anywhere_stores_what_was_whole(client: httpx2.Client) -> None:
    """A multipart body without its end is a 400 that lists what it stored; nothing of the last part (B-018)."""
    chance = random.Random(1)
    whole = message(image(), image())
    ends = [match.start() for match in re.finditer(rb"\r\n--b(?=\r\n|--)", whole)]
    for cut in [0, 1, 4, *sorted(chance.sample(range(5, len(whole) - 2), 40)), *ends]:
        first, second = image(), image()
        body = message(first, second)
        answer = store(client, body=body[:cut])
        assert answer.status_code == 400, (cut, answer.status_code)
        complete = [file for file, end in zip((first, second), ends, strict=True) if cut > end + 4]
        keys = stored_keys(answer) if "00081199" in answer.json() else []
        assert keys == [key_in(file) for file in complete], cut
        assert client.get(path_of(key_in(second)) + "/metadata").status_code == (200 if len(complete) == 2 else 404)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ('multipart/related; type="application/dicom"; boundary=other', None),
        ('multipart/related; type="application/dicom"; boundary=B', None),
        ('multipart/related; type="application/dicom"', None),
        ('multipart/related; type="application/dicom"; boundary=""', None),
        ('multipart/related; type="application/dicom"; boundary="' + "x" * 3000 + '"', None),
        ('multipart/related; type="application/dicom"; boundary="\x01"', None),
        (MESSAGE, b""),
        (MESSAGE, b"--b--"),
        (MESSAGE, b"\0" * 100_000),
        (MESSAGE, b"--b\r\n" + b"A" * 100_000),
        (MESSAGE, b"--b\r\n" + b"X-A: b\r\n" * 50_000 + b"\r\n\r\n--b--"),
        (MESSAGE, b"--b" * 30_000),
        (MESSAGE, b"\r\n--b\r\n" * 30_000),
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
def test_bodies_that_are_not_what_they_say(client: httpx2.Client, content_type: str, body: bytes | None) -> None:
    """A wrong boundary, type or structure is a 4xx with words (B-018, A-107; promise 7)."""
    content = message(image()) if body is None else body
    answer = client.post("studies", content=content, headers={b"Content-Type": content_type.encode("latin-1")})
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    told = answer.json()
    assert told.get("detail") or failures(answer)


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
    return head + (struct.pack("<HL", 0, size) if long else struct.pack("<H", size)) + value


def with_tail(tail: bytes, **attributes: str) -> bytes:
    """A valid file with bytes of our own after its last element."""
    return dicom_file(PatientName=PATIENT, **attributes) + tail


UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))
CODES = 0x0040A730  # Content Sequence


def nested(depth: int, *, closed: bool) -> bytes:
    """Sequences in sequences, of undefined length."""
    opening = element(CODES, b"SQ", b"", UNDEFINED) + ITEM + struct.pack("<L", UNDEFINED)
    ending = ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)
    return opening * depth + (ending * depth if closed else b"")


def nested_by_length(depth: int) -> bytes:
    """Sequences in sequences, each with its length."""
    value = b""
    for _ in range(depth):
        value = element(CODES, b"SQ", ITEM + struct.pack("<L", len(value)) + value)
    return value


HOSTILE = {
    "10000 deep": with_tail(nested(10_000, closed=True)),
    "10000 deep and open": with_tail(nested(10_000, closed=False)),
    "3000 deep by length": with_tail(nested_by_length(3_000)),
    "10000 items left open": with_tail(element(CODES, b"SQ", b"", UNDEFINED) + (ITEM + b"\xff" * 4) * 10_000),
    "100000 empty items": with_tail(element(CODES, b"SQ", (ITEM + bytes(4)) * 100_000)),
    "a value of 4 GB": with_tail(element(0x7FE00010, b"OB", b"abcd", 0xFFFFFFF0)),
    "a sequence of 4 GB": with_tail(element(CODES, b"SQ", ITEM + struct.pack("<L", 0xFFFFFF00), 0xFFFFFFFE)),
    "an item longer than its sequence": with_tail(element(CODES, b"SQ", ITEM + struct.pack("<L", 5000) + b"ab")),
    "a fragment of 4 GB": with_tail(
        element(0x7FE00010, b"OB", b"", UNDEFINED) + ITEM + bytes(4) + ITEM + struct.pack("<L", 0xFFFFFFF0) + b"x"
    ),
    "no item in the pixels": with_tail(element(0x7FE00010, b"OB", b"\0" * 50, UNDEFINED)),
    "a billion frames": multi_frame(2, NumberOfFrames="999999999", PatientName=PATIENT),
    "frames without number": multi_frame(2, NumberOfFrames="7777", PatientName=PATIENT).replace(b"7777", b"many"),
    "frames below zero": multi_frame(2, NumberOfFrames="77", PatientName=PATIENT).replace(b"77", b"-5"),
    "a sample of nothing": multi_frame(2, Rows=0, Columns=65535, BitsAllocated=65535, PatientName=PATIENT),
    "an offset table that lies": encapsulated(PatientName=PATIENT).replace(
        struct.pack("<LL", 8, 0), struct.pack("<LL", 8, 0xFFFFFFF0), 1
    ),
    "zeros after the end": with_tail(b"\0" * 100_000),
    "noise after the end": with_tail(random.Random(2).randbytes(10_000)),
    "ten thousand private elements": with_tail(
        b"".join(element(0x00990010 + number, b"LO", b"x%03d" % (number % 1000)) for number in range(10_000))
    ),
    "a text of 5 MB": with_tail(element(0x0040A160, b"UT", b"\xe4\xf6\xfc " * (5 * MIB // 4))),
    "numbers of a megabyte": dicom_file(PatientName=PATIENT, elements={0x00091001: ("UC", "9" * MIB)}),
    "deflated noise": dicom_file(transfer_syntax=DEFLATED, PatientName=PATIENT)[:-40] + b"\xff" * 60,
    "a deflate bomb": dicom_file(PatientName=PATIENT, transfer_syntax=DEFLATED, pixels=bytes(40 * MIB), Rows=6400),
    "a text file": b"Dear archive,\n" * 50,
    "nothing": b"",
    "one byte": b"D",
    "a head only": b"\0" * 128 + b"DICM",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_crafted_files_cost_only_themselves(client: httpx2.Client, name: str) -> None:
    """Depth, lengths, counts and tables that lie: stored as far as sound or refused with a reason (promises 6, 7)."""
    answer = store_among_good(client, HOSTILE[name])
    assert all(text and reason != 0x0110 for reason, text in failures(answer))
    assert "unforeseen" not in answer.text
    for key in stored_keys(answer):
        read_in_every_way(client, key)


def test_what_is_too_deep_is_said(client: httpx2.Client) -> None:
    """Nesting beyond the limit is refused in words; what sane files need is stored (design 1.7)."""
    answer = store(client, HOSTILE["10000 deep"])
    assert answer.status_code == 409
    ((_, text),) = failures(answer)
    assert "nested" in text
    answer = store(client, with_tail(nested(60, closed=True)))
    assert answer.status_code == 200
    read_in_every_way(client, stored_keys(answer)[0])


BAD_UIDS = [
    b"../../../../etc/passwd",
    b"..",
    b"1.2/../../3",
    b"1.2\x003.4",
    b"1.2.3 4",
    b"%2e%2e%2f1",
    b"C:\\temp\\1",
    b"1.2.3;drop table",
    b"\xff\xfe\xfd\xfc",
    b"1.2.3?x=1#y",
    b"<script>1</script>",
    b"1.2\r\nX-Evil: 1",
    b"9" * 65,
    b"",
]


@pytest.mark.parametrize("uid", BAD_UIDS, ids=repr)
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_uids_that_are_paths_or_worse_are_refused(
    client: httpx2.Client, hostile: LiveServer, keyword: str, uid: bytes
) -> None:
    """Only digits and dots make a UID; nothing is ever written where a file says (B-030, B-031; PS3.5 9.1)."""
    placeholder = "7" * (len(uid) + len(uid) % 2)
    file = dicom_file(PatientName=PATIENT, **{keyword: placeholder}) if uid else dicom_file(**{keyword: ""})
    file = file.replace(placeholder.encode(), uid.ljust(len(placeholder), b"\0")) if uid else file
    before = {path for path in hostile.data_dir.parent.rglob("*") if "postgres" not in path.parts}
    answer = store(client, file)
    assert answer.status_code == 409, answer.text
    assert [reason for reason, _ in failures(answer)] == [MISSING_IDENTIFIER]
    appeared = {path for path in hostile.data_dir.parent.rglob("*") if "postgres" not in path.parts} - before
    assert not [path for path in appeared if path.suffix not in (".db", "")], appeared


def test_other_uids_may_be_anything(client: httpx2.Client) -> None:
    """UIDs that identify nothing here are kept as they are, and every answer stays well-formed (B-031)."""
    file = dicom_file(PatientName=PATIENT, FrameOfReferenceUID="7" * 22, TransferSyntaxUID=None)
    answer = store_among_good(client, file.replace(b"7" * 22, b"../../../../etc/passwd"))
    for key in stored_keys(answer):
        read_in_every_way(client, key)


@pytest.mark.parametrize("uid", ["1.2\r\nX-Evil: 1", "a" * 300, "..", "1.2.840.10008.1.2.1\0x", "\x1b[2J", "1.2.3.4"])
def test_transfer_syntaxes_that_are_none(client: httpx2.Client, uid: str) -> None:
    """A made-up Transfer Syntax UID breaks no header and no answer (A-050; promise 7)."""
    placeholder = "5" * (len(uid) + len(uid) % 2)
    file = dicom_file(PatientName=PATIENT, transfer_syntax=placeholder, pixels=b"\0" * 64)
    answer = store_among_good(client, file.replace(placeholder.encode(), uid.ljust(len(placeholder), "\0").encode()))
    for key in stored_keys(answer):
        read_in_every_way(client, key)


TEXT_VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT")
BAD_TEXTS = [
    b"\0a\0b\0c\0d",
    b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
    b"\x1b$B\x1b(B\x1b$",
    b"\xed\xa0\x80\xed\xb0\x80\xc0\x80",
    b"\\\\\\\\\\\\\\\\",
    b"^^^===^^",
    b"'; DROP--",
    b"\x7f\x80\r\n\t\x0c\x01\x02",
    b"\\u0000%00",
    b"        ",
]


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100", r"\ISO 2022 IR 87", "GB18030", "NO SUCH", "\x00\x01"])
@pytest.mark.parametrize("text", BAD_TEXTS, ids=repr)
def test_any_bytes_may_stand_in_text(client: httpx2.Client, text: bytes, charset: str) -> None:
    """NUL, broken UTF-8, stray escapes in every indexed text: stored, found, JSON and XML stay sound (B-047, C-060)."""
    keywords = [name for name in ATTRIBUTES if dictionary_VR(name) in TEXT_VRS]
    placeholder = "Q" * len(text)
    key = (new_uid(), new_uid(), new_uid())
    uids = dict(zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), key, strict=True))
    fields = dict.fromkeys(keywords, placeholder) | {"SpecificCharacterSet": charset}
    raw = {name: fields.pop(name) for name in keywords if dictionary_VR(name) in ("DS", "IS", "DA", "TM", "DT", "AS")}
    file = dicom_file(**fields, **uids)
    file += b"".join(element(0x00990010 + place, b"LO", value.encode()) for place, value in enumerate(raw.values()))
    answer = store(client, file.replace(placeholder.encode(), text))
    assert answer.status_code in (200, 202), answer.text
    assert stored_keys(answer) == [key]
    read_in_every_way(client, key)
    for level, uid in (
        ("studies", "StudyInstanceUID"),
        ("series", "SeriesInstanceUID"),
        ("instances", "SOPInstanceUID"),
    ):
        (found,) = client.get(level, params={uid: uids[uid], "includefield": "all"}).json()
        json.dumps(found)


@pytest.mark.parametrize("vr", ["DA", "TM", "DT", "IS", "DS", "AS", "US", "FD", "AT"])
def test_any_bytes_may_stand_in_numbers_and_dates(client: httpx2.Client, vr: str) -> None:
    """Dates, times and numbers that are none are stored and indexed as nothing (D-146, C-046; promise 7)."""
    keywords = [name for name in ATTRIBUTES if dictionary_VR(name) == vr]
    for text in BAD_TEXTS:
        dataset = dicom_file(PatientName=PATIENT)
        tail = b"".join(element(tag, vr.encode(), text) for tag in sorted(tag_of(name) for name in keywords))
        answer = store_among_good(client, dataset + tail)
        for key in stored_keys(answer):
            read_in_every_way(client, key)


def tag_of(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None
    return int(tag)


def bomb(size: int) -> bytes:
    """So many zeros, gzipped; small."""
    compress = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(compress.compress(bytes(MIB)) for _ in range(size // MIB)) + compress.flush()


def test_a_compressed_body_may_not_grow_without_end(client: httpx2.Client) -> None:
    """A gzip bomb is a 413 long before it fills anything; a file that compresses well is stored (A-125, B-019)."""
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    answer = client.post("studies", content=bomb(600 * MIB), headers=headers)
    assert answer.status_code == 413, answer.text
    black = ct_slice(rows=2048, columns=2048)[: -2 * 2048 * 2048] + bytes(2 * 2048 * 2048)
    assert client.post("studies", content=gzip.compress(black), headers=headers).status_code == 200


def zipped(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_zip_bomb_is_refused_and_its_names_are_not_believed(client: httpx2.Client, hostile: LiveServer) -> None:
    """Growth, paths, lies in the directory: 413 or stored under our own names (H-022; promise 7)."""
    post = lambda body: client.post("studies", content=body, headers={"Content-Type": "application/zip"})  # noqa: E731
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


def test_hundreds_of_tiny_parts(client: httpx2.Client) -> None:
    """Each part has its outcome, however many and however small; the good one among them is stored (B-059)."""
    junk = [b"", b"\0", b"x", b"DICM", b"\x08\0\x05\0", b"\r\n", b"--b"[:2]] * 60
    answer = store(client, *junk)
    assert answer.status_code == 409
    assert len(failures(answer)) == len(junk)
    good = image()
    answer = store(client, *junk, good, *junk)
    assert answer.status_code == 202
    assert stored_keys(answer) == [key_in(good)]
    assert len(failures(answer)) == 2 * len(junk)


def test_a_part_of_another_type_fails_alone(client: httpx2.Client) -> None:
    """Parts that say they are something else, in any words, cost only themselves (B-005)."""
    good = image()
    kinds = ["text/html", "x" * 5000, "application/dicom\0", "\x80\xff", "application/dicom; a=" + '"' * 9, ";;;"]
    parts = b"".join(
        b"--b\r\nContent-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + image() + PART_END for kind in kinds
    )
    answer = store(client, body=parts + part_head("b", "application/dicom") + good + PART_END + closing("b"))
    assert answer.status_code in (200, 202), answer.text
    assert key_in(good) in stored_keys(answer)
    assert len(stored_keys(answer)) + len(failures(answer)) == 1 + len(kinds)


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
def test_urls_and_heads_of_any_kind(client: httpx2.Client, hostile: LiveServer, request_line: bytes) -> None:
    """Paths that climb, numbers that are none, heads without end: a 4xx or a closed connection (A-004, D-042)."""
    status = raw(hostile, request_line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert status == 0 or 400 <= status < 500, status


HOSTILE_VALUES = [
    "%00", "%FF%FE", "%ED%A0%80", "'", "%25%5F%5C", "*" * 5000, "?" * 5000, "%22%22", "\\\\\\", "^=^=^=^", "-", "--",
    "99999999-00000000", "1e999", "-1", "NaN", "%F0%9F%92%80", "a%0D%0AX-Evil:1", "(" * 2000, "1.2.3,%5C,..,", "%",
]  # fmt: skip


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
def test_search_values_of_any_kind(client: httpx2.Client, level: str) -> None:
    """Every key with every odd value is 200 or 400, never a 500 (A-010, C-035, C-038, C-047)."""
    keys = [
        "limit",
        "offset",
        "cursor",
        "includefield",
        "fuzzymatching",
        "orderby",
        "accept",
        "00100010",
        "zz",
        "",
        ".",
    ]
    for key in [*ATTRIBUTES, *keys, "RequestAttributesSequence.ScheduledProcedureStepID", "0040A730.00080100.00080102"]:
        for value in HOSTILE_VALUES:
            if len(value) > 100 and key != "PatientName":
                continue
            answer = client.get(f"{level}?{key}={value}")
            assert answer.status_code in (200, 400, 406, 413), (key, value[:50], answer.status_code, answer.text)


@pytest.mark.parametrize(
    "accept",
    ["", ",", ";", "a" * 5000, "*/*;" * 2000, 'multipart/related; type="', "\xff", "application/dicom; transfer-syntax=\x01",
     "application/dicom;q=NaN", "application/dicom;q=1e9", ",".join(f"a/b{number}" for number in range(2000))],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_accept_headers_of_any_kind(client: httpx2.Client, accept: str) -> None:
    """What makes no sense is passed over; nothing acceptable left is a 406, never a 500 (A-024, A-025)."""
    file = image()
    assert store(client, file).status_code == 200
    path = path_of(key_in(file))
    for resource in (path, f"{path}/metadata", f"{path}/frames/1", f"{path}/bulkdata/7FE00010", "studies?limit=1"):
        for headers in ({b"Accept": accept.encode("latin-1")}, {b"Range": accept.encode("latin-1")},
                        {b"If-None-Match": accept.encode("latin-1")}, {b"Accept-Encoding": accept.encode("latin-1")}):  # fmt: skip
            answer = client.get(resource, headers=headers)
            assert answer.status_code in (200, 400, 406, 416), (resource, headers, answer.status_code)
            answer.read()


def seeds() -> list[bytes]:
    """Small valid files of every encoding and shape to mutate."""
    small = [path.read_bytes() for path in wheel_files() if path.stat().st_size < 6000]
    made = [ct_slice(rows=8, columns=8, transfer_syntax=syntax) for syntax in (IMPLICIT_LE, BIG_ENDIAN, DEFLATED)]
    return [*small, *made, image(), encapsulated(), multi_frame(), multi_frame(bits=1), big_sequence(20, depth=3)]


def mutated(file: bytes, chance: random.Random) -> bytes:
    """The file with a few bytes changed, cut, doubled or filled, anywhere after the preamble."""
    data = bytearray(file)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(132, max(len(data), 133))
        kind = chance.randrange(5)
        if kind == 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            data[place : place + 4] = struct.pack("<L", chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE)))
        elif kind == 2:
            del data[place : place + chance.randrange(1, 30)]
        elif kind == 3:
            data[place:place] = data[place : place + chance.randrange(1, 200)]
        else:
            data[place : place + 8] = chance.choice((ITEM, SEQUENCE_END, b"SQ\0\0", b"UN\0\0")) + b"\xff" * 4
    return bytes(data)


@pytest.mark.parametrize("seed", range(10))
def test_mutants_of_valid_files(client: httpx2.Client, seed: int) -> None:
    """Random damage to valid files never fails the request, a neighbour or a later reading (promise 7)."""
    chance = random.Random(seed)
    parents = seeds()
    mutants = [mutated(chance.choice(parents), chance) for _ in range(MUTANTS // 10)]
    for start in range(0, len(mutants), 10):
        answer = store_among_good(client, *mutants[start : start + 10])
        assert all(text and reason != 0x0110 for reason, text in failures(answer))
        for key in set(stored_keys(answer)):
            read_in_every_way(client, key)


def test_a_client_that_leaves_costs_nothing(client: httpx2.Client, hostile: LiveServer) -> None:
    """Connections dropped in the middle of an upload or a download leave nothing behind (B-020; promise 6)."""
    file = ct_slice(rows=512, columns=512)
    body = message(image(), file)
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {MESSAGE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for share in (0.0, 0.01, 0.5, 0.99):
        with socket.create_connection(("127.0.0.1", hostile.port)) as connection:
            connection.sendall(head.encode() + body[: int(share * len(body))])
    assert store(client, file).status_code == 200
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", hostile.port)) as connection:
            connection.sendall(f"GET /dicom-web/{path_of(key_in(file))} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(1000)
    assert sop_instance_uid(file) in {key[2] for key in map(key_in, retrieve(client, path_of(key_in(file))))}
    staging = hostile.data_dir / "blobs" / ".staging"
    assert not [path for path in staging.iterdir() if path.stat().st_size > 400_000]
