"""Looks after what should never happen: associations that are open and dead, tasks and sockets that pile up.

An association ends itself when its peer is silent too long (`dimse.association`). This is the second lock on that door,
and where leaks would show: in the metrics.
"""

import asyncio
import logging
from typing import Final

from dicomweb.dimse.negotiation import shown_title
from dicomweb.gateway.gateway import Gateway

logger = logging.getLogger(__name__)

EVERY: Final = 2.0
"""Seconds between two looks."""
LENIENCE: Final = 30.0
"""Seconds an idle association has beyond `dimse_idle_timeout` to end by itself."""
BUSY: Final = 6
"""Times `dimse_idle_timeout` that a request may be answered without a byte going either way."""


async def watch(gateway: Gateway, *, every: float = EVERY, lenience: float = LENIENCE) -> None:
    """Look now and then, for ever."""
    while True:
        await end_the_dead(gateway, lenience)
        gateway.metrics.look(len(gateway.associations))
        await asyncio.sleep(every)


async def end_the_dead(gateway: Gateway, lenience: float = LENIENCE) -> None:
    """Abort associations on which nothing has moved for too long."""
    idle = gateway.settings.dimse_idle_timeout
    for live in gateway.associations.live():
        silent = live.silent_for()
        if silent > (idle * BUSY if live.operation is not None else idle + lenience):
            association = live.association
            logger.warning(
                "association of %s from %s is dead for %.0f s and is ended",
                *(shown_title(association.calling_ae_title), association.peer_host, silent),
            )
            await association.abort()
