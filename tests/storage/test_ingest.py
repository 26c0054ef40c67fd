"""Taking in the files of one request."""

import asyncio
from collections.abc import AsyncIterator

from storage.archive import Archive
from tests.builders import ct_slice


async def file() -> AsyncIterator[bytes]:
    """Arrives in one piece."""
    yield ct_slice()


async def test_a_file_that_was_read_this_very_moment_holds_up_nobody(archive: Archive) -> None:
    """A task that is done, whose callbacks have not run yet, is waited for no more: the worker would stand for ever."""
    async with archive.ingest() as ingest:
        await ingest.add(file())
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        ingest._reading.add(done)  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            outcomes = await ingest.finish()
        ingest._reading.discard(done)  # type: ignore[arg-type]
    assert [outcome.status for outcome in outcomes] == ["stored"]
