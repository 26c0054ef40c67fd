"""Migrations: applied once, in order, all or nothing, by one starter at a time."""

import asyncio
import sys
import traceback
from pathlib import Path

import asyncpg
import pytest

from storage.database.migrate import known_migrations, migrate, require_version
from storage.errors import SchemaMismatch, Unavailable, WrongDatabaseUrl
from tests.storage.servers import UNUSABLE_URLS


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(text)
    return folder


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


def test_migrations_that_were_applied_somewhere_stay_as_they_are() -> None:
    """Another byte in one, and no database of before opens any more: of a migration one line is added to the list."""
    listed = Path(__file__).with_name("migrations.sha256").read_text().split()
    assert [f"{migration.name}.sql" for migration in known_migrations()] == listed[1::2]
    assert [migration.sha256 for migration in known_migrations()] == listed[::2]


async def test_own_migrations_apply_to_an_empty_database_once(empty_database_url: str) -> None:
    """The program's own migrations make the index; a second start finds nothing to do."""
    names = [migration.name for migration in known_migrations()]
    assert await migrate(empty_database_url) == names
    assert await migrate(empty_database_url) == []
    assert {"studies", "series", "instances", "schema_migrations"} <= await tables(empty_database_url)


async def test_starters_at_the_same_time_wait_for_each_other(empty_database_url: str) -> None:
    """Three processes migrate one empty database: all succeed and each migration is applied once."""
    program = (
        "import asyncio, sys; from storage.database.migrate import migrate; print(asyncio.run(migrate(sys.argv[1])))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_database_url, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    said = [(await process.communicate())[0].decode().strip() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sorted(said) == sorted([str([m.name for m in known_migrations()]), "[]", "[]"])


async def test_migrations_continue_where_the_database_stands(empty_database_url: str, tmp_path: Path) -> None:
    """Only what is missing is applied, in order of the numbers."""
    folder = write(tmp_path / "m", m0001_a="CREATE TABLE a (x int)")
    assert await migrate(empty_database_url, folder=folder) == ["0001_a"]
    write(folder, m0010_c="ALTER TABLE b ADD z int", m0002_b="CREATE TABLE b (y int); INSERT INTO b VALUES (1)")
    assert await migrate(empty_database_url, folder=folder) == ["0002_b", "0010_c"]


async def test_failing_migration_leaves_nothing_behind(empty_database_url: str, tmp_path: Path) -> None:
    """Each migration is one transaction together with its record."""
    folder = write(tmp_path / "m", m0001_a="CREATE TABLE a (x int)", m0002_b="CREATE TABLE b (y int); SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database_url, folder=folder)
    assert await tables(empty_database_url) == {"a", "schema_migrations"}
    write(folder, m0002_b="CREATE TABLE b (y int)")
    assert await migrate(empty_database_url, folder=folder) == ["0002_b"]


async def test_newer_database_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    """A database that a newer version made is left alone."""
    folder = write(tmp_path / "m", m0001_a="CREATE TABLE a (x int)", m0002_b="CREATE TABLE b (x int)")
    await migrate(empty_database_url, folder=folder)
    (folder / "0002_b.sql").unlink()
    with pytest.raises(SchemaMismatch, match=r"0002_b.*newer"):
        await migrate(empty_database_url, folder=folder)


async def test_changed_migration_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    """An applied migration whose file has changed since is refused, before anything else is applied."""
    folder = write(tmp_path / "m", m0001_a="CREATE TABLE a (x int)")
    await migrate(empty_database_url, folder=folder)
    write(folder, m0001_a="CREATE TABLE a (x bigint)", m0002_b="CREATE TABLE b (x int)")
    with pytest.raises(SchemaMismatch, match="0001_a"):
        await migrate(empty_database_url, folder=folder)
    assert "b" not in await tables(empty_database_url)


def test_two_migrations_with_one_number_are_refused(tmp_path: Path) -> None:
    """Two branches that both added a migration are noticed."""
    with pytest.raises(ValueError, match="same number"):
        known_migrations(write(tmp_path / "m", m0001_a="", m0001_b=""))


def test_old_postgresql_is_refused() -> None:
    """PostgreSQL 13 is refused by its number, 14 is not."""
    require_version(14)
    with pytest.raises(SchemaMismatch, match="PostgreSQL 13"):
        require_version(13)


@pytest.mark.parametrize("url", UNUSABLE_URLS)
async def test_a_url_that_cannot_be_used_is_named_without_its_password(url: str) -> None:
    """What the driver makes of an unescaped character is never shown: it may be a piece of the password."""
    with pytest.raises(WrongDatabaseUrl, match="percent-encoded") as refused:
        await migrate(url)
    said = "".join(traceback.format_exception(refused.value))
    assert "tell" not in said and "nobody" not in said


async def test_database_that_does_not_answer(tmp_path: Path) -> None:
    """A server that is not there is `Unavailable`, not a traceback from a socket."""
    with pytest.raises(Unavailable, match="does not answer"):
        await migrate(f"postgresql://dicomweb@/dicomweb?host={tmp_path}")
