"""Bring a database to this program's schema.

`sql/migrations/NNNN_name.sql` are applied in order of their numbers, each in a transaction of its own together with
its row in `schema_migrations`. A file, once released, is never changed: its SHA-256 is compared on every start.
Starters at the same time wait for each other on one advisory lock.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from storage.database.pool import connecting, sql_folder
from storage.errors import SchemaMismatch

OLDEST_POSTGRESQL = 14
LOCK = 0x4449434F4D  # "DICOM"

SCHEMA_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number      integer PRIMARY KEY,
    name        text NOT NULL,
    sha256      text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True)
class Migration:
    """One file of `sql/migrations`."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def known_migrations(folder: Path | None = None) -> list[Migration]:
    """The migrations this program knows, by number.

    Raises
    ------
    ValueError
        Two files have one number, or a name does not begin with a number.
    """
    paths = sorted((folder or sql_folder() / "migrations").glob("*.sql"))
    migrations = [Migration(int(path.stem.partition("_")[0]), path.stem, path.read_text("utf-8")) for path in paths]
    if len({migration.number for migration in migrations}) < len(migrations):
        raise ValueError("two migrations have the same number")
    return sorted(migrations, key=lambda migration: migration.number)


async def migrate(url: str, *, folder: Path | None = None) -> list[str]:
    """Apply what is missing.

    Parameters
    ----------
    url
        The database, as for `pool.connect`.
    folder
        Of the migrations; the program's own by default.

    Returns
    -------
    list of str
        Names of the migrations applied now; empty when there was nothing to do.

    Raises
    ------
    SchemaMismatch
        The database is newer than this program, an applied migration was changed, or the server is too old.
    Unavailable
        The database does not answer.
    WrongDatabaseUrl
        The URL cannot be used.
    """
    with connecting():
        connection = await asyncpg.connect(url, server_settings={"application_name": "dicomweb migrate"})
    # No command_timeout: a migration may rewrite a large table, and a second starter waits for the first.
    try:
        require_version(connection.get_server_version().major)
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(SCHEMA_MIGRATIONS)
        pending = await _pending(connection, known_migrations(folder))
        for migration in pending:
            await _apply(connection, migration)
        return [migration.name for migration in pending]
    finally:
        await connection.close()


def require_version(major: int) -> None:
    """Refuse a PostgreSQL older than we are written for.

    Raises
    ------
    SchemaMismatch
        It is older than `OLDEST_POSTGRESQL`.
    """
    if major < OLDEST_POSTGRESQL:
        raise SchemaMismatch(
            f"the database server is PostgreSQL {major}; PostgreSQL {OLDEST_POSTGRESQL} or newer is needed"
        )


async def _pending(connection: Any, known: list[Migration]) -> list[Migration]:
    by_number = {migration.number: migration for migration in known}
    applied = set()
    for number, name, sha256 in await connection.fetch(
        "SELECT number, name, sha256 FROM schema_migrations ORDER BY number"
    ):
        if number not in by_number:
            raise SchemaMismatch(
                f"the database has migration {name}, which this program does not know: it was made by a newer "
                "version; install that version, or use another database and reindex"
            )
        if by_number[number].sha256 != sha256:
            raise SchemaMismatch(
                f"migration {by_number[number].name} is not the one that was applied to the database as {name}; "
                "install the version that made the database, or use a new database and reindex"
            )
        applied.add(number)
    return [migration for migration in known if migration.number not in applied]


async def _apply(connection: Any, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.text)
        await connection.execute(
            "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.sha256,
        )
