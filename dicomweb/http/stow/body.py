"""The body of a store request as a stream: counted, limited, and freed of its Content-Encoding.

Facts and clauses this module keeps:

* PS3.18 8.5: a body over the limit is a 413, said before anything is read when Content-Length tells, else
  as soon as the limit is passed.
* RFC 9110 8.4.1, 15.5.16: an unknown Content-Encoding is a 415 that names the known ones in
  Accept-Encoding. Clients say `deflate` both for the zlib format and for bare deflate data.
* A compressed body is limited in what it grows to, absolutely and in proportion; it is inflated in small
  steps.
"""

import zlib
from collections.abc import AsyncIterable, AsyncIterator

from starlette.requests import Request

from dicomweb.http.problems import RequestRefused

MAX_INFLATION = 200
"""How many times its size a compressed body may grow to, once it has grown beyond `FREE_INFLATION`."""

FREE_INFLATION = 256 * 2**20
"""Bytes a compressed body may grow to whatever its size: black images compress a thousandfold."""

_STEP = 1024 * 1024
_GZIP, _ZLIB, _BARE = 31, 15, -15  # windowBits of zlib
_CODINGS = ("gzip", "x-gzip", "deflate")


class BodyError(Exception):
    """The body cannot be read to its end; what was complete before may have been stored.

    Parameters
    ----------
    status : int
        HTTP status this means.
    detail : str
        What is wrong; safe to show.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def read_body(request: Request, limit: int, setting: str = "max_request_bytes") -> AsyncIterator[bytes]:
    """Open the body of a request, decoded.

    Parameters
    ----------
    request : Request
        Nothing is read of it here, so a client that waits for `100 Continue` sends nothing in vain.
    limit : int
        Most bytes of the body, before and after decoding.
    setting : str
        Name of the setting that holds the limit, for the error text.

    Returns
    -------
    AsyncIterator of bytes
        Raises `BodyError` when the limit is passed or the coding is damaged, and starlette's
        `ClientDisconnect` when the client goes away.

    Raises
    ------
    RequestRefused
        413 when Content-Length is over the limit; 415 for an unknown Content-Encoding.

    Standard
    --------
    PS3.18 8.5, 10.5.1.3; RFC 9110 8.4.
    """
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise RequestRefused(413, _too_large(limit, setting), limit=limit)
    stream = _limited(request.stream(), limit, setting)
    names = [name.strip().lower() for name in request.headers.get("content-encoding", "").split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    if not codings:
        return stream
    if len(codings) > 1 or codings[0] not in _CODINGS:
        raise RequestRefused(
            415,
            f"The Content-Encoding {', '.join(codings)} is not supported; send gzip, deflate or no Content-Encoding.",
            {"Accept-Encoding": "gzip, deflate"},
        )
    return _limited(_inflated(stream, gzip=codings[0] != "deflate"), limit, setting)


def _too_large(limit: int, setting: str) -> str:
    return f"The body is larger than the limit of {limit} bytes ({setting}). Send it in several requests."


async def _limited(stream: AsyncIterable[bytes], limit: int, setting: str) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > limit:
            raise BodyError(413, _too_large(limit, setting))
        if chunk:
            yield chunk


async def _inflated(stream: AsyncIterable[bytes], *, gzip: bool) -> AsyncIterator[bytes]:
    """Undo gzip (of any number of members) or deflate in steps of at most 1 MiB."""
    inflate = None
    held = b""
    received = grown = 0
    full = False  # the last step yielded all it may, so that zlib may hold more of it
    async for chunk in stream:
        received += len(chunk)
        held += chunk
        while held or full:
            if inflate is None:
                if len(held) < 2:
                    break  # the first two bytes tell the formats apart
                inflate = zlib.decompressobj(_GZIP if gzip else _deflate_format(held))
            piece, held = _step(inflate, held)
            full = len(piece) == _STEP and not inflate.eof
            grown += len(piece)
            if grown > max(FREE_INFLATION, MAX_INFLATION * received):
                raise BodyError(413, f"The compressed body grows to more than {MAX_INFLATION} times its size.")
            if piece:
                yield piece
            if inflate.eof:
                held, inflate = inflate.unused_data, None
                if not held.strip(b"\0"):  # padding after the last member
                    held = b""
    if inflate is not None or held or not received:
        raise BodyError(400, "The compressed body ends too early.")


def _step(inflate: "zlib._Decompress", data: bytes) -> tuple[bytes, bytes]:
    try:
        return inflate.decompress(data, _STEP), inflate.unconsumed_tail
    except zlib.error:
        raise BodyError(400, "The body is not compressed in the way its Content-Encoding says.") from None


def _deflate_format(head: bytes) -> int:
    is_zlib = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
    return _ZLIB if is_zlib else _BARE
