"""`dicomweb check`: compare every stored file with the index."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dicomweb.commands.flags import ConfigFile
from dicomweb.settings import Settings, load

FINDINGS_LEFT = 1


def check(
    *,
    repair: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    data_dir: Path | None = None,
    database_url: str | None = None,
    config: ConfigFile = None,
) -> None:
    """Compare every stored file with the index: its size, its SHA-256, files without a row, rows without a file.

    Works beside a running server. Exit status 0 when all is well, 1 when something is left that is not.

    Example: dicomweb check --data-dir ./dicomweb-data --repair

    Parameters
    ----------
    repair
        Mend what is found; no file is ever deleted.
    json
        Write each finding as one line of JSON.
    data_dir
        Folder of the archive.
    database_url
        postgresql:// URL of the database to use instead of the embedded PostgreSQL.
    """
    settings = load({"data_dir": data_dir, "database_url": database_url}, config)
    sys.exit(asyncio.run(_check(settings, repairing=repair, as_json=json)))


async def _check(settings: Settings, *, repairing: bool, as_json: bool) -> int:
    from dicomweb.opening import open_archive
    from dicomweb.progress import Progress
    from storage.errors import ArchiveError
    from storage.verify import Finding, repair, verify

    found = left = checked = 0
    async with open_archive(settings) as archive:
        with Progress("Checking") as progress:
            rows, size = await archive.pool.fetchrow("SELECT count(*), coalesce(sum(size), 0)::bigint FROM instances")
            progress.expect(rows, settled=True)
            async for item in verify(archive):
                if not isinstance(item, Finding):
                    progress.advance(item - checked)
                    checked = item
                    continue
                found += 1
                done = None
                if repairing:
                    try:
                        done = await repair(archive, item)
                    except (ArchiveError, OSError) as error:
                        _say(f"{item.what}: could not be repaired: {error}")
                left += done is None
                _tell(item, done, as_json=as_json)
    repaired = f", {found - left:,} repaired" if repairing else ""
    _say(f"{checked:,} files checked ({size / 1e9:,.1f} GB), {found:,} findings{repaired}.")
    return FINDINGS_LEFT if left else 0
