"""`dicomweb reindex`: build the index anew from the stored files."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from dicomweb.commands.flags import ConfigFile
from dicomweb.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from storage.archive import Archive

NOT_ALL_INDEXED = 1


def reindex(
    *,
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1, lte=64))] = None,
    data_dir: Path | None = None,
    database_url: str | None = None,
    config: ConfigFile = None,
) -> None:
    """Forget the index and build it anew from the stored files, which are the truth. No server may be running.

    What cannot be indexed is listed, stays where it is, and makes the exit status 1. One that was cut short is
    simply run again.

    Example: dicomweb reindex --data-dir ./dicomweb-data

    Parameters
    ----------
    jobs
        Files read at once; by default one for each processor.
    data_dir
        Folder of the archive.
    database_url
        postgresql:// URL of the database that holds the index, if it is not the embedded PostgreSQL.
    """
    settings = load({"data_dir": data_dir, "database_url": database_url}, config)
    sys.exit(asyncio.run(_reindex(settings, jobs or min(os.cpu_count() or 1, 16))))


async def _reindex(settings: Settings, jobs: int) -> int:
    from dicomweb.opening import open_archive
    from dicomweb.progress import Progress
    from storage import reindex as rebuilding

    indexed = failed = 0
    async with open_archive(settings, exclusive=True) as archive:
        with Progress("Indexing") as progress:
            files = await archive.blobs.run(lambda: sum(1 for _ in archive.blobs.names()))
            await _require_files(archive, files)
            progress.expect(files, settled=True)
            async for file in rebuilding.reindex(archive, processes=jobs):
                if file.problem is None:
                    indexed += 1
                else:
                    failed += 1
                    progress.tell(f"not indexed: {archive.blobs.root.name}/{file.blob}: {file.problem}")
                progress.advance()
    sys.stdout.write(f"{indexed:,} files indexed, {failed:,} could not be.\n")
    return NOT_ALL_INDEXED if failed else 0


async def _require_files(archive: "Archive", files: int) -> None:
    """Refuse to empty an index because the wrong folder was named."""
    from storage.database import ADMINISTRATIVE

    if files:
        return
    if rows := await archive.pool.fetchval("SELECT count(*) FROM instances", timeout=ADMINISTRATIVE):
        raise SettingsError(
            f"There is no file in {archive.blobs.root}, but the index has {rows:,} instances: is --data-dir the right "
            "folder for this database?"
        )
