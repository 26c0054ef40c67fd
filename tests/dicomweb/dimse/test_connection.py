"""A connection to a peer, below the association."""

import asyncio
import socket

from dicomweb.dimse.connection import Connection
from dicomweb.pace import UNSENT_AT_FIRST, UNSENT_OF_READERS

MUCH = 32 << 20
"""Bytes: more than the kernel takes for a peer that does not read."""


def kept_unsent(writer: asyncio.StreamWriter) -> int:
    """Return what the kernel may keep of what is to be sent, in bytes."""
    kept: int = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    return kept


async def test_the_kernel_keeps_much_for_a_peer_that_reads() -> None:
    """Little at first; more when the peer has taken what had to wait."""
    kept: asyncio.Queue[int] = asyncio.Queue()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, write_timeout=30)
        connection.write_soon([b"short"])
        await connection.flush()
        await kept.put(kept_unsent(writer))
        connection.write_soon([bytes(MUCH)])
        await connection.flush()
        await kept.put(kept_unsent(writer))
        await connection.close()

    async with await asyncio.start_server(send, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await kept.get() == UNSENT_AT_FIRST
        assert len(await reader.read(-1)) == MUCH + len(b"short")
        assert await kept.get() == UNSENT_OF_READERS
        writer.close()
