"""Threads that decode, render and encode, so that the event loop goes on answering.

Facts this module keeps:

- Codecs and array operations release the interpreter lock: threads of one process use several cores.
- Work waits before its frame is read, so that what waits takes no memory.
- A queue that is full is a 503 with Retry-After at once, rather than an answer nobody waits for any more.
- What a client waits for that has gone away is dropped before it is begun.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from dicomweb.http.message.waiting import ClientGone, until_disconnected
from storage.errors import Busy

_Result = TypeVar("_Result")


class RenderPool:
    """A few threads and a queue before them.

    Parameters
    ----------
    threads : int
        Work done at once.
    queue : int
        Requests that may wait.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(threads, "render")
        # One more is let in than there are threads: its frame is read while the others are rendered.
        self._places = asyncio.Semaphore(threads + 1)
        self._queue = queue
        self._waiting = 0

    @asynccontextmanager
    async def place(self, request: Request, *, patient: bool = False) -> AsyncIterator[None]:
        """Wait for a turn; `run` belongs inside.

        Parameters
        ----------
        request : Request
            Whose client must still be there.
        patient : bool
            Whether to wait however many do: for an answer that has begun, which ends when its client goes away.

        Raises
        ------
        Busy
            Too many wait already.
        ClientGone
        """
        if patient or not self._places.locked():
            await self._places.acquire()
        else:
            if self._waiting >= self._queue:
                raise Busy("As many pictures as allowed are being made; try again in a moment.")
            self._waiting += 1
            try:
                await self._turn(request)
            finally:
                self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Do `work` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _turn(self, request: Request) -> None:
        turn = asyncio.ensure_future(self._places.acquire())
        gone = asyncio.ensure_future(until_disconnected(request))
        try:
            await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientGone
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._places.release()
            turn.cancel()
            raise
        finally:
            gone.cancel()
