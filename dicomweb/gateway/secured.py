"""Connections to the TLS port, from the moment they are there.

Facts this module keeps:

- A server that is given an `ssl.SSLContext` tells of a connection after its handshake, so that those that never shake
  hands could be neither counted nor limited. Here the connection comes first, the handshake then.
- `StreamWriter.start_tls` would lose what was read before it is called: uvloop reads as soon as a connection is there.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from dicomweb.dimse.connection import READ_LIMIT
from storage.system_errors import in_words

logger = logging.getLogger(__name__)

AFTER_FAILURE: Final = 1.0
"""Seconds without taking connections when one could not be taken, for there are too many open files or the like."""


async def take_connections(listener: socket.socket, taken: Callable[[socket.socket], None]) -> None:
    """Take connections from a listening socket until cancelled; whoever is told of one closes it."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as error:
            logger.error("no connection can be taken now: %s", in_words(error))
            await asyncio.sleep(AFTER_FAILURE)
        else:
            taken(connection)
            await asyncio.sleep(0)  # where many wait, taking one does not let others have the event loop


async def shake_hands(
    connection: socket.socket, tls: ssl.SSLContext, *, within: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do the server's side of a TLS handshake.

    Parameters
    ----------
    connection : socket.socket
        As taken; it belongs to the streams, and is closed when there are none.
    tls : ssl.SSLContext
        What we show, and what we ask of the peer.
    within : float
        Seconds.

    Raises
    ------
    OSError
        The peer is gone, silent, not to be trusted, or does not speak TLS.

    Standard
    --------
    PS3.15 B.12; checklist G-017, G-018.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(READ_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=tls, ssl_handshake_timeout=within
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
