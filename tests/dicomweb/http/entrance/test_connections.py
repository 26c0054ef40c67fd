"""Clients that hold on and do nothing keep nobody out; who keeps pace is never cut."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb import pace
from dicomweb.http.entrance import connections
from dicomweb.http.entrance.connections import Connections
from dicomweb.settings import Settings
from tests.builders import ct_slice
from tests.dicomweb.loopback import listening

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = 64 << 20
"""Bytes of an answer: more than the kernel takes for a client that does not read."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def opened(url: str, sent: bytes = b"") -> Streams:
    """Connect, and send something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1 << 16)
    writer.write(sent)
    return reader, writer


@asynccontextmanager
async def watched(app: ASGIApp, over: float = 120.0, **settings: Any) -> AsyncIterator[tuple[str, Connections]]:
    """Serve an application as a worker does; its URL, and its connections, looked at five times a second."""
    watch = Connections(Settings(**settings), over)
    looking = asyncio.create_task(watch.watch())
    try:
        async with listening(app, http=watch.protocol, timeout_keep_alive=60) as url:
            yield url, watch
    finally:
        looking.cancel()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(connections, "EVERY", 0.2)


async def length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with how long the body was."""
    try:
        body = await Request(scope, receive).body()
    except ClientDisconnect:
        return
    await Response(b"%d" % len(body))(scope, receive, send)


async def long_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with `LONG` bytes in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LONG >> 19):
            yield bytes(1 << 19)

    await StreamingResponse(pieces(), headers={"content-length": str(LONG)})(scope, receive, send)


def leave(*left: Streams) -> None:
    """Be gone at once."""
    for _, writer in left:
        writer.transport.abort()


async def is_cut(streams: Streams, within: float = 30.0) -> bool:
    """Whether the server ends the connection before all of a long answer has come."""
    received = 0
    try:
        async with asyncio.timeout(within):
            while piece := await streams[0].read(1 << 20):
                received += len(piece)
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return received < LONG


async def test_a_body_that_falls_silent_is_given_up_and_leaves_nothing(app: Any, archive: Any) -> None:
    """408 and the staged file discarded; who sends slowly and keeps pace is stored (A-109, B-020)."""
    file = ct_slice()
    head = b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(file)
    step = len(file) // 10
    async with watched(app, over=2, least_rate=500) as (url, _):
        silent, patient = await opened(url, head + file[:100]), await opened(url, head)
        for start in range(0, len(file), step):
            patient[1].write(file[start : start + step])
            await asyncio.sleep(0.3)
        assert await asyncio.wait_for(patient[0].readline(), 30) == b"HTTP/1.1 200 OK\r\n"
        assert (await asyncio.wait_for(silent[0].read(), 30)).startswith(b"HTTP/1.1 408 ")
        for _, writer in (silent, patient):
            writer.close()
    assert not list((archive.blobs.root / ".staging").iterdir())


def kept_unsent(watch: Connections) -> list[int]:
    """Return what the kernel may keep for each connection, in bytes."""
    sockets = [connection.transport.get_extra_info("socket") for connection in watch._all]
    return sorted(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) for one in sockets)


async def test_the_kernel_keeps_much_for_a_few_who_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who does not read, and for all but the first few who do, it keeps little."""
    monkeypatch.setattr(connections, "READERS", 2)
    async with watched(long_answer) as (url, watch):
        readers = [await opened(url, GET) for _ in range(3)]
        for reader, _ in readers:
            await reader.readexactly(LONG)
        silent = await opened(url, GET)
        await silent[0].readexactly(1)
        little, much = pace.UNSENT_AT_FIRST, pace.UNSENT_OF_READERS
        assert kept_unsent(watch) == [little, little, much, much]
        leave(*readers)
        while len(watch) > 1:
            await asyncio.sleep(0.05)
        await silent[0].readexactly(LONG)
        assert kept_unsent(watch) == [much]
        leave(silent)


async def test_a_body_that_trickles_is_given_up() -> None:
    """A byte now and then is no pace: it is the average that counts (A-109)."""
    async with watched(length_of_body, over=1.5, least_rate=500) as (url, _):
        reader, writer = await opened(url, HEAD + b"Content-Length: 100000\r\n\r\n")
        answer = asyncio.create_task(reader.read())
        for _ in range(300):
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.1)
            if answer.done():
                break
        assert (await answer).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_pause_of_ours_is_no_silence() -> None:
    """While the server does not read, or has not said 100 Continue, the client need not send (RFC 9110 10.1.1)."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2)
        body = await Request(scope, receive).body()
        await asyncio.sleep(2)
        await Response(b"%d" % len(body))(scope, receive, send)

    head = HEAD + b"Content-Length: 500000\r\n"
    async with watched(slow, over=1, least_rate=500) as (url, _):
        eager = await opened(url, head + b"\r\n" + bytes(500_000))
        patient = await opened(url, head + b"Expect: 100-continue\r\n\r\n")
        assert await asyncio.wait_for(patient[0].readline(), 30) == b"HTTP/1.1 100 Continue\r\n"
        patient[1].write(bytes(500_000))
        for reader, writer in (eager, patient):
            assert (await asyncio.wait_for(reader.read(), 30)).endswith(b"500000")
            writer.close()


@pytest.mark.parametrize("extra", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["plain", "upgrade"])
async def test_a_response_that_takes_long_is_no_silent_body(extra: bytes) -> None:
    """A request without a body is whole with its head."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1.5)
        await Response(b"here")(scope, receive, send)

    async with watched(slow, over=0.4, least_rate=500) as (url, _):
        reader, writer = await opened(url, b"GET / HTTP/1.1\r\nHost: x\r\n" + extra + b"\r\n")
        assert await asyncio.wait_for(reader.readline(), 30) == b"HTTP/1.1 200 OK\r\n"
        writer.close()


async def test_an_answer_that_is_not_read_is_given_up_and_one_read_slowly_is_not() -> None:
    """What the client's machine has taken counts, not what our kernel has; the end is a reset, never a short body."""
    async with watched(long_answer, over=2, least_rate=20_000) as (url, watch):
        silent, slow = await opened(url, GET), await opened(url, GET)
        end = asyncio.get_running_loop().time() + 5
        while asyncio.get_running_loop().time() < end:
            await slow[0].read(1 << 16)
            await asyncio.sleep(0.1)
        assert len(watch) == 1  # the silent one is gone
        assert not await is_cut(slow, within=5)
        assert await is_cut(silent)
        leave(slow, silent)


async def test_an_answer_given_away_and_not_read_is_given_up() -> None:
    """One that was made as a whole, too, and is over as far as the application knows."""
    async with watched(Response(bytes(LONG)), over=1, least_rate=500) as (url, watch):
        streams = await opened(url, GET)
        async with asyncio.timeout(30):
            while not len(watch):
                await asyncio.sleep(0.05)
            while len(watch):
                await asyncio.sleep(0.05)
        assert await is_cut(streams)
        leave(streams)


async def test_the_idle_give_way_the_oldest_first_and_who_keeps_pace_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections without a request go first; an upload and a download under way never do (A-109)."""
    monkeypatch.setattr(connections, "AT_ONCE", 16)  # one at a time
    async with watched(length_of_body, max_connections=16, least_rate=500) as (url, watch):
        sending = await opened(url, HEAD + b"Content-Length: 50000\r\n\r\n" + bytes(10_000))
        await asyncio.sleep(0.5)
        idle = [await opened(url) for _ in range(15)]
        await asyncio.sleep(1)
        more = [await opened(url) for _ in range(5)]
        for reader, _ in idle[:5]:
            assert await asyncio.wait_for(reader.read(), 30) == b""
        assert not any(reader.at_eof() for reader, _ in [*idle[5:], *more, sending])
        assert len(watch) == 16
        sending[1].write(bytes(40_000))
        assert (await asyncio.wait_for(sending[0].read(), 30)).endswith(b"50000")
        for _, writer in (*idle, *more, sending):
            writer.close()


async def test_who_has_just_come_does_not_give_way() -> None:
    """A request may wait to be read: it is the newcomer who has to come again."""
    async with watched(length_of_body, max_connections=16) as (url, _):
        burst = [await opened(url, HEAD + b"Content-Length: 3\r\n\r\nabc") for _ in range(64)]
        for reader, _ in burst[:16]:
            assert (await asyncio.wait_for(reader.readline(), 30)) == b"HTTP/1.1 200 OK\r\n"
        leave(*burst)


async def test_when_nobody_gives_way_a_newcomer_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """503; those too slow give way after the grace, and then there is room."""
    monkeypatch.setattr(pace, "GRACE", 2.0)
    async with watched(length_of_body, max_connections=16, least_rate=500) as (url, _):
        slow = [await opened(url, HEAD + b"Content-Length: 50000\r\n\r\n") for _ in range(16)]
        await asyncio.sleep(0.2)
        reader, writer = await opened(url, GET)
        assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 503 ")
        writer.close()
        await asyncio.sleep(4)
        reader, writer = await opened(url, GET)
        assert await asyncio.wait_for(reader.readline(), 30) == b"HTTP/1.1 200 OK\r\n"
        for _, each in (*slow, (reader, writer)):
            each.close()


async def test_too_many_answers_that_are_not_read_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps memory: beyond half of `max_requests_in_flight` those without pace go, after the grace alone."""
    monkeypatch.setattr(pace, "GRACE", 0.5)
    async with watched(long_answer, max_requests_in_flight=8, least_rate=500) as (url, watch):
        streams = [await opened(url, GET) for _ in range(12)]
        async with asyncio.timeout(60):
            while not len(watch) or len(watch) > 4:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert len(watch) == 4
        leave(*streams)
