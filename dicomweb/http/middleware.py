"""What is true of every response: CORS, isolation, compression, HEAD and a readable 500.

One ASGI class, since each layer of wrapping costs on the frames path. Facts it keeps:

- The CORS headers are on every response, errors and 304 included, or every error looks like a CORS error in a browser.
  Below `/api` they are on none: pages of other sites have no business there.
- Without `cors_origins` pages of other origins get nothing: no CORS headers, and `Cross-Origin-Resource-Policy` keeps
  pictures and files out of their pages.
- `OPTIONS` with `Origin` and `Access-Control-Request-Method` is a preflight and is answered here, before any
  authentication; any other OPTIONS belongs to Retrieve Capabilities (PS3.18 8.9).
- JSON, XML and text are compressed when the client takes gzip, never pixels, DICOM files or events as they happen. A
  compressed body is another representation, so its entity tag becomes weak (RFC 9110 8.8.3.3) and its Content-Length
  goes.
- An error nobody foresaw becomes a problem document with status 500 while nothing was sent yet; afterwards the
  connection is broken off, so that a client never takes half a body for a whole one.
"""

import zlib
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomweb.http.problems import answer_unforeseen

ALLOW_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
ALLOW_HEADERS = (
    "Accept, Accept-Charset, Authorization, Cache-Control, Content-Encoding, Content-Type, "
    "If-Match, If-None-Match, If-Range, Prefer, Range, X-API-Key, X-Requested-With"
)
EXPOSE_HEADERS = (
    "Accept-Ranges, Content-Disposition, Content-Encoding, Content-Length, Content-Location, Content-Range, "
    "Content-Type, ETag, Link, Location, Retry-After, Warning, WWW-Authenticate, "
    "X-Request-ID, X-Total-Count"
)
VARY = ("Accept", "Accept-Encoding", "Authorization", "Origin")
COMPRESSIBLE = (
    b"application/dicom+json",
    b"application/json",
    b"application/problem+json",
    b"application/dicom+xml",
    b"application/xml",
    b"application/vnd.sun.wadl+xml",
    b'multipart/related; type="application/dicom+xml"',
    b"image/svg+xml",
    b"text/",
)
EVENT_STREAM = b"text/event-stream"
"""Each event is to arrive at once; a compressor would collect them."""
SMALLEST_COMPRESSED = 1024
"""Bytes below which a whole body is sent as it is."""

_ACCEPT_RANGES = (b"accept-ranges", b"bytes")


class ProtocolMiddleware:
    """Add to every HTTP response what every response must have.

    Parameters
    ----------
    app : ASGIApp
        The application inside.
    cors_origins : iterable of str
        Origins that may read the answers; "*" stands for all, "localhost" for all of the browser's own machine, and
        none at all keeps other origins out.
    mount : str
        Path of the DICOMweb root; below it a slash at the end of a path is dropped.
    same_site : str, optional
        Path below which no other origin is let in, whatever `cors_origins` says.

    Standard
    --------
    PS3.18 8.4, 8.5; checklist A-118, A-120 to A-124.
    """

    def __init__(self, app: ASGIApp, *, cors_origins: Iterable[str], mount: str, same_site: str = "") -> None:
        self.app = app
        self.same_site = same_site
        self.origins = frozenset(origin.rstrip("/") for origin in cors_origins)
        self.every_origin = "*" in self.origins
        self.own_machine = "localhost" in self.origins
        self.mount = mount
        policy = b"cross-origin" if self.origins else b"same-origin"
        self.fixed = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", policy)]
        if self.every_origin:
            self.fixed += [(b"access-control-allow-origin", b"*"), _EXPOSE]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin, accept_encoding, preflight = _request_headers(scope)
        path: str = scope["path"]
        if path == self.mount:
            scope["path"] = path + "/"
        elif path.endswith("/") and path.startswith(self.mount) and len(path) > len(self.mount) + 1:
            # Clients that join paths carelessly; a redirect would need the public URL and a second round trip.
            scope["path"] = path.rstrip("/")
        if self.same_site and (path == self.same_site or path.startswith(self.same_site + "/")):
            headers, preflight = _SAME_SITE, False
        else:
            headers = self.fixed + self._origin_headers(origin)
        response = _ResponseWriter(send, headers, scope["method"] == "HEAD", takes_gzip(accept_encoding))
        if preflight and scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": headers + _PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            await self.app(scope, receive, response)
        except Exception as error:
            if response.started:
                raise
            await answer_unforeseen(error)(scope, receive, response)

    def _origin_headers(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        if self.every_origin or not origin:
            return []
        name = origin.decode("latin-1")
        if name not in self.origins and not (self.own_machine and _is_of_own_machine(name)):
            return []
        return [(b"access-control-allow-origin", origin), _EXPOSE]


@lru_cache(maxsize=256)
def _is_of_own_machine(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")


_SAME_SITE = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin")]
_EXPOSE = (b"access-control-expose-headers", EXPOSE_HEADERS.encode())
_PREFLIGHT = [
    (b"access-control-allow-methods", ALLOW_METHODS.encode()),
    (b"access-control-allow-headers", ALLOW_HEADERS.encode()),
    (b"access-control-max-age", b"86400"),
    (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
]
_VARY = (b"vary", ", ".join(VARY).encode())


class _ResponseWriter:
    """The `send` of one request; a class, since it is called for every chunk of a large body."""

    __slots__ = ("compressor", "flushed", "gzip", "head", "headers", "pending", "send", "started")

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], head: bool, gzip: bool) -> None:
        self.send = send
        self.headers = headers
        self.head = head
        self.gzip = gzip
        self.started = False
        self.flushed = False
        self.pending: Message | None = None
        self.compressor: zlib._Compress | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = message["headers"] = list(message.get("headers", ()))
            _merge_vary(headers)
            headers += self.headers
            if self.gzip and not self.head and _is_compressible(message["status"], headers):
                # Whether a body is worth it is known when its first chunk is here.
                self.pending = message
                return
            await self.send(message)
        elif message["type"] != "http.response.body":
            await self.send(message)
        elif self.head:
            if not message.get("more_body", False):
                await self.send({"type": "http.response.body", "body": b""})
        elif self.pending is not None:
            await self._begin(self.pending, message)
        elif self.compressor is not None:
            await self._compress(message)
        else:
            await self.send(message)

    async def _begin(self, start: Message, message: Message) -> None:
        self.pending = None
        more = message.get("more_body", False)
        if not more and len(message.get("body", b"")) < SMALLEST_COMPRESSED:
            await self.send(start)
            await self.send(message)
            return
        self.compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
        start["headers"] = [
            (name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value)
            for name, value in start["headers"]
            if name not in (b"content-length", b"accept-ranges")
        ]
        start["headers"].append((b"content-encoding", b"gzip"))
        await self.send(start)
        await self._compress(message)

    async def _compress(self, message: Message) -> None:
        assert self.compressor is not None
        body = self.compressor.compress(message.get("body", b""))
        more = message.get("more_body", False)
        if not more:
            body += self.compressor.flush()
        elif not self.flushed:
            # The first chunk goes out at once: a client sees that something is coming.
            self.flushed = True
            body += self.compressor.flush(zlib.Z_SYNC_FLUSH)
        if body or not more:
            await self.send({"type": "http.response.body", "body": body, "more_body": more})


def _request_headers(scope: Scope) -> tuple[bytes, bytes, bool]:
    """Return Origin, Accept-Encoding and whether the request says that it is a preflight."""
    origin = accept_encoding = b""
    asks_method = False
    for name, value in scope["headers"]:
        if name == b"origin":
            origin = value
        elif name == b"accept-encoding":
            accept_encoding = value
        elif name == b"access-control-request-method":
            asks_method = True
    return origin, accept_encoding, bool(origin) and asks_method


@lru_cache(maxsize=256)
def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether gzip is among the codings a client takes (RFC 9110 12.5.3)."""
    accepted: dict[str, bool] = {}
    for entry in accept_encoding.decode("latin-1").lower().split(","):
        coding, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        accepted[coding] = weight.strip("0. ") != ""
    return accepted.get("gzip", accepted.get("x-gzip", accepted.get("*", False)))


def _is_compressible(status: int, headers: list[tuple[bytes, bytes]]) -> bool:
    if status in (204, 206, 304):
        return False
    compressible = False
    for name, value in headers:
        if name == b"content-encoding":
            return False
        if name == b"content-type":
            compressible = value.lower().startswith(COMPRESSIBLE) and not value.startswith(EVENT_STREAM)
    return compressible


def _merge_vary(headers: list[tuple[bytes, bytes]]) -> None:
    """Add to Vary what every negotiated response depends on."""
    for index, (name, value) in enumerate(headers):
        if name == b"vary":
            given = [part.strip() for part in value.decode("latin-1").split(",") if part.strip()]
            known = {part.lower() for part in given}
            given += [part for part in VARY if part.lower() not in known]
            headers[index] = (b"vary", ", ".join(given).encode("latin-1"))
            return
    headers.append(_VARY)
