"""What a browser could run of a stranger's document, and the media type it goes out under because of it.

A script of our own origin may do whatever our pages may. Facts this module keeps:

- With `nosniff` browsers run as a script, a style sheet or WebAssembly only what says that it is one. So those types
  are never said, and neither is HTML: a document of them goes out as bytes to be saved.
- The list is of what is let through, so that a type invented tomorrow is not.
- XML is what it holds: elements of XHTML or SVG in it are those of a page, a document type declaration can hide them.
  In some encodings bytes mean something else to browsers than here, so few are read. What cannot be read, or is too
  long to be looked through while someone waits, counts as active.
- What is shown goes into a sandbox as well (`dicomweb/http/wado/encapsulated_document.py`).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final
from xml.parsers import expat

from dicomweb.http.message.media_types import OCTET_STREAM

LONGEST_XML: Final = 16 << 20
"""Bytes of XML that are looked through, in a few tenths of a second."""

_XML = re.compile(r"(?:text|application)/xml\Z|.*\+xml\Z")
_INERT = re.compile(r"application/pdf\Z|text/(?:plain|csv)\Z|(?:image|audio|video|model)/")
_ENCODINGS = re.compile(r"utf-8|utf-16|us-ascii|iso-8859-\d+|windows-125\d", re.IGNORECASE)
_OF_PAGES: Final = ("http://www.w3.org/1999/xhtml ", "http://www.w3.org/2000/svg ")


async def harmless_type(media_type: str, length: int, stream: Callable[[int, int], AsyncIterator[bytes]]) -> str:
    """Return the media type a document may go out under: its own, or application/octet-stream.

    Parameters
    ----------
    media_type
        What it says it is, in lower case and without parameters.
    length
        In bytes.
    stream
        `stream(offset, length)` yields those bytes.
    """
    if _XML.match(media_type):
        active = length > LONGEST_XML or await _is_active(stream(0, length))
    else:
        active = _INERT.match(media_type) is None
    return OCTET_STREAM if active else media_type


async def _is_active(xml: AsyncIterator[bytes]) -> bool:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.XmlDeclHandler = _refuse_encodings
    parser.StartElementHandler = _refuse_elements_of_pages
    parser.StartDoctypeDeclHandler = _refuse_declaration
    try:
        async for chunk in xml:
            await asyncio.to_thread(parser.Parse, chunk)
        parser.Parse(b"", True)
    except (expat.ExpatError, _ActiveError):
        return True
    return False


class _ActiveError(Exception):
    """The document holds what belongs to pages, or may hide it."""


def _refuse_encodings(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and not _ENCODINGS.fullmatch(encoding):
        raise _ActiveError


def _refuse_elements_of_pages(name: str, _: object) -> None:
    if name.startswith(_OF_PAGES) or name.rpartition(" ")[2].lower() == "script":
        raise _ActiveError


def _refuse_declaration(*_: object) -> None:
    raise _ActiveError
