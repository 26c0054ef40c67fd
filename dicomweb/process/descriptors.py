"""How many sockets and files a process may have open.

Many systems start a program with a soft limit of 1,024 for the sake of `select`, which nothing here uses, and a hard
limit far above. The supervisor raises its own, and its children inherit that.
"""

import resource
from typing import Final

ENOUGH: Final = 65_536
"""More than is ever needed; some systems have no hard limit."""
RESERVE: Final = 256
"""Kept for what is no connection of a client: the database, logs, libraries, files being looked at."""
EACH: Final = 2
"""A connection and the file that it sends or receives."""


def raise_limit() -> int:
    """Raise the soft limit of this process to the hard one; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has another limit beside it
            return soft
    return limit()


def limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else soft


def most_connections(wanted: int) -> int:
    """Return how many connections this process can have, `wanted` at most."""
    return min(wanted, max(16, (limit() - RESERVE) // EACH))
