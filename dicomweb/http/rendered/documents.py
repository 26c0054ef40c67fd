"""Rendered forms of what is no image: documents and videos as they are, reports as text (PS3.18 8.7.4).

Facts this module keeps:

- An Encapsulated Document and a video are given out as stored, by range too (D-095); what browsers could run of a
  document is octet-stream to be saved.
- A page that is isolated from other origins embeds only what asks for it too: Cross-Origin-Embedder-Policy.
- A report is HTML, plain text, or the Native DICOM Model in XML; HTML forbids scripts twice, in the page and in a
  header (D-116).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request

from dicomweb.http.message.active_content import harmless_type
from dicomweb.http.message.bodies import Headers, InMemory, Item
from dicomweb.http.message.charsets import UTF_8
from dicomweb.http.message.media_types import Offer, media_type_of
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.urls import base_url, instance_url
from dicomweb.http.wado.encapsulated_document import (
    ENCAPSULATED_DOCUMENT,
    SANDBOX,
    document_length,
    document_type,
    inline_document,
    protection,
)
from dicomweb.http.wado.metadata import with_urls
from dicomweb.http.wado.video import VideoStream
from dicomweb.rendering.attribute_values import Attributes
from dicomweb.rendering.report import ReportReference, report_of
from dicomweb.rendering.report_html import CONTENT_SECURITY_POLICY, report_html
from dicomweb.rendering.report_text import report_text
from storage.dicom import dicomxml
from storage.errors import NotFound

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.instance_file import InstanceFile

HTML: Final = "text/html"
PLAIN_TEXT: Final = "text/plain"
XML: Final = "text/xml"

EMBEDDABLE: Final = (b"cross-origin-embedder-policy", b"require-corp")
"""For what viewers show in a frame of an isolated page."""

SVG_HEADERS: Final[Headers] = [EMBEDDABLE, (b"content-security-policy", CONTENT_SECURITY_POLICY.encode())]
"""For drawings that a browser may open as a page."""

_UID = re.compile(r"[0-9.]{1,64}\Z")


async def document_item(
    archive: "Archive", instance: "InstanceFile", attributes: Attributes, location: str
) -> tuple[Item, Headers]:
    """Return an Encapsulated Document without its pad byte, and headers to go with it."""
    body = inline_document(attributes)
    stream: Callable[[int, int | None], AsyncIterator[bytes]]
    if body is not None:
        length, stream = len(body), InMemory(body)
    else:
        uids = instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
        value = await archive.bulk_data(*uids, ENCAPSULATED_DOCUMENT)
        length, stream = await document_length(attributes, value), value.stream
    media_type = await harmless_type(document_type(attributes) or "", length, stream)
    return Item(media_type, location, length, stream), [EMBEDDABLE, *protection(media_type)]


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
    video = await VideoStream.open(archive, value)
    return Item(media_type_of(instance.transfer_syntax_uid), location, video.length, video.stream)


async def report_item(
    request: Request, attributes: Attributes, media_type: str, charsets: Sequence[str], location: str
) -> tuple[Item, Headers]:
    """Return a report as HTML, plain text or XML, and headers to go with it.

    Raises
    ------
    NotAcceptable
        None of the character sets has all of the text.

    Standard
    --------
    PS3.18 Table 8.7.4-1, 8.8.5; checklist A-143, D-094, D-114, D-116.
    """
    base = base_url(request)

    def link(reference: ReportReference) -> str | None:
        uids = reference.study_instance_uid, reference.series_instance_uid, reference.sop_instance_uid
        return f"{instance_url(base, *uids)}/rendered" if all(map(_UID.match, uids)) else None

    def written(charset: str) -> bytes:
        if media_type == XML:
            url = location.removesuffix("/rendered")
            return dicomxml.encode(orjson.loads(with_urls(orjson.dumps(attributes), url)))
        report = report_of(attributes)
        return report_html(report, link, charset) if media_type == HTML else report_text(report, charset)

    for charset in (UTF_8,) if media_type == XML else charsets:
        try:
            body = await asyncio.to_thread(written, charset)
            break
        except UnicodeEncodeError:
            continue
    else:
        names = ", ".join(charsets)
        raise NotAcceptable(
            f"The text of this report cannot be written in {names}.", [f"{media_type}; charset={UTF_8}"]
        )
    headers: Headers = [EMBEDDABLE, (b"vary", b"Accept-Charset")]
    if media_type == XML:
        headers.append(SANDBOX)
    if media_type == HTML:
        headers.append((b"content-security-policy", CONTENT_SECURITY_POLICY.encode()))
    return Item(f"{media_type}; charset={charset}", location, len(body), InMemory(body)), headers
