"""Embedded PostgreSQL servers for tests, started in this process or by one of their own."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage.database.embedded import EmbeddedPostgres
from storage.database.postgres_binaries import wheel_binaries

REPOSITORY = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from storage.database.data_folder import DataFolder
from storage.database.embedded import EmbeddedPostgres
folder = DataFolder(sys.argv[1])
server = EmbeddedPostgres(folder.path / "postgres")
print(server.start(), server.process.pid, flush=True)
sys.stdin.read()
"""

UNUSABLE_URLS = (
    "postgresql://nobody:tell/nobody@127.0.0.1/db",
    "postgresql://nobody:tell#nobody@127.0.0.1:1/db",
    "postgresql://nobody:tell?nobody@127.0.0.1:1/db",
    "postgresql://nobody:[tell@127.0.0.1:1/db",
    "postgresql://nobody:tell@nobody:tell@127.0.0.1/db",
    "postgresql://nobody:tell@127.0.0.1:99999/db",
    "postgresql://nobody:tell@127.0.0.1:nobody/db",
    "postgresql://nobody:tell@127.0.0.1:1/db?sslmode=nobody",
    "postgresql://nobody:tell@a..b/db",
)
"""Nothing can be connected to; what must not be shown of them has the words "tell" and "nobody"."""


def run(url: str, *statements: str) -> Any:
    """Run statements on a connection of their own; the value of the last one."""

    async def go() -> Any:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(go())


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Make servers, on `folder` if they are not given another, that are stopped in the end."""
    with contextlib.ExitStack() as stack:

        def made(other: Path | None = None, **options: Any) -> EmbeddedPostgres:
            server = EmbeddedPostgres(other or folder, **options)
            stack.callback(server.stop)
            return server

        yield made


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may pass through, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="open-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def ordinary_python() -> list[str]:
    """A Python that the user `nobody` can run together with this checkout, or skip with the reason."""
    environment = f"PYTHONPATH={REPOSITORY}:{wheel_binaries().parents[2]}"
    for interpreter in (sys.executable, getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3"):
        command = ["/usr/bin/env", environment, "PYTHONDONTWRITEBYTECODE=1", interpreter]
        test = "import sys, storage.database.embedded as e, storage.database.postgres_binaries as b; "
        test += "assert sys.version_info >= (3, 11); open(b.wheel_binaries() / 'postgres').close()"
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "-c", test], user="nobody", cwd="/", capture_output=True).returncode == 0:
                return command
    pytest.skip("the user nobody can run no Python 3.11 with this checkout")
