"""How the garbage collector of a serving process is set."""

import gc


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
