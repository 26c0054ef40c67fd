"""The first PDU of the peer, on both sides of opening an association (PS3.8 9.2.3)."""

import asyncio

from dicomweb.dimse.connection import Connection
from dicomweb.dimse.errors import AssociationAborted, PeerTimeout
from dicomweb.dimse.pdu import Fragment, Parser, Pdu


async def first_item(connection: Connection, parser: Parser, seconds: float) -> list[Pdu | Fragment]:
    """Return the first PDU, and what has come with it.

    A peer that accepts may send its first message before we have seen its acceptance.

    Raises
    ------
    PeerTimeout
        It did not come within `seconds` (ARTIM, PS3.8 9.1.5).
    AssociationAborted
        The connection was lost, or what came is no PDU.
    """
    try:
        async with asyncio.timeout(seconds):
            while chunk := await connection.read(seconds):
                items = list(parser.feed(chunk))
                if items:
                    return items
    except TimeoutError:
        raise PeerTimeout(f"the peer said nothing for {seconds:g} seconds") from None
    raise AssociationAborted("the peer closed the connection")
