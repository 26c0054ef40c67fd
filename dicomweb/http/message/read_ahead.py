"""Things that take time to make, made a few ahead of whoever takes them in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice
from typing import TypeVar

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


async def read_ahead(
    make: Callable[[_Given], Awaitable[_Made]], given: Iterable[_Given], ahead: int
) -> AsyncGenerator[_Made, None]:
    """Yield what `make` returns for each of `given`, in order.

    Parameters
    ----------
    make : callable
        Makes one.
    given : iterable
        From which.
    ahead : int
        How many are being made at once; with 1 each is made when it is wanted, which costs no task.
    """
    if ahead == 1:
        for one in given:
            yield await make(one)
        return
    tasks: deque[asyncio.Future[_Made]] = deque()
    rest = iter(given)
    try:
        while True:
            tasks.extend(asyncio.ensure_future(make(one)) for one in islice(rest, ahead - len(tasks)))
            if not tasks:
                return
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
