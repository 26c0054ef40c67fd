"""A PostgreSQL of the distribution, reached by its URL."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage.database.migrate import migrate
from tests.storage.servers import open_folder, servers


def debian_binaries() -> list[Any]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    missing = pytest.param(None, marks=pytest.mark.skip(reason="no PostgreSQL in /usr/lib/postgresql"))
    return [pytest.param(path.parent, id=path.parent.parent.name) for path in found] or [missing]


@pytest.mark.parametrize("binaries", debian_binaries())
async def test_other_postgresql(binaries: Path) -> None:
    """The schema applies to the PostgreSQL of the distribution (14 or newer), reached by URL."""
    # in an open folder, since before version 16 it looks up its folder's real path
    with open_folder() as folder, servers(folder / "postgres") as make:
        url = await asyncio.to_thread(make(binaries=binaries).start)
        assert await migrate(url)
        connection = await asyncpg.connect(url)
        assert connection.get_server_version().major == int(binaries.parent.name)
        assert await connection.fetchval("SELECT count(*) FROM studies") == 0
        await connection.close()
