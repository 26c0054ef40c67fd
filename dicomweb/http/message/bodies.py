"""Response bodies of retrieved things: whole, ranged or multipart, streamed in constant memory.

Facts this module keeps:

- The status goes out only when the first bytes of the body are in hand, so that an error is still an error response.
- When reading fails later, the exception leaves the application and the connection is cut: never a silent short body.
- The boundary of a multipart body follows from its entity tag, so that one tag always means the same bytes; it cannot
  be forged into a file, since the tag depends on the hash of that file.
- Parts have `Content-Type` first, spelt so: OHIF compares it case-sensitively (PS3.18 8.6.1.2).
- A HEAD request reads nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dicomweb.http.message.conditional import RangeBeyondEndError, is_unchanged, requested_range
from dicomweb.http.message.multipart import PART_END, closing, part_head
from dicomweb.http.message.warning_header import warning_headers
from dicomweb.http.problems import RequestRefused
from dicomweb.http.urls import base_url

CHUNK = 512 * 1024
"""Bytes that are gathered before they are sent."""

FIRST_CHUNK = 32 * 1024
"""Bytes that are gathered before the first are sent."""

Headers = list[tuple[bytes, bytes]]


class WholeBody(Response):
    """A body in hand, with the headers as given: the cheapest response there is."""

    def __init__(self, status_code: int, headers: Headers, body: bytes = b"") -> None:
        self.status_code = status_code
        self.raw_headers = headers
        self.body = body
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


class StreamedBody(Response):
    """A body that is read while it is sent.

    Parameters
    ----------
    status_code : int
        HTTP status.
    headers : list of (bytes, bytes)
        Response headers; with Content-Length only if the length is certain.
    chunks : async iterator of bytes
        The body; closed when the client goes away.
    """

    def __init__(self, status_code: int, headers: Headers, chunks: AsyncIterator[bytes]) -> None:
        self.status_code = status_code
        self.raw_headers = headers
        self.chunks = chunks
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        gone = asyncio.ensure_future(_until_disconnected(receive))
        try:
            async with aclosing(gathered(self.chunks)) as pieces:
                pending = await anext(pieces, b"")
                await send(start)
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": pending, "more_body": True})
                    pending = piece
                    if gone.done():
                        return
                await send({"type": "http.response.body", "body": pending})
        finally:
            gone.cancel()


async def gathered(
    chunks: AsyncIterator[bytes], size: int = CHUNK, first: int = FIRST_CHUNK
) -> AsyncGenerator[bytes, None]:
    """Join small pieces of a body into chunks of about `size` bytes, the first one of about `first`."""
    pending: list[bytes] = []
    held, limit = 0, first
    async with _closing(chunks):
        async for chunk in chunks:
            pending.append(chunk)
            held += len(chunk)
            if held >= limit:
                yield b"".join(pending)
                pending.clear()
                held, limit = 0, size
        if pending:
            yield b"".join(pending)


@asynccontextmanager
async def _closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Close `chunks` at the end if it can be closed, so that no file stays open behind a client that left."""
    try:
        yield chunks
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is sent: a part of a multipart body, or a whole single part body.

    Attributes
    ----------
    content_type : str
        With its parameters.
    location : str
        Absolute URL of what it represents.
    length : int or None
        In bytes; None when it is not known before it has been read.
    stream : callable
        `stream(offset, length)` yields those bytes.
    warnings : sequence of str
        What a client must know of it.
    """

    content_type: str
    location: str
    length: int | None
    stream: Callable[[int, int | None], AsyncIterator[bytes]]
    warnings: Sequence[str] = ()


class InMemory:
    """Bytes in hand, as the `stream` of an `Item`."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __call__(self, offset: int, length: int | None) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset`."""
        yield self.body[offset : len(self.body) if length is None else offset + length]


def not_modified(request: Request, etag: str, cache: str) -> Response | None:
    """Return the 304 when the client holds the representation `etag` already, else None (PS3.18 8.5)."""
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return WholeBody(304, [(b"etag", etag.encode()), (b"cache-control", cache.encode())])
    return None


def single_part(request: Request, item: Item, etag: str, cache: str, extra: Headers | None = None) -> Response:
    """Answer with one item, or the range of it that was asked for.

    Raises
    ------
    RequestRefused
        416: the range lies beyond the end.

    Standard
    --------
    PS3.18 8.6.1.1; RFC 9110 14; checklist A-102, A-115.
    """
    headers = [
        (b"content-type", item.content_type.encode("latin-1")),
        (b"content-location", item.location.encode("latin-1")),
        (b"etag", etag.encode()),
        (b"cache-control", cache.encode()),
        *(extra or []),
        *(warning_headers(base_url(request), item.warnings) if item.warnings else ()),
    ]
    if item.length is None:
        return StreamedBody(200, headers, item.stream(0, None))
    headers.append((b"accept-ranges", b"bytes"))
    wanted = byte_range(request, etag, item.length)
    if wanted is None:
        headers.append((b"content-length", b"%d" % item.length))
        return StreamedBody(200, headers, item.stream(0, item.length))
    start, length = wanted
    headers.append((b"content-length", b"%d" % length))
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, start + length - 1, item.length)))
    return StreamedBody(206, headers, item.stream(start, length))


def byte_range(request: Request, etag: str, length: int) -> tuple[int, int] | None:
    """Return (start, length) of the range a request asks for, None for everything; 416 beyond the end."""
    header = request.headers.get("range")
    if header is None:
        return None
    try:
        return requested_range(header, request.headers.get("if-range"), etag, length)
    except RangeBeyondEndError:
        raise RequestRefused(
            416, f"The range begins beyond the {length} bytes there are.", {"Content-Range": f"bytes */{length}"}
        ) from None


def boundary_of(etag: str) -> str:
    """Return the multipart boundary that belongs to an entity tag: 34 characters that need no quotes."""
    return "b-" + etag.strip('W/"')


def multipart_headers(media_type: str, boundary: str, etag: str, cache: str) -> Headers:
    """Return the headers of a multipart response with parts of `media_type` (PS3.18 8.6.1.2, 8.7.1)."""
    return [
        (b"content-type", f'multipart/related; type="{media_type}"; boundary={boundary}'.encode("latin-1")),
        (b"etag", etag.encode()),
        (b"cache-control", cache.encode()),
    ]


def multipart(
    media_type: str, items: AsyncIterator[Item], etag: str, cache: str, length: int | None = None
) -> Response:
    """Answer with many items, one part each, in their order.

    Parameters
    ----------
    media_type : str
        Of the parts, without parameters.
    items : async iterator of Item
        Read one after the other while the body is sent.
    etag, cache : str
        Entity tag and Cache-Control.
    length : int, optional
        Of the whole body in bytes, when it is known.
    """
    boundary = boundary_of(etag)
    headers = multipart_headers(media_type, boundary, etag, cache)
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return StreamedBody(200, headers, _multipart_chunks(boundary, items))


async def one_item(item: Item) -> AsyncIterator[Item]:
    """Yield the one item of a multipart body with a single part."""
    yield item


def multipart_length(boundary: str, items: Iterable[Item]) -> int | None:
    """Return how long a multipart body of `items` is in bytes, None when the length of an item is not known."""
    total = 0
    for item in items:
        if item.length is None:
            return None
        head = part_head(boundary, item.content_type, item.location, item.length)
        total += len(head) + item.length + len(PART_END)
    return total + len(closing(boundary))


async def _multipart_chunks(boundary: str, items: AsyncIterator[Item]) -> AsyncIterator[bytes]:
    async for item in items:
        yield part_head(boundary, item.content_type, item.location, item.length)
        async with _closing(item.stream(0, item.length)) as chunks:
            async for chunk in chunks:
                yield chunk
        yield PART_END
    yield closing(boundary)


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
