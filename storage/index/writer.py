"""The one writer of the index: rows, counters and the change feed of a batch in one transaction.

Batches that arrive while another is being committed are committed together (group commit), so that many small
requests cost few fsyncs. Studies are locked in the order of their UIDs, then series, so that parallel writers, in
this process or another, never deadlock and never miscount.

What makes two files the same instance is told in `resending`. Of a stored file that is gone or damaged the index still
has length and metadata of the data set and the checksums of its frames; what agrees with these is taken in its place.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import asyncpg

from storage.blobs.local import LocalBlobs, StagedBlob
from storage.database.pool import retrying, sql
from storage.errors import ArchiveError, ConflictingInstance, OutOfSpace, Unavailable
from storage.index import resending
from storage.index.arrival import Arrival, Key
from storage.index.resending import Resending
from storage.index.rows import lock_studies, write_rows
from storage.policy import Policy

logger = logging.getLogger(__name__)

READING_MAY_TAKE = timedelta(minutes=15)
"""How long a replaced file is kept for those who are reading it."""

_GROUP = 256
_Present = dict[Key, Any] | None
_Asked = tuple[Arrival, "asyncio.Future[Verdict]"]


@dataclass(slots=True)
class Verdict:
    """What the index did with an arrival; `error` is set exactly when it "failed"."""

    status: Literal["stored", "duplicate", "replaced", "failed"]
    error: ArchiveError | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def keeps(self) -> bool:
        """Whether a row names the arrival's blob."""
        return self.status in ("stored", "replaced")


class Index:
    """Writes arrivals into the index.

    Parameters
    ----------
    pool : asyncpg.Pool
        Connections to the database.
    blobs : LocalBlobs
        Where the files are published.
    policy : Policy
        What happens to duplicates.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", blobs: LocalBlobs, policy: Policy) -> None:
        self._pool = pool
        self._blobs = blobs
        self._policy = policy
        self._waiting: list[_Asked] = []
        self._writing: asyncio.Task[None] | None = None
        self._resent: list[_Asked] = []
        self._rewriting: asyncio.Task[None] | None = None

    async def add(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """Store a batch; the blobs belong to the index from now on, whatever happens to the caller.

        Returns one verdict an arrival, in order.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Verdict]] = [loop.create_future() for _ in arrivals]
        self._waiting.extend(zip(arrivals, futures, strict=True))
        if self._waiting and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write_groups())
        return [await future for future in futures]

    async def close(self) -> None:
        """Wait until everything handed over is written."""
        for task in (self._writing, self._rewriting):
            if task is not None:
                await task
        if self._rewriting is not None:  # the last group may have had some for it
            await self._rewriting

    async def _write_groups(self) -> None:
        while self._waiting:
            group, self._waiting = _next_group(self._waiting)
            rows = await self._present([arrival for arrival, _ in group])
            present = rows or {}
            self._resent += [asked for asked in group if asked[0].key in present]
            if self._resent and (self._rewriting is None or self._rewriting.done()):
                self._rewriting = asyncio.create_task(self._write_resent())
            await self._answer([asked for asked in group if asked[0].key not in present], rows)

    async def _write_resent(self) -> None:
        """Decide about what is there already: the stored files are read for that, and nobody else waits meanwhile."""
        while self._resent:
            group, self._resent = _next_group(self._resent)
            await self._answer(group)

    async def _answer(self, group: list[_Asked], rows: _Present = None) -> None:
        verdicts = await self._write([arrival for arrival, _ in group], rows) if group else {}
        for arrival, future in group:
            if not future.cancelled():
                future.set_result(verdicts[arrival])

    async def _present(self, arrivals: list[Arrival]) -> _Present:
        """Return the rows that hold keys of arrivals; None when the index does not tell, which writing then meets."""
        try:
            return await _rows_of(self._pool, arrivals)
        except Exception:
            return None

    async def _write(self, arrivals: list[Arrival], rows: _Present = None) -> dict[Arrival, Verdict]:
        """Store one group; when that fails for a reason of one of them, each alone. Never raises."""
        try:
            return await self._store(arrivals, rows)
        except (
            asyncpg.DataError,
            asyncpg.IntegrityConstraintViolationError,
            asyncpg.ProgramLimitExceededError,
        ) as error:
            if len(arrivals) > 1:
                return {a: verdict for arrival in arrivals for a, verdict in (await self._write([arrival])).items()}
            return await self._give_up(
                arrivals, ArchiveError(f"The index refused the instance: {type(error).__name__}.")
            )
        except (asyncpg.DiskFullError, asyncpg.OutOfMemoryError):
            return await self._give_up(arrivals, OutOfSpace("The database has no room left; free some and send again."))
        except ArchiveError as error:
            return await self._give_up(arrivals, error)
        except Exception:
            logger.exception("The index could not be written")
            return await self._give_up(arrivals, Unavailable("The index does not answer; send again later."))

    async def _give_up(self, arrivals: list[Arrival], error: ArchiveError) -> dict[Arrival, Verdict]:
        """Refuse a group, but for those that a commit whose answer was lost did store."""
        try:
            rows = await _rows_of(self._pool, arrivals)
        except Exception:  # whatever it is, those who wait must be answered
            rows = {}
        stored = [arrival for arrival in arrivals if _is_row_of(rows.get(arrival.key), arrival)]
        unknown = isinstance(error, Unavailable)  # the database may still commit what it was sent

        def let_go() -> None:
            for arrival in arrivals:
                if arrival in stored:
                    arrival.blob.settle()
                elif unknown:
                    arrival.blob.abandon()
                else:
                    arrival.blob.discard()

        await self._blobs.run(let_go)
        return {a: Verdict("stored") if a in stored else Verdict("failed", error) for a in arrivals}

    async def _store(self, arrivals: list[Arrival], rows: _Present) -> dict[Arrival, Verdict]:
        if rows is None:
            rows = await retrying(lambda: _rows_of(self._pool, arrivals))
        lost: dict[str, bool] = {}
        verdicts = await self._decide_all(self._pool, arrivals, rows, lost)
        verdicts |= await self._publish([arrival for arrival in arrivals if verdicts[arrival].keeps])
        published = [arrival for arrival in arrivals if verdicts[arrival].keeps]
        if published:
            written, replaced = await retrying(lambda: self._transact(published, lost))
            verdicts |= written
            if replaced:
                await self._forget()
        await self._settle(verdicts)
        return verdicts

    async def _decide_all(
        self, connection: Any, arrivals: list[Arrival], rows: dict[Key, Any], lost: dict[str, bool]
    ) -> dict[Arrival, Verdict]:
        """Decide about arrivals, given the rows that hold their keys, and which stored files are known to be lost.

        A row whose file is gone, or not what was stored, never makes a duplicate: the sender would be told that the
        archive has what it has lost. Such a row takes the arrival's file instead. To know it the file is read, once.
        """
        known = {a: row for a in arrivals if (row := rows.get(a.key)) and not _is_row_of(row, a)}
        unread = {row["blob"]: (row["size"], row["sha256"]) for row in known.values() if row["blob"] not in lost}
        if unread:
            damaged = await self._blobs.run(self._blobs.damaged, unread)
            lost |= {blob: blob in damaged for blob in unread}
        verdicts = {arrival: Verdict("stored") for arrival in arrivals}
        for arrival, row in known.items():
            is_lost = lost[row["blob"]]
            sent = await self._compare(connection, arrival, row, is_lost=is_lost)
            verdicts[arrival] = self._decide(sent, is_lost=is_lost, is_newer=self._is_newer(row, arrival))
        return verdicts

    async def _compare(self, connection: Any, arrival: Arrival, row: Any, *, is_lost: bool) -> Resending:
        """Say what an arrival is to the stored file of its key; rare, and may read both files."""
        if row["sha256"] == arrival.blob.sha256:
            return "same"
        instance = arrival.record.instance
        stored = await connection.fetchrow(sql("data_set_of_instance"), row["id"])
        if stored is None or stored["transfer_syntax_uid"] != instance["transfer_syntax_uid"]:
            return "different"
        blob, offset = arrival.blob, instance["layout"]["dataset_offset"]
        length, known_length = blob.size - offset, row["size"] - stored["dataset_offset"]
        if is_lost:
            agrees = length == known_length and await connection.fetchval(
                sql("agrees"), row["id"], instance["metadata"], instance["frame_checksums"]
            )
            return "same" if agrees else "different"
        path = blob.path if isinstance(blob, StagedBlob) else self._blobs.path(blob.name)  # not published yet, or found
        known = self._blobs.path(row["blob"]), stored["dataset_offset"], known_length
        return await self._blobs.run(
            resending.compare, known, (path, offset, length), arrival.record.warnings, self._policy
        )

    def _is_newer(self, row: Any, arrival: Arrival) -> bool:
        """Whether a file that was found comes before the stored one: that one was stored when the index was lost."""
        if arrival.corrects is None or row["blob"] < arrival.blob.name:
            return False
        return self._blobs.replacements.of(row["blob"]) is None

    def _decide(self, sent: Resending, *, is_lost: bool, is_newer: bool) -> Verdict:
        """Decide what to do with an arrival whose key has a row already (design: invariants)."""
        if sent == "same":
            return Verdict("stored" if is_lost else "duplicate")
        if sent == "completing":
            return Verdict("stored")
        if sent == "cut off":
            return Verdict("failed", ConflictingInstance("The data set is cut off; the archive has the whole one."))
        if is_newer:
            return Verdict("failed", ConflictingInstance("A newer file is stored under these UIDs; that one is kept."))
        if self._policy.duplicates == "replace":
            return Verdict("replaced")
        return Verdict(
            "failed",
            ConflictingInstance("A different file is already stored under these UIDs; the first one is kept."),
        )

    async def _publish(self, arrivals: list[Arrival]) -> dict[Arrival, Verdict]:
        """Bring blobs to disk in parallel; returns the verdicts of those that failed."""
        results = await asyncio.gather(
            *(self._blobs.run(arrival.blob.publish) for arrival in arrivals), return_exceptions=True
        )
        failed: dict[Arrival, Verdict] = {}
        for arrival, result in zip(arrivals, results, strict=True):
            if isinstance(result, BaseException):
                error = result if isinstance(result, ArchiveError) else Unavailable("The storage does not answer.")
                failed[arrival] = Verdict("failed", error)
        await self._blobs.run(self._blobs.sync, [a.blob.name for a in arrivals if a not in failed])
        return failed

    async def _transact(
        self, arrivals: list[Arrival], lost: dict[str, bool]
    ) -> tuple[dict[Arrival, Verdict], list[str]]:
        """Write the rows of published blobs; returns the verdicts, and the blobs no row names any more."""
        async with self._pool.acquire() as connection, connection.transaction():
            studies = await lock_studies(connection, [arrival.record for arrival in arrivals])
            rows = await _rows_of(connection, arrivals)
            verdicts = await self._decide_all(connection, arrivals, rows, lost)
            fresh = [a for a in arrivals if verdicts[a].keeps and not _is_row_of(rows.get(a.key), a)]
            if not fresh:
                return verdicts, []
            replaced = {a.blob.name: str(rows[a.key]["blob"]) for a in fresh if a.key in rows}
            correcting = [a for a in fresh if verdicts[a].status == "replaced" or a.corrects is not None]
            if replaced:
                number = await connection.fetchval(sql("new_version"))
                healed = dict(replaced)
                corrected = {a.blob.name: healed.pop(a.blob.name) for a in correcting if a.blob.name in replaced}
                await self._blobs.run(self._blobs.note_replacements, number, corrected, healed)
            await write_rows(connection, studies, fresh, rows, correcting)
            for arrival in fresh:
                if any(key[2] == arrival.key[2] and key != arrival.key for key in rows):  # B-041
                    verdicts[arrival].warnings.append("This SOP Instance UID is also stored in another series.")
            if replaced:
                await connection.execute(sql("discard_blobs"), list(replaced.values()))
                await connection.execute(sql("keep_blobs"), [arrival.blob.name for arrival in fresh])
            return verdicts, list(replaced.values())

    async def _settle(self, verdicts: dict[Arrival, Verdict]) -> None:
        """Let go of the staging links, and of every blob no row names."""

        def settle() -> None:
            for arrival, verdict in verdicts.items():
                (arrival.blob.settle if verdict.keeps else arrival.blob.discard)()

        await self._blobs.run(settle)

    async def _forget(self) -> None:
        """Delete blobs that were let go of a while ago: whoever was reading them has finished. The next start deletes
        the rest."""
        for row in await self._pool.fetch(sql("forgettable_blobs"), READING_MAY_TAKE):
            await self._blobs.run(self._blobs.delete, row["blob"])
            await self._pool.execute("DELETE FROM discarded_blobs WHERE blob = $1", row["blob"])


def _next_group(waiting: list[_Asked]) -> tuple[list[_Asked], list[_Asked]]:
    """Take the next arrivals, no two of one key: of two the second meets the row of the first; and what is left."""
    group: list[_Asked] = []
    later: list[_Asked] = []
    keys: set[Key] = set()
    for arrival, future in waiting:
        if len(group) < _GROUP and arrival.key not in keys:
            keys.add(arrival.key)
            group.append((arrival, future))
        else:
            later.append((arrival, future))
    return group, later


def _is_row_of(row: Any, arrival: Arrival) -> bool:
    return row is not None and row["blob"] == arrival.blob.name


async def _rows_of(connection: Any, arrivals: list[Arrival]) -> dict[Key, Any]:
    """Return the rows that hold any of the arrivals' SOP Instance UIDs, by key."""
    rows = await connection.fetch(sql("rows_of_instances"), [arrival.key[2] for arrival in arrivals])
    return {(row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]): row for row in rows}
