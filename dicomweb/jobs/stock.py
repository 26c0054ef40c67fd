"""Looking at the start, and once a day, for stored files that the index does not know: nobody else notices them."""

import asyncio
import logging
from typing import Final

from storage.archive import Archive
from storage.database import connection_lost
from storage.errors import ArchiveError
from storage.stocktaking import advice, take_stock
from storage.system_errors import in_words

logger = logging.getLogger(__name__)

EVERY: Final = 86_400.0
AGAIN_AFTER: Final = 60.0
"""Seconds, when it could not be done."""


async def keep_stock(archive: Archive) -> None:
    """Take stock until cancelled, and say in the log what is missing from the index."""
    while True:
        try:
            if number := await take_stock(archive):
                logger.warning("%s", advice(number))
            pause = EVERY
        except (ArchiveError, OSError) as error:
            logger.warning("the stored files cannot be compared with the index: %s", in_words(error))
            pause = AGAIN_AFTER
        except Exception as error:  # whatever it is, the jobs of this process go on
            if not connection_lost(error):
                logger.exception("the stored files cannot be compared with the index")
            pause = AGAIN_AFTER
        await asyncio.sleep(pause)
