"""`dicomweb commitments`: storage commitments asked of the archive, and reports sent again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, write, write_either, write_json
from dicomweb.settings import Settings

if TYPE_CHECKING:
    from storage.work.commitments import Commitment, Commitments

commitments = App(
    name="commitments",
    help="""List storage commitments that modalities asked for, show one, or have its report sent again.

    Works beside a running server.

    Example: dicomweb commitments list --state parked""",
)
StateName = Literal["checking", "asking", "reporting", "reported", "parked"]


@commitments.command(name="list")
def list_(*, state: StateName | None = None, limit: int = 100, json: Json = False, at: Location = DEFAULT) -> None:
    """List commitments, the newest first.

    Example: dicomweb commitments list --state parked

    Parameters
    ----------
    state
        Only those: checking (files are read back), asking (the archive downstream), reporting (to be delivered),
        reported (confirmed), parked (delivery was given up).
    limit
        Most of them.
    json
        Write each as one line of JSON.
    """
    asyncio.run(_list(at.settings(), state, limit, json))


@commitments.command
def show(number: int, *, json: Json = False, at: Location = DEFAULT) -> None:
    """Show one commitment and what became of each of its instances.

    Example: dicomweb commitments show 17

    Parameters
    ----------
    number
        As listed.
    json
        Write it as JSON, as /api/commitments does.
    """
    asyncio.run(_show(at.settings(), number, json))


@commitments.command
def resend(number: int, *, json: Json = False, at: Location = DEFAULT) -> None:
    """Have a report delivered now, as often and as long as a new one is tried; the running server does it.

    Example: dicomweb commitments resend 17

    Parameters
    ----------
    number
        As listed.
    json
        Write the commitment as JSON, as /api/commitments does.
    """
    asyncio.run(_resend(at.settings(), number, json))


@asynccontextmanager
async def _open(settings: Settings) -> "AsyncIterator[Commitments]":
    from dicomweb.opening import open_archive
    from storage.work.commitments import Commitments

    async with open_archive(settings) as archive:
        yield Commitments(archive.pool)


async def _list(settings: Settings, state: StateName | None, limit: int, as_json: bool) -> None:
    from dicomweb.http.api.commitments import shown

    async with _open(settings) as table:
        for commitment in await table.newest(states=[state] if state else [], limit=limit):
            write_either(shown(commitment), _line(commitment), as_json=as_json)


async def _show(settings: Settings, number: int, as_json: bool) -> None:
    from dicomweb.http.api.commitments import shown, shown_reference

    async with _open(settings) as table:
        commitment = await table.get(number)
        references = [shown_reference(reference) for reference in await table.references(number)]
    if as_json:
        write_json(shown(commitment) | {"instances": references})
        return
    write(_line(commitment), f"transaction {commitment.transaction_uid}")
    for reference in references:
        reason = f" {reference['failure_reason']} {reference['meaning']}" if reference["failure_reason"] else ""
        write(f"{reference['sop_instance_uid']} {reference['outcome']}{reason}")


async def _resend(settings: Settings, number: int, as_json: bool) -> None:
    from dicomweb.http.api.commitments import shown

    async with _open(settings) as table:
        commitment = await table.resend(number)
    line = f"The report of commitment {number} to {commitment.requester} is sent again."
    write_either(shown(commitment), line, as_json=as_json)


def _line(commitment: "Commitment") -> str:
    failed = "" if commitment.number_failed is None else f", {commitment.number_failed} failed"
    problem = f": {commitment.problem}" if commitment.problem else ""
    return (
        f"{commitment.id} {commitment.state} {commitment.requester} "
        f"{commitment.requested_at:%Y-%m-%d %H:%M:%S} {commitment.number_of_instances} instances{failed}{problem}"
    )
