"""Text that metadata gives as bulk data is UTF-8, as the metadata is, and stays the same text when it is sent back."""

import io
import json
from typing import Any

import httpx2
import pydicom
import pytest

from dicomweb.http.message.multipart import PART_END, closing, part_head
from storage.dicom.vr import explicit_element, tag_of
from tests.builders import ABSENT, BIG_ENDIAN, DEFLATED, EXPLICIT_LE, IMPLICIT_LE, dataset_of, dicom_file, new_uid
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.parts import parts_of
from tests.dicomweb.stowing import post, read_back
from tests.dicomweb.stowing import stored as accepted
from tests.storage.dicom.test_charset import NAMES

OCTETS = 'multipart/related; type="application/octet-stream"'
METADATA = 'multipart/related; type="application/dicom+json"; boundary=b'
TEXT = tag_of("TextValue")
LENGTH = 160_000
"""Bytes of a text that is certainly bulk data."""

UNDECLARED = [(b"", "Größe".encode(), "Größe"), (b"", "Größe".encode("latin-1"), "Größe"), (b"ISO_IR 6", b"\xdf", "ß")]


def with_text(declared: bytes, raw: bytes) -> bytes:
    """A file whose Text Value has these bytes, in an explicit data set of this character set."""
    character_set = declared.decode().split("\\") if declared else ABSENT
    file = dicom_file(SpecificCharacterSet=character_set, TextValue="HERE")
    return file.replace(explicit_element(TEXT, "UT", b"HERE"), explicit_element(TEXT, "UT", raw))


async def metadata_of(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    (dataset,) = (await client.get(f"{path}/metadata")).json()
    return dict(dataset)


async def sent_back(client: httpx2.AsyncClient, dataset: dict[str, Any], text: bytes, content_type: str) -> str:
    """Store the metadata as another instance with the text as its bulk data; returns the study."""
    dataset = dataset | {tag: {"vr": "UI", "Value": [new_uid()]} for tag in ("00080018", "0020000D", "0020000E")}
    uri = dataset["0040A160"]["BulkDataURI"]
    body = part_head("b", "application/dicom+json") + json.dumps([dataset]).encode() + PART_END
    body += part_head("b", content_type, uri) + text + PART_END + closing("b")
    answer = await post(client, body, METADATA)
    assert answer.status_code == 200 and accepted(answer), answer.text
    return str(dataset["0020000D"]["Value"][0])


@pytest.mark.parametrize(("declared", "raw", "text"), [*NAMES, *UNDECLARED])
async def test_text_of_every_character_set_comes_in_utf_8_and_goes_back(
    archive: Any, client: httpx2.AsyncClient, declared: bytes, raw: bytes, text: str
) -> None:
    """The Standard's examples, many lines of each (PS3.5 Annexes H to K; PS3.18 F.2)."""
    lines = LENGTH // len(raw)
    expected = "\r\n".join([text] * lines)
    (path,) = await stored(archive, with_text(declared, b"\r\n".join([raw] * lines)))
    dataset = await metadata_of(client, path)
    assert dataset["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    url = dataset["0040A160"]["BulkDataURI"]
    answer = await client.get(url)
    assert answer.content.decode().rstrip() == expected
    assert answer.headers["content-length"] == str(len(answer.content))
    part = await client.get(url, headers={"Range": "bytes=50001-50020"})
    assert part.status_code == 206 and part.content == answer.content[50001:50021]
    for target in (url, f"{path}/bulkdata"):
        (found,) = parts_of(await client.get(target, headers={"Accept": OCTETS}))
        assert found.body == answer.content
    study = await sent_back(client, dataset, answer.content, "application/octet-stream")
    (file,) = await read_back(archive, study)
    again = pydicom.dcmread(io.BytesIO(file))
    assert again.SpecificCharacterSet == "ISO_IR 192"
    assert again.TextValue == expected


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
async def test_items_may_have_a_character_set_of_their_own(
    archive: Any, client: httpx2.AsyncClient, syntax: str
) -> None:
    """In every encoding; the nearest one counts (PS3.3 C.12.1.1.2)."""
    greek, german = "Διονυσιος " * 9000, "Größe " * 15_000
    items = [
        {"SpecificCharacterSet": "ISO_IR 126", "ContentSequence": [{"TextValue": greek}]},
        {"TextValue": german},
    ]
    file = dicom_file(transfer_syntax=syntax, SpecificCharacterSet="ISO_IR 100", ContentSequence=items)
    assert greek.encode("iso8859_7") in file or syntax == DEFLATED
    (path,) = await stored(archive, file)
    for place, text in (("0040A730/1/0040A730/1/0040A160", greek), ("0040A730/2/0040A160", german)):
        assert (await client.get(f"{path}/bulkdata/{place}")).content.decode() == text


async def test_a_long_text_without_lines_comes_in_pieces(archive: Any, client: httpx2.AsyncClient) -> None:
    """More than is read at once, with characters across the reads (design 1.6)."""
    text = "x" + "山田太郎 " * 500_000
    (path,) = await stored(archive, with_text(b"GB18030", text.encode("gb18030")))
    assert (await client.get(f"{path}/bulkdata/0040A160")).content.decode().rstrip() == text.rstrip()


TEXTS = {"utf-8": "Größe 山田 ", "latin-1": "Größe ", "iso2022_jp": "山田 太郎\r\n", "iso8859_5": "Люкceмбypг "}
SENT = [
    ("application/octet-stream", [], "utf-8"),
    ("application/octet-stream", ["ISO_IR 100"], "latin-1"),
    ("application/octet-stream", ["ISO_IR 100"], "utf-8"),
    ("application/octet-stream", ["", "ISO 2022 IR 87"], "iso2022_jp"),
    ("text/plain; charset=ISO-8859-5", ["ISO_IR 192"], "iso8859_5"),
    ("text/plain; charset=utf-8", ["ISO_IR 100"], "utf-8"),
]


@pytest.mark.parametrize(("content_type", "declared", "codec"), SENT)
async def test_text_of_other_servers_is_stored_as_it_was_meant(
    archive: Any, client: httpx2.AsyncClient, content_type: str, declared: list[str], codec: str
) -> None:
    """The part's charset, else UTF-8, else the Specific Character Set that the metadata kept (PS3.18 F.2, 10.5.1.4)."""
    text = TEXTS[codec] * 9000
    file = dataset_of({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}).to_json_dict()
    file["0040A160"] = {"vr": "UT", "BulkDataURI": "text"}
    if declared:
        file["00080005"] = {"vr": "CS", "Value": declared}
    study = await sent_back(client, file, text.encode(codec), content_type)
    (body,) = await read_back(archive, study)
    again = pydicom.dcmread(io.BytesIO(body))
    assert (again.SpecificCharacterSet, again.TextValue) == ("ISO_IR 192", text.rstrip(" "))


UNREADABLE = ("application/octet-stream", "text/plain; charset=utf-16", "text/plain; charset=x")


@pytest.mark.parametrize("content_type", UNREADABLE)
async def test_text_that_nobody_can_read_is_refused(
    archive: Any, client: httpx2.AsyncClient, content_type: str
) -> None:
    """It would be stored as characters that nobody wrote; the attribute is named (PS3.18 10.5.1.4)."""
    uid = new_uid()
    dataset = dataset_of({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "SOPInstanceUID": uid}).to_json_dict()
    dataset["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    dataset["0040A160"] = {"vr": "UT", "BulkDataURI": "text"}
    body = part_head("b", "application/dicom+json") + json.dumps([dataset]).encode() + PART_END
    body += part_head("b", content_type, "text") + "Größe".encode("latin-1") + PART_END + closing("b")
    answer = await post(client, body, METADATA)
    assert answer.status_code == 400 and uid in answer.text, answer.text
