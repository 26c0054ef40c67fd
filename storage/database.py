"""Connections to PostgreSQL: the pool, the named statements, searches with their own planning, retries.

Facts this module keeps:
- asyncpg prepares every statement; after five runs PostgreSQL may switch it to a plan that does not know the values.
  That is right for lookups by key and ruinous for searches, so `searching` forces a plan for the values at hand.
- jsonb goes in and out as Python objects; `bytes` are taken to be JSON already.
- A retried operation may have been committed although its answer was lost: whatever is given to `retrying` must be
  harmless when done twice.
"""

import asyncio
import itertools
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from storage.errors import OutOfSpace, QueryTooBroad, Unavailable

Result = TypeVar("Result")

CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
NOT_ANSWERING: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,  # asyncpg's word when the server's farewell came between two statements
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
NOT_ADMITTED: tuple[type[Exception], ...] = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
)


def connection_lost(error: BaseException) -> bool:
    """Whether an error means that the server or the connection to it is gone, as opposed to a mistake of ours."""
    if type(error) is asyncpg.InterfaceError:  # its subclasses are mistakes; it has no number to go by
        return "clos" in str(error)
    return isinstance(error, NOT_ANSWERING)


class Connection(asyncpg.Connection):
    """A connection of the pool, with a mode for searches.

    The pool does not reset the session of a connection that comes back, which costs as much as a lookup, unless the
    mode was used. So whoever sets anything for the session, takes a session's advisory lock or listens does it on a
    connection of its own.
    """

    _searching = False

    async def plan_for_values(self, seconds: float) -> None:
        """Until the connection goes back to the pool: plans for the values at hand, statements cut off in time."""
        self._searching = True
        await self.execute(
            f"SET plan_cache_mode = force_custom_plan; SET statement_timeout = {max(1, round(seconds * 1000))}"
        )

    def get_reset_query(self) -> str:
        """What the pool runs when the connection comes back (asyncpg's interface)."""
        searched, self._searching = self._searching, False
        return "RESET plan_cache_mode; RESET statement_timeout" if searched else ""


def sql_folder() -> Path:
    """The folder of the statements and migrations: inside the installed package, or the repository's `sql/`."""
    packaged = Path(__file__).with_name("sql")
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "sql"


def statements_in(folder: Path) -> dict[str, str]:
    """The named statements of a folder's `*.sql` files.

    Parameters
    ----------
    folder
        Its files consist of blocks, each opened by a line `-- name: <name>`.

    Returns
    -------
    dict
        Name -> statement without its closing semicolon.

    Raises
    ------
    ValueError
        Two statements have one name.
    """
    statements: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        _, *blocks = re.split(r"^-- name: *(\w+) *$", path.read_text("utf-8"), flags=re.MULTILINE)
        for name, text in zip(blocks[::2], blocks[1::2], strict=True):
            if name in statements:
                raise ValueError(f"two statements in {folder} are named {name}")
            statements[name] = text.strip().removesuffix(";")
    return statements


@cache
def _statements() -> dict[str, str]:
    return statements_in(sql_folder())


def sql(name: str) -> str:
    """The statement that follows `-- name: <name>` in one of the files `sql/*.sql`.

    Parameters
    ----------
    name
        Unique over all files.

    Returns
    -------
    str
        Without the closing semicolon.

    Raises
    ------
    KeyError
        There is no statement of that name.
    """
    return _statements()[name]


def _jsonb(value: Any) -> bytes:
    return b"\x01" + (value if isinstance(value, bytes) else orjson.dumps(value))


async def prepare_connection(connection: Any) -> None:
    """Teach a new connection our JSON codecs; `connect` does it for every connection of its pool."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=_jsonb,
        decoder=lambda data: orjson.loads(data[1:]),
        format="binary",
    )
    await connection.set_type_codec(
        "json",
        schema="pg_catalog",
        encoder=lambda value: value if isinstance(value, bytes) else orjson.dumps(value),
        decoder=orjson.loads,
        format="binary",
    )


async def connect(url: str, *, min_size: int = 1, max_size: int = 8) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool of connections.

    Parameters
    ----------
    url
        `postgresql://user@host/database`; for a socket `postgresql://user@/database?host=/folder`.
    min_size, max_size
        Connections kept open, and at most.

    Raises
    ------
    Unavailable
        The database does not answer or does not let us in.
    """
    try:
        return await asyncpg.create_pool(
            url,
            min_size=min_size,
            max_size=max_size,
            init=prepare_connection,
            connection_class=Connection,
            server_settings={"application_name": "dicomweb"},
        )
    except (*NOT_ANSWERING, *NOT_ADMITTED) as error:
        raise Unavailable(f"the database does not answer: {error}") from error


@asynccontextmanager
async def searching(
    pool: "asyncpg.Pool[asyncpg.Record]", *, seconds: float = 30.0
) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
    """A connection for searches: planned for the values at hand, each statement cut off after `seconds`.

    Measured: 0.25 ms more than a lookup, no more than SET LOCAL in a transaction; a second pool would save that time
    and cost as many connections again.

    Raises
    ------
    QueryTooBroad
        A statement ran longer than `seconds`.
    Unavailable
        The database does not answer.
    """
    try:
        async with pool.acquire() as connection:
            await cast(Any, connection).plan_for_values(seconds)
            yield connection
    except asyncpg.QueryCanceledError as error:
        raise QueryTooBroad(
            f"the search took longer than {seconds:g} seconds; add a study date, patient or accession number"
        ) from error
    except Exception as error:
        if connection_lost(error):
            raise Unavailable("the database does not answer") from error
        raise


async def retrying(
    operation: Callable[[], Awaitable[Result]], *, attempts: int = 10, longest_pause: float = 1.0
) -> Result:
    """Run `operation` again after a conflict with another transaction or a lost connection.

    Parameters
    ----------
    operation
        Called anew for each attempt; takes its own connection and transaction; harmless when done twice.
    attempts
        How often at most.
    longest_pause
        Seconds; pauses double from 10 ms up to this, each cut to a random part so that rivals part company.

    Raises
    ------
    Unavailable
        The last attempt failed as well.
    OutOfSpace
        The database's disk is full.
    """
    pause = 0.01
    for attempt in itertools.count(1):
        try:
            return await operation()
        except asyncpg.DiskFullError as error:
            raise OutOfSpace("the disk of the database is full") from error
        except Exception as error:
            if not (isinstance(error, CONFLICTS) or connection_lost(error)):
                raise
            if attempt >= attempts:
                raise Unavailable(f"the database did not take the change after {attempts} attempts") from error
        await asyncio.sleep(random.uniform(0.2, 1.0) * pause)
        pause = min(longest_pause, pause * 2)
    raise AssertionError("itertools.count() does not end")
