"""`/api/changes`: the change feed as JSON and as server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import pytest

from dicomweb.http.api import changes
from dicomweb.http.api.changes import ChangeFeed
from storage.errors import Unavailable
from tests.builders import ct_slice, new_uid
from tests.live_server import LiveServer

Event = tuple[int, dict[str, Any]]


def never() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


async def events(stream: AsyncIterator[bytes], count: int) -> list[Event]:
    """Read so many events; comments, and what only carries a number, are none."""
    found: list[Event] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            for block in (await anext(stream)).decode().split("\n\n"):
                lines = dict(line.partition(": ")[::2] for line in block.split("\n") if line)
                if "data" in lines:
                    found.append((int(lines["id"]), json.loads(lines["data"])))
    return found


async def test_changes_are_listed_in_order(archive: Any, client: httpx2.AsyncClient) -> None:
    """The oldest first, after a number, at most so many; what is no number is a 400 that names the parameter."""
    uids = [new_uid() for _ in range(3)]
    for uid in uids:
        await archive.store(ct_slice(study=uid))
    listed = (await client.get("/api/changes")).json()
    assert [change["study_instance_uid"] for change in listed] == uids
    assert {change["kind"] for change in listed} == {"instance.stored"}
    second = (await client.get(f"/api/changes?after={listed[0]['sequence']}&limit=1")).json()
    assert second == [listed[1]]
    refused = await client.get("/api/changes?after=soon")
    assert refused.status_code == 400 and "after" in refused.json()["detail"]


async def test_a_listener_hears_what_changes_from_now_on(archive: Any) -> None:
    """Without a number a stream begins with the next change; its id is the sequence number."""
    await archive.store(ct_slice())
    feed = ChangeFeed(archive, pause=0.01)
    async with aclosing((await feed.open(None))(never())) as stream:
        assert (await anext(stream)).startswith(b"retry: ")
        uid = new_uid()
        await archive.store(ct_slice(study=uid))
        ((number, change),) = await events(stream, 1)
    assert change["study_instance_uid"] == uid and change["sequence"] == number
    assert feed.listeners == 0


async def test_a_listener_that_comes_back_misses_nothing(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a number everything later comes, once and in order, whether it is remembered or must be read again."""
    monkeypatch.setattr(changes, "REMEMBERED", 4)
    monkeypatch.setattr(changes, "AT_ONCE", 3)
    feed = ChangeFeed(archive, pause=0.01)
    feed._recent = type(feed._recent)(maxlen=4)
    for number in range(1, 8):
        await archive.store(ct_slice(instance_number=number))
    async with aclosing((await feed.open(0))(never())) as first, aclosing((await feed.open(2))(never())) as second:
        seen = [number for number, _ in await events(first, 7)]
        assert seen == sorted(set(seen)) and len(seen) == 7
        for number in range(8, 20):
            await archive.store(ct_slice(instance_number=number))
        seen += [number for number, _ in await events(first, 12)]
        assert seen == sorted(set(seen)) and len(seen) == 19
        assert [number for number, _ in await events(second, 17)] == seen[2:]


async def test_one_reader_serves_everybody_and_rests_when_nobody_listens(archive: Any) -> None:
    """However many listen, one task reads the table; it goes with the last of them."""
    feed = ChangeFeed(archive, pause=0.01)
    read = archive.changes
    asked = 0

    async def counted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return await read(*given)

    archive.changes = counted
    streams = [(await feed.open(None))(never()) for _ in range(10)]
    for stream in streams:
        await anext(stream)
    await archive.store(ct_slice())
    for stream in streams:
        await events(stream, 1)
    assert feed.listeners == 10
    before, began = asked, time.monotonic()
    await asyncio.sleep(0.2)
    looks = (time.monotonic() - began) / 0.01 + 10
    assert 0 < asked - before < looks, "no more looks than one reader takes, however many listen"
    for stream in streams:
        await stream.aclose()
    before = asked
    await asyncio.sleep(0.1)
    assert asked == before and feed.listeners == 0


async def test_a_silent_stream_shows_that_it_lives(archive: Any) -> None:
    """When nothing changes a line that browsers ignore goes out; a database that is away is no end."""
    feed = ChangeFeed(archive, pause=0.01, heartbeat=0.05)
    async with aclosing((await feed.open(None))(never())) as stream:
        await anext(stream)
        assert (await anext(stream)).startswith(b":")
        read = archive.changes

        async def away(*_: Any) -> Any:
            raise Unavailable("The database does not answer.")

        archive.changes = away
        await asyncio.sleep(0.05)
        archive.changes = read
        await archive.store(ct_slice())
        assert len(await events(stream, 1)) == 1


async def test_there_are_so_many_listeners_and_no_more(app: Any, client: httpx2.AsyncClient) -> None:
    """One more is told to come again: 503 with Retry-After; the list answers all the same."""
    feed = app.state.change_feed = ChangeFeed(app.state.archive, most_listeners=1)
    async with aclosing((await feed.open(None))(never())) as stream:
        await anext(stream)
        refused = await client.get("/api/changes/events")
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
        assert (await client.get("/api/changes")).status_code == 200


async def test_without_a_database_the_answer_is_a_refusal(app: Any, client: httpx2.AsyncClient) -> None:
    """What fails, fails before the stream begins: 503 with Retry-After, which a browser takes as an end."""
    await app.state.archive.pool.close()
    refused = await client.get("/api/changes/events")
    assert refused.status_code == 503 and refused.headers["content-type"] == "application/problem+json"
    assert app.state.change_feed.listeners == 0


async def test_a_number_that_cannot_be_is_refused(client: httpx2.AsyncClient) -> None:
    """Last-Event-ID goes before `after`; either must be a number."""
    refused = await client.get("/api/changes/events?after=1", headers={"Last-Event-ID": "x"})
    assert refused.status_code == 400 and "Last-Event-ID" in refused.json()["detail"]


def test_events_arrive_over_the_wire_and_end_with_the_server(serve: Any) -> None:
    """Uncompressed, one by one, from where the client was; SIGTERM ends the stream, and the server does not wait."""
    server: LiveServer = serve("--workers", "1", "--no-dimse")
    httpx2.post(f"{server.root}/studies", content=ct_slice(), headers={"Content-Type": "application/dicom"})
    headers = {"Accept-Encoding": "gzip", "Last-Event-ID": "0"}
    with httpx2.stream("GET", f"{server.url}/api/changes/events", headers=headers, timeout=20) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "content-encoding" not in answer.headers and answer.headers["cache-control"] == "no-store"
        lines = answer.iter_lines()
        while not next(lines).startswith("data: "):
            pass
        httpx2.post(f"{server.root}/studies", content=ct_slice(), headers={"Content-Type": "application/dicom"})
        while not (line := next(lines)).startswith("id: "):
            pass
        assert line == "id: 2"
        assert server.stop() == 0
        assert [line for line in lines if line and not line.startswith(("data: ", ":"))] == []
    assert "broken_off" not in server.log.read_text()
