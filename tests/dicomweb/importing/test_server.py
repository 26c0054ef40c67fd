"""Importing into a server: what is sent, and what is made of every kind of answer (PS3.18 10.5.3)."""

import email.parser
import email.policy
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dicomweb.commands.import_ import import_
from dicomweb.importing import server_target
from dicomweb.importing.found_file import FoundFile
from dicomweb.importing.results import Result, Status
from dicomweb.importing.server_target import ServerTarget
from dicomweb.importing.stow_answer import read_answer
from dicomweb.importing.stow_client import Server
from dicomweb.importing.target import TargetLost
from dicomweb.settings import SettingsError
from tests.builders import ct_slice, sop_instance_uid

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Scripted:
    """A server that keeps what it gets and answers as told; by default it stores everything."""

    url: str = ""
    requests: list[list[bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answer: Callable[[list[bytes]], Reply] = lambda parts: told(stored=parts)


def told(status: int = 200, *, stored: list[bytes] = (), failed: dict[str, int] = {}, others: int = 0) -> Reply:  # type: ignore[assignment]  # noqa: B006
    """An answer that tells about instances."""
    dataset: dict[str, Any] = {
        "00081199": {"vr": "SQ", "Value": [_item(sop_instance_uid(part)) for part in stored]},
        "00081198": {
            "vr": "SQ",
            "Value": [_item(uid) | {"00081197": {"vr": "US", "Value": [code]}} for uid, code in failed.items()],
        },
        "0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}] * others},
    }
    dataset = {tag: value for tag, value in dataset.items() if value["Value"]}
    return status, {"Content-Type": "application/dicom+json"}, json.dumps(dataset).encode()


def _item(uid: str) -> dict[str, Any]:
    return {"00081155": {"vr": "UI", "Value": [uid]}}


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A server on the loopback interface."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the client broke it off
                self.close_connection = True
                return
            parts = _parts(self.headers["Content-Type"], body)
            script.requests.append(parts)
            script.headers.append(dict(self.headers))
            status, headers, answer = script.answer(parts)
            if status == 0:  # hang up
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(answer))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield script
        server.shutdown()
        thread.join()


def _parts(content_type: str, body: bytes) -> list[bytes]:
    """Read a multipart body with the parser of the standard library."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n")
    boundary = message.get_boundary()
    assert boundary is not None
    assert message.get_param("type") == "application/dicom"
    pieces = body.split(b"--" + boundary.encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    heads = [piece.partition(b"\r\n\r\n") for piece in pieces[1:-1]]
    assert {head for head, _, _ in heads} == {b"\r\nContent-Type: application/dicom"}
    return [rest.removesuffix(b"\r\n") for _, _, rest in heads]


def images(folder: Path, count: int) -> list[FoundFile]:
    """Write images; returns them as they are found."""
    found = []
    for number in range(count):
        path = folder / f"IM{number}"
        path.write_bytes(ct_slice("1.2.3", "1.2.3.1", f"1.2.3.1.{number + 1}", rows=16, columns=16))
        found.append(FoundFile(path, path.stat().st_size, path.stat().st_mtime_ns))
    return found


async def send(script: Scripted, files: list[FoundFile], *headers: str) -> list[Result]:
    """Send one batch."""
    target = ServerTarget(Server.at(script.url, headers), 1)
    try:
        return await target.send(files)
    finally:
        await target.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not pause long between attempts."""
    monkeypatch.setattr(server_target, "PAUSES", (0.0, 0.01))


async def test_a_batch_is_one_request_with_the_bytes_of_the_files(scripted: Scripted, tmp_path: Path) -> None:
    """multipart/related; type="application/dicom", every file as it is (PS3.18 10.5.1)."""
    files = images(tmp_path, 3)
    (tmp_path / "text").write_text("no DICOM " * 99)
    other = FoundFile(tmp_path / "text", 891, 0)
    results = await send(scripted, [files[0], other, *files[1:]], "Authorization: Bearer abc")  # type: ignore[list-item]
    statuses = [result.status for result in results]
    assert statuses == [Status.STORED, Status.PASSED_OVER, Status.STORED, Status.STORED]
    assert scripted.requests == [[file.path.read_bytes() for file in files]]
    assert scripted.headers[0]["Authorization"] == "Bearer abc"
    assert results[0].key == files[0].key()


async def test_each_file_gets_the_result_of_its_instance(scripted: Scripted, tmp_path: Path) -> None:
    """202: what failed is refused with the reason in words, the rest is stored (PS3.18 Table I.1-1)."""
    scripted.answer = lambda parts: told(202, stored=parts[:1], failed={sop_instance_uid(parts[1]): 0x0111})
    first, second = await send(scripted, images(tmp_path, 2))
    assert first.status is Status.STORED
    assert (second.status, second.again) == (Status.REFUSED, False)
    assert "another instance under this UID" in second.reason
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("status", [400, 409, 413])
async def test_a_file_the_answer_does_not_name_is_sent_alone(scripted: Scripted, tmp_path: Path, status: int) -> None:
    """OtherFailuresSequence names nobody: who it is comes out one by one, whatever refuses it (PS3.18 Table I.1-1)."""
    files = images(tmp_path, 3)
    bad = files[1].path.read_bytes()

    def answer(parts: list[bytes]) -> Reply:
        good = [part for part in parts if part != bad]
        return told(202 if good else status, stored=good, others=len(parts) - len(good))

    scripted.answer = answer
    results = await send(scripted, files)
    assert [result.status for result in results] == [Status.STORED, Status.REFUSED, Status.STORED]
    assert [len(parts) for parts in scripted.requests] == [3, 1]


async def test_a_file_the_answer_leaves_out_is_not_taken_for_stored(scripted: Scripted, tmp_path: Path) -> None:
    """200 that names fewer instances than were sent: the others go alone, and are refused if still not named."""
    files = images(tmp_path, 3)
    lost = files[1].path.read_bytes()
    reply = told(stored=[files[0].path.read_bytes(), files[2].path.read_bytes()])
    scripted.answer = lambda parts: reply if len(parts) == 3 else told(stored=parts)
    assert [result.status for result in await send(scripted, files)] == [Status.STORED] * 3
    assert scripted.requests[1:] == [[lost]]
    nothing = (200, {"Content-Type": "application/dicom+json"}, b'{"00081199":{"vr":"SQ"}}')
    scripted.answer = lambda parts: nothing if parts == [lost] else reply
    results = await send(scripted, files)
    assert [result.status for result in results] == [Status.STORED, Status.REFUSED, Status.STORED]
    assert "did not say" in results[1].reason
    assert results[1].again
    assert not results[1].key


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_an_empty_answer_of_success_means_that_all_is_stored(
    scripted: Scripted, tmp_path: Path, status: int
) -> None:
    """Some servers say no more than the status; they are believed, for one file and for several."""
    scripted.answer = lambda parts: (status, {}, b"")
    for count in (1, 3):
        assert {result.status for result in await send(scripted, images(tmp_path, count))} == {Status.STORED}


async def test_copies_of_a_file_in_one_request_are_stored(scripted: Scripted, tmp_path: Path) -> None:
    """A server may name an instance as often as it came, or once: then the copies are sent alone (PS3.18 10.5.3)."""
    files = images(tmp_path, 2)
    (tmp_path / "copy").write_bytes(files[0].path.read_bytes())
    files.append(FoundFile(tmp_path / "copy", files[0].size, 0))
    assert [result.status for result in await send(scripted, files)] == [Status.STORED] * 3
    assert [len(parts) for parts in scripted.requests] == [3]
    scripted.answer = lambda parts: told(stored=sorted(set(parts)))
    assert [result.status for result in await send(scripted, files)] == [Status.STORED] * 3
    assert [len(parts) for parts in scripted.requests[1:]] == [3, 1, 1]


async def test_a_server_may_give_instances_other_uids(scripted: Scripted, tmp_path: Path) -> None:
    """An answer that names as many instances as were sent means success, whatever they are called now."""
    scripted.answer = lambda parts: told(stored=[ct_slice() for _ in parts])
    for count in (1, 3):
        assert {result.status for result in await send(scripted, images(tmp_path, count))} == {Status.STORED}
    assert len(scripted.requests) == 2


def test_the_data_folder_here_is_sent_to_a_server_elsewhere(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --to the own data folder is a folder as any other; its database files are passed over."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = tmp_path / "in" / "dicomweb-data"
    (data / "blobs").mkdir(parents=True)
    (stored,) = images(data / "blobs", 1)
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(SystemExit) as ended:
        import_([tmp_path / "in"], to=scripted.url, data_dir=data, report=tmp_path / "report")
    assert ended.value.code == 0
    assert scripted.requests == [[stored.path.read_bytes()]]
    (line,) = (tmp_path / "report").read_text().splitlines()
    assert json.loads(line)["reason"] == "It is not a DICOM file."


async def test_a_request_that_is_too_large_is_divided(scripted: Scripted, tmp_path: Path) -> None:
    """413 of a proxy: each file goes alone, and the one that is too large by itself is refused."""
    scripted.answer = lambda parts: told(stored=parts) if len(parts) == 1 else (413, {}, b"<html>too large</html>")
    results = await send(scripted, images(tmp_path, 3))
    assert {result.status for result in results} == {Status.STORED}
    scripted.answer = lambda parts: (413, {}, b"")
    (result,) = await send(scripted, images(tmp_path, 1))
    assert "413" in result.reason


@pytest.mark.parametrize("busy", [503, 429, 0])
async def test_a_busy_server_is_asked_again(scripted: Scripted, tmp_path: Path, busy: int) -> None:
    """503, 429 or no answer at all: the same request is repeated."""

    def answer(parts: list[bytes]) -> Reply:
        return told(stored=parts) if len(scripted.requests) > 1 else (busy, {}, b"")

    scripted.answer = answer
    results = await send(scripted, images(tmp_path, 2))
    assert {result.status for result in results} == {Status.STORED}
    assert scripted.requests[0] == scripted.requests[1]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, {}, b""), "401 Unauthorized"),
        ((404, {}, b""), "DICOMweb root"),
        ((302, {"Location": "/login"}, b""), "302"),
        ((507, {"Content-Type": "application/problem+json"}, b'{"detail":"The disk is full."}'), "The disk is full"),
        ((200, {"Content-Type": "text/html"}, b"<html>please log in</html>"), "DICOMweb root"),
        ((503, {}, b""), "503"),
    ],
)
async def test_an_answer_that_all_would_get_stops_the_import(
    scripted: Scripted, tmp_path: Path, reply: Reply, words: str
) -> None:
    """Nothing is taken for stored that the server did not say is; the message says what is wrong."""
    scripted.answer = lambda parts: reply
    with pytest.raises(TargetLost, match=words):
        await send(scripted, images(tmp_path, 2))


async def test_nobody_listening_is_one_clear_line(tmp_path: Path) -> None:
    """Connection refused: the URL and the reason, without what is secret."""
    script = Scripted(url="http://user:secret@127.0.0.1:1/dicom-web")
    with pytest.raises(TargetLost, match=r"http://127\.0\.0\.1:1/dicom-web cannot be reached: it refuses"):
        await send(script, images(tmp_path, 1))


async def test_a_large_file_is_streamed_and_one_that_shrinks_costs_only_itself(
    scripted: Scripted, tmp_path: Path
) -> None:
    """Content-Length is promised before a file is read; a file that changed is left out and said."""
    files = images(tmp_path, 2)
    large = tmp_path / "large"
    large.write_bytes(ct_slice("1.2.3", "1.2.3.1", "1.2.3.9", rows=1024, columns=1024))
    status = large.stat()
    whole = FoundFile(large, status.st_size, status.st_mtime_ns)
    results = await send(scripted, [files[0], whole, files[1]])
    assert {result.status for result in results} == {Status.STORED}
    assert scripted.requests[0][1] == large.read_bytes()
    longer = FoundFile(large, status.st_size + 100, status.st_mtime_ns)
    results = await send(scripted, [files[0], longer, files[1]])
    assert [result.status for result in results] == [Status.STORED, Status.REFUSED, Status.STORED]
    assert results[1].again
    assert [len(parts) for parts in scripted.requests[1:]] == [2]


@pytest.mark.parametrize(
    ("url", "path", "shown"),
    [
        ("http://h/dicom-web/", "/dicom-web/studies", "http://h/dicom-web"),
        ("https://h:1/a/studies", "/a/studies", "https://h:1/a"),
        ("http://[::1]:8", "/studies", "http://[::1]:8"),
    ],
)
def test_the_root_is_taken_as_people_give_it(url: str, path: str, shown: str) -> None:
    """With or without slash or /studies at its end (PS3.18 10.5)."""
    server = Server.at(url)
    assert (server.path, server.shown) == (path, shown)


@pytest.mark.parametrize("url", ["h:8080/x", "ftp://h/", "http://", "http://h:x/", "http://h/?a=b"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """The message says what is expected."""
    with pytest.raises(SettingsError, match="--to"):
        Server.at(url)


def test_user_and_password_become_basic_authentication() -> None:
    """RFC 7617, with percent-encoding undone."""
    assert Server.at("http://a:b%40c@h/").headers["Authorization"] == "Basic YTpiQGM="
    with pytest.raises(SettingsError, match="--header"):
        Server.at("http://h/", ["no colon"])


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"", {1, 2, 3}),
        (b"[]", set()),
        (b"null", set()),
        (b"{", set()),
        (b'{"00081199":5}', set()),
        (b'{"00081199":{}}', set()),
        (b'{"00081199":{"Value":[null,1,"x"]}}', {1, 2}),
        (b'{"00081198":{"Value":[{}]}}', set()),
    ],
)
def test_any_answer_can_be_read(body: bytes, stored: set[int]) -> None:
    """No answer is a crash, and only one that names as many instances as were sent, or nothing, means success."""
    answer = read_answer(200, "application/dicom+json", body)
    assert (answer.status, answer.detail) == (200, "200 OK")
    assert {files for files in (1, 2, 3) if answer.all_stored(files)} == stored


def test_an_answer_in_xml_is_understood() -> None:
    """PS3.18 10.5.3.3 allows application/dicom+xml."""
    xml = (
        b'<NativeDicomModel><DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence"><Item number="1">'
        b'<DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID"><Value number="1">1.2</Value>'
        b"</DicomAttribute></Item></DicomAttribute></NativeDicomModel>"
    )
    answer = read_answer(200, "application/dicom+xml", xml)
    assert answer.all_stored(1)
    assert answer.stored == {"1.2": 1}
