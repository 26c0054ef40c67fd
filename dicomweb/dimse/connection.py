"""The transport connection below an association: bytes in, bytes out, and its end.

Facts this module keeps:

- Nagle's algorithm is off: DIMSE is question and answer, and a delayed last segment costs 40 ms each time.
- Most devices leave theirs on: the rest of what they say then waits for our acknowledgement, which the kernel delays
  by 40 ms. So we ask it to acknowledge at once, again after every read, since it falls back by itself.
- A peer that takes nothing for the write timeout is a PeerTimeout, and so is one below the least rate; one that takes a
  little more goes on.
- Closing is bounded in time and leaves no socket behind, whether or not the peer takes part, also when the task that
  closes is cancelled.
- Losing the connection is an AssociationAborted, never an OSError.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from typing import Any, Final

from dicomweb.dimse.errors import AssociationAborted, PeerTimeout
from dicomweb.pace import GRACE, UNSENT_AT_FIRST, UNSENT_OF_READERS, Pace, acknowledged, keep_unsent

READ_LIMIT: Final = 256 << 10
"""How much is read from the socket at once, in bytes; give it to `asyncio.start_server` as limit."""

UNSENT: Final = 512 << 10
"""How much may wait to be sent before the sender waits, in bytes."""

FAREWELL: Final = 1.0
"""Seconds for the peer to take the last bytes and to close when we end the association."""

QUICK_ACKNOWLEDGEMENT: Final[int] = getattr(socket, "TCP_QUICKACK", 0)
"""The option of Linux; 0 elsewhere."""

LOST: Final = "the connection to the peer was lost"


class Connection:
    """A stream connection with timers and counters.

    Attributes
    ----------
    host, port
        Of the peer.
    last_active : float
        When bytes were last received or sent, by the clock of the event loop.
    bytes_in, bytes_out : int
        Received and handed to the socket.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        write_timeout: float,
        least_rate: float = 0.0,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._write_timeout = write_timeout
        self._pace = Pace(least_rate)
        self._reads = False  # whether the peer has taken what we had to wait for
        self._flushes: tuple[float, int] | None = None  # since when, and what the peer had taken then
        self._loop = asyncio.get_running_loop()
        self._acknowledged: Any = _tcp_socket(writer) if QUICK_ACKNOWLEDGEMENT else None
        self.bytes_in = 0
        self.bytes_out = 0
        self.last_active = self._loop.time()
        name = writer.get_extra_info("peername") or ("", 0)
        self.host, self.port = (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)
        _prepare(writer)

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self._writer.get_extra_info("ssl_object") is not None

    @property
    def certificate(self) -> dict[str, object]:
        """The peer's certificate as `ssl.SSLSocket.getpeercert` shows it; empty when there is none."""
        return self._writer.get_extra_info("peercert") or {}

    async def read(self, seconds: float) -> bytes:
        """Return what has come, b"" when the peer has closed.

        Raises
        ------
        PeerTimeout
            Nothing came within `seconds`.
        AssociationAborted
            The connection is lost.
        """
        try:
            async with asyncio.timeout(seconds):
                chunk = await self._reader.read(READ_LIMIT)
        except TimeoutError:
            raise PeerTimeout(f"the peer sent nothing for {seconds:g} seconds") from None
        except OSError as error:
            raise AssociationAborted(LOST) from error
        self.bytes_in += len(chunk)
        self.last_active = self._loop.time()
        self._acknowledge()
        return chunk

    def _acknowledge(self) -> None:
        if self._acknowledged is not None:
            try:
                self._acknowledged.setsockopt(socket.IPPROTO_TCP, QUICK_ACKNOWLEDGEMENT, 1)
            except (OSError, ValueError):  # it is closed, the second as uvloop says it
                self._acknowledged = None

    def write_soon(self, buffers: Iterable[bytes | memoryview]) -> None:
        """Hand over buffers to be sent one after the other; on a lost connection nothing happens."""
        if not self._writer.is_closing():
            parts = list(buffers)
            self._writer.writelines(parts)
            self.bytes_out += sum(map(len, parts))

    async def flush(self) -> None:
        """Wait until there is room for more.

        Raises
        ------
        PeerTimeout
            The peer takes nothing.
        AssociationAborted
            The connection is lost.
        """
        transport = self._writer.transport
        has_room = transport.get_write_buffer_size() <= UNSENT
        self._flushes = None if has_room else (self._loop.time(), acknowledged(transport))
        try:
            while not await self._is_drained():
                self._flushes = self._taken(self._flushes)
        except OSError as error:
            raise AssociationAborted(LOST) from error
        finally:
            self._flushes = None
        if not (has_room or self._reads):
            self._reads = True
            keep_unsent(transport, UNSENT_OF_READERS)
        self.last_active = self._loop.time()

    @property
    def is_slow(self) -> bool:
        """Whether the peer takes what we send too slowly for somebody who needs the place."""
        if self._flushes is None:
            return False
        since, before = self._flushes
        waited = self._loop.time() - since
        return waited >= GRACE and acknowledged(self._writer.transport) - before < self._pace.least * waited

    def _taken(self, before: tuple[float, int] | None) -> tuple[float, int]:
        """Count what the peer took in a write timeout that has passed."""
        now, taken = self._loop.time(), acknowledged(self._writer.transport)
        if before is not None:
            if taken <= before[1]:
                raise PeerTimeout(f"the peer took nothing for {self._write_timeout:g} seconds")
            if self._pace.waited(now - before[0], taken - before[1]):
                raise PeerTimeout(f"the peer took less than {self._pace.least:g} bytes a second")
        return now, taken

    async def _is_drained(self) -> bool:
        try:
            async with asyncio.timeout(self._write_timeout):
                await self._writer.drain()
        except TimeoutError:
            return False
        return True

    async def wait_closed_by_peer(self, seconds: float) -> None:
        """Drop what still comes until the peer closes or the time is up (Sta13 of PS3.8 9.2)."""
        deadline = self._loop.time() + seconds
        try:
            while await self.read(deadline - self._loop.time()):
                pass
        except AssociationAborted:
            pass

    async def close(self, *, linger: bool = False) -> None:
        """Close; what was written is sent if the peer takes it soon.

        Parameters
        ----------
        linger : bool
            Let the peer close first, for a moment. Without that, what it is still sending makes TCP reset the
            connection, and the peer never sees our last PDU.
        """
        try:
            async with asyncio.timeout(FAREWELL):
                if linger and not self._writer.is_closing():
                    while await self._reader.read(READ_LIMIT):
                        pass
                self._writer.close()
                await self._writer.wait_closed()
        except TimeoutError:
            self.kill()
            # The event loop closes the socket in its next turn.
            await asyncio.sleep(0)
        except OSError:
            pass  # It is gone, which is all that is wanted.
        finally:
            self.kill()

    def kill(self) -> None:
        """Close at once; what was not sent is lost."""
        abort(self._writer)


def abort(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once; one over TLS that is gone already fails on that in early Python 3.11."""
    with contextlib.suppress(AttributeError):
        writer.transport.abort()


def _prepare(writer: asyncio.StreamWriter) -> None:
    writer.transport.set_write_buffer_limits(high=UNSENT)
    keep_unsent(writer.transport, UNSENT_AT_FIRST)
    if (tcp := _tcp_socket(writer)) is not None:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _tcp_socket(writer: asyncio.StreamWriter) -> Any:
    found = writer.get_extra_info("socket")
    return found if found is not None and found.family in (socket.AF_INET, socket.AF_INET6) else None
