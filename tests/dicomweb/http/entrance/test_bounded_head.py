"""Requests without end, in bytes or in time, are refused before they fill or hold anything."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from dicomweb.http.entrance import bounded_head
from dicomweb.http.entrance.bounded_head import LONGEST_HEAD, BoundedHeadProtocol
from tests.dicomweb.loopback import listening


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


async def opened(url: str, *pieces: bytes, pause: float = 0.05) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the pieces were sent, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause)
    return reader, writer


async def test_a_head_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """408 after the limit from the first byte, however busily the rest drips in (A-109; RFC 9110 15.5.9)."""
    monkeypatch.setattr(bounded_head, "HEAD_WITHIN", 0.8)
    async with listening(Response(b"here"), http=BoundedHeadProtocol, timeout_keep_alive=60) as url:
        reader, writer = await opened(url, b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 4)
        assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_an_idle_connection_is_no_late_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between requests, and before the first, only the keep-alive limits a connection (RFC 9112 9.3)."""
    monkeypatch.setattr(bounded_head, "HEAD_WITHIN", 1)
    get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with listening(Response(b"here"), http=BoundedHeadProtocol, timeout_keep_alive=3) as url:
        reader, writer = await opened(url, b"", get, b"GET / HTTP/1.1\r\n", b"Host: x\r\n\r\n", get, pause=0.3)
        await asyncio.sleep(1.2)
        writer.write(get)
        assert (await asyncio.wait_for(reader.read(), 30)).count(b"HTTP/1.1 200 OK") == 4
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "a line break"])
async def test_a_connection_without_a_request_is_closed(sent: bytes) -> None:
    """Who connects and never asks is let go of like who stopped asking (A-109)."""
    async with listening(Response(b"here"), http=BoundedHeadProtocol, timeout_keep_alive=0.2) as url:
        reader, writer = await opened(url, sent)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
