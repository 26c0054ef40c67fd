"""Child processes: started, watched by their signs of life, started again when they die, ended with patience."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM

from dicomweb.process.lifeline import READY, SILENT_FOR, Orders
from dicomweb.process.listener import HTTP
from dicomweb.settings import Settings
from storage.system.errors import in_words

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
SOUND_AFTER = 60.0
"""Seconds: a child that lived so long did not die of its start, so the next one need not wait."""
STARTED_WITHIN = 120.0
_RUN = uuid.uuid4().hex
LAST_PATIENCE = 5.0
"""Seconds a child has, beyond the grace for its requests, to end by itself."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the supervisor's table of children.

    Attributes
    ----------
    name : str
        Such as "worker-1".
    module : str
        Run with `python -m`; it begins with `lifeline.receive_orders`.
    listeners : tuple of str
        The listening sockets it serves, by their names in `dicomweb/process/listener.py`.
    """

    name: str
    module: str
    listeners: tuple[str, ...] = (HTTP,)


class Child:
    """One child and its successors.

    Parameters
    ----------
    kind
        What it is.
    settings
        Handed on in its orders.
    listeners
        Descriptors of the listening sockets there are, by name; it inherits those of its kind.
    inherited
        Other descriptors it inherits: the data folder's lock, which is held while a child lives, and files.
    environment
        Of the process.
    changed
        Called with the child whenever its process id or number of restarts changed.
    """

    def __init__(
        self,
        kind: Kind,
        settings: Settings,
        listeners: Mapping[str, int],
        inherited: Sequence[int],
        environment: Mapping[str, str],
        changed: Callable[["Child"], None],
    ) -> None:
        self.kind = kind
        self.restarts = 0
        self.ready = asyncio.Event()
        self.stopping = False
        self._settings = settings
        self._listeners = {name: listeners[name] for name in kind.listeners}
        self._inherited = tuple(inherited)
        self._environment = dict(environment)
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._wake = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Process id, None between two lives."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Keep the child alive until it is stopped."""
        pause = FIRST_PAUSE
        while not self.stopping:
            born = time.monotonic()
            try:
                how = _how(await self._live())
            except OSError as error:  # no memory or no process left for now
                how = in_words(error)
            if self.stopping:
                break
            if time.monotonic() - born > SOUND_AFTER:
                pause = FIRST_PAUSE
            logger.error("%s ended (%s); another one starts", self.kind.name, how)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            pause = min(LONGEST_PAUSE, pause * 2)
            self.restarts += 1

    async def _live(self) -> int:
        """One life, from start to end; returns the status of the process."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", self.kind.module),
                stdin=subprocess.PIPE,
                pass_fds=(writing, *self._inherited, *self._listeners.values()),
                env=self._environment,
                process_group=0,  # Ctrl-C in a terminal is for the supervisor, which then asks its children
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._process = process
        watching = asyncio.create_task(self._watch(process, reading))
        try:
            self._changed(self)
            if self.stopping:
                process.terminate()
            orders = Orders(self.kind.name, self._settings, os.getpid(), writing, self._listeners, _RUN)
            assert process.stdin is not None
            with contextlib.suppress(ConnectionError):
                process.stdin.write(orders.to_line())
                await process.stdin.drain()
            return await process.wait()
        finally:
            watching.cancel()
            self._process = None
            self.ready.clear()
            self._changed(self)

    async def _watch(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        """Read signs of life; end a child that gives none."""
        signs = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(signs), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while True:
                patience = SILENT_FOR if self.ready.is_set() else STARTED_WITHIN
                async with asyncio.timeout(patience):
                    line = await signs.readline()
                if not line:
                    return
                if line == READY:
                    self.ready.set()
        except TimeoutError:
            if not self.stopping:
                logger.error("%s does not answer and is ended", self.kind.name)
                _signal(process, SIGKILL)
        finally:
            transport.close()

    def ask_to_stop(self) -> None:
        """Ask the child to finish what it is doing and end; asked again, to end soon."""
        self.stopping = True
        self._wake.set()
        if self._process is not None:
            _signal(self._process, SIGTERM)

    def kill(self) -> None:
        """End the child at once."""
        self.stopping = True
        self._wake.set()
        if self._process is not None:
            _signal(self._process, SIGKILL)


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
