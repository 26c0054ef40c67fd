"""Connections to PostgreSQL: the pool, the named statements, searches with their own planning, retries.

Facts this module keeps:
- asyncpg prepares every statement; after five runs PostgreSQL may switch it to a plan that does not know the values.
  That is right for lookups by key and ruinous for searches, so `searching` forces a plan for the values at hand.
- jsonb goes in and out as Python objects; `bytes` are taken to be JSON already.
- Nothing waits for ever: a server that hangs, or was cut off without a word, ends a statement after
  `COMMAND_WITHIN` and a wait for a connection after `CONNECTION_WITHIN`. Statements that rightly take longer, over a
  whole index, say so with `timeout=ADMINISTRATIVE`; searches have a shorter limit of their own. A server that says
  nothing at all is noticed in seconds (`storage/database/silence.py`).
- A retried operation may have been committed although its answer was lost: whatever is given to `retrying` must be
  harmless when done twice.
"""

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncpg
import orjson
from asyncpg.pool import PoolAcquireContext, PoolConnectionProxy

from storage.database.silence import Watch
from storage.errors import OutOfSpace, QueryTooBroad, Unavailable, WrongDatabaseUrl
from storage.system.errors import in_words

Result = TypeVar("Result")

COMMAND_WITHIN = 60.0
"""Seconds for one statement: the largest batch takes a few, the commit of a busy disk included."""
CONNECTION_WITHIN = 30.0
"""Seconds until the pool gives a connection, a new one included: clients give up after about as long."""
OPENED_WITHIN = 10.0
"""Seconds until a new connection is made."""
REACH_EVERY = 0.5
"""Seconds between two attempts to reach a database that does not answer yet."""
ADMINISTRATIVE = 86_400.0
"""Seconds for a statement that reads or writes a whole index: a day, which is to say no limit."""

CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
NOT_ANSWERING: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,  # asyncpg's word when the server's farewell came between two statements
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCatalogNameError,  # dropped or renamed
    asyncpg.InvalidAuthorizationSpecificationError,
)

WRONG_URL: tuple[type[Exception], ...] = (
    ValueError,  # the driver's own complaints among them; where an unescaped character is, it quotes the password
    OverflowError,
    asyncpg.UndefinedObjectError,  # a parameter of the URL that the driver does not know is one of the session
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.InvalidParameterValueError,
)


def connection_lost(error: BaseException) -> bool:
    """Whether an error means that the server or the connection to it is gone, as opposed to a mistake of ours."""
    if type(error) is asyncpg.InterfaceError:  # its subclasses are mistakes; it has no number to go by
        # A connection that its pool found dead while we held it counts as given back.
        return "clos" in str(error) or "released back to the pool" in str(error)
    return isinstance(error, NOT_ANSWERING)


def is_no_text(error: BaseException) -> bool:
    """Whether an error means that a text given to the database has a character that it takes in none."""
    return isinstance(error, asyncpg.CharacterNotInRepertoireError | asyncpg.UntranslatableCharacterError)


class Connection(asyncpg.Connection):
    """A connection of the pool, with a mode for searches.

    The pool does not reset the session of a connection that comes back, which costs as much as a lookup, unless the
    mode was used. So whoever sets anything for the session, takes a session's advisory lock or listens does it on a
    connection of its own.
    """

    _searching = False

    async def plan_for_values(self, seconds: float, *, alone: bool = False) -> None:
        """Until the connection goes back to the pool: plans for the values at hand, statements cut off in time.

        `alone` keeps them to one process of the server each.
        """
        self._searching = True
        one_process = "; SET max_parallel_workers_per_gather = 0" if alone else ""
        await self.execute(
            f"SET plan_cache_mode = force_custom_plan; SET statement_timeout = {max(1, round(seconds * 1000))}"
            + one_process
        )

    def get_reset_query(self) -> str:
        """What the pool runs when the connection comes back (asyncpg's interface)."""
        searched, self._searching = self._searching, False
        settings = ("plan_cache_mode", "statement_timeout", "max_parallel_workers_per_gather")
        return "; ".join(f"RESET {name}" for name in settings) if searched else ""


class Pool(asyncpg.Pool):
    """A pool that says `Unavailable` when it has no connection to give in time.

    Attributes
    ----------
    connection_within : float
        Seconds.
    watch : Watch
        Ends every wait when the database has fallen silent.
    """

    connection_within = CONNECTION_WITHIN
    watch: Watch

    def acquire(self, *, timeout: float | None = None) -> "PoolAcquireContext[asyncpg.Record]":
        """Give a connection (asyncpg's interface); in `timeout` seconds instead of the usual ones."""
        return _Acquiring(self, self.connection_within if timeout is None else timeout)

    async def release(
        self,
        connection: "PoolConnectionProxy[asyncpg.Record]",
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
    ) -> None:
        """Take a connection back (asyncpg's interface); one whose last statement cannot be cancelled is let go of."""
        self.watch.returned(connection)
        await super().release(connection, timeout=self.connection_within if timeout is None else timeout)

    async def close(self) -> None:
        """Wait until all connections are back, and close them (asyncpg's interface)."""
        await super().close()
        await self.watch.end()

    def terminate(self) -> None:
        """Close all connections at once (asyncpg's interface)."""
        self.watch.stop()
        super().terminate()


class _Acquiring(PoolAcquireContext):
    """asyncpg's own timeout would cost each lookup a task; this one costs a timer."""

    def __init__(self, pool: Pool, seconds: float) -> None:
        super().__init__(pool, None)
        self.seconds = seconds
        self.watch = pool.watch

    async def __aenter__(self) -> "PoolConnectionProxy[asyncpg.Record]":
        if self.watch.silent:
            raise Unavailable("The database does not answer; try again later.")
        timeout = asyncio.timeout(self.seconds)
        self.watch.waits(timeout)
        try:
            async with timeout:
                connection = await super().__aenter__()
        except TimeoutError as error:
            raise Unavailable("The database has no connection free, or does not answer; try again later.") from error
        finally:
            self.watch.waits_no_more(timeout)
        self.watch.lent(connection)
        return connection

    def __await__(self) -> "Generator[Any, None, PoolConnectionProxy[asyncpg.Record]]":
        return self.__aenter__().__await__()


def sql_folder() -> Path:
    """The folder of the statements and migrations: inside the installed package, or the repository's `sql/`."""
    package = Path(__file__).parents[1]
    packaged = package / "sql"
    return packaged if packaged.is_dir() else package.parent / "sql"


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


@contextmanager
def connecting() -> Iterator[None]:
    """What is done inside opens connections; what goes wrong is an error that can be shown.

    Raises
    ------
    Unavailable
        The database does not answer or does not let us in.
    WrongDatabaseUrl
        The URL cannot be used.
    """
    try:
        yield
    except NOT_ANSWERING as error:
        raise Unavailable(f"the database does not answer: {in_words(error)}") from error
    except WRONG_URL:
        raise WrongDatabaseUrl(
            "the URL of the database (--database-url) cannot be used: it must be like "
            "postgresql://user:password@host:5432/database, with special characters in the password percent-encoded "
            "(/ as %2F, # as %23, ? as %3F, @ as %40), a port up to 65535, and parameters that PostgreSQL knows"
        ) from None


async def reach(
    url: str,
    attempt: Callable[[], Awaitable[Result]],
    *,
    seconds: float = 0.0,
    failed: Callable[[Unavailable], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Return what `attempt` gives; while the database does not answer it is made again.

    Parameters
    ----------
    url
        Of the database.
    attempt
        Raises Unavailable while it does not answer.
    seconds
        How long it is tried; once at the least.
    failed
        Told of each failure that is followed by another attempt.
    stopped
        Whether to give up now.

    Raises
    ------
    Unavailable
        It did not answer; the message says for how long that was tried, and what to check.
    """
    began = time.monotonic()
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            tried = time.monotonic() - began
            if tried >= seconds or stopped():
                raise Unavailable(f"{str(error).rstrip('.')}; tried for {tried:.0f} s. {_to_check(url)}") from error
            failed(error)
        await asyncio.sleep(REACH_EVERY)


def _to_check(url: str) -> str:
    if "host=/" in url or "host=%2F" in url:  # a socket: the database that comes along
        return "The log of the database is postgres.log in the data folder."
    return (
        "Check that PostgreSQL runs where --database-url says (host, port, user, password), that it lets this machine "
        "in (listen_addresses, pg_hba.conf), and that no firewall is between."
    )


async def connect(
    url: str,
    *,
    min_size: int = 1,
    max_size: int = 8,
    command_within: float = COMMAND_WITHIN,
    connection_within: float = CONNECTION_WITHIN,
) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool of connections.

    Parameters
    ----------
    url
        `postgresql://user@host/database`; for a socket `postgresql://user@/database?host=/folder`.
    min_size, max_size
        Connections kept open, and at most.
    command_within, connection_within
        Seconds for a statement that names no limit of its own, and for getting a connection.

    Raises
    ------
    Unavailable
        The database does not answer or does not let us in.
    WrongDatabaseUrl
        The URL cannot be used.
    """
    with connecting():
        pool = Pool(
            url,
            min_size=min_size,
            max_size=max_size,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            loop=None,
            init=prepare_connection,
            connection_class=Connection,
            record_class=asyncpg.Record,
            command_timeout=command_within,
            timeout=min(connection_within, OPENED_WITHIN),
            server_settings={"application_name": "dicomweb"},
        )
        pool.connection_within = connection_within
        pool.watch = Watch(url)
        await pool
    pool.watch.begin()
    return pool


async def answers(pool: "asyncpg.Pool[asyncpg.Record]", *, seconds: float = 5.0) -> bool:
    """Ask whether the database answers; return whether the pool had a connection free to ask on.

    A pool whose connections are all at work says nothing of the database: it is then asked on one of its own.

    Raises
    ------
    Exception
        It does not answer within `seconds`.
    """
    free = pool.get_idle_size() > 0 or pool.get_size() < pool.get_max_size()
    async with asyncio.timeout(seconds):
        if free:
            async with pool.acquire(timeout=seconds) as connection:
                await connection.fetchval("SELECT 1")
        else:
            own = await asyncpg.connect(cast(Pool, pool).watch.url, timeout=seconds)
            try:
                await own.fetchval("SELECT 1")
            finally:
                own.terminate()
    return free


@asynccontextmanager
async def searching(
    pool: "asyncpg.Pool[asyncpg.Record]", *, seconds: float = 30.0, alone: bool = False
) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
    """A connection for searches: planned for the values at hand, each statement cut off after `seconds`.

    `alone` keeps a statement to one process of the server.

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
            await cast(Any, connection).plan_for_values(seconds, alone=alone)
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
        The last attempt failed as well, or one of them met a server that was silent for too long: whoever waits has
        waited long enough then.
    OutOfSpace
        The database's disk is full.
    """
    pause = 0.01
    for attempt in itertools.count(1):
        try:
            return await operation()
        except asyncpg.DiskFullError as error:
            raise OutOfSpace("the disk of the database is full") from error
        except TimeoutError as error:
            raise Unavailable("the database did not take the change in time") from error
        except Exception as error:
            if not (isinstance(error, CONFLICTS) or connection_lost(error)):
                raise
            if attempt >= attempts:
                raise Unavailable(f"the database did not take the change after {attempts} attempts") from error
        await asyncio.sleep(random.uniform(0.2, 1.0) * pause)
        pause = min(longest_pause, pause * 2)
    raise AssertionError("itertools.count() does not end")
