"""Durable background work in the database: what is to be done, what became of it, who is at it.

Facts this module keeps:

- States: queued -> running -> done, failed (some items cannot be done), waiting (tried again later), parked (given up
  after many attempts) or cancelled. `retry` brings a job back from every state in which nothing happens by itself.
- A job is claimed by one holder for the time of a lease, which it renews. When the holder dies the lease ends, and the
  next one takes the job up where its settled items end. What a holder writes after it lost the job is not written.
- A job at whose work its worker died, while the supervisor went on, is suspected of that; one that ended in an orderly
  way, or got on, is not. Several are at work at once, so suspects are claimed one at a time. See `Job.deaths`.
- Attempts count since an item was last settled: a job that gets on, however often it is interrupted, is never given up.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast

import asyncpg

from storage.database.pool import retrying, sql

State = Literal["queued", "running", "waiting", "done", "failed", "parked", "cancelled"]
STATES: Final = ("queued", "running", "waiting", "done", "failed", "parked", "cancelled")
FINISHED: Final = ("done", "failed", "parked", "cancelled")
CHANNEL: Final = "dicomweb_jobs"
LISTEN_AGAIN_AFTER: Final = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands.

    Attributes
    ----------
    id : int
        Its number.
    kind : str
        What it is, such as "send".
    state : State
        See the module.
    parameters : dict
        What it was given; the kind's own.
    total : int or None
        Items of work; None while that is not known.
    done, failed : int
        Items settled: done, and those that cannot be done.
    failures : list of dict
        `item` and `error` of the first hundred of the latter.
    error : str
        Why the last attempt ended; empty when it did not.
    attempts : int
        Since an item was last settled.
    deaths : int
        Workers that died while they were at it, since an item was last done or an attempt ended in an orderly way.
    next_attempt_at, created_at, started_at, finished_at : datetime
        The last two None when that has not happened.
    """

    id: int
    kind: str
    state: State
    parameters: dict[str, Any]
    total: int | None
    done: int
    failed: int
    failures: list[dict[str, str]]
    error: str
    attempts: int
    deaths: int
    next_attempt_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Jobs:
    """The table of jobs, for those who ask for work and want to know what became of it.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`, to a migrated database.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def add(self, kind: str, parameters: Mapping[str, Any], *, connection: Any = None) -> int:
        """Queue a job and return its number; on the connection given as part of its transaction."""
        statement = "INSERT INTO jobs (kind, parameters) VALUES ($1, $2) RETURNING id"
        # Never retried: done twice it would be two jobs.
        return int(await (connection or self._pool).fetchval(statement, kind, dict(parameters)))

    async def get(self, number: int) -> Job | None:
        """Return a job, or None."""
        row = await self._pool.fetchrow(sql("job_rows") + " WHERE j.id = $1", number)
        return None if row is None else _job(row)

    async def list(
        self, *, states: Sequence[str] = (), kinds: Sequence[str] = (), before: int | None = None, limit: int = 100
    ) -> "list[Job]":
        """Return jobs, the newest first: of these states and kinds (of all when empty), numbered below `before`."""
        rows = await self._pool.fetch(
            sql("job_rows") + " WHERE (cardinality($1::text[]) = 0 OR state = ANY($1))"
            " AND (cardinality($2::text[]) = 0 OR kind = ANY($2)) AND ($3::bigint IS NULL OR j.id < $3)"
            " ORDER BY j.id DESC LIMIT $4",
            *(list(states), list(kinds), before, limit),
        )
        return [_job(row) for row in rows]

    async def cancel(self, number: int) -> bool:
        """Cancel a job that is not over; its holder stops soon. Returns whether there was something to cancel."""
        return await retrying(lambda: self._pool.fetchval(sql("cancel_job"), number)) is not None

    async def retry(self, number: int) -> bool:
        """Queue a job again that waits or has ended without being done; items that were done stay done, others are new.

        Returns whether there was something to try again.
        """
        return await retrying(lambda: self._pool.fetchval(sql("retry_job"), number)) is not None


class JobQueue:
    """The same table, for those who do the work.

    Parameters
    ----------
    pool : asyncpg.Pool
        As for `Jobs`.
    kinds : sequence of str
        The kinds of jobs that are done here.
    lease : float
        Seconds for which a job is claimed; renew it (`ClaimedJob.keep`) a few times within that.
    run : str
        Names what starts one worker after another; nothing does when it is empty.
    """

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", kinds: Sequence[str], *, lease: float = 10.0, run: str = ""
    ) -> None:
        self._pool = pool
        self._kinds = list(kinds)
        self._worker = uuid.uuid4()
        self._run = run or self._worker.hex
        self.lease = lease

    async def claim(self, *, suspects: bool = True) -> "ClaimedJob | None":
        """Take the job that has been due for longest, if any, or one whose holder is gone.

        Parameters
        ----------
        suspects : bool
            Whether jobs that may have ended a worker count.
        """
        holder = uuid.uuid4()
        of_whom = self._kinds, self._run, self._worker, suspects
        claimed = await self._pool.fetchval(sql("claim_job"), holder, timedelta(seconds=self.lease), *of_whom)
        if claimed is None:
            return None
        row = await self._pool.fetchrow(sql("job_rows") + " WHERE j.id = $1", claimed)
        if row is None:
            return None
        items = await self._pool.fetch("SELECT item, error FROM job_items WHERE job = $1", claimed)
        settled = {item["item"]: item["error"] for item in items}
        return ClaimedJob(self._pool, _job(row), settled, holder, self.lease)

    async def next_due(self) -> float | None:
        """Return the seconds until something may be claimed, not above zero when it may now; None: nothing waits."""
        return cast("float | None", await self._pool.fetchval(sql("next_job"), self._kinds))

    async def forget(self, older_than: timedelta) -> None:
        """Delete jobs that ended so long ago."""
        await self._pool.execute(sql("old_jobs"), older_than)


class ClaimedJob:
    """A job in the hands of its holder.

    Attributes
    ----------
    job : Job
        As it stood when it was claimed.
    settled : dict
        Items settled in this attempt and earlier ones: None for one that was done, else why it cannot be.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        job: Job,
        settled: dict[str, str | None],
        holder: uuid.UUID,
        lease: float,
    ) -> None:
        self.job = job
        self.settled = settled
        self._pool = pool
        self._holder = holder
        self._lease = timedelta(seconds=lease)

    @property
    def failed(self) -> int:
        """How many items cannot be done."""
        return sum(error is not None for error in self.settled.values())

    async def keep(self, *, total: int | None = None, items: Mapping[str, str | None] | None = None) -> bool:
        """Renew the lease, and write how many items there are and which are settled now (as in `settled`).

        Returns
        -------
        bool
            False when the job is somebody else's by now, or was cancelled: nothing was written; stop.
        """
        self.settled |= items or {}
        failed = self.failed

        async def write() -> bool:
            async with self._pool.acquire() as connection, connection.transaction():
                counts = (total, len(self.settled) - failed, failed)
                if await connection.fetchval(sql("keep_job"), self.job.id, self._holder, self._lease, *counts) is None:
                    return False
                if items:
                    await connection.execute(sql("settle_items"), self.job.id, list(items), list(items.values()))
                return True

        return await retrying(write)

    async def finish(self, state: Literal["done", "failed", "parked"], error: str = "") -> bool:
        """Say what became of the job; False when it is ours no longer."""
        return await self._let_go(state, error, 0)

    async def postpone(self, seconds: float, error: str) -> bool:
        """Let the job wait for another attempt; False when it is ours no longer."""
        return await self._let_go("waiting", error, seconds)

    async def give_back(self) -> bool:
        """Queue the job again as if it had not been claimed, for the next holder; False when it is ours no longer."""
        return await self._let_go("queued", "", 0)

    async def _let_go(self, state: State, error: str, seconds: float) -> bool:
        arguments = (self.job.id, self._holder, state, error, timedelta(seconds=seconds))
        return await retrying(lambda: self._pool.fetchval(sql("let_go_of_job"), *arguments)) is not None


async def listen(database_url: str, wake: asyncio.Event) -> None:
    """Set `wake` whenever a job was queued or cancelled; runs until it is cancelled itself.

    While the database cannot be listened to nothing wakes: poll as well.
    """
    while True:
        with contextlib.suppress(TimeoutError, asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(database_url, timeout=LISTEN_AGAIN_AFTER)
            try:
                await _listen_on(connection, wake)
            finally:
                connection.terminate()
        await asyncio.sleep(LISTEN_AGAIN_AFTER)


async def _listen_on(connection: Any, wake: asyncio.Event) -> None:
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _: closed.set())
    await connection.add_listener(CHANNEL, lambda *_: wake.set())
    wake.set()  # for what happened before
    await closed.wait()


def _job(row: Any) -> Job:
    return Job(**{name: row[name] for name in Job.__dataclass_fields__})
