"""Storing over HTTP: every body clients send, every status, every reason."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from dicomweb.http.app import assemble
from dicomweb.http.message.multipart import PART_END, part_head
from dicomweb.http.stow import resource as stow
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.dicom import dicomxml
from tests.builders import ABSENT, IMPLICIT_LE, ct_slice, dicom_file, new_uid, sop_instance_uid
from tests.corpus import wheel_files
from tests.dicomweb.loopback import listening
from tests.dicomweb.stowing import CT, MESSAGE, failed, message, others, post, read_back, sequence, stored


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Default settings, with those a test names in `parametrize("settings", [...], indirect=True)`."""
    return Settings(data_dir=tmp_path / "data", allowed_hosts=["archive.test"], **getattr(request, "param", {}))


@pytest.fixture
def app(archive: Archive, settings: Settings) -> Starlette:
    """The store resources over an empty archive."""
    return assemble(archive, settings, stow.ROUTES)


# Request bodies


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/related; type="application/dicom"; boundary=b',
        'multipart/related; type="application/dicom"; boundary="b"',
        "multipart/related; type=application/dicom; boundary=b",
        "Multipart/Related;boundary=b;TYPE=Application/Dicom;start=x",
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1; boundary=b',
        'multipart/related; type="application/dicom; transfer-syntax=1.2.840.10008.1.2.1"; boundary=b',
        "multipart/related; boundary=b",
        'multipart/related; type="*/*"; boundary=b',
    ],
)
async def test_a_message_is_stored_however_its_type_is_written(client: httpx2.AsyncClient, content_type: str) -> None:
    """Quoting, order, case and needless parameters of Content-Type do not matter (A-088, B-002)."""
    file = ct_slice()
    answer = await post(client, message(file), content_type)
    assert answer.status_code == 200
    assert stored(answer) == [sop_instance_uid(file)]


@pytest.mark.parametrize(
    ("written", "boundary"), [("'b'", "'b'"), ("\"'b'\"", "'b'"), ("b'c", "b'c"), ("'", "'"), ('"b"', "b")]
)
async def test_an_apostrophe_belongs_to_the_boundary(client: httpx2.AsyncClient, written: str, boundary: str) -> None:
    """A boundary is taken as it is written but for quotation marks around it (RFC 2046 5.1.1)."""
    file = ct_slice()
    body = message(file).replace(b"--b", f"--{boundary}".encode())
    answer = await post(client, body, f'multipart/related; type="application/dicom"; boundary={written}')
    assert (answer.status_code, stored(answer)) == (200, [sop_instance_uid(file)])


@pytest.mark.parametrize(
    "part",
    [
        b"--b\r\n\r\n",
        b"--b\ncontent-type: application/dicom\n\n",
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n",
    ],
)
async def test_parts_without_a_proper_type_are_dicom_files(client: httpx2.AsyncClient, part: bytes) -> None:
    """A part without Content-Type, and one of plain octets, counts as a DICOM file (B-005)."""
    file = ct_slice()
    answer = await post(client, part + file + b"\r\n--b--")
    assert answer.status_code == 200
    assert stored(answer) == [sop_instance_uid(file)]


async def test_what_ohif_sends_is_stored(client: httpx2.AsyncClient) -> None:
    """A line break before the first boundary, none after the last, no Accept: JSON comes back (ohif-needs 8)."""
    file = ct_slice()
    body = b"\r\n--3e5-a\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--3e5-a--"
    answer = await post(client, body, 'multipart/related; type="application/dicom"; boundary="3e5-a"')
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert stored(answer) == [sop_instance_uid(file)]


async def test_one_file_needs_no_message(client: httpx2.AsyncClient) -> None:
    """A body that is one DICOM file is stored (B-004)."""
    file = ct_slice()
    answer = await post(client, file, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    assert (answer.status_code, stored(answer)) == (200, [sop_instance_uid(file)])


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", lambda body: gzip.compress(body[:500]) + gzip.compress(body[500:])),
        ("deflate", zlib.compress),
        ("Deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", lambda body: body),
    ],
)
async def test_compressed_bodies_are_stored(client: httpx2.AsyncClient, coding: str, compress: Any) -> None:
    """A body may be compressed, by gzip in several members and by both meanings of deflate (A-125)."""
    file = ct_slice()
    answer = await post(client, compress(message(file)), Content_Encoding=coding)
    assert (answer.status_code, stored(answer)) == (200, [sop_instance_uid(file)])


async def test_a_chunked_body_is_stored(client: httpx2.AsyncClient) -> None:
    """A body without Content-Length is taken in as it comes (B-019)."""
    file = ct_slice()

    async def chunks() -> AsyncIterator[bytes]:
        body = message(file)
        for start in range(0, len(body), 777):
            yield body[start : start + 777]

    answer = await post(client, chunks())
    assert (answer.status_code, stored(answer)) == (200, [sop_instance_uid(file)])


# Statuses and the response module


async def test_the_response_lists_what_is_stored(client: httpx2.AsyncClient) -> None:
    """All stored: 200, one item each with class, instance and Retrieve URL, nothing empty (B-050 to B-058)."""
    study, series = new_uid(), new_uid()
    files = [ct_slice(study, series, instance_number=number) for number in (1, 2)]
    answer = await post(client, message(*files))
    assert answer.status_code == 200
    body = answer.json()
    root = "http://archive.test/dicom-web"
    assert body["00081190"] == {"vr": "UR", "Value": [f"{root}/studies/{study}"]}
    assert set(body) == {"00081190", "00081199"}
    for item, file in zip(sequence(answer, "00081199"), files, strict=True):
        uid = sop_instance_uid(file)
        assert item == {
            "00081150": {"vr": "UI", "Value": [CT]},
            "00081155": {"vr": "UI", "Value": [uid]},
            "00081190": {"vr": "UR", "Value": [f"{root}/studies/{study}/series/{series}/instances/{uid}"]},
        }
    assert answer.headers["location"] == f"{root}/studies/{study}"


async def test_one_stored_instance_has_its_location(client: httpx2.AsyncClient) -> None:
    """Location and Content-Location name the instance when there is one (B-063)."""
    study, series, instance = new_uid(), new_uid(), new_uid()
    answer = await post(client, message(ct_slice(study, series, instance)))
    expected = f"http://archive.test/dicom-web/studies/{study}/series/{series}/instances/{instance}"
    assert answer.headers["location"] == answer.headers["content-location"] == expected


async def test_several_studies_have_no_common_url(client: httpx2.AsyncClient) -> None:
    """The Retrieve URL of the whole is there but empty when several studies were stored (B-055)."""
    answer = await post(client, message(ct_slice(), ct_slice()))
    assert answer.status_code == 200
    assert answer.json()["00081190"] == {"vr": "UR"}
    assert "location" not in answer.headers


async def test_what_was_stored_can_be_read_at_once(client: httpx2.AsyncClient, archive: Archive) -> None:
    """When the answer is there the instance is, byte for byte (B-064)."""
    study = new_uid()
    file = ct_slice(study)
    assert (await post(client, message(file))).status_code == 200
    assert await read_back(archive, study) == [file]


async def test_one_bad_part_costs_only_itself(client: httpx2.AsyncClient) -> None:
    """Some stored, some failed: 202, and each failure says why (B-053, B-056, B-059)."""
    good = [ct_slice(), ct_slice()]
    answer = await post(client, message(good[0], b"this is not DICOM", good[1]))
    assert answer.status_code == 202
    assert stored(answer) == [sop_instance_uid(file) for file in good]
    assert others(answer) == [0xC000]
    item = sequence(answer, "0008119A")[0]
    assert item["00000902"]["vr"] == "LO"
    assert len(item["00000902"]["Value"][0]) <= 64
    assert "C000" in answer.headers["warning"]


async def test_nothing_that_is_dicom_is_bad_syntax(client: httpx2.AsyncClient) -> None:
    """A message of which nothing could be read: 400 with the reasons (B-061)."""
    answer = await post(client, message(b"x", b"y"))
    assert answer.status_code == 400
    assert others(answer) == [0xC000, 0xC000]
    assert "00081199" not in answer.json()
    assert "00081198" not in answer.json()


async def test_a_study_in_the_path_binds(client: httpx2.AsyncClient) -> None:
    """Instances of another study fail one by one; none stored is 409 (B-001, B-034)."""
    study = new_uid()
    mine, theirs = ct_slice(study), ct_slice()
    answer = await post(client, message(mine, theirs), path=f"/studies/{study}")
    assert answer.status_code == 202
    assert stored(answer) == [sop_instance_uid(mine)]
    assert failed(answer) == [(sop_instance_uid(theirs), 0xA901)]
    answer = await post(client, message(theirs), path=f"/studies/{study}")
    assert answer.status_code == 409


async def test_a_missing_uid_fails(client: httpx2.AsyncClient) -> None:
    """An instance without Series Instance UID cannot be stored (B-030)."""
    answer = await post(client, message(dicom_file(SeriesInstanceUID=ABSENT)))
    assert answer.status_code == 400
    reasons = others(answer) or [reason for _, reason in failed(answer)]
    assert reasons == [0xA900]


async def test_sending_again_is_success(client: httpx2.AsyncClient) -> None:
    """The same bytes again: 200 and listed as stored (B-042)."""
    body = message(ct_slice())
    first = await post(client, body)
    second = await post(client, body)
    assert (first.status_code, second.status_code) == (200, 200)
    assert stored(first) == stored(second)


async def test_other_bytes_under_a_stored_uid_are_refused(client: httpx2.AsyncClient) -> None:
    """A different file under stored UIDs fails with reason 0111 (B-043)."""
    uids = (new_uid(), new_uid(), new_uid())
    assert (await post(client, message(ct_slice(*uids)))).status_code == 200
    answer = await post(client, message(ct_slice(*uids, PatientID="another")))
    assert answer.status_code == 409
    assert failed(answer) == [(uids[2], 0x0111)]


async def test_a_part_of_another_type_fails_alone(client: httpx2.AsyncClient) -> None:
    """A part whose type contradicts the message fails; the others are stored (B-006)."""
    file = ct_slice()
    body = part_head("b", "image/jpeg") + b"..." + PART_END + message(file)
    answer = await post(client, body)
    assert answer.status_code == 202
    assert stored(answer) == [sop_instance_uid(file)]
    assert others(answer) == [0xC000]


@pytest.mark.parametrize("accept", ["application/dicom+xml", 'multipart/related; type="application/dicom+xml"'])
async def test_the_response_is_xml_when_asked_for(client: httpx2.AsyncClient, accept: str) -> None:
    """The response is one NativeDicomModel when XML is accepted, in a message or not (B-050, B-051)."""
    file = ct_slice()
    answer = await post(client, message(file, b"x"), Accept=accept)
    assert answer.headers["content-type"] == "application/dicom+xml"
    dataset = dicomxml.decode(answer.content)
    assert dataset["00081199"]["Value"][0]["00081155"]["Value"] == [sop_instance_uid(file)]
    assert len(dataset["0008119A"]["Value"]) == 1


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/html", 'multipart/related; type="application/dicom"']
)
async def test_the_response_is_json_otherwise(client: httpx2.AsyncClient, accept: str) -> None:
    """An upload is never refused because of Accept: JSON is the default (B-050, A-034)."""
    answer = await post(client, message(ct_slice()), Accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"


# Refusals


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        (None, "no Content-Type"),
        ("text/plain", "type text/plain "),
        ("Text/Plain; charset=utf-8", "type Text/Plain "),
        ("application/octet-stream", "type application/octet-stream "),
        ("application/x-www-form-urlencoded", "type application/x-www-form-urlencoded "),
        ("multipart/form-data; boundary=b", "type multipart/form-data "),
        ("multipart/mixed; boundary=b", "type multipart/mixed "),
        ('multipart/related; type="image/jpeg"; boundary=b', "type image/jpeg "),
        ('multipart/related; type="image/dicom+jpeg"; boundary=b', "type image/dicom+jpeg "),
        ("dicom", "dicom is no media type"),
        ("x/" + "y" * 200, "type x/" + "y" * 78 + " "),
    ],
)
async def test_unknown_types_are_refused_with_a_recipe(
    client: httpx2.AsyncClient, content_type: str | None, named: str
) -> None:
    """What cannot be stored is a 415 that names what was sent, lists what can, and shows how (A-107, B-018)."""
    answer = await post(client, message(ct_slice()), content_type)
    assert answer.status_code == 415
    problem = answer.json()
    assert named in problem["detail"]
    assert 'multipart/related; type="application/dicom"' in problem["supported"]
    assert len(problem["example"]) == 5
    assert "curl" in "".join(problem["example"])
    assert "http://archive.test/dicom-web/studies" in "".join(problem["example"])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (message(b"x"), 'multipart/related; type="application/dicom"'),
        (message(b"x"), 'multipart/related; type="application/dicom"; boundary=""'),
        (message(b"x"), 'multipart/related; type="application/dicom"; boundary=other'),
        (b"", MESSAGE),
        (b"--b--\r\n", MESSAGE),
        (b"--b--\r\n", "multipart/related; boundary=b"),
        (b"no message at all", MESSAGE),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--", MESSAGE),
        (b"--b\r\n\r\ncut off", MESSAGE),
    ],
)
async def test_what_is_no_message_is_a_bad_request(client: httpx2.AsyncClient, body: bytes, content_type: str) -> None:
    """No boundary, a wrong one, no part, an unreadable or cut off body: 400 that says so (B-018, B-061)."""
    answer = await post(client, body, content_type)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


async def test_a_cut_off_message_keeps_what_was_complete(client: httpx2.AsyncClient) -> None:
    """400, listing what was stored before the cut; sending all of it again succeeds (B-018, B-042)."""
    first, second = ct_slice(), ct_slice()
    whole = message(first, second)
    answer = await post(client, whole[:-200])
    assert answer.status_code == 400
    assert stored(answer) == [sop_instance_uid(first)]
    assert others(answer) == [0xC000]
    answer = await post(client, whole)
    assert (answer.status_code, len(stored(answer))) == (200, 2)


@pytest.mark.parametrize("uid", ["abc", "1.2.x", "1" * 65, "%20", "1.2%2F3"])
async def test_a_malformed_uid_in_the_path_is_a_bad_request(client: httpx2.AsyncClient, uid: str) -> None:
    """A path that names no UID is a client error, never a failure of the server (A-004)."""
    answer = await post(client, message(ct_slice()), path=f"/studies/{uid}")
    assert answer.status_code in (400, 404, 405)


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "zstd"])
async def test_unknown_content_encodings_are_refused(client: httpx2.AsyncClient, coding: str) -> None:
    """An unknown Content-Encoding is a 415 that names the known ones (A-125)."""
    answer = await post(client, b"...", Content_Encoding=coding)
    assert answer.status_code == 415
    assert "gzip" in answer.headers["accept-encoding"]


@pytest.mark.parametrize(
    "body",
    [
        b"not compressed",
        pytest.param(gzip.compress(message(b"x") * 50, mtime=0)[:-20], id="cut off"),
        b"",
        b"\x1f",
    ],
)
async def test_damaged_compressed_bodies_are_bad_requests(client: httpx2.AsyncClient, body: bytes) -> None:
    """A body that is not what its Content-Encoding says is a 400 (A-125)."""
    answer = await post(client, body, Content_Encoding="gzip")
    assert answer.status_code == 400


@pytest.mark.parametrize("settings", [{"max_request_bytes": 10_000}], indirect=True)
async def test_a_body_over_the_limit_is_refused(client: httpx2.AsyncClient) -> None:
    """413 that names the limit, from Content-Length, while streaming, and inflated (A-106, B-019, B-062)."""
    body = message(*(ct_slice() for _ in range(3)))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    answer = await post(client, body)
    assert (answer.status_code, answer.json()["limit"]) == (413, 10_000)
    answer = await post(client, chunks())
    assert answer.status_code == 413
    assert len(stored(answer)) == 1
    assert others(answer) == [0xA700]
    assert (await post(client, gzip.compress(message(bytes(50_000))), Content_Encoding="gzip")).status_code == 413


async def test_a_bomb_is_refused(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that grows out of proportion is refused while it grows (A-125)."""
    monkeypatch.setattr("dicomweb.http.stow.body.FREE_INFLATION", 100_000)
    answer = await post(client, gzip.compress(message(bytes(20_000_000))), Content_Encoding="gzip")
    assert answer.status_code == 413


@pytest.mark.parametrize("settings", [{"max_parts": 3}], indirect=True)
async def test_too_many_parts_are_refused(client: httpx2.AsyncClient) -> None:
    """A message of more parts than allowed is a 413 that keeps those before (A-106)."""
    answer = await post(client, message(*(ct_slice() for _ in range(4))))
    assert (answer.status_code, len(stored(answer))) == (413, 3)


@pytest.mark.parametrize("settings", [{"require_accept": True}], indirect=True)
async def test_accept_may_be_required(archive: Archive, app: Starlette) -> None:
    """With the switch on, a request without Accept is a 406 (A-020)."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://archive.test") as plain:
        del plain.headers["accept"]
        assert (await post(plain, message(ct_slice()))).status_code == 406
        assert (await post(plain, message(ct_slice()), Accept="*/*")).status_code == 200


# On the wire


async def test_expect_continue_and_early_refusal(app: Starlette) -> None:
    """`Expect: 100-continue` is answered, and a refusal comes before the body is sent (B-021, A-106)."""
    file = message(ct_slice())

    async def exchange(url: str, headers: str, body: bytes) -> tuple[bytes, bytes]:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /dicom-web/studies HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n".encode())
        first = await asyncio.wait_for(reader.readline(), 10)
        rest = b""
        if b" 100 " in first:
            await reader.readline()
            writer.write(body)
            rest = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        return first, rest

    async with listening(app) as url:
        common = f"Content-Type: {MESSAGE}\r\nExpect: 100-continue\r\nContent-Length: "
        first, rest = await exchange(url, common + str(len(file)), file)
        assert b" 100 " in first
        assert b" 200 " in rest
        first, _ = await exchange(url, common + str(10**15), b"")
        assert b" 413 " in first
        first, _ = await exchange(url, "Content-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 9", b"")
        assert b" 415 " in first


async def test_a_client_that_goes_away_leaves_no_half(app: Starlette, archive: Archive) -> None:
    """When the client disconnects, the unfinished part is gone and the server goes on (B-020)."""
    study = new_uid()
    body = message(ct_slice(study))
    async with listening(app) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: {host}\r\nContent-Type: {MESSAGE}\r\n"
        head += f"Content-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body[:2000])
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.2)
        assert await read_back(archive, study) == []
        async with httpx2.AsyncClient(base_url=url) as client:
            assert (await post(client, body)).status_code == 200


async def test_parallel_clients_do_not_disturb_each_other(client: httpx2.AsyncClient) -> None:
    """Eight clients storing into one study at once all succeed (user-pains: lost instances under load)."""
    study, series = new_uid(), new_uid()
    bodies = [message(*(ct_slice(study, series) for _ in range(4))) for _ in range(8)]
    answers = await asyncio.gather(*(post(client, body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({uid for answer in answers for uid in stored(answer)}) == 32


async def test_implicit_vr_files_are_stored(client: httpx2.AsyncClient) -> None:
    """A file in Implicit VR Little Endian is taken although web services should not send it (B-039)."""
    answer = await post(client, message(ct_slice(transfer_syntax=IMPLICIT_LE)))
    assert answer.status_code in (200, 202)
    assert len(stored(answer)) == 1


async def test_real_files_in_one_message(client: httpx2.AsyncClient) -> None:
    """Real files, bad ones among them, in one message: each is stored or has its reason (B-031 to B-038, B-059)."""
    files = [path.read_bytes() for path in wheel_files() if path.stat().st_size < 1_000_000]
    answer = await post(client, message(*files))
    assert answer.status_code == 202
    assert len(stored(answer)) + len(failed(answer)) + len(others(answer)) == len(files)
    assert len(stored(answer)) > len(files) / 2
