"""A database that fell silent: noticed in seconds, and told to everybody who waits for it.

Facts this module keeps:

- A statement may rightly take a minute, and a commit on a busy disk too. A server that is stopped, or behind a network
  that is gone, says nothing at all. A question on a connection of its own tells the two apart.
- It is asked only while somebody has been waiting for a while, and believed silent only after two questions: a machine
  that stalls for a moment is no reason to break off what is under way.
- An error is an answer. Whoever was refused knows already.
- What is broken off may still be committed when the server goes on; whoever stores treats it so
  (`storage/index/writer.py`).
"""

import asyncio
import contextlib
import logging
from typing import Any

import asyncpg

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at who waits, and from how long on somebody counts as waiting."""
ANSWER_WITHIN = 2.5
"""Seconds for the answer to a question that takes none."""
QUESTIONS = 2
"""Unanswered questions after which the database is silent."""


class Watch:
    """Watches over the connections of one pool.

    Parameters
    ----------
    url : str
        Of the database.

    Attributes
    ----------
    silent : bool
        Whether the database does not answer now.
    url : str
        As given.
    """

    def __init__(self, url: str) -> None:
        self.silent = False
        self.url = url
        self._lent: dict[Any, float] = {}
        self._waiting: dict[asyncio.Timeout, float] = {}
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Watch from now on."""
        self._task = asyncio.create_task(self._look())

    async def end(self) -> None:
        """Watch no longer."""
        self.stop()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def stop(self) -> None:
        """Watch no longer; returns at once."""
        if self._task is not None:
            self._task.cancel()
        self._hang_up()

    def waits(self, timeout: asyncio.Timeout) -> None:
        """Somebody waits for a connection until this timeout ends."""
        self._waiting[timeout] = asyncio.get_running_loop().time()

    def waits_no_more(self, timeout: asyncio.Timeout) -> None:
        """It has a connection, or none."""
        self._waiting.pop(timeout, None)

    def lent(self, connection: Any) -> None:
        """Somebody uses this connection of the pool."""
        self._lent[connection] = asyncio.get_running_loop().time()

    def returned(self, connection: Any) -> None:
        """The connection is used no more."""
        self._lent.pop(connection, None)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        unanswered = 0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            since = min((*self._lent.values(), *self._waiting.values()), default=loop.time())
            if not self.silent and loop.time() - since < LOOK_EVERY:
                unanswered = 0
                continue
            if await self._answers():
                if self.silent:
                    logger.warning("the database answers again")
                self.silent, unanswered = False, 0
                continue
            unanswered += 1
            if unanswered >= QUESTIONS:
                self._break_off()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(
                        self.url, server_settings={"application_name": "dicomweb watch"}
                    )
                await self._connection.execute("SELECT 1")
                return True
        except TimeoutError:  # of the network, too
            self._hang_up()
            return False
        except Exception:
            self._hang_up()
            return True

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _break_off(self) -> None:
        """End every wait: those for a connection, and those for what a statement gives."""
        if not self.silent:
            logger.error("the database has fallen silent; whatever waits for it is broken off")
        self.silent = True
        now = asyncio.get_running_loop().time()
        for timeout in list(self._waiting):
            timeout.reschedule(now)
        for connection in list(self._lent):
            with contextlib.suppress(asyncpg.InterfaceError):  # it was just given back
                connection.terminate()
