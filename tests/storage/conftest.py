"""Fixtures: an empty database, and what is kept in it beside the images."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.database.pool import connect
from storage.worklist.items import Worklist
from storage.worklist.performed_steps import PerformedSteps


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    """Connections to an empty database."""
    pool = await connect(database_url)
    yield pool
    await pool.close()


@pytest.fixture
def worklist(pool: Any) -> Worklist:
    """An empty worklist."""
    return Worklist(pool)


@pytest.fixture
def performed(pool: Any) -> PerformedSteps:
    """No performed steps yet."""
    return PerformedSteps(pool)
