"""The embedded database, seen from a supervisor that is not root any more: it asks the process that keeps it."""

import contextlib
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from dicomweb.settings import Settings
from dicomweb.supervisor.database_keeper import ALIVE, START, STOP, first_line
from dicomweb.supervisor.serving_user import same_modules
from storage import errors
from storage.database.postgres_binaries import CannotStart
from storage.system.account import Account

logger = logging.getLogger(__name__)

GONE_WITHIN = 5.0
"""Seconds for the keeper to end after the database has."""


class KeptDatabase:
    """As `EmbeddedPostgres`, kept by a process of its own; made while we are root.

    Parameters
    ----------
    settings
        For the keeper's log.
    folder
        The data directory of PostgreSQL.
    client
        Who connects: whom we shall be.
    """

    def __init__(self, settings: Settings, folder: Path, client: Account) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "dicomweb.supervisor.database_keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=same_modules(),
            start_new_session=True,
        )
        assert self._keeper.stdin is not None
        with contextlib.suppress(OSError):
            self._keeper.stdin.write(first_line(settings, folder, client))

    def start(self) -> str:
        """Start the database; blocks until it answers. Returns its URL; raises as `EmbeddedPostgres.start`."""
        return str(self._ask(START))

    def alive(self) -> bool:
        """Whether the database runs; blocks for a moment."""
        return not self.lost() and bool(self._ask(ALIVE))

    def lost(self) -> bool:
        """Whether the keeper is gone: only root could start another one."""
        return self._keeper.poll() is not None

    def stop(self) -> None:
        """Stop the database and its keeper; blocks until they are gone."""
        if not self.lost():
            try:
                self._ask(STOP)
            except errors.ArchiveError as error:
                logger.error("%s", error)
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(GONE_WITHIN)

    def _ask(self, order: str) -> Any:
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        with self._lock:
            try:
                self._keeper.stdin.write(order + "\n")
                answer = json.loads(self._keeper.stdout.readline())
            except (OSError, ValueError):
                raise CannotStart("the process that keeps the database is gone") from None
        if "error" in answer:
            raise getattr(errors, answer["error"], CannotStart)(answer["text"])
        return answer["value"]
