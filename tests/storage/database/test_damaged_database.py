"""A database whose files are damaged is one sentence that says what to do, whatever of it is damaged."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from storage.database.damaged_database import explaining_damage
from storage.database.embedded import EmbeddedPostgres
from storage.database.migrate import migrate
from storage.errors import DamagedDatabase

Places = dict[str, str]


@pytest.fixture
async def places(tmp_path: Path) -> Places:
    """A database of our schema in `postgres` of the data folder, stopped, and where some of its files lie."""
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    try:
        await migrate(server.start())
        connection = await asyncpg.connect(server.dsn)
        tables = {name: f"SELECT pg_relation_filepath('{name}')" for name in ("pg_class", "pg_attribute", "instances")}
        found = {name: str(await connection.fetchval(statement)) for name, statement in tables.items()}
        await connection.close()
    finally:
        server.stop()
    return found | {"database": str(Path(found["instances"]).parent)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """The server that is started on what is left."""
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    yield server
    server.stop()


def garble(path: Path) -> None:
    """Overwrite a file in place, which keeps its owner."""
    path.write_bytes(bytes(number * 37 % 251 for number in range(path.stat().st_size)))


def each_in_turn(folder: Path, places: Places) -> Iterator[Callable[[], object]]:
    """Damages, from the most particular one to the most general one: each is met before those before it."""
    yield lambda: (folder / places["instances"]).unlink()
    yield lambda: (folder / places["pg_attribute"]).write_bytes(b"")
    yield lambda: garble(folder / places["pg_class"])
    yield lambda: garble(folder / places["database"] / "pg_filenode.map")
    yield lambda: shutil.rmtree(folder / places["database"])
    yield lambda: garble(folder / "global" / "pg_filenode.map")
    yield lambda: shutil.rmtree(folder / "pg_wal")
    yield lambda: garble(folder / "global" / "pg_control")
    yield lambda: shutil.rmtree(folder / "global")
    yield lambda: (folder / "PG_VERSION").write_bytes(b"\xff\xfe")
    yield lambda: (folder / "PG_VERSION").unlink()


async def test_whatever_is_damaged_is_one_sentence_with_the_way_out(
    tmp_path: Path, places: Places, server: EmbeddedPostgres
) -> None:
    """What is wrong, in PostgreSQL's words, and the command that makes a new database of the stored files."""
    for damage in each_in_turn(tmp_path / "postgres", places):
        damage()
        with pytest.raises(DamagedDatabase) as caught, explaining_damage(tmp_path, embedded=True):
            url = server.start()
            await migrate(url)
            connection = await asyncpg.connect(url)
            try:
                await connection.execute("SELECT count(*) FROM instances")
            finally:
                await connection.close()
        server.stop()
        message = str(caught.value)
        assert "\n" not in message and f"dicomweb reindex --data-dir {tmp_path}`" in message, message
        assert f"mv {tmp_path}/postgres {tmp_path}/postgres.damaged" in message


async def test_a_database_elsewhere_needs_a_new_one() -> None:
    """There is no folder of ours to move away."""
    expected = pytest.raises(DamagedDatabase, match=r"invalid page.*--database-url \.\.\.")
    with expected, explaining_damage(Path("/data"), embedded=False):
        raise asyncpg.DataCorruptedError("invalid page in block 0 of relation")
