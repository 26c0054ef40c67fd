"""Request heads without end are refused before they fill anything."""

from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from dicomweb.bounded_head import LONGEST_HEAD, BoundedHeadProtocol


class Wire:
    """The server's end of a connection, on paper."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.fixture
async def wire_of() -> Callable[[list[bytes]], Wire]:
    """What a connection looks like after it received the chunks."""

    def connect(chunks: list[bytes]) -> Wire:
        protocol = BoundedHeadProtocol(uvicorn.Config(Response(), lifespan="off", log_config=None), ServerState(), {})
        wire = Wire()
        protocol.connection_made(wire)  # type: ignore[arg-type]
        for chunk in chunks:
            if not wire.closed:
                protocol.data_received(chunk)
        return wire

    return connect


@pytest.mark.parametrize(
    "chunks",
    [
        [b"GET /" + b"a" * LONGEST_HEAD + b" HTTP/1.1\r\n"],
        [b"GET / HTTP/1.1\r\nX: " + b"a" * LONGEST_HEAD + b"\r\n\r\n"],
        [b"GET / HTTP/1.1\r\n", *[b"X-%d: abcdefgh\r\n" % number for number in range(10_000)]],
        [b"GET / HTTP/1.1\r\nX: ", *[b"a" * 1000] * 100],
        [b"GET / HTTP/1.1\r\nX", *[b"a" * 1000] * 100],
        [b"GET /", *[b"a" * 1000] * 100],
    ],
    ids=["url", "field", "many fields", "value in pieces", "name in pieces", "url in pieces"],
)
async def test_a_head_without_end_is_refused(wire_of: Callable[[list[bytes]], Wire], chunks: list[bytes]) -> None:
    """400 and the end of the connection, however the head comes (PS3.18 8.5; checklist A-106)."""
    wire = wire_of(chunks)
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert wire.closed


async def test_long_bodies_and_many_requests_are_no_long_heads(wire_of: Callable[[list[bytes]], Wire]) -> None:
    """Only the head counts, and only the one being read: requests may follow each other on a connection (RFC 9112)."""
    body = b"b" * 4 * LONGEST_HEAD
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    get = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (LONGEST_HEAD // 2)
    wire = wire_of([post + body[:10], body[10:] + get, b"\r\n\r\n" + get, b"\r\n\r\n" + post + body + get, b"\r\n\r\n"])
    assert b"HTTP/1.1 400" not in wire.written
    assert not wire.closed
