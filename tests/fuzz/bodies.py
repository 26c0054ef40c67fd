"""Store requests as they come over the wire: multipart, chunked, compressed, cut, with lying heads."""

import gzip
import random
import zlib
from collections.abc import Callable

from tests.fuzz.mutation import TEXTS, mutated
from tests.fuzz.target import Target
from tests.fuzz.uids import image
from tests.fuzz.wire import MESSAGE, exchange, message, request

PORT = 1
"""Stands in the Host of an input, for an input is the same whatever port the server has."""
DICOM = "application/dicom"
KINDS = (DICOM, "application/dicom+json", "application/octet-stream", "text/html", "", "*/*", 'a/b; c="')
DELIMITERS = (b"--b\r\n", b"--b", b"\r\n--b--", b"\n--b\n", b"--bb\r\n", b"\r\n\r\n", b"Content-Type: ", b"\r\n")


def make(chance: random.Random) -> bytes:
    """Make a store request."""
    parts = [(chance.choice((DICOM, DICOM, *KINDS)), "", image(chance)) for _ in range(chance.choice((0, 1, 2, 3)))]
    body = message(parts)
    for _ in range(chance.choice((0, 1, 1, 3))):
        at = chance.randrange(len(body) + 1)
        body = body[:at] + chance.choice(DELIMITERS) + body[at + chance.choice((0, 0, 3, 50)) :]
    if chance.random() < 0.5:
        body = mutated(chance, body)
    content_type = MESSAGE.format(DICOM)
    if chance.random() < 0.2:
        content_type = content_type.replace(chance.choice(('"', "b", ";", "=")), chance.choice(TEXTS).strip("\r\n"), 1)
    headers = {"Content-Type": "".join(letter for letter in content_type if letter.isprintable())}
    return _transferred(chance, headers, body)


def _transferred(chance: random.Random, headers: dict[str, str], body: bytes) -> bytes:
    """Write the request with a Content-Length or in chunks, in a coding or without."""
    kind = chance.random()
    if kind < 0.2:
        headers["Content-Encoding"] = chance.choice(("gzip", "deflate", "x-gzip", "gzip, gzip", "br", "zstd"))
        body = chance.choice((gzip.compress(body, mtime=0), zlib.compress(body), body))
        body = mutated(chance, body) if chance.random() < 0.5 else body
    if chance.random() < 0.3:
        headers["Transfer-Encoding"] = chance.choice(("chunked", "chunked", "gzip, chunked", "identity", "chunked, x"))
        headers["Content-Length"] = ""
        body = _chunked(chance, body)
    elif chance.random() < 0.1:
        headers["Content-Length"] = chance.choice(("0", "-1", "1e3", "9" * 30, str(len(body) + 1), str(len(body) // 2)))
    written = request("POST", "/dicom-web/studies", headers, body, port=PORT)
    return written.replace(b"Content-Length: \r\n", b"")


def _chunked(chance: random.Random, body: bytes) -> bytes:
    size = chance.choice((1, 7, 100, 5000))
    pieces = [body[at : at + size] for at in range(0, min(len(body), 300 * size), size)]
    written = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return mutated(chance, written) if chance.random() < 0.3 else written


def send(target: Target, data: bytes) -> str:
    """Send it as it is."""
    return exchange(
        target, data.replace(b"127.0.0.1:%d" % PORT, b"127.0.0.1:%d" % target.port, 1), must_answer=False
    ).outcome


def _posted(body: bytes, **headers: str) -> Callable[[random.Random], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    whole = {"Content-Type": MESSAGE.format(DICOM)} | named
    return lambda _: request("POST", "/dicom-web/studies", whole, body, port=PORT)


PINNED: dict[str, Callable[[random.Random], bytes]] = {
    "as it should be": lambda chance: _posted(message([(DICOM, "", image(chance))]))(chance),
    "two hundred thousand tiny parts": _posted(b"--b\r\n\r\n\r\n" * 200_000 + b"--b--"),
    "a coding of the transfer beside the chunks": _posted(b"0\r\n\r\n", Transfer_Encoding="gzip, chunked"),
    "both lengths": _posted(b"0\r\n\r\n", Transfer_Encoding="chunked", Content_Length="5"),
    "a part without an end": _posted(b"--b\r\n\r\n" + b"\r\n--" * 100_000),
    "a head without an end": _posted(b"--b\r\n" + b"X-A: b\r\n" * 50_000),
    "zeros, a thousandfold": _posted(gzip.compress(bytes(300 << 20), mtime=0), Content_Encoding="gzip"),
}
