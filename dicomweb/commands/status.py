"""`dicomweb status`: how the archive is, in a few lines."""

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, write, write_json
from dicomweb.settings import Settings

if TYPE_CHECKING:
    from storage.upkeep.statistics import Statistics

QUEUES = ("jobs", "commitments")


def status(*, json: Json = False, at: Location = DEFAULT) -> None:
    """Tell whether a server runs, how much is stored, how much room is left, and what waits or went wrong.

    Example: dicomweb status --data-dir ./dicomweb-data

    Parameters
    ----------
    json
        Write it as JSON.
    """
    facts = asyncio.run(_facts(at.settings()))
    if json:
        write_json(facts)
    else:
        write(*_lines(facts))


async def _facts(settings: Settings) -> dict[str, Any]:
    from dicomweb.opening import open_archive
    from storage.database.data_folder import DataFolder
    from storage.upkeep.statistics import StatisticsReader

    running = DataFolder.running(settings.data_dir)
    async with open_archive(settings) as archive:
        read: Statistics = await StatisticsReader(archive).read()
        usage = shutil.disk_usage(archive.blobs.root)
        folder = str(archive.blobs.root.parent)
    told = running or {}
    return {
        "server": {name: told[name] for name in ("pid", "url", "dimse", "dimse_tls") if name in told} or None,
        "data_dir": folder,
        "studies": read.studies,
        "series": read.series,
        "instances": read.instances,
        "bytes": read.stored_bytes,
        "bytes_estimated": read.estimated,
        "unindexed_files": read.unindexed_files,
        "damaged_files": read.damaged_files,
        "advice": read.advice,
        "free_bytes": usage.free,
        "total_bytes": usage.total,
        "database_version": read.database_version,
        "database_bytes": read.database_bytes,
        "jobs": read.jobs,
        "commitments": read.commitments,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    about = "about " if facts["bytes_estimated"] else ""
    lines = [
        f"server       {_server(facts['server'])}",
        f"data folder  {facts['data_dir']}",
        f"stored       {facts['studies']:,} studies, {facts['series']:,} series, {facts['instances']:,} instances, "
        f"{about}{_gigabytes(facts['bytes'])}",
        f"disk         {_gigabytes(facts['free_bytes'])} free of {_gigabytes(facts['total_bytes'])}",
        f"database     PostgreSQL {facts['database_version']}, {_gigabytes(facts['database_bytes'])}",
    ]
    queues = {name: ", ".join(f"{count:,} {state}" for state, count in facts[name].items()) for name in QUEUES}
    lines += [f"{name:12} {text}" for name, text in queues.items() if text]
    return [*lines, f"advice       {facts['advice']}"] if facts["advice"] else lines


def _server(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "not running"
    places = [str(facts[name]) for name in ("url", "dimse", "dimse_tls") if name in facts]
    return ", ".join(("running", f"process {facts['pid']}", *places))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
