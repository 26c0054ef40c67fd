"""Fixtures: a database for each test, an archive, the application in process, and a real server process.

Everything listens on the loopback interface only. See `tests/live_server.py` for the server process.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx2
import pytest
from hypothesis import HealthCheck, settings

from storage.database import embedded
from storage.database.migrate import migrate
from tests import pynetdicom_race
from tests.live_server import LiveServer, running_server

TEMPLATE = "template_of_tests"

# How long an example takes says something about the machine that day, not about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
pynetdicom_race.close()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded PostgreSQL of this test process with one migrated database to copy from."""
    # Nothing here has to survive a power cut; without the flushes creating a database costs a third.
    hasty = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
    with patch.dict(embedded.SETTINGS, hasty):
        postgres = embedded.EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "database")
        url = postgres.start()
    try:
        execute(url, f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(migrate(with_database(url, TEMPLATE)))
        yield url
    finally:
        postgres.stop()


_numbers = itertools.count(1)


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh, migrated database that is dropped after the test."""
    name = f"test_{next(_numbers)}"
    execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield with_database(postgres_url, name)
    execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh database without any table that is dropped after the test."""
    name = f"empty_{next(_numbers)}"
    execute(postgres_url, f"CREATE DATABASE {name}")
    yield with_database(postgres_url, name)
    execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def archive(database_url: str, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty storage.Archive on a fresh database and `tmp_path / "data"`."""
    from storage.archive import Archive

    opened = await Archive.open(database_url, tmp_path / "data")
    yield opened
    await opened.close()


@pytest.fixture
def app(archive: Any, tmp_path: Path) -> Any:
    """The ASGI application over the empty archive, with default settings."""
    from dicomweb.http.app import create_app
    from dicomweb.settings import Settings

    return create_app(archive, Settings(data_dir=tmp_path / "data", allowed_hosts=["archive.test"]))


@pytest.fixture
async def client(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application in process; it buffers whole bodies, so test streaming with `server`."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://archive.test") as opened:
        yield opened


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One real `dicomweb serve` for the whole session: do not rely on it being empty."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., LiveServer]]:
    """Start servers of the test's own: `serve("--workers", "1", data_dir=..., environment={...})`."""
    from contextlib import ExitStack

    if "database_url" in request.fixturenames:
        request.getfixturevalue("database_url")  # first, so that it outlives the servers
    with ExitStack() as stack:

        def start(*flags: str, data_dir: Path | None = None, environment: dict[str, str] | None = None) -> LiveServer:
            folder = data_dir or tmp_path / "served"
            return stack.enter_context(running_server(folder, *flags, environment=environment))

        yield start


@pytest.fixture
def live_client(server: LiveServer) -> Iterator[httpx2.Client]:
    """A blocking client of the session's server; paths are below the server, as in "/dicom-web/studies"."""
    with httpx2.Client(base_url=server.url, timeout=60) as opened:
        yield opened


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the end of a live server's log to the report of a test that failed."""
    outcome: Any = yield
    report = outcome.get_result()
    running = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(running, LiveServer):
        report.sections.append(("log of the server", running.log_tail()))


def with_database(url: str, name: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
