"""A database that is stopped: everybody is told in seconds, and goes on when it does."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.archive import Archive
from storage.database import pool as database
from storage.database.embedded import EmbeddedPostgres
from storage.database.migrate import migrate
from storage.database.postgres_processes import processes_on
from storage.errors import Unavailable
from storage.matching.attributes import Level
from storage.matching.conditions import Query
from tests.builders import ct_slice
from tests.waiting import PATIENCE

SECONDS = 30.0
"""Generous: it takes seven where nothing else runs, and took ninety."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of its own."""
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    server.start()
    yield server
    tell(server, signal.SIGCONT)
    server.stop()


@pytest.fixture
async def stoppable(server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Archive]:
    """An archive on it."""
    await migrate(server.dsn)
    archive = await Archive.open(server.dsn, tmp_path)
    yield archive
    tell(server, signal.SIGCONT)
    await archive.close()


def tell(server: EmbeddedPostgres, number: int) -> None:
    """Send a signal to every process of the server."""
    for process in processes_on(server.folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


async def error_of(work: Any) -> Any:
    """What a call raises, or what it gives."""
    try:
        return await work
    except Exception as error:
        return error


async def test_a_stopped_database_is_told_in_seconds(stoppable: Archive, server: EmbeddedPostgres) -> None:
    """Storing, searching, reading and readiness; what was waiting and what comes later; nothing is lost by it."""
    archive = stoppable
    await archive.store(ct_slice("1.2", "1.3", "1.4"))
    tell(server, signal.SIGSTOP)
    begun = time.monotonic()
    outcome, *others = await asyncio.gather(
        archive.store(ct_slice("1.2", "1.3", "1.5")),
        *(error_of(archive.find(Query(Level.STUDY))) for _ in range(20)),  # more than there are connections
        error_of(archive.instances("1.2")),
        error_of(archive.ready()),
    )
    assert time.monotonic() - begun < SECONDS
    assert isinstance(outcome.error, Unavailable)
    assert all(isinstance(error, Unavailable) or database.connection_lost(error) for error in others)
    begun = time.monotonic()
    assert isinstance((await archive.store(ct_slice("1.2", "1.3", "1.6"))).error, Unavailable)
    assert isinstance(await error_of(archive.find(Query(Level.STUDY))), Unavailable)
    assert time.monotonic() - begun < SECONDS / 3, "nobody waits for what is known"
    tell(server, signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        while await error_of(archive.ready()) is not None:
            await asyncio.sleep(0.1)
    assert (await archive.store(ct_slice("1.2", "1.3", "1.5"))).error is None
    assert len(await archive.instances("1.2")) == 2


async def test_a_slow_statement_is_no_silence(archive: Archive) -> None:
    """What takes long while the server answers others is left alone."""
    assert await archive.pool.fetchval("SELECT 1 FROM pg_sleep(3)") == 1


async def test_questions_are_asked_only_while_somebody_waits(archive: Archive) -> None:
    """An archive that is idle, or answers in time, costs the database no connection more."""
    for _ in range(20):
        await archive.pool.fetchval("SELECT 1")
        await asyncio.sleep(0.1)
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dicomweb watch'"
    assert await archive.pool.fetchval(asked) == 0
