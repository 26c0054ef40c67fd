"""What a browser could run is never sent under a media type that lets it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from dicomweb.http.message.active_content import LONGEST_XML, harmless_type
from tests.builders import dicom_file
from tests.dicomweb.http.stow.test_resource import message
from tests.dicomweb.stowing import post

OCTETS = "application/octet-stream"
CDA = b'<?xml version="1.0"?><?xml-stylesheet href="CDA.xsl"?><Clinical xmlns="urn:hl7-org:v3"><a/></Clinical>'
XHTML = b'<a xmlns:h="http://www.w3.org/1999/xhtml"><h:p/></a>'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def stream_of(body: bytes, chunk: int = 7) -> Any:
    """The `stream` of a document, in small pieces."""

    async def stream(offset: int, length: int) -> AsyncIterator[bytes]:
        for start in range(offset, offset + length, chunk):
            yield body[start : min(start + chunk, offset + length)]

    return stream


@pytest.mark.parametrize(
    "mime",
    [
        "text/javascript",
        "application/javascript",
        "application/x-javascript",
        "text/ecmascript",
        "text/jscript",
        "application/wasm",
        "text/css",
        "text/html",
        "application/x-shockwave-flash",
        "multipart/x-mixed-replace",
        "application/json",
        "text/new-tomorrow",
    ],
)
async def test_a_type_that_browsers_could_run_is_never_said(mime: str) -> None:
    """Only what is known to be inert keeps its name (WHATWG MIME Sniffing 4.6)."""
    assert await harmless_type(mime, 2, stream_of(b"//")) == OCTETS


@pytest.mark.parametrize(
    "mime", ["application/pdf", "text/plain", "text/csv", "model/stl", "model/obj", "image/png", "video/mp4"]
)
async def test_what_viewers_show_keeps_its_type(mime: str) -> None:
    """PDF, models, pictures and videos (PS3.3 C.24.2)."""
    assert await harmless_type(mime, 2, stream_of(b"//")) == mime


@pytest.mark.parametrize("mime", ["text/xml", "application/xml", "application/hl7-cda+xml"])
@pytest.mark.parametrize(
    ("body", "harmless"),
    [
        (CDA, True),
        (CDA.decode().replace("1.0?", "1.0").encode("utf-16"), True),
        (b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xfc</a>", True),
        (XHTML, False),
        (XHTML.decode().encode("utf-16"), False),
        (SVG, False),
        (b"<a><script>alert(1)</script></a>", False),
        (b'<!DOCTYPE a [<!ENTITY s "<script/>">]><a>&s;</a>', False),
        (b"<?xml version='1.0' encoding='utf-7'?><a/>", False),
        (b"<?xml version='1.0' encoding='iso-2022-jp'?><a>\x1b$B<!-- \x1b(B<script/>--></a>", False),
        (b"<a><b></a>", False),
        (b"", False),
    ],
)
async def test_xml_is_what_it_holds(mime: str, body: bytes, harmless: bool) -> None:
    """A CDA is shown; elements of pages, and what could hide them, are not, in any encoding."""
    assert await harmless_type(mime, len(body), stream_of(body)) == (mime if harmless else OCTETS)


async def test_xml_without_end_is_not_read() -> None:
    """What is too long to be looked through is saved, not shown; nothing of it is read."""

    def never(offset: int, length: int) -> AsyncIterator[bytes]:
        raise AssertionError("read")

    assert await harmless_type("text/xml", LONGEST_XML + 1, never) == OCTETS


@pytest.mark.parametrize("length", [30, 20_000])
async def test_no_script_of_our_origin_can_be_stored(client: httpx2.AsyncClient, length: int) -> None:
    """A document of text/javascript comes as an attachment of octets at every resource that has it, byte for byte."""
    script = b"postMessage('mine');".ljust(length, b"/")
    file = dicom_file(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        MIMETypeOfEncapsulatedDocument="text/javascript",
        EncapsulatedDocument=script,
        EncapsulatedDocumentLength=length,
    )
    stored = await post(client, message(file))
    url = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    study, series, instance = url.split("/")[5::2]
    uri = f"/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
    bulk = [f"{url}/bulkdata/00420011"] if length > 4096 else []
    for path in (f"{url}/rendered", *bulk, uri):
        answer = await client.get(path, headers={"Accept": "*/*"})
        assert answer.content == script
        assert answer.headers["content-type"].startswith(OCTETS)
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await client.get(path, headers={"Accept": "text/javascript"})).status_code == 406
