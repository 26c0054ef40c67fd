"""Encapsulated Documents: their media type, their true length, and what a browser may do with them (PS3.3 C.24.2).

Facts kept here:

- The value may have a pad byte. Encapsulated Document Length tells, where it is given and can be true; without it a PDF
  that ends in NUL has one.
- A document was written by a stranger and is served from the archive's own origin: all but PDFs go into a sandbox, and
  what browsers could run is bytes to be saved (`dicomweb/http/message/active_content.py`).
"""

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

from dicomweb.http.message.media_types import OCTET_STREAM
from dicomweb.rendering.attribute_values import Attributes, integer, key_of, text

if TYPE_CHECKING:
    from storage.retrieval.bulk_value import BulkValue

ENCAPSULATED_DOCUMENT: Final = key_of("EncapsulatedDocument")
PDF: Final = "application/pdf"
SANDBOX: Final = (b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'")
TO_BE_SAVED: Final = (b"content-disposition", b"attachment")

_MIME = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}\Z")


def document_type(attributes: Attributes) -> str | None:
    """Return the media type of an Encapsulated Document, None when there is none or it says nothing of its type."""
    mime = text(attributes, "MIMETypeOfEncapsulatedDocument").strip().lower()
    return mime if ENCAPSULATED_DOCUMENT in attributes and _MIME.match(mime) else None


def protection(media_type: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that keep a document that goes out under a media type from doing anything."""
    if media_type == PDF:
        return []
    return [SANDBOX, TO_BE_SAVED] if media_type == OCTET_STREAM else [SANDBOX]


def inline_document(attributes: Attributes) -> bytes | None:
    """Return a document that the metadata itself holds, without its pad byte; None when it is a value of its own."""
    inline = attributes[ENCAPSULATED_DOCUMENT].get("InlineBinary")
    if inline is None:
        return None
    try:
        body = base64.b64decode(inline)
    except (binascii.Error, TypeError, ValueError):
        return b""
    stated = _stated_length(attributes, len(body))
    return body[: _without_padding(attributes, len(body), body[-1:]) if stated is None else stated]


async def document_length(attributes: Attributes, value: "BulkValue") -> int:
    """Return how many bytes of the value are the document."""
    stated = _stated_length(attributes, value.length)
    if stated is not None or not value.length:
        return stated or 0
    last = b"".join([chunk async for chunk in value.stream(value.length - 1, 1)])
    return _without_padding(attributes, value.length, last)


def _stated_length(attributes: Attributes, length: int) -> int | None:
    stated = integer(attributes, "EncapsulatedDocumentLength", -1)
    return stated if stated >= 0 and stated in (length - 1, length) else None


def _without_padding(attributes: Attributes, length: int, last: bytes) -> int:
    return length - (last == b"\0" and document_type(attributes) == PDF)
