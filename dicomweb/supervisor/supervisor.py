"""`dicomweb serve`: one supervisor, its children, and the embedded database.

Facts this module keeps:

- Order of starting: listen, lock the data folder, database, schema, sweep, children. Whatever cannot be is said
  before anything is changed, and the sweep runs while nobody else writes.
- Order of stopping: stop listening, let the children finish, database, lock.
- SIGTERM and Ctrl-C drain; a second one shortens it.
- The supervisor itself serves nothing, so that nothing a client sends can bring it down.
- Started by root, it does what takes root and becomes another user before it does anything else
  (`dicomweb/supervisor/serving_user.py`); only the database's keeper stays root.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dicomweb.http.message.spool import sweep_spool
from dicomweb.http.urls import MOUNT
from dicomweb.opening import calling_facts
from dicomweb.process.descriptors import raise_limit
from dicomweb.process.listener import DIMSE, DIMSE_TLS, HTTP, address_of, listen_everywhere, url_of
from dicomweb.settings import Settings
from dicomweb.supervisor import demo
from dicomweb.supervisor.children import LAST_PATIENCE, Child, Kind
from dicomweb.supervisor.inherited_files import descriptors_of, read_for_children
from dicomweb.supervisor.kept_database import KeptDatabase
from dicomweb.supervisor.serving_user import same_modules, serving_user
from dicomweb.telemetry import logs
from dicomweb.telemetry.metrics import CHILDREN_FILE, FOLDER_VARIABLE
from dicomweb.tls import server_context
from dicomweb.version import program_version
from storage.blobs.local import YOUNG, LocalBlobs
from storage.database.damaged_database import explaining_damage
from storage.database.data_folder import DataFolder
from storage.database.embedded import EmbeddedPostgres
from storage.database.migrate import migrate
from storage.database.pool import connect, reach
from storage.errors import ArchiveError
from storage.system.errors import in_words
from storage.system.kept_memory import KEEP_MEMORY
from storage.system.passcode_key import PasscodeKey
from storage.upkeep.sweep import sweep
from storage.work.peers import Peers

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

DATABASE_PATIENCE = 30.0
"""Seconds that a database elsewhere may take to answer: containers start in any order."""
LOOK_AFTER_DATABASE_EVERY = 0.5
LOOK_AFTER_FOLDER_EVERY = 1.0
FALSE_STARTS = 3
"""Deaths of one child before the first readiness of all, after which the start is given up."""


def children_of(settings: Settings) -> list[Kind]:
    """The table of children; a new kind of child is one more line."""
    dimse = (DIMSE,) if settings.dimse_tls_port is None else (DIMSE, DIMSE_TLS)
    return [
        *(Kind(f"worker-{number}", "dicomweb.http.process") for number in range(1, settings.workers + 1)),
        *([Kind("gateway", "dicomweb.gateway.process", dimse)] if settings.dimse else []),
        Kind("jobs", "dicomweb.jobs.process", ()),
    ]


class Supervisor:
    """Starts everything, keeps it running, stops it.

    Parameters
    ----------
    settings
        All of them.
    demo
        Whether to load sample files when everything runs.
    """

    def __init__(self, settings: Settings, *, demo: bool = False) -> None:
        self.settings = settings
        self.demo = demo
        self.children: list[Child] = []
        self._files: dict[str, Path] = {}
        self._failed = False
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._child_ended = asyncio.Event()

    def run(self) -> int:
        """Serve until a signal says stop.

        Returns
        -------
        int
            Exit status of the process.

        Raises
        ------
        SettingsError
            An address cannot be listened on, or the certificate for TLS not be used.
        ArchiveError
            The data folder is in use, or the database cannot be started or used.
        """
        logs.configure(self.settings, "supervisor")
        os.umask(0o077)  # what it and its children write is nobody else's business
        raise_limit()
        if self.settings.dimse and self.settings.dimse_tls_port is not None:
            server_context(self.settings)  # whatever is wrong with it is said now
        with contextlib.ExitStack() as opened:
            listeners = listen_everywhere(self.settings)
            for listener in listeners.values():
                opened.enter_context(listener)
            folder = opened.enter_context(DataFolder(self.settings.data_dir))
            database = self._give_up_root(folder)
            return asyncio.run(self._run(listeners, folder, database))

    def _give_up_root(self, folder: DataFolder) -> EmbeddedPostgres | KeptDatabase | None:
        """Become the user who serves; return the embedded database, which has one of its own."""
        path = None if self.settings.database_url else folder.path / "postgres"
        user = serving_user(self.settings, folder.path)
        if user is None:
            return EmbeddedPostgres(path) if path else None
        self._files = read_for_children(self.settings)
        kept = KeptDatabase(self.settings, path, user.account) if path else None
        user.become()
        logger.info("serving as user %s", user.name)
        return kept

    async def _run(
        self,
        listeners: Mapping[str, socket.socket],
        folder: DataFolder,
        embedded: EmbeddedPostgres | KeptDatabase | None,
    ) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(logs.report_loop_error)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        try:
            with explaining_damage(folder.path, embedded=embedded is not None):
                url = await self._start_database(embedded)
                await self._migrate(url)
            await self._tidy(url, folder)
            if self._stopping.is_set():
                return 0
            return await self._serve(listeners, folder, url, embedded)
        finally:
            if embedded is not None:
                await asyncio.to_thread(embedded.stop)

    def _signalled(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    # Starting

    async def _start_database(self, embedded: EmbeddedPostgres | KeptDatabase | None) -> str:
        if embedded is None:
            assert self.settings.database_url is not None
            return self.settings.database_url
        if not embedded.folder.exists():
            _say(f"Making a database in {embedded.folder} (once, a few seconds) ...")
        return await asyncio.to_thread(embedded.start)

    async def _migrate(self, url: str) -> None:
        """Bring the schema up to date."""
        applied = await reach(
            url,
            lambda: migrate(url),
            seconds=DATABASE_PATIENCE if self.settings.database_url else 0,
            failed=lambda error: logger.warning("%s; trying again", error),
            stopped=self._stopping.is_set,
        )
        if applied:
            logger.info("the schema of the database was brought up to date: %s", ", ".join(applied))

    async def _tidy(self, url: str, folder: DataFolder) -> None:
        """Clean up after the last run, and what earlier versions kept in the clear."""
        await asyncio.to_thread(sweep_spool, folder.path)
        pool = await connect(url, max_size=2)
        blobs = LocalBlobs(folder.path / "blobs")
        try:
            key = PasscodeKey(self.settings.passcode_key or folder.path / PasscodeKey.NAME)
            if sealed := await Peers(pool, key).seal_plain():
                logger.info("passcodes that were kept in the clear are sealed: %d; the key is %s", sealed, key.path)
            if folder.has_guests():
                logger.warning("a command still works on the data folder; cleaning up waits for the next start")
                return
            swept = await sweep(pool, blobs)
        finally:
            await pool.close()
            blobs.close()
        if swept.committed or swept.unacknowledged or swept.discarded:
            logger.info(
                "cleaned up after the last run: %d files were in order, %d never acknowledged, %d let go of",
                *(swept.committed, swept.unacknowledged, swept.discarded),
            )

    # Running

    async def _serve(
        self,
        listeners: Mapping[str, socket.socket],
        folder: DataFolder,
        url: str,
        embedded: EmbeddedPostgres | KeptDatabase | None,
    ) -> int:
        ports = {f"{name}_port": one.getsockname()[1] for name, one in listeners.items() if name != HTTP}
        settings = self.settings.model_copy(
            update={"database_url": url, "data_dir": folder.path, **ports, **self._files}
        )
        counters = folder.run / "metrics"
        shutil.rmtree(counters, ignore_errors=True)
        counters.mkdir(mode=0o700)
        environment = {**KEEP_MEMORY, **same_modules(), FOLDER_VARIABLE: str(counters)}

        def changed(child: Child) -> None:
            if child.pid is None:
                _forget_gauges(counters)
                self._child_ended.set()
            self._account(folder.run)

        descriptors = {name: listener.fileno() for name, listener in listeners.items()}
        inherited = [folder.descriptor, *descriptors_of(self._files)]
        for kind in children_of(settings):
            self.children.append(Child(kind, settings, descriptors, inherited, environment, changed))
        address = url_of(listeners[HTTP])
        dimse = {name: address_of(listeners[name]) for name in (DIMSE, DIMSE_TLS) if name in listeners}
        # Before the first child can say that it is ready: whoever waited for that is to find the server.
        folder.publish(database_url=url, url=address, **calling_facts(self.settings), **dimse)
        running = [asyncio.create_task(child.run()) for child in self.children]
        tending = [asyncio.create_task(self._look_after_folder(folder)), asyncio.create_task(self._clean_up(folder))]
        if embedded:
            tending.append(asyncio.create_task(self._look_after(embedded)))
        try:
            if await self._all_ready(folder):
                self._greet(address, dimse, folder.path)
                if self.demo:
                    _say(await asyncio.to_thread(demo.load, address + MOUNT))
                await self._stopping.wait()
                return int(self._failed)
            return int(self._failed or not self._stopping.is_set())
        finally:
            for listener in listeners.values():
                listener.close()
            await self._stop(running)
            for task in tending:
                task.cancel()
            await asyncio.gather(*tending, return_exceptions=True)

    async def _all_ready(self, folder: DataFolder) -> bool:
        """Wait for every child; False when one of them cannot start or a signal came first."""
        for child in self.children:
            while not child.ready.is_set():
                await _any_of(self._stopping.wait(), child.ready.wait(), seconds=0.2)
                if self._stopping.is_set():
                    return False
                if child.restarts >= FALSE_STARTS:
                    logger.error("%s cannot start, see above; giving up", child.kind.name)
                    if folder.is_moved():
                        self._leave(folder)
                    return False
        return True

    async def _look_after(self, embedded: EmbeddedPostgres | KeptDatabase) -> None:
        """Start the embedded database again when it died; end with its keeper, which only root can start."""
        pause = LOOK_AFTER_DATABASE_EVERY
        while not self._stopping.is_set():
            await asyncio.sleep(pause)
            if await asyncio.to_thread(embedded.alive):
                pause = LOOK_AFTER_DATABASE_EVERY
                continue
            if isinstance(embedded, KeptDatabase) and embedded.lost():
                logger.error("the process that keeps the database is gone; the server ends")
                self._failed = True
                self._stopping.set()
                return
            logger.error("the database died; starting it again")
            try:
                await asyncio.to_thread(embedded.start)
            except ArchiveError as error:
                logger.error("%s", error)
                pause = min(10.0, pause * 2)

    async def _look_after_folder(self, folder: DataFolder) -> None:
        """Stop when the path of the data folder leads elsewhere: what is stored there would not be in our archive."""
        seen = 0
        while seen < 2:
            await asyncio.sleep(LOOK_AFTER_FOLDER_EVERY)
            seen = seen + 1 if await asyncio.to_thread(folder.is_moved) else 0
        if not self._stopping.is_set():
            self._leave(folder)

    def _leave(self, folder: DataFolder) -> None:
        """End at once: the folder is not the archive's any more."""
        logger.error("the data folder %s was moved, removed or replaced; stopping before anything is lost", folder.path)
        self._failed = True
        self._stopping.set()
        self._hurry.set()

    async def _clean_up(self, folder: DataFolder) -> None:
        """Remove what requests left behind whose child was killed; what they stored is not touched."""
        blobs = LocalBlobs(folder.path / "blobs", threads=1)
        while True:
            await self._child_ended.wait()
            await asyncio.sleep(2 * YOUNG)
            self._child_ended.clear()
            living = [child.pid for child in self.children if child.pid is not None]
            await asyncio.to_thread(sweep_spool, folder.path, living)
            if removed := await asyncio.to_thread(blobs.sweep_unfinished):
                logger.info("removed %d files that a child which ended was receiving", removed)

    def _account(self, run: Path) -> None:
        """Write which children there are, for `/metrics`."""
        account: dict[str, Any] = {"supervisor": {"pid": os.getpid(), "restarts": 0}}
        account |= {child.kind.name: {"pid": child.pid, "restarts": child.restarts} for child in self.children}
        temporary = run / f".{CHILDREN_FILE}"
        try:
            temporary.write_text(json.dumps(account))
            temporary.replace(run / CHILDREN_FILE)
        except OSError as error:  # a full disk keeps no child from starting
            if not self._stopping.is_set():
                logger.warning("/metrics does not know the children of now: %s", in_words(error))

    def _greet(self, address: str, dimse: Mapping[str, str], folder: Path) -> None:
        title = self.settings.aet
        lines = {DIMSE: f"  DIMSE          {title}@", DIMSE_TLS: f"  DIMSE, TLS     {title}@"}
        root = self.settings.public_base_url or address + MOUNT
        _say(
            f"\ndicomweb {program_version()} is ready.\n"
            f"  DICOMweb root  {root}\n"
            + "".join(f"{lines[name]}{place}\n" for name, place in dimse.items())
            + f"  in a browser   {address}/\n"
            f"  data folder    {folder}\n"
            f"  store a file   curl --data-binary @file.dcm -H 'Content-Type: application/dicom' {root}/studies\n"
            f"  search         curl {root}/studies\n"
            f"  stop           Ctrl-C, or kill {os.getpid()}\n"
        )
        if self.settings.insecure_no_auth:
            _say("There is no authentication: whoever reaches this address can read and store patient data.\n")

    # Stopping

    async def _stop(self, running: list[asyncio.Task[None]]) -> None:
        """Let the children finish, at most for the grace time; a second signal shortens it."""
        if not running:
            return
        for child in self.children:
            child.ask_to_stop()
        finished = asyncio.gather(*running, return_exceptions=True)
        await _any_of(finished, self._hurry.wait(), seconds=self.settings.shutdown_grace_seconds + LAST_PATIENCE)
        if not finished.done():
            logger.warning("requests that are still running are cut off")
            for child in self.children:
                child.ask_to_stop()
            await _any_of(finished, seconds=2)
        for child in self.children:
            child.kill()
        await finished


async def _any_of(*waiting: Awaitable[Any], seconds: float) -> None:
    """Wait until one of them is done or time is up; coroutines among them are cancelled, futures are left alone."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task, one in zip(tasks, waiting, strict=True):
        if isinstance(one, Coroutine):
            task.cancel()


def _forget_gauges(counters: Path) -> None:
    """Remove the files of live gauges whose process is gone; its counters go on counting in the sum."""
    for path in counters.glob("gauge_live*_*.db"):
        with contextlib.suppress(OSError, ValueError):
            if not Path(f"/proc/{int(path.stem.rpartition('_')[2])}").exists():
                path.unlink()


def _say(text: str) -> None:
    """Tell the person at the terminal."""
    with contextlib.suppress(OSError):
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()
