"""Work that goes on beside the jobs as long as the process does: whatever goes wrong with it, the jobs go on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from storage.database.pool import connection_lost
from storage.errors import ArchiveError
from storage.system.errors import in_words

logger = logging.getLogger(__name__)

AGAIN_AFTER: Final = 60.0
"""Seconds, when it could not be done."""


async def repeat(step: Callable[[], Awaitable[float]], failed: str) -> None:
    """Do a step again and again until cancelled.

    Parameters
    ----------
    step : callable
        Returns the seconds until it is to be done again.
    failed : str
        What the log says when it could not be done.
    """
    while True:
        try:
            pause = await step()
        except (ArchiveError, OSError) as error:
            logger.warning("%s: %s", failed, in_words(error))
            pause = AGAIN_AFTER
        except Exception as error:
            if not connection_lost(error):
                logger.exception("%s", failed)
            pause = AGAIN_AFTER
        await asyncio.sleep(pause)
