"""`dicomweb migrate`: bring the database to this program's schema."""

import asyncio
import sys
from contextlib import ExitStack

from dicomweb.commands.flags import ConfigFile, SettingFlags, resolve
from dicomweb.settings import Settings
from storage.data_folder import DataFolder
from storage.embedded import EmbeddedPostgres


def migrate(*, config: ConfigFile = None, settings: SettingFlags = None) -> None:
    """Bring the database to this program's schema; `dicomweb serve` does the same when it starts.

    Example: dicomweb migrate --database-url postgresql://dicomweb@db.example.org/dicomweb
    """
    applied = _migrate(resolve(settings, config))
    sys.stdout.write(f"Applied: {', '.join(applied)}\n" if applied else "The database is up to date.\n")


def _migrate(settings: Settings) -> list[str]:
    from storage.migrate import migrate

    with ExitStack() as stack:
        url = settings.database_url
        if url is None:
            folder = stack.enter_context(DataFolder(settings.data_dir))
            database = EmbeddedPostgres(folder.path / "postgres")
            stack.callback(database.stop)
            url = database.start()
        return asyncio.run(migrate(url))
