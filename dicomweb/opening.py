"""Opening the archive for a command: as a guest of the server that runs on the data folder, or alone.

Facts this module keeps:

- Only the holder of the data folder starts its database, changes the schema and sweeps; a guest does none of that.
- A guest holds a shared lock on `<data>/run/guests` while it works, so that a server that starts meanwhile (the one
  it was the guest of died) does not sweep away what the guest is about to commit.
- An index without rows cannot tell what was acknowledged, so nothing is swept then but staging links: files that
  were published stay, for `dicomweb reindex`.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from dicomweb import worker
from dicomweb.settings import Settings, SettingsError
from storage.archive import Archive
from storage.data_folder import RUN, DataFolder
from storage.embedded import EmbeddedPostgres
from storage.errors import InUse
from storage.migrate import migrate
from storage.sweep import sweep

GUESTS = "guests"
START_PATIENCE = 5.0
"""Seconds that a server that holds the folder is given to say where its database is."""


@asynccontextmanager
async def open_archive(settings: Settings, *, exclusive: bool = False, create: bool = False) -> AsyncIterator[Archive]:
    """Open the archive in `settings.data_dir`, whether a server runs on it or not.

    Parameters
    ----------
    settings
        `data_dir`, `database_url` and what makes the policy.
    exclusive
        Have it alone: no server may run on it.
    create
        Make the archive when there is none.

    Raises
    ------
    SettingsError
        There is no archive in the folder, or the running server uses another database.
    InUse
        Another process holds the folder and cannot be joined.
    Unavailable, SchemaMismatch, OutOfSpace
        The database cannot be used.
    """
    path = settings.data_dir.expanduser().resolve()
    if not create and not (path / "blobs").is_dir():
        raise SettingsError(f"There is no archive in {path}; name its data folder with --data-dir.")
    async with AsyncExitStack() as stack:
        held = None if exclusive else await _hold_or_join(path)
        if held is None:
            held = DataFolder(path)
        if isinstance(held, DataFolder):
            stack.enter_context(held)
            url = await _own_database(settings, path, stack)
        else:
            stack.enter_context(_guest(path))
            url = _database_of_server(held, settings)
        archive = await worker.open_archive(settings.model_copy(update={"database_url": url, "data_dir": path}))
        stack.push_async_callback(archive.close)
        if isinstance(held, DataFolder):
            await _tidy(archive, path, exclusive=exclusive)
        yield archive


def guests_present(path: Path) -> bool:
    """Whether commands that were guests of a server still work on the data folder."""
    try:
        descriptor = os.open(path / RUN / GUESTS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


async def _hold_or_join(path: Path) -> DataFolder | dict[str, Any]:
    """Take the folder, or learn how to join its holder; one that is just starting is waited for."""
    deadline = time.monotonic() + START_PATIENCE
    while True:
        if facts := DataFolder.running(path):
            return facts
        try:
            return DataFolder(path)
        except InUse:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


@contextmanager
def _guest(path: Path) -> Iterator[None]:
    descriptor = os.open(path / RUN / GUESTS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _database_of_server(facts: dict[str, Any], settings: Settings) -> str:
    url = str(facts["database_url"])
    if settings.database_url not in (None, url):
        raise SettingsError(
            f"The server that runs on the data folder (process {facts.get('pid')}) uses another database than "
            "--database-url names; leave that out to work beside the server."
        )
    return url


async def _own_database(settings: Settings, path: Path, stack: AsyncExitStack) -> str:
    url = settings.database_url
    if url is None:
        embedded = EmbeddedPostgres(path / "postgres")
        stack.callback(embedded.stop)
        url = await asyncio.to_thread(embedded.start)
    await migrate(url)
    return url


async def _tidy(archive: Archive, path: Path, *, exclusive: bool) -> None:
    """Clean up after the last holder of the folder."""
    if guests_present(path):
        if exclusive:
            raise InUse(f"another dicomweb command still works on the data folder {path}; wait for it to end")
        return
    if await archive.pool.fetchval("SELECT EXISTS (SELECT FROM instances)"):
        await sweep(archive.pool, archive.blobs)
        return
    for name in await archive.blobs.run(archive.blobs.staged):
        await archive.blobs.run(archive.blobs.unstage, name)
