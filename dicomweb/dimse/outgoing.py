"""Messages on their way to the peer (PS3.7 6.3, PS3.8 E.1, D.1).

Facts this module keeps:

- No PDU is longer than the peer takes; every PDV has an even number of bytes but perhaps the last of a message.
- A command set and the first data go to the socket together; then as much at once as `BATCH`, and no more is read from
  the data set than the socket takes.
- The data is never copied here.
- An association that has ended is noticed between two chunks of the data set: whoever makes them stops then.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from copy import copy
from typing import Final

from dicomweb.dimse.connection import Connection
from dicomweb.dimse.errors import AssociationAborted
from dicomweb.dimse.pdu import Packer, fragment_length

BATCH: Final = 256 << 10
"""How much is handed to the socket at once, in bytes."""

Data = bytes | AsyncIterable[bytes]
"""A data set to be sent."""


class Outgoing:
    """Sends messages, one at a time: hold `lock` while sending.

    Attributes
    ----------
    is_within_message : bool
        Whether the socket was given part of a message and not the rest of it.
    """

    def __init__(self, connection: Connection, peer_max_pdu: int) -> None:
        self._connection = connection
        self._limit = fragment_length(peer_max_pdu)
        self.lock = asyncio.Lock()
        self.is_within_message = False
        self._error: AssociationAborted | None = None

    def end(self, error: AssociationAborted) -> None:
        """Say that nothing more can be sent, and why."""
        self._error = error

    async def send(self, context_id: int, command: bytes, data: Data | None) -> None:
        """Send a command set and its data set if it has one.

        Raises
        ------
        AssociationAborted
            The association has ended, the connection is lost, or the peer takes nothing.
        """
        batch = list(self._command(context_id, command))
        if data is not None:
            packer = Packer(context_id, self._limit, is_command=False)
            size = 0
            async for chunk in _chunks(data):
                if self._error is not None:
                    raise copy(self._error)
                for buffers in packer.add(chunk):
                    batch += buffers
                    size += self._limit
                    if size >= BATCH:
                        self.is_within_message = True
                        self._connection.write_soon(batch)
                        batch = []
                        size = 0
                        await self._connection.flush()
            batch += packer.finish()
        self._connection.write_soon(batch)
        self.is_within_message = False
        await self._connection.flush()

    def _command(self, context_id: int, command: bytes) -> Iterator[bytes | memoryview]:
        packer = Packer(context_id, self._limit, is_command=True)
        for buffers in packer.add(command):
            yield from buffers
        yield from packer.finish()


async def _chunks(data: Data) -> AsyncIterator[bytes]:
    if isinstance(data, bytes | bytearray | memoryview):
        yield data
        return
    async for chunk in data:
        yield chunk
