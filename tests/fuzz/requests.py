"""Requests that ask: methods, paths, queries and heads of any kind, for what is there and what is not."""

import random
from collections.abc import Callable, Sequence

from storage.matching.attributes import ATTRIBUTES
from tests.fuzz.bodies import PORT, send
from tests.fuzz.mutation import TEXTS, mutated
from tests.fuzz.uids import INSTANCE, SERIES, STUDY, uids
from tests.fuzz.wire import request

__all__ = ["PINNED", "make", "send"]

THERE = uids(random.Random("there"))
"""The instance that the runner stores before it begins."""
METHODS = ("GET",) * 30 + ("HEAD", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "TRACE", "CONNECT", "get", "G\x7fT", "")
LEVELS = ("studies", "series", "instances")
BELOW = (
    "", "/metadata", "/rendered", "/thumbnail", "/pixeldata", "/bulkdata", "/bulkdata/7FE00010", "/frames/1",
    "/frames/1,2", "/frames/1/rendered", "/frames/1/thumbnail", "/frames/0", "/frames/a", "/frames/1-9", "/series",
    "/instances", "/bulkdata/00400555/0/0040A043", "/modalities",
)  # fmt: skip
OTHERS = (
    "/", "/wado", "/health", "/health/live", "/health/ready", "/metrics", "/api/openapi.json", "/api/peers",
    "/api/peers/X", "/api/peers/X/echo", "/api/peers/X/find", "/api/jobs", "/api/jobs/1", "/api/jobs/1/retry",
    "/api/commitments", "/api/commitments/1", "/api/worklist", "/api/worklist/1", "/api/performed-steps",
    "/api/performed-steps/1.2", "/api/changes", "/api/status", "/viewer/", "/viewer/app-config.js", "/dicom-web",
    "/dicom-web/",
)  # fmt: skip
KEYS = (
    "limit", "offset", "cursor", "includefield", "fuzzymatching", "accept", "orderby", "viewport", "window", "quality",
    "annotation", "iccprofile", "presentationUID", "requestType", "contentType", "studyUID", "seriesUID", "objectUID",
    "transferSyntax", "frameNumber", "rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality",
    "anonymize", "charset", "since", "after", "state", "", ".", "0040A730.00080100.00080102",
    *(attribute.keyword for attribute in ATTRIBUTES),
)  # fmt: skip
VALUES = (
    "1", "0", "-1", "64,64", "0,0", "70000,70000", "64,64,0,0,-8,8", "1e9,1e9", "40,400,linear", "1e308,1e308,sigmoid",
    "nan,inf,linear-exact", "all", "true", "image/jpeg", "image/png;q=2", "application/dicom", "WADO", "20240101-",
    "%00", "%FF", "%ED%A0%80", "*", "?" * 500, "1.2.3", "1.2.3%5C1.2.4", "patient,technique", "srgb", "0,0,1,1", "%",
)  # fmt: skip
TYPES = (
    "*/*", "", ",", "application/dicom", "application/dicom+json", "application/json", "application/zip", "image/jpeg",
    "image/png", "image/gif", "text/html", "video/mp4", "application/octet-stream", "image/jp2", "a/b;" * 900,
    'multipart/related; type="application/dicom"; transfer-syntax=*', 'multipart/related; type="image/jls"',
    'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1', "image/*;q=nan",
    'multipart/related; type="application/dicom+xml"', 'application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80',
    'application/zip; transfer-syntax=1.2.840.10008.1.2.4.201', "application/dicom; charset=utf-7",
)  # fmt: skip
HEADS: Sequence[tuple[str, Sequence[str]]] = (
    ("Accept", TYPES),
    ("Accept", TYPES),
    ("Range", ("bytes=0-", "bytes=0-0", "bytes=-1", "bytes=9-1", "bytes=0-1,2-3", "bytes=" + "0-0," * 999, "x=1")),
    ("If-Range", ('"x"', "Mon, 01 Jan 2024 00:00:00 GMT", "x")),
    ("If-None-Match", ("*", '"x"', 'W/"x", "y"', '"')),
    ("If-Match", ("*", '"x"')),
    ("If-Modified-Since", ("Mon, 01 Jan 2024 00:00:00 GMT", "x", "99999")),
    ("Host", ("", "x", "127.0.0.1", "[::1]:1", "a" * 5000, "evil.example", "127.0.0.1:99999", "\xff")),
    ("Origin", ("null", "http://evil.example", "x")),
    ("Forwarded", ("for=x;host=evil;proto=https", 'host="', "=")),
    ("X-Forwarded-Host", ("evil", "a,b", "")),
    ("Accept-Charset", ("utf-8", "iso-8859-1", "x;q=9")),
    ("Accept-Encoding", ("gzip", "identity;q=0, *;q=0", "x")),
    ("Accept-Language", ("de", "*" * 300)),
    ("Connection", ("keep-alive", "upgrade", "close, x")),
    ("Upgrade", ("websocket", "h2c")),
    ("Expect", ("100-continue", "x")),
    ("X-Request-ID", ("x", "a" * 3000, "\x7f")),
    ("Transfer-Encoding", ("chunked", "gzip, chunked", "identity")),
    ("Content-Type", ("application/json", *TYPES)),
    ("Content-Length", ("0", "5", "-1", "9" * 30)),
    ("Authorization", ("Basic eDp5", "Bearer x", "Basic \xff")),
    ("Cookie", ("a=b", "=" * 3000)),
)


def make(chance: random.Random) -> bytes:
    """Make a request."""
    path = _path(chance)
    if chance.random() < 0.6:
        pairs = (f"{chance.choice(KEYS)}={_value(chance)}" for _ in range(chance.choice((1, 1, 2, 5, 40))))
        path += "?" + "&".join(pairs)
    if chance.random() < 0.15:
        path = mutated(chance, path.encode(), head=len(path)).decode("latin-1")
    headers: dict[str, str] = {}
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        name, values = chance.choice(HEADS)
        headers[name] = chance.choice((*values, *values, *TEXTS[:16]))
    body = chance.choice((b"{}", b"[]", b'{"a":', b"\0" * 99)) if chance.random() < 0.1 else b""
    written = request(chance.choice(METHODS), path, headers, body, port=PORT)
    return mutated(chance, written, head=len(written)) if chance.random() < 0.1 else written


def _path(chance: random.Random) -> str:
    if chance.random() < 0.25:
        return chance.choice(OTHERS)
    uids = [THERE[keyword] if chance.random() < 0.8 else chance.choice(("1.2", "", "..", "%2e%2e", "1" * 65, "ä"))
            for keyword in (STUDY, SERIES, INSTANCE)]  # fmt: skip
    deep = chance.randrange(4)
    places = "".join(f"/{level}/{name}" for level, name in zip(LEVELS[:deep], uids, strict=False))
    return f"/dicom-web{places}{chance.choice(BELOW)}" if deep else f"/dicom-web/{chance.choice(LEVELS)}"


def _value(chance: random.Random) -> str:
    return chance.choice(VALUES) if chance.random() < 0.9 else chance.choice(list(THERE.values()))


INSTANCE_PATH = "/dicom-web/studies/{}/series/{}/instances/{}".format(*THERE.values())


def _asked(path: str, method: str = "GET", **headers: str) -> Callable[[random.Random], bytes]:
    return lambda _: request(method, path, {name.replace("_", "-"): text for name, text in headers.items()}, port=PORT)


def _bare(data: bytes) -> Callable[[random.Random], bytes]:
    return lambda _: data


PINNED: dict[str, Callable[[random.Random], bytes]] = {
    "what is there": _asked(INSTANCE_PATH + "/metadata"),
    "a frame, twenty thousand times": _asked(INSTANCE_PATH + "/frames/" + "1," * 20_000 + "1"),
    "a frame, three thousand times": _asked(INSTANCE_PATH + "/frames/" + "1," * 3_000 + "1"),
    "ten thousand parameters nobody knows": _asked(
        "/dicom-web/studies?limit=1&" + "&".join(f"x{number}=1" for number in range(6_000))
    ),
    "a parameter of sixty thousand letters": _asked("/dicom-web/studies?limit=1&" + "x" * 60_000 + "=1"),
    "fields nobody knows": _asked("/dicom-web/studies?limit=1&includefield=" + ",".join(["Xy"] * 15_000)),
    "no Host": _bare(b"GET /dicom-web/studies?limit=1 HTTP/1.1\r\nConnection: close\r\n\r\n"),
    "two Hosts": _bare(b"GET /dicom-web/studies?limit=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"),
    "the Host of another site": _asked("/dicom-web/studies?limit=1", Host="evil.example"),
    "an identifier of a megabyte": _asked("/health/live", X_Request_ID="a" * 50_000),
    "a path that climbs": _asked("/dicom-web/studies/..%2f..%2f..%2fetc%2fpasswd"),
    "heads without an end": _bare(b"GET / HTTP/1.1\r\n" + b"X-Many: a\r\n" * 50_000),
}
