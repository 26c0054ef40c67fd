"""A connection to the gateway as streams, after the TLS handshake where there is one.

Facts this module keeps:

- A server that is given an `ssl.SSLContext` tells of a connection after its handshake, so that those that never shake
  hands could be neither counted nor limited. Here the connection comes first, the handshake then.
- `StreamWriter.start_tls` would lose what was read before it is called: uvloop reads as soon as a connection is there.
"""

import asyncio
import socket
import ssl

from dicomweb.dimse.connection import READ_LIMIT


async def open_streams(
    connection: socket.socket, tls: ssl.SSLContext | None, *, within: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do the server's side of a TLS handshake, if any, and return the streams.

    Parameters
    ----------
    connection : socket.socket
        As taken; it belongs to the streams, and is closed when there are none.
    tls : ssl.SSLContext or None
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
        lambda: protocol, connection, ssl=tls, ssl_handshake_timeout=within if tls else None
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
