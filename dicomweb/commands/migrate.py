"""`dicomweb migrate`: bring the database to this program's schema."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

from dicomweb.commands.flags import ConfigFile
from dicomweb.settings import Settings, load
from storage import migrate as storage_migrate
from storage.data_folder import DataFolder
from storage.embedded import EmbeddedPostgres


def migrate(*, config: ConfigFile = None, data_dir: Path | None = None, database_url: str | None = None) -> None:
    """Bring the database to this program's schema; `dicomweb serve` does the same when it starts.

    Example: dicomweb migrate --database-url postgresql://dicomweb@db.example.org/dicomweb

    Parameters
    ----------
    data_dir
        Folder of the archive; without database_url its embedded PostgreSQL is brought up to date.
    database_url
        postgresql:// URL of the database to use instead of the embedded PostgreSQL.
    """
    applied = _migrate(load({"data_dir": data_dir, "database_url": database_url}, config))
    sys.stdout.write(f"Applied: {', '.join(applied)}.\n" if applied else "The database is up to date.\n")


def _migrate(settings: Settings) -> list[str]:
    with ExitStack() as stack:
        url = settings.database_url
        if url is None:
            folder = stack.enter_context(DataFolder(settings.data_dir))
            database = EmbeddedPostgres(folder.path / "postgres")
            stack.callback(database.stop)
            url = database.start()
        return asyncio.run(storage_migrate.migrate(url))
