"""`dicomweb check`: compare every stored file with the index."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import orjson
from cyclopts import Parameter

from dicomweb.commands.exit_status import ExitStatus
from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, say
from dicomweb.settings import Settings
from storage.system.errors import in_words

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.upkeep.verify import Finding


def check(
    *,
    repair: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
    at: Location = DEFAULT,
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
    """
    sys.exit(asyncio.run(_check(at.settings(), repairing=repair, as_json=json)))


async def _check(settings: Settings, *, repairing: bool, as_json: bool) -> int:
    from dicomweb.opening import open_archive
    from dicomweb.progress import Progress
    from storage.database.pool import ADMINISTRATIVE
    from storage.upkeep.stocktaking import take_stock
    from storage.upkeep.verify import Finding, verify

    found = left = checked = 0
    async with open_archive(settings) as archive:
        with Progress("Checking") as progress:
            rows = await archive.pool.fetchval("SELECT count(*) FROM instances", timeout=ADMINISTRATIVE)
            progress.expect(rows, settled=True)
            async for item in verify(archive):
                if not isinstance(item, Finding):
                    progress.advance(item - checked)
                    checked = item
                    continue
                done = await _repair(archive, item) if repairing else None
                found += 1
                left += done is None
                progress.tell(_line(item, done, as_json=as_json))
        await take_stock(archive)
    repaired = f", {found - left:,} repaired" if repairing else ""
    say(f"{checked:,} files checked, {found:,} findings{repaired}.")
    return ExitStatus.INCOMPLETE if left else ExitStatus.DONE


async def _repair(archive: "Archive", finding: "Finding") -> str | None:
    """Repair a finding; returns what was done, None when nothing could be."""
    from storage.errors import ArchiveError
    from storage.upkeep.verify import repair

    try:
        return await repair(archive, finding)
    except (ArchiveError, OSError) as error:
        say(f"{finding.what} cannot be repaired: {in_words(error)}")
        return None


def _line(finding: "Finding", done: str | None, *, as_json: bool) -> str:
    if as_json:
        fields = {"kind": finding.kind, "what": finding.what, "detail": finding.detail, "repair": done}
        return orjson.dumps(fields).decode()
    return f"{finding.kind}: {finding.what}: {finding.detail}" + (f" -> {done}" if done else "")
