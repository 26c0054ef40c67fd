"""Busy is not broken: what an orchestrator may restart for, and what it must not."""

import asyncio
import contextlib
from typing import Any

import httpx2

from dicomweb.http.entrance.places import Kind
from storage.archive import Archive


async def ready(app: Any) -> tuple[int, dict[str, str]]:
    """What `/health/ready` says."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://archive.test") as client:
        answer = await client.get("/health/ready")
    return answer.status_code, answer.json()


async def test_an_archive_with_all_places_taken_is_busy(app: Any) -> None:
    """200, and said so."""
    assert await ready(app) == (200, {"status": "ready"})
    places = app.state.places[Kind.DOWNLOAD]
    places.begun = places.most
    busy = {"status": "busy", "busy": "All places for download requests are taken."}
    assert await ready(app) == (200, busy)


async def test_a_database_that_is_at_work_on_every_connection_is_busy(app: Any, archive: Archive) -> None:
    """It is asked on a connection of its own, and answers."""
    async with contextlib.AsyncExitStack() as held:
        for _ in range(archive.pool.get_max_size()):
            await held.enter_async_context(archive.pool.acquire())
        busy = {"status": "busy", "busy": "Every connection to the database is at work."}
        assert await asyncio.wait_for(ready(app), 30) == (200, busy)
    assert (await ready(app))[0] == 200


async def test_a_database_that_does_not_answer_is_broken(app: Any, archive: Archive) -> None:
    """503 with what does not answer."""
    await archive.pool.close()
    assert await ready(app) == (503, {"status": "unavailable", "failed": "The database does not answer."})
