"""Rendered forms of what is no image: documents and videos as they are, reports as text (PS3.18 8.7.4).

Facts this module keeps:

- An Encapsulated Document and a video are given out as stored, by range too (D-095); anything but a PDF in a sandbox,
  since it was written by a stranger and is served from the archive's own origin.
- A page that is isolated from other origins embeds only what asks for it too: Cross-Origin-Embedder-Policy.
- A report is HTML, plain text, or the Native DICOM Model in XML; HTML forbids scripts twice, in the page and in a
  header (D-116).
"""

import asyncio
import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request

from dicomweb.media_types import Offer, media_type_of
from dicomweb.rendering.attribute_values import Attributes, integer, key_of, text
from dicomweb.rendering.report import ReportReference, report_of
from dicomweb.rendering.report_html import CONTENT_SECURITY_POLICY, report_html
from dicomweb.rendering.report_text import report_text
from dicomweb.urls import base_url, instance_url
from dicomweb.wado_body import Headers, InMemory, Item
from dicomweb.wado_metadata import with_urls
from dicomweb.wado_video import VideoStream
from storage import dicomxml
from storage.errors import NotFound

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.instance_file import InstanceFile

PDF: Final = "application/pdf"
HTML: Final = "text/html"
PLAIN_TEXT: Final = "text/plain"
XML: Final = "text/xml"
SANDBOX: Final = (b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'")

EMBEDDABLE: Final = (b"cross-origin-embedder-policy", b"require-corp")
"""For what viewers show in a frame of an isolated page."""

_DOCUMENT = key_of("EncapsulatedDocument")
_MIME = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}\Z")
_UID = re.compile(r"[0-9.]{1,64}\Z")


def document_type(attributes: Attributes) -> str | None:
    """Return the media type of an Encapsulated Document, None when there is none or it says nothing of its type."""
    mime = text(attributes, "MIMETypeOfEncapsulatedDocument").strip().lower()
    return mime if _DOCUMENT in attributes and _MIME.match(mime) else None


async def document_item(
    archive: "Archive", instance: "InstanceFile", attributes: Attributes, location: str
) -> tuple[Item, Headers]:
    """Return an Encapsulated Document without its pad byte, and headers to go with it (PS3.3 C.24.2)."""
    mime = document_type(attributes) or ""
    headers: Headers = [EMBEDDABLE] if mime == PDF else [EMBEDDABLE, SANDBOX]
    inline = attributes[_DOCUMENT].get("InlineBinary")
    if inline is not None:
        try:
            body = base64.b64decode(inline)
        except (binascii.Error, TypeError, ValueError):
            body = b""
        length = _true_length(attributes, mime, len(body), body[-1:])
        return Item(mime, location, length, InMemory(body[:length])), headers
    value = await archive.bulk_data(
        instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid, _DOCUMENT
    )
    last = b"".join([chunk async for chunk in value.stream(value.length - 1, 1)]) if value.length else b""
    return Item(mime, location, _true_length(attributes, mime, value.length, last), value.stream), headers


def _true_length(attributes: Attributes, mime: str, length: int, last: bytes) -> int:
    stated = integer(attributes, "EncapsulatedDocumentLength", -1)
    if stated in (length - 1, length):
        return stated
    return length - (last == b"\0" and mime == PDF)


def video_offers(instance: "InstanceFile") -> tuple[Offer, ...]:
    """Return the forms a video can be had in: its own media type."""
    media_type = media_type_of(instance.transfer_syntax_uid)
    return Offer(media_type), Offer(media_type, multipart=True)


async def video_item(archive: "Archive", instance: "InstanceFile", location: str) -> Item:
    """Return the stream of a video.

    Raises
    ------
    NotFound
        The instance has no pixel data.
    """
    pixel = instance.layout.pixel_data
    if pixel is None:
        raise NotFound("The instance has no pixel data.")
    value = await archive.bulk_data(
        instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid, f"{pixel.tag:08X}"
    )
    video = await VideoStream.open(value)
    return Item(media_type_of(instance.transfer_syntax_uid), location, video.length, video.stream)


async def report_item(
    request: Request, attributes: Attributes, media_type: str, charset: str | None, location: str
) -> tuple[Item, Headers]:
    """Return a report as HTML, plain text or XML, and headers to go with it.

    Standard
    --------
    PS3.18 Table 8.7.4-1, 8.3.5.1; checklist D-094, D-114, D-116.
    """
    base = base_url(request)
    charset = charset or "utf-8"

    def link(reference: ReportReference) -> str | None:
        uids = reference.study_instance_uid, reference.series_instance_uid, reference.sop_instance_uid
        return f"{instance_url(base, *uids)}/rendered" if all(map(_UID.match, uids)) else None

    if media_type == XML:
        charset = "utf-8"

    def written() -> bytes:
        if media_type == XML:
            url = location.removesuffix("/rendered")
            return dicomxml.encode(orjson.loads(with_urls(orjson.dumps(attributes), url)))
        report = report_of(attributes)
        return report_html(report, link, charset) if media_type == HTML else report_text(report, charset)

    body = await asyncio.to_thread(written)
    headers: Headers = [EMBEDDABLE]
    if media_type == XML:
        headers.append(SANDBOX)
    if media_type == HTML:
        headers.append((b"content-security-policy", CONTENT_SECURITY_POLICY.encode()))
    return Item(f"{media_type}; charset={charset}", location, len(body), InMemory(body)), headers
