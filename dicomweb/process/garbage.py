"""How a serving process deals with memory that is used no more."""

import asyncio
import ctypes
import gc

_SECONDS_UNTIL_FREE = 1.0


def tune_garbage_collector() -> None:
    """Keep the collector from stalling everybody while a large header is read.

    An enhanced multi-frame object becomes millions of small objects that all live until its metadata is written. By
    default a collection starts with every 700 of them, and each full one goes through all there are, with the lock of
    the interpreter held. Almost nothing of ours is a cycle: reference counts free it, so collecting rarely costs
    little memory. What start-up made lives for ever and need not be looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def give_back_soon() -> None:
    """Return memory to the system when the request at hand is over: to be called after one that took much.

    What is free in the middle of the heap stays with the process otherwise, for as long as it lives.
    """
    asyncio.get_running_loop().call_later(_SECONDS_UNTIL_FREE, _give_back)


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU library only
    if trim is not None:
        trim(0)
