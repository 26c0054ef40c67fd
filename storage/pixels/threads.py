"""The threads that decode and encode pixels, and how much may wait for them.

Facts kept here:

- The codecs let go of the interpreter lock, so threads use all processors; more threads than these only use memory.
- What has not begun is bounded: beyond that a caller is told to come again, which costs less than answering all late.
- Whoever writes a whole file waits for frames that other threads make. He waits in threads of his own, so that these
  can never all be taken by those who wait.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from storage.errors import Busy

_T = TypeVar("_T")
_END = object()


class PixelThreads:
    """A bounded queue in front of the threads for pixel work.

    Parameters
    ----------
    threads : int
        How many frames are worked on at once; 0 for one a processor.
    queue : int
        How much more may wait.

    Attributes
    ----------
    frames : ThreadPoolExecutor
        Works on single frames; nothing in it may wait for another piece of work.
    """

    def __init__(self, threads: int = 0, queue: int = 64) -> None:
        count = threads or len(os.sched_getaffinity(0))
        self.frames = ThreadPoolExecutor(count, thread_name_prefix="pixels")
        self._files = ThreadPoolExecutor(count + 2, thread_name_prefix="pixel-files")
        self._most = count + queue
        self._admitted = 0

    async def run(self, function: Callable[..., _T], *args: Any, patient: bool = False) -> _T:
        """Run the work on one frame in a thread; what was not begun when the caller is cancelled never is.

        Parameters
        ----------
        function : callable
            The work; its arguments follow.
        patient : bool
            Whether to wait however much is waiting: for an answer that has begun.

        Raises
        ------
        Busy
            Too much is waiting already.
        """
        return await self._admit(self.frames, patient, function, *args)

    async def run_file(self, function: Callable[..., _T], *args: Any, patient: bool = False) -> _T:
        """Run work that may hand single frames to `frames` and wait for them; otherwise as `run`."""
        return await self._admit(self._files, patient, function, *args)

    async def steps(self, items: Iterator[_T]) -> AsyncIterator[_T]:
        """Yield from an iterator whose steps may wait for frames; it was admitted before, so that it is not refused."""
        loop = asyncio.get_running_loop()
        while True:
            step = loop.run_in_executor(self._files, next, items, _END)
            try:
                item = await asyncio.shield(step)
            except asyncio.CancelledError:
                await asyncio.wait([step])  # nobody may close its file meanwhile
                raise
            if item is _END:
                return
            yield item  # type: ignore[misc]

    def close(self) -> None:
        """Drop what was not begun and wait for the rest."""
        self.frames.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)

    async def _admit(self, pool: ThreadPoolExecutor, patient: bool, function: Callable[..., _T], *args: Any) -> _T:
        if self._admitted >= self._most and not patient:
            raise Busy("Too many images are being made at once; try again later.")
        self._admitted += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *args)
        finally:
            self._admitted -= 1
