"""`dicomweb migrate`: bring the database to this program's schema."""

import asyncio
from contextlib import ExitStack

from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, write_either
from dicomweb.settings import Settings
from storage.database import migrate as storage_migrate
from storage.database.damaged_database import explaining_damage
from storage.database.data_folder import DataFolder
from storage.database.embedded import EmbeddedPostgres
from storage.database.pool import reach


def migrate(*, json: Json = False, at: Location = DEFAULT) -> None:
    """Bring the database to this program's schema; `dicomweb serve` does the same when it starts.

    Example: dicomweb migrate --database-url postgresql://dicomweb@db.example.org/dicomweb

    Parameters
    ----------
    json
        Write the names of what was applied as JSON.
    """
    applied = _migrate(at.settings())
    line = f"Applied: {', '.join(applied)}." if applied else "The database is up to date."
    write_either({"applied": applied}, line, as_json=json)


def _migrate(settings: Settings) -> list[str]:
    with ExitStack() as stack:
        url = settings.database_url
        stack.enter_context(explaining_damage(settings.data_dir.absolute(), embedded=url is None))
        if url is None:
            folder = stack.enter_context(DataFolder(settings.data_dir))
            database = EmbeddedPostgres(folder.path / "postgres")
            stack.callback(database.stop)
            url = database.start()
        return asyncio.run(reach(url, lambda: storage_migrate.migrate(url)))
