"""Taking instances in: one `Ingest` is one request, however many files it brings.

Each file is staged while it arrives and read in a thread; files are brought to disk in parallel and their index rows
committed in batches. An answer is given only for what is on disk and committed; one bad file costs only itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from storage.blobs.local import LocalBlobs, StagedBlob
from storage.dicom.part10 import BytesSource, FileSource
from storage.errors import (
    ArchiveError,
    InstanceMismatch,
    InvalidDicom,
    LimitExceeded,
    OutOfSpace,
    StudyMismatch,
    without_frames,
)
from storage.index.arrival import Arrival
from storage.index.record import Record, read_record
from storage.index.writer import Index
from storage.policy import Policy

logger = logging.getLogger(__name__)

_BUFFER = 1024 * 1024
_BATCH_FILES = 64
_BATCH_BYTES = 32 * 2**20


@dataclass(slots=True)
class Outcome:
    """What became of one file of a request.

    `status` is "stored", "duplicate" (the same data set was there already), "replaced" or "failed"; `error` is set
    exactly when it failed. UIDs are None when the file did not tell them.
    """

    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    status: Literal["stored", "duplicate", "replaced", "failed"] = "failed"
    error: ArchiveError | None = None
    warnings: list[str] = field(default_factory=list)
    size: int = 0


class Ingest:
    """Takes in the files of one request; use as an asynchronous context manager.

    Parameters
    ----------
    blobs, index, policy
        Where the files and rows go, and what is accepted.
    reading_slots : asyncio.Semaphore
        How many files may be read at once over all requests: a header can take hundreds of megabytes.
    study_instance_uid : str, optional
        The only study the files may belong to (PS3.18 10.5.1).
    """

    def __init__(
        self,
        blobs: LocalBlobs,
        index: Index,
        policy: Policy,
        reading_slots: asyncio.Semaphore,
        *,
        study_instance_uid: str | None = None,
    ) -> None:
        self._blobs = blobs
        self._index = index
        self._policy = policy
        self._study = study_instance_uid
        self._outcomes: list[Outcome] = []
        self._reading: set[asyncio.Task[None]] = set()
        self._ready: list[tuple[Outcome, Arrival]] = []
        self._ready_bytes = 0
        self._slots = asyncio.Semaphore(4)
        self._reading_slots = reading_slots

    async def __aenter__(self) -> "Ingest":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind: what was not committed is discarded."""
        await asyncio.gather(*self._reading, return_exceptions=True)
        for _, arrival in self._ready:
            await self._blobs.run(arrival.blob.discard)

    async def add(
        self, chunks: AsyncIterable[bytes], *, named: tuple[str, str] | None = None, warnings: Sequence[str] = ()
    ) -> None:
        """Take in one file; returns when its bytes have arrived.

        When the sender has `named` a SOP Class and a SOP Instance UID, the file must have them. `warnings` are what is
        known to be odd about it already. An error of `chunks`
        itself is raised and leaves nothing of this file; everything else becomes its outcome.
        """
        outcome = Outcome(warnings=list(warnings))
        blob = self._blobs.stage()
        try:
            tail = await self._receive(blob, chunks)
            await self._slots.acquire()
        except ArchiveError as error:
            outcome.error = without_frames(error)
            await self._blobs.run(blob.discard)
            async for _ in chunks:  # the neighbours come after it
                pass
        except BaseException:
            await self._blobs.run(blob.discard)
            raise
        else:
            task = asyncio.create_task(self._read(outcome, blob, tail, named))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
        self._outcomes.append(outcome)

    def fail(
        self, error: ArchiveError, *, sop_class_uid: str | None = None, sop_instance_uid: str | None = None
    ) -> None:
        """Record a part of the request that never became a file, by its UIDs when it told them."""
        self._outcomes.append(Outcome(sop_class_uid, sop_instance_uid, error=without_frames(error)))

    async def finish(self) -> list[Outcome]:
        """Wait until every file is durable and committed, or refused; outcomes are in the order of `add`."""
        # Of done ones alone `gather` gives nobody else a turn (Python 3.12), so they would never leave the set.
        while reading := [task for task in self._reading if not task.done()]:
            await asyncio.gather(*reading)
        await self._commit()
        return self._outcomes

    async def _receive(self, blob: StagedBlob, chunks: AsyncIterable[bytes]) -> bytes:
        """Write what arrives; the last piece, not written yet, is returned (for a small file, all of it)."""
        try:
            self._blobs.require_room(self._policy.min_free_bytes)
        except OutOfSpace:
            logger.error("no instance is taken: less than min_free_bytes are free on the archive's disk")
            raise
        pending: list[bytes] = []
        held = 0
        async for chunk in chunks:
            pending.append(chunk)
            held += len(chunk)
            if blob.size + held > self._policy.max_instance_bytes:
                limit = self._policy.max_instance_bytes
                raise LimitExceeded(f"The file is larger than the limit of {limit} bytes (max_instance_bytes).")
            if held >= _BUFFER:
                await self._blobs.run(blob.write, b"".join(pending))
                pending, held = [], 0
        if not blob.size + held:
            raise InvalidDicom("The file is empty.")
        return b"".join(pending)

    async def _read(self, outcome: Outcome, blob: StagedBlob, tail: bytes, named: tuple[str, str] | None) -> None:
        try:
            async with self._reading_slots:
                record = await self._blobs.run(self._write_and_read, blob, tail)
            outcome.sop_class_uid, outcome.sop_instance_uid = record.sop_class_uid, record.sop_instance_uid
            outcome.study_instance_uid, outcome.series_instance_uid = (
                record.study_instance_uid,
                record.series_instance_uid,
            )
            outcome.warnings, outcome.size = outcome.warnings + record.warnings, blob.size
            if self._study not in (None, record.study_instance_uid):
                raise StudyMismatch("The instance belongs to another study than the one in the request's path.")
            if named not in (None, (record.sop_class_uid, record.sop_instance_uid)):
                raise InstanceMismatch("The data set is not the instance, or not of the class, that was named.")
        except ArchiveError as error:
            outcome.error = without_frames(error)
            await self._blobs.run(blob.discard)
        except Exception:  # a mistake of ours costs this file, not its neighbours
            logger.exception("an instance could not be read")
            outcome.error = ArchiveError("The instance could not be stored; the server's log has the details.")
            await self._blobs.run(blob.discard)
        except BaseException:
            await self._blobs.run(blob.discard)
            raise
        else:
            self._ready.append((outcome, Arrival(record, blob)))
            self._ready_bytes += len(record.instance["metadata"])
            if len(self._ready) >= _BATCH_FILES or self._ready_bytes >= _BATCH_BYTES:
                await self._commit()
        finally:
            self._slots.release()

    def _write_and_read(self, blob: StagedBlob, tail: bytes) -> Record:
        whole_in_memory = blob.size == 0
        blob.write(tail)
        return read_record(BytesSource(tail) if whole_in_memory else FileSource(blob.path), self._policy)

    async def _commit(self) -> None:
        """Commit what is ready; from here on its blobs belong to the index."""
        batch, self._ready, self._ready_bytes = self._ready, [], 0
        arrivals = [arrival for _, arrival in batch]
        for (outcome, _), verdict in zip(batch, await self._index.add(arrivals), strict=True):
            outcome.status, outcome.error = verdict.status, verdict.error
            outcome.warnings = outcome.warnings + verdict.warnings
