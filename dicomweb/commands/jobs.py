"""`dicomweb jobs`: background work that is going on, waits or has ended; it can be cancelled and tried again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import orjson
from cyclopts import App

from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, write, write_either, write_json
from dicomweb.settings import Settings

if TYPE_CHECKING:
    from storage.work.jobs import Job, Jobs

jobs = App(
    name="jobs",
    help="""List background work (sending, pulling, telling peers), show, cancel or retry one.

    Works beside a running server, which does the work.

    Example: dicomweb jobs list --state parked""",
)
StateName = Literal["queued", "running", "waiting", "done", "failed", "parked", "cancelled"]


@jobs.command(name="list")
def list_(
    *,
    state: StateName | None = None,
    kind: str | None = None,
    limit: int = 100,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """List jobs, the newest first.

    Example: dicomweb jobs list --state parked

    Parameters
    ----------
    state
        Only those: queued, running, waiting (tried again later), done, failed (some items cannot be done), parked
        (given up after many attempts), cancelled.
    kind
        Only those of a kind, such as send or pull.
    limit
        Most of them.
    json
        Write each as one line of JSON.
    """
    asyncio.run(_list(at.settings(), state, kind, limit, json))


@jobs.command
def show(number: int, *, json: Json = False, at: Location = DEFAULT) -> None:
    """Show a job, what it was given and what of it cannot be done.

    Example: dicomweb jobs show 17

    Parameters
    ----------
    number
        As listed.
    json
        Write it as JSON, as /api/jobs does.
    """
    asyncio.run(_show(at.settings(), number, json))


@jobs.command
def cancel(number: int, *, json: Json = False, at: Location = DEFAULT) -> None:
    """Cancel a job that is not over; what is done stays done.

    Example: dicomweb jobs cancel 17

    Parameters
    ----------
    number
        As listed.
    json
        Write the job as JSON, as /api/jobs does.
    """
    asyncio.run(_cancel(at.settings(), number, json))


@jobs.command
def retry(number: int, *, json: Json = False, at: Location = DEFAULT) -> None:
    """Try a job again that has failed, was parked or cancelled, or waits; what was done is not done again.

    Example: dicomweb jobs retry 17

    Parameters
    ----------
    number
        As listed.
    json
        Write the job as JSON, as /api/jobs does.
    """
    asyncio.run(_retry(at.settings(), number, json))


@asynccontextmanager
async def _open(settings: Settings) -> "AsyncIterator[Jobs]":
    from dicomweb.opening import open_archive
    from storage.work.jobs import Jobs

    async with open_archive(settings) as archive:
        yield Jobs(archive.pool)


async def _list(settings: Settings, state: StateName | None, kind: str | None, limit: int, as_json: bool) -> None:
    from dicomweb.http.api.jobs import shown

    async with _open(settings) as table:
        for job in await table.list(states=[state] if state else [], kinds=[kind] if kind else [], limit=limit):
            write_either(shown(job), _line(job), as_json=as_json)


async def _show(settings: Settings, number: int, as_json: bool) -> None:
    from dicomweb.http.api.jobs import shown

    async with _open(settings) as table:
        job = await _job(table, number)
    if as_json:
        write_json(shown(job))
        return
    write(_line(job), orjson.dumps(job.parameters).decode())
    write(*(f"{failure['item']}: {failure['error']}" for failure in job.failures))


async def _cancel(settings: Settings, number: int, as_json: bool) -> None:
    from dicomweb.http.api.jobs import shown
    from storage.errors import ArchiveError

    async with _open(settings) as table:
        done = await table.cancel(number)
        job = await _job(table, number)
        if not done:
            raise ArchiveError(f"Job {number} is over: {job.state}.")
    write_either(shown(job), f"Job {number} is cancelled.", as_json=as_json)


async def _retry(settings: Settings, number: int, as_json: bool) -> None:
    from dicomweb.http.api.jobs import shown
    from storage.errors import ArchiveError

    async with _open(settings) as table:
        done = await table.retry(number)
        job = await _job(table, number)
        if not done:
            raise ArchiveError(f"There is nothing to try again: job {number} is {job.state}.")
    write_either(shown(job), f"Job {number} is queued again.", as_json=as_json)


async def _job(table: "Jobs", number: int) -> "Job":
    from storage.errors import NotFound

    job = await table.get(number)
    if job is None:
        raise NotFound(f"There is no job {number}; dicomweb jobs list shows those there are.")
    return job


def _line(job: "Job") -> str:
    failed = f", {job.failed} failed" if job.failed else ""
    total = "" if job.total is None else f" of {job.total}"
    error = f": {job.error}" if job.error else ""
    return (
        f"{job.id} {job.state} {job.kind} {job.parameters.get('peer', '')} {job.created_at:%Y-%m-%d %H:%M:%S} "
        f"{job.done}{total} done{failed}{error}"
    )
