"""Whether the other side of a connection keeps pace: a least rate, averaged, so that nobody holds a place for nothing.

Facts this module keeps:

- Only time counts in which we waited for the other side, never that in which it waited for us.
- Who keeps the least rate is never let go of, whoever else waits. Who does not has `OVER` seconds, and only `GRACE`
  when somebody else needs the place, whatever came before: a kernel may have taken megabytes for somebody who is gone.
- The rate is averaged over `OVER`: a scanner that reads from tape or a proxy that buffers may pause for a minute;
  nobody who is still there pauses for two. A modem of 9,600 bit/s has twice the usual `least_rate`.
- What the other machine has acknowledged counts as sent, not what our kernel took: it takes much at once, and from a
  slow line then nothing for long.
- Of what is not under way the kernel keeps little for us. Left alone it takes four megabytes for each client that does
  not read; a few hundred of those are all that Linux has for TCP, and then every connection of the machine stands.
  It keeps more for a few who have shown that they read: with little, a series takes a quarter longer on a fast line.
"""

import contextlib
import socket
import struct
from typing import Any, Final

OVER: Final = 120.0
"""Seconds over which the least rate is averaged."""
GRACE: Final = 5.0
"""Seconds of waiting after which who does not keep pace gives way to somebody who needs the place."""

UNSENT_AT_FIRST: Final = 256 << 10
"""Bytes that the kernel keeps of a connection, beside those under way."""
UNSENT_OF_READERS: Final = 4 << 20
"""The same, when the other side has taken what there was; and when there are not too many such."""

_UNSENT_OPTION: Final[int] = getattr(socket, "TCP_NOTSENT_LOWAT", 0)
_TCP_INFO: Final[int] = getattr(socket, "TCP_INFO", 0)
_ACKNOWLEDGED: Final = struct.Struct("120xQ")
"""`tcpi_bytes_acked` of Linux' `struct tcp_info`."""


class Pace:
    """The pace of one transfer.

    Parameters
    ----------
    least : float
        Bytes a second.
    over : float
        Seconds over which it is averaged.

    Attributes
    ----------
    rate : float
        Bytes a second, lately.
    """

    __slots__ = ("_lags", "_lately_moved", "_lately_waited", "_moved", "_waited", "least", "over", "rate")

    def __init__(self, least: float, over: float = OVER) -> None:
        self.least = least
        self.over = over
        self.rate = least
        self._lags = False
        self._waited = self._lately_waited = 0.0
        self._moved = self._lately_moved = 0

    def waited(self, seconds: float, moved: int) -> bool:
        """Count how long we waited and what moved meanwhile; return whether it has been too little for too long."""
        self._lately_waited += seconds
        self._lately_moved += moved
        if self._lately_waited >= GRACE:
            self.rate = self._lately_moved / self._lately_waited
            self._lags = self.rate < self.least
            self._lately_waited, self._lately_moved = 0.0, 0
        self._waited += seconds
        self._moved += moved
        if self._waited < self.over:
            return False
        too_slow = self._moved < self.least * self._waited
        self._waited, self._moved = 0.0, 0
        return too_slow

    def gives_way(self, seconds: float = 0.0) -> bool:
        """Whether it is too slow for somebody who needs the place, nothing having moved in the last `seconds`."""
        return self._lags or (self.least > 0 and seconds >= GRACE)


def keep_unsent(transport: Any, most: int) -> None:
    """Have the kernel keep no more bytes of what is to be sent."""
    connection = transport.get_extra_info("socket")
    if _UNSENT_OPTION and _is_tcp(connection):
        with contextlib.suppress(OSError, ValueError):  # closed
            connection.setsockopt(socket.IPPROTO_TCP, _UNSENT_OPTION, most)


def acknowledged(transport: Any) -> int:
    """Return how many bytes the other machine has acknowledged: a number that only grows.

    Where the kernel does not tell, it is what our own buffer does not hold any more, which is less than nothing.
    """
    connection = transport.get_extra_info("socket")
    if _TCP_INFO and _is_tcp(connection):
        try:
            told = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
            return int(_ACKNOWLEDGED.unpack_from(told)[0])
        except (OSError, ValueError, struct.error):  # closed, or an old kernel
            pass
    return -int(transport.get_write_buffer_size())


def reset(transport: Any) -> None:
    """End a connection at once; the kernel, too, forgets what was not taken."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, ValueError):
            pass
    transport.abort()


def _is_tcp(connection: Any) -> bool:
    return connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6)
