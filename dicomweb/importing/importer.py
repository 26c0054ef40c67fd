"""The import itself: files are found, sent in batches by several jobs at once, written down and counted."""

import asyncio
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from pathlib import Path

from dicomweb.importing.found_file import Found
from dicomweb.importing.found_files import find_files
from dicomweb.importing.journal import Journal
from dicomweb.importing.results import ACKNOWLEDGED, Result, Status, Tally
from dicomweb.importing.target import Target
from dicomweb.progress import Progress

BATCH_FILES = 32
BATCH_BYTES = 32 << 20


class End(Enum):
    """How an import ended."""

    COMPLETE = auto()
    INTERRUPTED = auto()


class Import:
    """One run of an import.

    Parameters
    ----------
    paths : sequence of Path
        What to import.
    leave_out : Path, optional
        The data folder of the archive that takes the files, when it is one on this machine.
    target : Target
        Where to.
    journal : Journal
        What was taken by an earlier run, and by this one.
    tally : Tally
        Gets every result.
    progress : Progress
        Shows how far it is.
    jobs : int
        Batches under way at once.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        leave_out: Path | None,
        target: Target,
        journal: Journal,
        tally: Tally,
        progress: Progress,
        jobs: int,
    ) -> None:
        self._paths = paths
        self._leave_out = leave_out
        self._target = target
        self._journal = journal
        self._tally = tally
        self._progress = progress
        self._jobs = jobs
        self._stopping = threading.Event()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="finding")
        self._found = self._find()

    async def run(self) -> End:
        """Import; Ctrl-C or SIGTERM lets what is under way finish, a second one breaks it off.

        Raises
        ------
        TargetLost
            The target takes nothing any more; what was acknowledged is in the journal.
        """
        counting = threading.Thread(target=self._count, name="counting", daemon=True)
        counting.start()
        jobs = [asyncio.create_task(self._work()) for _ in range(self._jobs)]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, jobs)
        try:
            await asyncio.gather(*jobs)
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
        finally:
            interrupted = self._stopping.is_set()
            self._stopping.set()
            await asyncio.gather(*jobs, return_exceptions=True)  # the first error is on its way
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            self._reader.shutdown()
        return End.INTERRUPTED if interrupted else End.COMPLETE

    def _signalled(self, jobs: "list[asyncio.Task[None]]") -> None:
        if not self._stopping.is_set():
            self._target.wind_up()
            self._progress.note("Stopping when what is under way is done; Ctrl-C again breaks it off.")
        else:
            self._target.abort()
            for job in jobs:
                job.cancel()
        self._stopping.set()

    async def _work(self) -> None:
        """Send one batch after the other; a job that fails stops all."""
        loop = asyncio.get_running_loop()
        try:
            while not self._stopping.is_set():
                batch, results = await loop.run_in_executor(self._reader, self._next_batch)
                if not batch and not results:
                    return
                if batch:
                    results += await self._target.send(batch)
                await loop.run_in_executor(self._reader, self._account, results)
        except BaseException:
            self._stopping.set()
            raise

    def _account(self, results: Sequence[Result]) -> None:
        """Write down what was acknowledged, and count everything."""
        self._journal.add(result.key for result in results if result.key and result.status in ACKNOWLEDGED)
        for result in results:
            self._tally.add(result)
            if result.status is Status.TAKEN:
                self._progress.expect(-1, -result.size)
            else:
                self._progress.advance(1, result.size)

    def _next_batch(self) -> tuple[list[Found], list[Result]]:
        """Take the next files to send, and what could be said of others meanwhile; both empty at the end."""
        batch: list[Found] = []
        results: list[Result] = []
        size = 0
        for found in self._found:
            if isinstance(found, Result):
                results.append(found)
            else:
                batch.append(found)
                size += found.size
            if len(batch) >= BATCH_FILES or size >= BATCH_BYTES or len(results) >= BATCH_FILES:
                break
        return batch, results

    def _find(self) -> Iterator[Found | Result]:
        """Yield what is found, those that an earlier run took as results."""
        for found in find_files(self._paths, self._leave_out):
            if not isinstance(found, Result) and self._journal.taken(found.key()):
                yield Result(found.name, Status.TAKEN, size=found.size)
            else:
                yield found

    def _count(self) -> None:
        """Count what there is to do, ahead of the work."""
        for found in find_files(self._paths, self._leave_out):
            if self._stopping.is_set():
                return
            self._progress.expect(1, found.size)
        self._progress.expect(0, settled=True)
