"""Files that the index does not know: counted, and kept where every process can tell it.

Facts this module keeps:

- Files that were brought back from a backup, or put there by hand, are found by nobody until they are indexed; an
  archive that says nothing of them looks empty, and whole.
- Names are compared, files are not opened: `verify` reads them.
"""

from itertools import islice
from typing import TYPE_CHECKING, Final

from storage.database.pool import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from storage.archive import Archive

_AT_ONCE: Final = 500


async def unindexed(archive: "Archive") -> "AsyncIterator[str]":
    """Yield the names of files without a row; a file on its way in still has its staging link and is passed over."""
    names = archive.blobs.names()
    while batch := await archive.blobs.run(lambda: list(islice(names, _AT_ONCE))):
        under_way = set(await archive.blobs.run(archive.blobs.staged))
        rows = await archive.pool.fetch(sql("blobs_with_rows"), batch)
        rows += await archive.pool.fetch(sql("discarded_blobs"))  # the next start deletes those
        for name in sorted(set(batch) - under_way - {row["blob"] for row in rows}):
            yield name


async def take_stock(archive: "Archive") -> int:
    """Count the files without a row, write the number down, and return it."""
    number = 0
    async for _ in unindexed(archive):
        number += 1
    await archive.pool.execute(sql("write_stock"), number)
    return number


async def unindexed_files(pool: "asyncpg.Pool[asyncpg.Record]") -> int:
    """Return how many files had no row when that was last counted."""
    return int(await pool.fetchval(sql("unindexed_files")))


def advice(number: int) -> str:
    """Say what a number of files without a row means and what to do; empty when there is none."""
    if not number:
        return ""
    if number == 1:
        what, them = "1 stored file is", "it"
    else:
        what, them = f"{number:,} stored files are", "them"
    return (
        f"{what} not in the index, so nobody finds what is in {them}. `dicomweb check --repair` indexes {them} beside "
        "the running server; for many, stop it and run `dicomweb reindex`."
    )
