"""Work that is done only while its client waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from dicomweb.http.problems import RequestRefused

_T = TypeVar("_T")


class ClientGone(RequestRefused):
    """The client did not wait: a status for the log, which nobody receives."""

    def __init__(self) -> None:
        super().__init__(499, "The client went away.")


async def while_waited_for(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Return what `work` returns; it is cancelled when the client goes away.

    Raises
    ------
    ClientGone
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(until_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def until_disconnected(request: Request) -> None:
    """Return when the client of a request has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
