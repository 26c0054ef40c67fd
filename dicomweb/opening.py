"""Opening the archive for a command: as a guest of the server that runs on the data folder, or alone.

Facts this module keeps:

- Only the holder of the data folder starts its database, changes the schema and sweeps; a guest does none of that.
- While a guest works nothing is swept, so that a server that starts meanwhile (the one it was the guest of died) does
  not take away what the guest is about to commit.
- Beside a server a command calls peers as that server does, but for what the command is told itself.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from dicomweb.settings import Settings, SettingsError
from storage.archive import Archive
from storage.database.damaged_database import explaining_damage
from storage.database.data_folder import DataFolder
from storage.database.embedded import EmbeddedPostgres
from storage.database.migrate import migrate
from storage.database.pool import reach
from storage.errors import InUse, NotFound
from storage.upkeep.sweep import sweep

START_PATIENCE = 5.0
"""Seconds that a server that holds the folder is given to say where its database is."""

CERTIFICATE = frozenset({"dimse_tls_certificate", "dimse_tls_key"})
"""They belong together: the key of another certificate is of no use."""
CALLING = (
    *("aet", "dimse_tls_certificate", "dimse_tls_key", "dimse_tls_ca", "passcode_key"),
    *("dimse_acse_timeout", "dimse_timeout", "dimse_idle_timeout", "dimse_max_pdu"),
)
"""The settings that peers are called with."""


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
    NotFound
        There is no archive in the folder.
    SettingsError
        The running server uses another database.
    InUse
        Another process holds the folder and cannot be joined.
    ForeignFiles
        The database is that of other files.
    Unavailable, SchemaMismatch, OutOfSpace
        The database cannot be used.
    """
    path = settings.data_dir.expanduser().resolve()
    if not create and not (path / "blobs").is_dir():
        raise NotFound(f"There is no archive in {path}; name its data folder with --data-dir.")
    async with AsyncExitStack() as stack:
        held = None if exclusive else await _hold_or_join(path)
        if held is None:
            held = DataFolder(path)
        if isinstance(held, DataFolder):
            stack.enter_context(held)
        else:
            stack.enter_context(DataFolder.guest(path))
        archive = await _open(settings, held, path, stack)
        if isinstance(held, DataFolder):
            await _tidy(archive, held, exclusive=exclusive)
        yield archive


async def _open(settings: Settings, held: DataFolder | dict[str, Any], path: Path, stack: AsyncExitStack) -> Archive:
    if isinstance(held, DataFolder):
        with explaining_damage(path, embedded=settings.database_url is None):
            url = await _own_database(settings, path, stack)
    else:
        url = _database_of_server(held, settings)
    archive = await Archive.open(
        url,
        path,
        settings.policy(),
        connections=settings.database_connections,
        passcode_key=settings.passcode_key,
    )
    stack.push_async_callback(archive.close)
    return archive


def calling_facts(settings: Settings) -> dict[str, Any]:
    """Return what a server publishes of the settings it calls peers with: JSON values, absolute paths, no secrets."""
    values = {name: getattr(settings, name) for name in CALLING}
    return {name: str(value.absolute()) if isinstance(value, Path) else value for name, value in values.items()}


def with_calling_facts(settings: Settings, facts: Mapping[str, Any] | None) -> Settings:
    """Return the settings with what a running server published, where they themselves were given nothing.

    Parameters
    ----------
    settings
        Those of the command: flags, environment and file.
    facts
        From `DataFolder.running`; None without a server.
    """
    given = settings.model_fields_set
    kept = given | CERTIFICATE if given & CERTIFICATE else given
    taken = {name: facts[name] for name in CALLING if name in facts and name not in kept} if facts else {}
    return Settings(**{name: getattr(settings, name) for name in given} | taken)


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
    await reach(url, lambda: migrate(url))
    return url


async def _tidy(archive: Archive, folder: DataFolder, *, exclusive: bool) -> None:
    """Clean up after the last holder of the folder, and what earlier versions kept in the clear."""
    await archive.peers.seal_plain()
    if not folder.has_guests():
        await sweep(archive.pool, archive.blobs)
    elif exclusive:
        raise InUse(f"another dicomweb command still works on the data folder {folder.path}; wait for it to end")
