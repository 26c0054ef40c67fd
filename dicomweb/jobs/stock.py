"""Looking at the start, and once a day, for stored files that the index does not know: nobody else notices them."""

import logging
from typing import Final

from dicomweb.jobs.repeating import repeat
from storage.archive import Archive
from storage.upkeep.stocktaking import advice, take_stock

logger = logging.getLogger(__name__)

EVERY: Final = 86_400.0


async def keep_stock(archive: Archive) -> None:
    """Take stock until cancelled, and say in the log what is missing from the index."""

    async def step() -> float:
        if number := await take_stock(archive):
            logger.warning("%s", advice(number))
        return EVERY

    await repeat(step, "the stored files cannot be compared with the index")
