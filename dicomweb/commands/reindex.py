"""`dicomweb reindex`: build the index anew from the stored files."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from dicomweb.commands.exit_status import ExitStatus
from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, write_either
from dicomweb.settings import Settings, SettingsError

if TYPE_CHECKING:
    from storage.archive import Archive


def reindex(
    *,
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1, lte=64))] = None,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """Forget the index and build it anew from the stored files, which are the truth. No server may be running.

    What cannot be indexed is listed, stays where it is, and makes the exit status 1. One that was cut short is
    simply run again.

    Example: dicomweb reindex --data-dir ./dicomweb-data

    Parameters
    ----------
    jobs
        Files read at once; by default one for each processor.
    json
        Write what was not indexed as one line of JSON each, and the numbers as the last one.
    """
    sys.exit(asyncio.run(_reindex(at.settings(), jobs or min(os.cpu_count() or 1, 16), json)))


async def _reindex(settings: Settings, jobs: int, as_json: bool) -> int:
    from dicomweb.opening import open_archive
    from dicomweb.progress import Progress
    from storage.upkeep import reindex as rebuilding
    from storage.upkeep.stocktaking import take_stock

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
                    place = f"{archive.blobs.root.name}/{file.blob}"
                    line = orjson.dumps({"file": place, "problem": file.problem}).decode()
                    progress.tell(line if as_json else f"not indexed: {place}: {file.problem}")
                progress.advance()
        await take_stock(archive)
    line = f"{indexed:,} files indexed, {failed:,} could not be."
    write_either({"indexed": indexed, "not_indexed": failed}, line, as_json=as_json)
    return ExitStatus.INCOMPLETE if failed else ExitStatus.DONE


async def _require_files(archive: "Archive", files: int) -> None:
    """Refuse to empty an index because the wrong folder was named."""
    from storage.database.pool import ADMINISTRATIVE

    if files:
        return
    if rows := await archive.pool.fetchval("SELECT count(*) FROM instances", timeout=ADMINISTRATIVE):
        raise SettingsError(
            f"There is no file in {archive.blobs.root}, but the index has {rows:,} instances: is --data-dir the right "
            "folder for this database?"
        )
