"""Storing metadata with bulk data: finding the parts it refers to, the files they wait in, and all of it over HTTP."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2
import imagecodecs
import numpy as np
import pytest
from starlette.applications import Starlette

from dicomweb.http.app import assemble
from dicomweb.http.message.multipart import PART_END, closing, part_head
from dicomweb.http.message.spool import PREFIX, spool_folder, sweep_spool
from dicomweb.http.stow import resource as stow
from dicomweb.http.stow.body import BodyError
from dicomweb.http.stow.datasets import datasets
from dicomweb.http.stow.metadata import BulkParts
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.dicom import dicomxml
from storage.errors import InvalidDicom
from storage.writing.compose import BulkPart
from tests.builders import new_uid
from tests.dicomweb.loopback import listening
from tests.dicomweb.stowing import CT, failed, others, post, read_back, sequence, stored


def part(name: str) -> BulkPart:
    return BulkPart("image/jpeg", None, Path(name), 1)


def test_frames_keep_their_order() -> None:
    """Parts of one Content-Location are found together, in the order of the message (B-012)."""
    bulk = BulkParts()
    frames = [part(str(number)) for number in range(3)]
    for frame in (frames[0], frames[1]):
        bulk.add("http://host/1/pixels", frame)
    bulk.add("http://host/2/pixels", part("other"))
    bulk.add("http://host/1/pixels", frames[2])
    assert bulk.find("http://host/1/pixels") == frames
    assert bulk.unused() == 1


@pytest.mark.parametrize("uri", ["pixels", "nothing", "", "cid:pixels", "els", "http://[bad"])
def test_what_is_ambiguous_or_unknown_is_not_guessed(uri: str) -> None:
    """A reference that two locations fit, or none, finds nothing (B-010, B-017)."""
    bulk = BulkParts()
    bulk.add("http://host/1/pixels", part("one"))
    bulk.add("http://host/2/pixels", part("two"))
    assert bulk.find(uri) == []
    assert bulk.unused() == 2


def test_an_exact_location_goes_before_a_similar_one() -> None:
    """What is equal is meant, however much else resembles it (B-010)."""
    bulk = BulkParts()
    bulk.add("HTTP://HOST/1", part("upper"))
    bulk.add("http://host/1", part("lower"))
    assert bulk.find("http://host/1") == [part("lower")]
    assert bulk.find("http://Host/1") == []


def referred(location: str, number_of_parts: int, uris: Iterable[str]) -> BulkParts:
    bulk = BulkParts()
    for number in range(number_of_parts):
        bulk.add(location, part(str(number)))
    bulk.refer([referring(uri) for uri in uris])
    return bulk


def test_a_part_that_two_uris_only_resemble_is_for_neither() -> None:
    """Different references that end in one location are refused, in either order (B-010, B-017)."""
    uris = ["http://x/1.4/pixels", "http://x/1.5/pixels"]
    for order in (uris, uris[::-1]):
        bulk = referred("pixels", 1, order)
        for uri in order:
            with pytest.raises(InvalidDicom, match="Content-Location"):
                bulk.find(uri)
        assert bulk.unused() == 1


def test_a_part_goes_to_its_exact_uri_alone() -> None:
    """A reference equal to the location finds the part, one that resembles it does not (B-010)."""
    bulk = referred("pixels", 1, ["http://x/1.5/pixels", "pixels"])
    assert bulk.find("pixels") == [part("0")]
    with pytest.raises(InvalidDicom, match="Content-Location"):
        bulk.find("http://x/1.5/pixels")


@pytest.mark.parametrize("location", ["http://x/lut", "lut"])
def test_a_part_is_shared_by_one_uri(location: str) -> None:
    """Any number of references spelt alike find the same part (B-010)."""
    bulk = referred(location, 1, ["http://x/lut", "http://x/lut"])
    assert bulk.find("http://x/lut") == [part("0")]


@pytest.mark.parametrize("uri", ["http://x/pixels", "pixels"])
def test_several_parts_are_for_one_reference(uri: str) -> None:
    """The parts of one location are the frames of one image, so two references to them are refused (B-012)."""
    bulk = referred("pixels", 2, [uri, uri])
    with pytest.raises(InvalidDicom, match="frames of one image"):
        bulk.find(uri)
    assert referred("pixels", 2, [uri]).find(uri) == [part("0"), part("1")]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Patients' pixels do not lie about; what a living process is receiving is left alone."""
    mine = spool_folder(tmp_path)
    others = mine.with_name("1"), mine.with_name(PREFIX + "of-an-older-program")
    for folder in (mine, *others):
        (folder / "part").mkdir(parents=True)
        (folder / "part" / "pixels").write_bytes(b"x")
    sweep_spool(tmp_path, [os.getpid()])
    assert (mine / "part" / "pixels").exists() and not any(folder.exists() for folder in others)
    sweep_spool(tmp_path)
    assert not mine.exists()
    sweep_spool(tmp_path / "absent")


# Over HTTP


def metadata(**attributes: Any) -> dict[str, Any]:
    uids = {"0020000D": new_uid(), "0020000E": new_uid(), "00080018": new_uid(), "00080016": CT}
    described = {
        "00280002": ("US", 1),
        "00280004": ("CS", "MONOCHROME2"),
        "00280010": ("US", 4),
        "00280011": ("US", 4),
        "00280100": ("US", 8),
        "00280101": ("US", 8),
        "00280102": ("US", 7),
        "00280103": ("US", 0),
    }
    dataset: dict[str, Any] = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
    dataset |= {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in described.items()}
    return dataset | attributes


def referring(uri: str) -> dict[str, Any]:
    return metadata(**{"7FE00010": {"vr": "OB", "BulkDataURI": uri}})


def with_bulk(
    documents: Iterable[bytes], bulk: Iterable[tuple[str | None, bytes]], kind: str = "application/dicom+json"
) -> tuple[bytes, str]:
    heads = [(part_head("b", kind), document) for document in documents]
    heads += [(part_head("b", "application/octet-stream", location), data) for location, data in bulk]
    body = b"".join(head + data + PART_END for head, data in heads) + closing("b")
    return body, f'multipart/related; type="{kind}"; boundary=b'


@pytest.mark.parametrize(
    ("reference", "location"),
    [
        ("http://host/studies/1/bulk/7", "http://host/studies/1/bulk/7"),
        ("http://host/studies/1/bulk/7", "HTTPS://other/Studies/1/bulk/7"),
        ("http://host/studies/1/bulk/7", "bulk/7"),
        ("../../bulk/7", "http://host/studies/1/bulk/7"),
        ("bulk%207", "bulk 7"),
        ("cid:part7@host", "cid:part7@host"),
        ("urn:uuid:6F0E-7", "6f0e-7"),
    ],
)
async def test_metadata_finds_its_bulk_data(
    client: httpx2.AsyncClient, archive: Archive, reference: str, location: str
) -> None:
    """JSON metadata and bulk data become one instance, the reference spelt in any form (B-003, B-010, B-011)."""
    dataset = referring(reference)
    answer = await post(client, *with_bulk([json.dumps([dataset]).encode()], [(location, bytes(range(16)))]))
    assert answer.status_code == 200, answer.text
    assert stored(answer) == dataset["00080018"]["Value"]
    (file,) = await read_back(archive, dataset["0020000D"]["Value"][0])
    assert bytes(range(16)) in file


async def test_one_bare_data_set_and_several(client: httpx2.AsyncClient) -> None:
    """One JSON part holds an array of data sets; a bare data set is tolerated (B-007)."""
    one = await post(client, *with_bulk([json.dumps(referring("a")).encode()], [("a", bytes(16))]))
    assert one.status_code == 200, one.text
    datasets = [referring("1/a"), referring("2/a")]
    two = await post(client, *with_bulk([json.dumps(datasets).encode()], [("1/a", bytes(16)), ("2/a", bytes(16))]))
    assert (two.status_code, len(stored(two))) == (200, 2)


async def test_xml_metadata(client: httpx2.AsyncClient) -> None:
    """Each XML part is one instance; a damaged one costs only itself (B-003, B-008)."""
    datasets = [referring("1/a"), referring("2/a")]
    documents = [dicomxml.encode(dataset) for dataset in datasets]
    bulk = [("1/a", bytes(16)), ("2/a", bytes(16))]
    answer = await post(client, *with_bulk(documents, bulk, "application/dicom+xml"))
    assert (answer.status_code, len(stored(answer))) == (200, 2)
    documents = [dicomxml.encode(referring("1/a")), b"<broken"]
    answer = await post(client, *with_bulk(documents, bulk[:1], "application/dicom+xml"))
    assert (answer.status_code, len(stored(answer)), others(answer)) == (202, 1, [0xC000])


async def test_metadata_without_bulk_data_needs_no_message(client: httpx2.AsyncClient) -> None:
    """A report as one JSON body is stored (B-003) [tolerance]."""
    dataset = metadata()
    answer = await post(client, json.dumps([dataset]).encode(), "application/dicom+json")
    assert (answer.status_code, stored(answer)) == (200, dataset["00080018"]["Value"])


async def test_parts_and_references_without_each_other_fail(client: httpx2.AsyncClient) -> None:
    """A reference without part, a part without reference and one without location are failures (B-017)."""
    good = referring("here")
    documents = [json.dumps([good, referring("nowhere")]).encode()]
    bulk = [("here", bytes(16)), ("stray", b"1"), (None, b"2")]
    answer = await post(client, *with_bulk(documents, bulk))
    assert answer.status_code == 202
    assert stored(answer) == good["00080018"]["Value"]
    assert len(failed(answer)) == 1  # the metadata names its instance
    assert len(others(answer)) == 2


@pytest.mark.parametrize("kind", ["application/dicom+json", "application/dicom+xml"])
@pytest.mark.parametrize("swapped", [False, True])
async def test_no_instance_gets_the_pixels_of_another(client: httpx2.AsyncClient, kind: str, swapped: bool) -> None:
    """Instances whose different references fit one part both fail, whatever their order; others are stored (B-017)."""
    similar = [referring("http://x/1.4/pixels"), referring("http://x/1.5/pixels")]
    good = referring("good")
    datasets = [*(reversed(similar) if swapped else similar), good]
    encode = dicomxml.encode if kind.endswith("xml") else lambda dataset: json.dumps(dataset).encode()
    documents = [encode(dataset) for dataset in datasets]
    answer = await post(client, *with_bulk(documents, [("pixels", bytes(16)), ("good", bytes(16))], kind))
    assert answer.status_code == 202
    assert stored(answer) == good["00080018"]["Value"]
    assert sorted(failed(answer)) == sorted((dataset["00080018"]["Value"][0], 0xC000) for dataset in similar)
    assert "Content-Location equal to it" in answer.headers["warning"]


@pytest.mark.parametrize("frames", [None, "2"])
async def test_instances_do_not_share_the_frames_of_one_location(
    client: httpx2.AsyncClient, frames: str | None
) -> None:
    """Two images that refer to the same two parts both fail, with or without a fitting Number of Frames (B-012)."""
    datasets = [referring("pixels"), referring("pixels")]
    for dataset in datasets:
        dataset |= {"00280008": {"vr": "IS", "Value": [frames]}} if frames else {}
    bulk = [("pixels", b"1" * 16), ("pixels", b"2" * 16)]
    answer = await post(client, *with_bulk([json.dumps(datasets).encode()], bulk))
    assert (answer.status_code, stored(answer)) == (400, [])
    assert [reason for _, reason in failed(answer)] == [0xC000, 0xC000]


async def test_frames_in_parts_of_their_own(client: httpx2.AsyncClient, archive: Archive) -> None:
    """As many native parts as there are frames become one image, in their order (B-012) [tolerance]."""
    dataset = referring("http://x/1.4/pixels") | {"00280008": {"vr": "IS", "Value": ["2"]}}
    bulk = [("pixels", b"1" * 16), ("pixels", b"2" * 16)]
    answer = await post(client, *with_bulk([json.dumps(dataset).encode()], bulk))
    assert answer.status_code == 200, answer.text
    (file,) = await read_back(archive, dataset["0020000D"]["Value"][0])
    assert b"1" * 16 + b"2" * 16 in file


async def test_instances_share_a_part_by_the_same_uri(client: httpx2.AsyncClient) -> None:
    """Several instances that refer to one part by the same URI all get it (B-010)."""
    datasets = [referring("http://x/shared"), referring("http://x/shared")]
    answer = await post(client, *with_bulk([json.dumps(datasets).encode()], [("http://x/shared", bytes(16))]))
    assert (answer.status_code, len(stored(answer))) == (200, 2)


async def test_one_unreadable_document_stores_nothing(client: httpx2.AsyncClient, archive: Archive) -> None:
    """Metadata that is no JSON is a 400 with nothing stored, though other metadata came before it (B-061)."""
    dataset = metadata()
    answer = await post(client, *with_bulk([json.dumps(dataset).encode(), b"{"], []))
    assert answer.status_code == 400
    assert await read_back(archive, dataset["0020000D"]["Value"][0]) == []


@pytest.mark.parametrize("document", [b"{", b"[]", b"", b'{"a": NaN}'])
async def test_metadata_that_is_no_json_is_a_bad_request(client: httpx2.AsyncClient, document: bytes) -> None:
    """Unreadable JSON metadata is a syntax error (B-061)."""
    answer = await post(client, *with_bulk([document], []))
    assert answer.status_code == 400


@pytest.mark.parametrize("document", [b"[1]", b'"text"', b"[[]]", b'{"x": 1}', b'[{"00080018": null}]'])
async def test_metadata_that_is_no_data_set_fails(client: httpx2.AsyncClient, document: bytes) -> None:
    """JSON that is no data set is a failure, never an error of the server (B-060)."""
    answer = await post(client, *with_bulk([document], []))
    assert answer.status_code == 400
    assert others(answer)


async def test_a_cut_off_message_of_metadata_stores_nothing(client: httpx2.AsyncClient, archive: Archive) -> None:
    """Metadata whose bulk data did not arrive in full is not stored (B-018)."""
    dataset = referring("a")
    body, content_type = with_bulk([json.dumps([dataset]).encode()], [("a", bytes(16))])
    answer = await post(client, body[:-12], content_type)
    assert answer.status_code == 400
    assert await read_back(archive, dataset["0020000D"]["Value"][0]) == []


DATASETS = [
    {"a": '[{"'}, {}, [1, [2, ","]], "x,]", {"b": "\\"}, {"c": '\\"]}'}, 7, None, {"d": [{"e": "}"}, []]}, "é\\",
]  # fmt: skip


@pytest.mark.parametrize("chunk", [2, 3, 5, 1 << 18])
@pytest.mark.parametrize("blank", [("", ""), (" \r\n", "\t \n")])
def test_data_sets_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, blank: tuple[str, str]
) -> None:
    """What is read one by one is what the parser makes of all, wherever the text is cut (PS3.18 F.2.1, RFC 8259)."""
    before, after = blank
    document = tmp_path / "document"
    text = f"{before}[" + f"{after},{before}".join(map(json.dumps, DATASETS)) + f"{after}]{before}"
    document.write_text(text)
    monkeypatch.setattr("dicomweb.http.stow.datasets._CHUNK", max(chunk, len(before) + 1))
    assert list(datasets([document], len(DATASETS))) == json.loads(text) == DATASETS
    document.write_bytes(b"\xef\xbb\xbf" + json.dumps(DATASETS[0]).encode())
    monkeypatch.setattr("dicomweb.http.stow.datasets._CHUNK", 8)
    assert list(datasets([document, document], 2)) == [DATASETS[0]] * 2


@pytest.mark.parametrize(
    "text", ["[{},]", "[,{}]", "[{}", "[{}}", "[{}]]", "[{}] {}", "[{} {}]", "[}", " ", '["]', "[{}],"]
)
def test_what_is_no_array_is_no_json(tmp_path: Path, text: str) -> None:
    """A document that the parser would refuse as a whole is refused (B-061)."""
    document = tmp_path / "document"
    document.write_text(text)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(BodyError, match="is no JSON"):
        list(datasets([document], 9))


async def test_data_sets_are_counted(archive: Archive, tmp_path: Path) -> None:
    """More data sets than parts are allowed, in all documents, are a 413 that says so; nothing is stored (A-106)."""
    app = assemble(
        archive, Settings(data_dir=tmp_path / "data", max_parts=3, allowed_hosts=["archive.test"]), stow.ROUTES
    )
    sets = [metadata() for _ in range(4)]
    documents = [json.dumps(sets[:2]).encode(), json.dumps(sets[2:]).encode()]
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://archive.test") as client:
        answer = await post(client, *with_bulk(documents, []))
        assert answer.status_code == 413 and "more than 3 data sets" in answer.json()["detail"]
        assert await read_back(archive, sets[0]["0020000D"]["Value"][0]) == []
        answer = await post(client, *with_bulk([json.dumps(sets[:3]).encode()], []))
        assert (answer.status_code, len(stored(answer))) == (200, 3)


@pytest.mark.parametrize("kind", ["application/dicom+json", "application/dicom+xml"])
async def test_the_values_of_a_data_set_are_counted(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A data set of more values than memory is meant for is a 413; what is in strings is no value (A-125)."""
    monkeypatch.setattr("dicomweb.http.stow.datasets.MOST_VALUES", 200)
    encode = dicomxml.encode if kind.endswith("xml") else lambda dataset: json.dumps(dataset).encode()
    many = metadata(**{"00081140": {"vr": "SQ", "Value": [{}] * 300}})
    answer = await post(client, encode(many), kind)
    assert (answer.status_code, stored(answer)) == (413, [])
    texts = metadata(**{"00204000": {"vr": "LT", "Value": [",{[" * 300]}})
    assert (await post(client, encode(texts), kind)).status_code == 200


def test_references_to_nothing_are_not_kept() -> None:
    """Only what is found is kept, and many parts are not looked through for every reference."""
    bulk = BulkParts()
    for number in range(50_000):
        bulk.add(f"http://host/{number}/pixels", part(str(number)))
    begin = time.monotonic()
    for number in range(5_000):
        bulk.refer(referring(f"x/{number}/other"))
        assert bulk.find(f"{number}/pixels") == [part(str(number))]
    assert time.monotonic() - begin < 30  # a minute and more when each looks at every part
    assert bulk.unused() == 45_000
    assert bulk.find("pixels") == []


async def test_nothing_is_made_for_a_client_that_left(app: Starlette, archive: Archive) -> None:
    """Data sets that are still to be read when the client goes away after its last byte are not stored (B-020)."""
    study = new_uid()
    sets = [metadata(**{"0020000D": {"vr": "UI", "Value": [study]}}) for _ in range(1500)]
    body = json.dumps(sets).encode()
    async with listening(app) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Content-Type: application/dicom+json\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
    # The server has ended what it was doing.
    assert len(await read_back(archive, study)) < len(sets)
    assert not list((archive.blobs.root.parent / "incoming").glob("*"))


async def test_frames_in_the_metadata_are_pixels(client: httpx2.AsyncClient) -> None:
    """Fragments as dcm4che's dcm2json writes them are the frames of the image (PS3.5 A.4)."""
    stream = imagecodecs.jpegls_encode(np.arange(16, dtype=np.uint8).reshape(4, 4))
    fragments = [None, {"InlineBinary": base64.b64encode(stream).decode()}]
    dataset = metadata(**{"7FE00010": {"vr": "OB", "DataFragment": fragments}})
    answer = await post(client, json.dumps([dataset]).encode(), "application/dicom+json")
    assert answer.status_code == 200, answer.text
    uids = [dataset[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
    url = "/dicom-web/studies/{}/series/{}/instances/{}/frames/1".format(*uids)
    frame = await client.get(url, headers={"Accept": "image/jls"})
    assert frame.content.rstrip(b"\0") == stream.rstrip(b"\0")


@pytest.mark.parametrize("kind", ["application/dicom+json", "application/dicom+xml"])
async def test_a_value_under_another_name_costs_its_instance(client: httpx2.AsyncClient, kind: str) -> None:
    """The instance is refused with tag and member, its neighbour is stored (B-017)."""
    good, bad = metadata(), metadata()
    encode = dicomxml.encode if kind.endswith("xml") else lambda dataset: json.dumps(dataset).encode()
    wrong = {
        "application/dicom+xml": b'<DicomAttribute tag="00081030" vr="LO"><value number="1">x</value></DicomAttribute>',
        "application/dicom+json": b',"00081030":{"vr":"LO","value":["x"]}',
    }
    end = b"</NativeDicomModel>" if kind.endswith("xml") else b"}"
    document = encode(bad).removesuffix(end) + wrong[kind] + end
    answer = await post(client, *with_bulk([encode(good), document], [], kind))
    assert (answer.status_code, stored(answer)) == (202, good["00080018"]["Value"])
    assert failed(answer) == [(bad["00080018"]["Value"][0], 0xC000)]
    assert "(0008,1030)" in answer.headers["warning"] and "value" in answer.headers["warning"]


async def test_what_is_left_out_is_told(client: httpx2.AsyncClient) -> None:
    """A member that says nothing new is left out with a warning (B-052)."""
    dataset = metadata(**{"00081030": {"vr": "LO", "Value": ["Head"], "keyword": "StudyDescription"}})
    answer = await post(client, json.dumps([dataset]).encode(), "application/dicom+json")
    assert (answer.status_code, stored(answer)) == (202, dataset["00080018"]["Value"])
    (item,) = sequence(answer, "00081199")
    assert item["00081196"]["Value"] == [0xB007]
    assert item["00000902"]["Value"] == ['"keyword" of (0008,1030) was left out.']


async def test_a_picture_that_is_another_is_told_at_once(client: httpx2.AsyncClient) -> None:
    """A JPEG of other rows than its metadata says is refused with both numbers, the next instance is stored."""
    stream = imagecodecs.jpeg8_encode(np.zeros((4, 4), np.uint8))
    good, bad = referring("1/a"), referring("2/a") | {"00280010": {"vr": "US", "Value": [64]}}
    heads = [(part_head("b", "application/dicom+json"), json.dumps([bad, good]).encode())]
    heads += [(part_head("b", "image/jpeg", location), stream) for location in ("1/a", "2/a")]
    body = b"".join(head + data + PART_END for head, data in heads) + closing("b")
    answer = await post(client, body, 'multipart/related; type="application/dicom+json"; boundary=b')
    assert (answer.status_code, stored(answer)) == (202, good["00080018"]["Value"])
    assert failed(answer) == [(bad["00080018"]["Value"][0], 0xC000)]
    assert "Rows is 64, but the image has 4" in answer.headers["warning"]
