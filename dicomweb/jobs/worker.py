"""Doing jobs: claimed from the table, accompanied while they are done, tried again with growing pauses, or parked.

Facts this module keeps:

- What a job settles is written within a second; so that is what a killed worker's successor may do again.
- A job is stopped when it was cancelled, when it became somebody else's, or when the worker is to end; in the last case
  it is given back, to be taken up at once.
- A job whose work ends the process for the second time is parked. After the first time it runs beside no other suspect.
- Errors of the peer and of the database are tried again; what would come out the same way is not.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from dicomweb.dimse.errors import AssociationError
from dicomweb.jobs import availability, performed_step, pull, send
from dicomweb.jobs.work import Hopeless, Later, Work
from dicomweb.scu.calling import Caller, NotOffered, OperationFailed
from dicomweb.settings import Settings, SettingsError
from storage.archive import Archive
from storage.database.pool import connection_lost
from storage.errors import ArchiveError
from storage.system.errors import in_words
from storage.work import completion
from storage.work.jobs import ClaimedJob, JobQueue
from storage.worklist import performed_steps
from storage.worklist.items import Worklist

logger = logging.getLogger(__name__)

KINDS: Final[Mapping[str, Callable[[Work], Awaitable[None]]]] = {
    "send": send.send,
    "pull": pull.pull,
    completion.KIND: availability.announce,
    performed_steps.FORWARD: performed_step.forward,
}
"""What is done, by kind of job."""

AT_ONCE: Final = 4
WRITE_EVERY: Final = 0.5
POLL_EVERY: Final = 5.0
LOOK_AT_FEED_EVERY: Final = 2.0
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 3600.0
MOST_ATTEMPTS: Final = 12
"""Without anything done: more than three hours."""
KEPT: Final = timedelta(days=30)
"""Jobs that have ended, parked ones included."""
FORGET_EVERY: Final = 3600.0
MOST_DEATHS: Final = 2
DEADLY: Final = "Its work has ended the process that did it twice; it is not begun again by itself."
UNFORESEEN: Final = "The job failed in a way nobody foresaw; the log has the details."


class JobWorker:
    """Does jobs until it is told to stop.

    Parameters
    ----------
    archive : Archive
        The archive, and its database.
    settings : Settings
        Of associations; `availability_delay_seconds`.
    first_pause : float
        Seconds before a second attempt; it doubles each time.
    lease : float
        Seconds after which the jobs of a worker that died are taken up.
    most_attempts : int
        Attempts without anything done after which a job is parked.
    poll_every : float
        Seconds between two looks at the table; whoever knows of something sets `wake`.
    run : str
        Of the supervisor that starts another worker when this one dies.
    """

    def __init__(
        self,
        archive: Archive,
        settings: Settings,
        *,
        first_pause: float = FIRST_PAUSE,
        lease: float = 10.0,
        most_attempts: int = MOST_ATTEMPTS,
        poll_every: float = POLL_EVERY,
        run: str = "",
    ) -> None:
        self.wake = asyncio.Event()
        self._archive = archive
        self._settings = settings
        self._caller = Caller(settings)
        self._queue = JobQueue(archive.pool, list(KINDS), lease=lease, run=run)
        self._first_pause = first_pause
        self._most_attempts = most_attempts
        self._poll_every = poll_every
        self._running: set[asyncio.Task[None]] = set()
        self._suspected: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()

    async def run(self) -> None:
        """Do jobs until cancelled; what is under way is then given back."""
        beside = [asyncio.create_task(each) for each in (self._follow_feed(), self._forget())]
        try:
            while True:
                seconds = await self._claim()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self.wake.wait()
        finally:
            for task in (*beside, *self._running):
                task.cancel()
            await asyncio.gather(*beside, *self._running, return_exceptions=True)

    async def _claim(self) -> float:
        """Start what is due; returns the seconds until there may be more."""
        self.wake.clear()
        self._looked.set()  # one of those under way may have been cancelled
        self._looked = asyncio.Event()
        try:
            while len(self._running) < AT_ONCE and (claimed := await self._next()) is not None:
                task = asyncio.create_task(self._do(claimed))
                self._running.add(task)
                if claimed.job.deaths:
                    self._suspected = task
                task.add_done_callback(self._ended)
            if len(self._running) >= AT_ONCE or self._suspected is not None:
                return self._poll_every
            due = await self._queue.next_due()
        except Exception as error:
            _report("the table of jobs cannot be read", error)
            return self._poll_every
        return self._poll_every if due is None else min(max(due, 0.02), self._poll_every)

    async def _next(self) -> ClaimedJob | None:
        return await self._queue.claim(suspects=self._suspected is None)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if task is self._suspected:
            self._suspected = None
        self.wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _report("a job could not be written; it is taken up again when its lease ends", error)

    async def _do(self, claimed: ClaimedJob) -> None:
        if claimed.job.deaths >= MOST_DEATHS:
            await claimed.finish("parked", DEADLY)
            logger.error("job %d (%s): %s", claimed.job.id, claimed.job.kind, DEADLY)
            return
        work = Work(self._archive, self._caller, claimed.job, claimed.settled)
        doing = asyncio.ensure_future(KINDS[claimed.job.kind](work))
        try:
            if await self._accompany(claimed, work, doing):
                await self._conclude(claimed, work, doing)
        except asyncio.CancelledError:
            await _stop(doing)
            if await work.keep(claimed):
                await claimed.give_back()
            raise
        finally:
            await _stop(doing)

    async def _accompany(self, claimed: ClaimedJob, work: Work, doing: "asyncio.Future[None]") -> bool:
        """Renew the lease and write what is settled until the job ends; False when it is ours no longer."""
        kept = time.monotonic()
        while True:
            looked = asyncio.ensure_future(self._looked.wait())
            either: set[asyncio.Future[Any]] = {doing, looked}
            await asyncio.wait(either, timeout=WRITE_EVERY, return_when=asyncio.FIRST_COMPLETED)
            is_due = looked.done() or time.monotonic() - kept > self._queue.lease / 3
            looked.cancel()
            has_ended = doing.done()  # looked at before its news are written, so that these are the last
            if not (is_due or work.has_news or has_ended):
                continue
            if not await work.keep(claimed):
                logger.info("job %d was cancelled or taken over", claimed.job.id)
                return False
            kept = time.monotonic()
            if has_ended:
                return True

    async def _conclude(self, claimed: ClaimedJob, work: Work, doing: "asyncio.Future[None]") -> None:
        """Write what became of the job."""
        error = doing.exception()
        if error is None and not work.failed:
            await claimed.finish("done")
            logger.info("job %d (%s) is done", claimed.job.id, claimed.job.kind)
            return
        if error is None:
            reason = f"{work.failed} of the items cannot be done."
            await claimed.finish("failed", reason)
        elif not (reason := _may_pass(error)):
            reason = f"{str(error).rstrip('.')}."
            await claimed.finish("failed", reason)
        elif (attempts := 1 if work.has_got_on else claimed.job.attempts) >= self._most_attempts:
            await claimed.finish("parked", reason)
        else:
            await claimed.postpone(min(LONGEST_PAUSE, self._first_pause * 2 ** (attempts - 1)), reason)
        logger.warning("job %d (%s): %s", claimed.job.id, claimed.job.kind, reason)

    async def _follow_feed(self) -> None:
        """Look for studies that have become complete (G-180)."""
        delay = self._settings.availability_delay_seconds
        while True:
            try:
                await completion.follow(self._archive.pool)
                await completion.announce(self._archive.pool, delay)
            except Exception as error:
                _report("the change feed cannot be read", error)
            await asyncio.sleep(min(LOOK_AT_FEED_EVERY, max(0.1, delay / 4)))

    async def _forget(self) -> None:
        while True:
            try:
                await self._queue.forget(KEPT)
                if self._settings.worklist_keep_days is not None:
                    await Worklist(self._archive.pool).forget(timedelta(days=self._settings.worklist_keep_days))
            except Exception as error:
                _report("old jobs and worklist items cannot be deleted", error)
            await asyncio.sleep(FORGET_EVERY)


def _may_pass(error: BaseException) -> str:
    """Say what is wrong when trying again may help; empty when it would not."""
    if isinstance(error, Hopeless | SettingsError | NotOffered):
        return ""
    if isinstance(error, OperationFailed) and error.status >> 8 != 0xA7:  # out of resources
        return ""
    if isinstance(error, OperationFailed | AssociationError | ArchiveError | Later):
        return f"{str(error).rstrip('.')}."
    if connection_lost(error):
        return "The database does not answer."
    logger.error("a job failed", exc_info=error)
    return UNFORESEEN


async def _stop(doing: "asyncio.Future[None]") -> None:
    doing.cancel()
    await asyncio.gather(doing, return_exceptions=True)


def _report(what: str, error: BaseException) -> None:
    if isinstance(error, ArchiveError) or connection_lost(error):
        logger.warning("%s: %s", what, in_words(error))
    else:
        logger.error(what, exc_info=error)
