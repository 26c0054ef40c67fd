"""Waiting for what comes in its own time."""

import asyncio
from collections.abc import Callable

PATIENCE = 60
"""Seconds; so long that only what never comes is given up."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)
