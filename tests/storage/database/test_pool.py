"""Connections, named statements, searches and retries against a real server."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from storage.database import pool as database
from storage.errors import OutOfSpace, QueryTooBroad, Unavailable, WrongDatabaseUrl
from tests.storage.servers import UNUSABLE_URLS


async def test_jsonb_goes_in_and_out_as_python_objects(database_url: str) -> None:
    """Objects, and JSON that is bytes already, come back as objects; so do `json` values and nulls."""
    pool = await database.connect(database_url)
    value = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]}, "n": [1, 2.5, None, True]}
    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    assert await pool.fetchval("SELECT $1::jsonb", b'{"a": [1]}') == {"a": [1]}
    assert await pool.fetchval("SELECT $1::json", value) == value
    assert await pool.fetchval("SELECT $1::jsonb", None) is None
    assert await pool.fetchval("SELECT array_agg(x) FROM (VALUES ('[1]'::jsonb), ('{}')) v(x)") == [[1], {}]
    await pool.close()


async def test_searches_plan_for_their_values_and_lookups_do_not(database_url: str) -> None:
    """The mode for searches ends with the search, although connections are used again."""
    pool = await database.connect(database_url, max_size=1)
    mode = "SELECT current_setting('plan_cache_mode') || ' ' || current_setting('statement_timeout')"
    before = await pool.fetchval(mode)
    for _ in range(2):
        async with database.searching(pool, seconds=7) as connection:
            assert await connection.fetchval(mode) == "force_custom_plan 7s"
        assert await pool.fetchval(mode) == before == "auto 0"
    await pool.close()


async def test_generic_plan_is_never_used_by_searches(database_url: str) -> None:
    """After many runs of one prepared statement a search is still planned for its values."""
    pool = await database.connect(database_url, max_size=1)
    async with database.searching(pool) as connection:
        statement = "SELECT count(*) FROM studies WHERE study_date BETWEEN $1 AND $2"
        for _ in range(12):
            await connection.fetchval(statement, "20200101", "20200102")
        plans = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", statement
        )
        assert plans is not None
        assert plans["generic_plans"] == 0
        assert plans["custom_plans"] >= 12
    await pool.close()


async def test_search_that_takes_too_long_is_cut_off(database_url: str) -> None:
    """The error says how to ask for less, and the connection is usable afterwards."""
    pool = await database.connect(database_url, max_size=1)
    with pytest.raises(QueryTooBroad, match="study date"):
        async with database.searching(pool, seconds=0.05) as connection:
            await connection.execute("SELECT pg_sleep(10)")
    assert await pool.fetchval("SELECT 1") == 1
    assert await pool.fetchval("SHOW statement_timeout") == "0"
    await pool.close()


async def test_transaction_left_open_does_not_leak_to_the_next_user(database_url: str) -> None:
    """The pool's cheap reset still ends a transaction that its user did not end."""
    pool = await database.connect(database_url, max_size=1)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # asyncpg tells the loop about it
    async with pool.acquire() as connection:
        await connection.execute("BEGIN; CREATE TABLE left_open (x int)")
    assert await pool.fetchval("SELECT to_regclass('left_open')") is None
    await pool.close()


async def test_deadlocks_are_retried_until_both_have_done_their_work(database_url: str) -> None:
    """Two transactions that lock two rows crosswise both commit."""
    pool = await database.connect(database_url)
    await pool.execute("CREATE TABLE counters (id int PRIMARY KEY, n int); INSERT INTO counters VALUES (1, 0), (2, 0)")
    attempts = 0

    async def count_both(first: int, second: int) -> None:
        async def once() -> None:
            nonlocal attempts
            attempts += 1
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SET LOCAL deadlock_timeout = '10ms'")
                await connection.execute("UPDATE counters SET n = n + 1 WHERE id = $1", first)
                await asyncio.sleep(0.05)
                await connection.execute("UPDATE counters SET n = n + 1 WHERE id = $1", second)

        await database.retrying(once)

    await asyncio.gather(count_both(1, 2), count_both(2, 1))
    assert [row["n"] for row in await pool.fetch("SELECT n FROM counters")] == [2, 2]
    assert attempts > 2
    await pool.close()


async def test_lost_connection_is_retried_on_a_new_one(database_url: str) -> None:
    """A backend that was terminated under us costs an attempt, not the work."""
    pool = await database.connect(database_url)
    attempts = 0

    async def work() -> int:
        nonlocal attempts
        attempts += 1
        async with pool.acquire() as connection:
            if attempts == 1:
                await pool.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            return int(await connection.fetchval("SELECT 42"))

    assert await database.retrying(work) == 42
    assert attempts == 2
    await pool.close()


async def test_mistakes_are_not_retried(database_url: str) -> None:
    """A wrong statement, value or number of arguments fails at once with its own error."""
    pool = await database.connect(database_url)
    attempts = 0
    for statement, arguments, error in (
        ("SELEC", (), asyncpg.PostgresSyntaxError),
        ("SELECT $1::int", ("x",), asyncpg.DataError),
        ("SELECT $1::int", (), asyncpg.InterfaceError),
        ("SELECT 1/0", (), asyncpg.DivisionByZeroError),
    ):

        async def work(statement: str = statement, arguments: tuple[object, ...] = arguments) -> None:
            nonlocal attempts
            attempts += 1
            await pool.fetch(statement, *arguments)

        attempts = 0
        with pytest.raises(error):
            await database.retrying(work)
        assert attempts == 1
    await pool.close()


async def test_giving_up_is_unavailable() -> None:
    """After the last attempt the caller is told that trying later may help; a full disk is told at once."""

    async def refused() -> None:
        raise ConnectionRefusedError

    with pytest.raises(Unavailable, match="3 attempts"):
        await database.retrying(refused, attempts=3)

    async def full() -> None:
        raise asyncpg.DiskFullError("could not extend file")

    with pytest.raises(OutOfSpace):
        await database.retrying(full)


async def test_server_or_database_that_is_not_there(database_url: str, tmp_path: Path) -> None:
    """Neither gives a traceback from the driver."""
    for url in (f"postgresql://dicomweb@/dicomweb?host={tmp_path}", database_url.replace("/test_", "/absent_")):
        with pytest.raises(Unavailable, match="does not answer"):
            await database.connect(url)


@pytest.mark.parametrize("url", UNUSABLE_URLS)
async def test_a_url_that_cannot_be_used_is_named_without_its_password(url: str) -> None:
    """It is not waited for, as a database that does not answer is, and no piece of it is shown."""
    with pytest.raises(WrongDatabaseUrl, match="percent-encoded") as refused:
        await database.connect(url)
    said = "".join(traceback.format_exception(refused.value))
    assert "tell" not in said and "nobody" not in said


@pytest.mark.parametrize("parameter", ["connect_timeout=10", "client_encoding=none", "server_version=1"])
async def test_a_parameter_that_the_server_does_not_take_is_a_wrong_url(database_url: str, parameter: str) -> None:
    """Parameters that the driver does not know become settings of the session, and some are none."""
    with pytest.raises(WrongDatabaseUrl, match="parameters"):
        await database.connect(f"{database_url}{'&' if '?' in database_url else '?'}{parameter}")


async def test_a_statement_that_hangs_comes_to_an_end(database_url: str) -> None:
    """A lock that is never let go of is a lost server after the limit, at the first attempt; the pool goes on."""
    pool = await database.connect(database_url, max_size=1, command_within=1)
    attempts = 0

    async def count() -> object:
        nonlocal attempts
        attempts += 1
        return await pool.fetchval("SELECT count(*) FROM instances")

    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("LOCK TABLE instances")
        with pytest.raises(TimeoutError) as caught:
            await count()
        assert database.connection_lost(caught.value)
        with pytest.raises(Unavailable, match="in time"):
            await database.retrying(count)
        with pytest.raises(Unavailable):
            async with database.searching(pool, seconds=60) as connection:
                await connection.fetchval("SELECT count(*) FROM instances")
    await other.close()
    assert attempts == 2
    assert await count() == 0
    assert await pool.fetchval("SELECT 1 FROM pg_sleep(1.5)", timeout=database.ADMINISTRATIVE) == 1
    await pool.close()


async def test_a_pool_without_a_free_connection_is_unavailable(database_url: str) -> None:
    """Who waits too long for a connection is told to come again, and costs the pool nothing."""
    pool = await database.connect(database_url, max_size=1, connection_within=1)
    async with pool.acquire():
        with pytest.raises(Unavailable, match="no connection free"):
            await pool.fetchval("SELECT 1")
        with pytest.raises(Unavailable):
            await pool.acquire()
        with pytest.raises(Unavailable):
            async with database.searching(pool):
                pass
    assert await pool.fetchval("SELECT 1") == 1
    connection = await pool.acquire()
    await pool.release(connection)
    await pool.close()


@pytest.fixture
async def silenced(database_url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The database behind a relay, and the event after which the relay passes nothing on and says nothing."""
    silent = asyncio.Event()
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    writers: list[asyncio.StreamWriter] = []
    ways: list[asyncio.Task[None]] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not silent.is_set():
                writer.write(data)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        writers.extend((writer, outer))
        ways.extend((asyncio.create_task(forward(reader, outer)), asyncio.create_task(forward(inner, writer))))

    listener = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    yield f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{port}{parts.path}?sslmode=disable", silent
    listener.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*ways, return_exceptions=True)


async def test_a_server_that_falls_silent_is_unavailable(silenced: tuple[str, asyncio.Event]) -> None:
    """Cut off without a word, before or after the connection was made, a server costs seconds, not for ever."""
    url, silent = silenced
    pool = await database.connect(url, max_size=2, command_within=1, connection_within=1)
    assert await pool.fetchval("SELECT 1") == 1
    silent.set()
    begun = time.monotonic()
    for _ in range(3):
        with pytest.raises((Unavailable, TimeoutError)) as caught:
            await asyncio.wait_for(pool.fetchval("SELECT 1"), 30)
        assert isinstance(caught.value, Unavailable) or database.connection_lost(caught.value)
    with pytest.raises(Unavailable, match="silent for too long"):
        await asyncio.wait_for(database.connect(url, connection_within=1), 30)
    assert time.monotonic() - begun < 20
    pool.terminate()
    await asyncio.sleep(0.05)


def test_named_statements_are_found_by_name(tmp_path: Path) -> None:
    """Blocks of all files, without names' lines and closing semicolons; comments inside stay."""
    (tmp_path / "a.sql").write_text(
        "-- about this file\n\n-- name: one\nSELECT 1;\n\n-- name: two\n-- why\nSELECT\n  2;\n"
    )
    (tmp_path / "b.sql").write_text("-- name:three\nSELECT 3\n")
    assert database.statements_in(tmp_path) == {"one": "SELECT 1", "two": "-- why\nSELECT\n  2", "three": "SELECT 3"}
    (tmp_path / "c.sql").write_text("-- name: one\nSELECT 4\n")
    with pytest.raises(ValueError, match="named one"):
        database.statements_in(tmp_path)


def test_unknown_statement_is_a_key_error() -> None:
    """A misspelt name fails at the first use."""
    with pytest.raises(KeyError):
        database.sql("no_such_statement")
    assert (database.sql_folder() / "migrations").is_dir()
