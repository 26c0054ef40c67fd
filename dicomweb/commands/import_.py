"""`dicomweb import`: store the DICOM files of folders, ZIP archives and media."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from dicomweb.commands.exit_status import ExitStatus
from dicomweb.commands.flags import ConfigFile
from dicomweb.commands.printing import Json, say, write_either
from dicomweb.settings import Settings, SettingsError, load
from storage.system.errors import in_words

if TYPE_CHECKING:
    from dicomweb.importing.journal import Journal
    from dicomweb.importing.results import Tally
    from dicomweb.importing.target import Target

Jobs = Annotated[int, Parameter(validator=Number(gte=1, lte=64))]


def import_(
    paths: Annotated[list[Path], Parameter(negative_iterable=())],
    /,
    *,
    to: str | None = None,
    header: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    jobs: Jobs = 4,
    restart: Annotated[bool, Parameter(negative=())] = False,
    report: Path | None = None,
    json: Json = False,
    data_dir: Path | None = None,
    database_url: str | None = None,
    duplicates: Literal["keep-first", "replace"] | None = None,
    config: ConfigFile = None,
) -> None:
    """Store the DICOM files of folders, ZIP archives, media with a DICOMDIR and single files.

    An import that was cut short goes on where it stopped when it is run again. Exit status 1 when a file was refused.

    Example: dicomweb import /media/cdrom old-archive.zip --data-dir ./dicomweb-data

    Example: dicomweb import ./images --to http://127.0.0.1:8080/dicom-web

    Parameters
    ----------
    paths
        What to import; folders with everything in them, whatever the files are called.
    to
        URL of the DICOMweb root of a running server; without it files go into the data folder.
    header
        Header line for that server, such as "Authorization: Bearer abc"; may be repeated.
    jobs
        Requests or groups of files under way at once.
    restart
        Begin anew instead of going on with an import that was cut short.
    report
        File for one JSON line about every file that was refused, passed over or that replaced another.
    json
        Write the numbers, and the reasons for refusals, as JSON.
    data_dir
        Folder of the archive; a server may be running on it.
    database_url
        postgresql:// URL of the database to use instead of the embedded PostgreSQL.
    duplicates
        What to do with a different file under the UIDs of a stored one.
    """
    settings = load({"data_dir": data_dir, "database_url": database_url, "duplicates": duplicates}, config)
    for path in paths:
        if not os.path.lexists(path):
            raise SettingsError(f"There is no file or folder {path}.")
    if header and to is None:
        raise SettingsError("--header is for a server; name that with --to.")
    sys.exit(asyncio.run(_import(paths, settings, to, header or [], jobs, restart, report, json)))


async def _import(
    paths: list[Path],
    settings: Settings,
    to: str | None,
    headers: list[str],
    jobs: int,
    restart: bool,
    report: Path | None,
    as_json: bool,
) -> int:
    from dicomweb.importing.journal import Journal
    from dicomweb.importing.results import Tally

    # With --to another archive takes the files, and the data folder here is a folder as any other.
    leave_out = settings.data_dir.expanduser() if to is None else None
    async with _target(settings, to, headers, jobs) as (target, identity, journals):
        with ExitStack() as stack:
            lines = stack.enter_context(_open_report(report)) if report else None
            journal = Journal(journals, identity, paths, restart=restart)
            if journal.taken_earlier:
                say(f"Going on where an earlier run stopped after {journal.taken_earlier:,} files; --restart does not.")
            tally = Tally(lines)
            status = ExitStatus.INCOMPLETE
            complete = False
            try:
                status = await _run(paths, leave_out, target, journal, tally, jobs)
                complete = status is not ExitStatus.INTERRUPTED and not tally.again
            finally:
                journal.close(complete=complete)
                write_either(tally.facts(), tally.summary(), as_json=as_json)
                if not complete:
                    say("Not everything was taken: the same command goes on where this one stopped.")
    return status


async def _run(
    paths: list[Path], leave_out: Path | None, target: "Target", journal: "Journal", tally: "Tally", jobs: int
) -> ExitStatus:
    from dicomweb.importing.importer import End, Import
    from dicomweb.importing.results import Status
    from dicomweb.progress import Progress

    with Progress("Importing") as progress:
        end = await Import(paths, leave_out, target, journal, tally, progress, jobs).run()
    if end is End.INTERRUPTED:
        return ExitStatus.INTERRUPTED
    return ExitStatus.INCOMPLETE if tally.counts[Status.REFUSED] else ExitStatus.DONE


@asynccontextmanager
async def _target(
    settings: Settings, to: str | None, headers: list[str], jobs: int
) -> "AsyncIterator[tuple[Target, str, Path]]":
    """Open where the files go; also what identifies it, and where its journals lie."""
    if to is not None:
        from dicomweb.importing.journal import state_folder
        from dicomweb.importing.server_target import ServerTarget
        from dicomweb.importing.stow_client import Server

        server = Server.at(to, headers)
        target = ServerTarget(server, jobs)
        try:
            yield target, server.shown, state_folder()
        finally:
            await target.close()
        return
    from dicomweb.importing.archive_target import ArchiveTarget
    from dicomweb.opening import open_archive

    async with open_archive(settings, create=True) as archive:
        yield ArchiveTarget(archive), "", archive.blobs.root.parent / "imports"


def _open_report(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise SettingsError(f"--report {path} cannot be written: {in_words(error)}.") from None
