"""Building the index anew from the files alone: the files are the truth, the database is an index.

The change feed tells of every instance again, since whoever keeps a copy of the index must renew it. That a study has
become complete is no news a second time: no peer is told (`storage.work.completion`).

What was replaced never comes back: the notes beside the files say which those are (`storage/blobs/replacements.py`).
"""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from storage.archive import Archive
from storage.blobs.local import FoundBlob, LocalBlobs
from storage.blobs.replacements import Replacement, superseded
from storage.database.pool import ADMINISTRATIVE, sql
from storage.dicom.part10 import FileSource
from storage.errors import ArchiveError
from storage.index.arrival import Arrival
from storage.index.record import Record, read_record
from storage.policy import Policy
from storage.system.errors import in_words
from storage.upkeep.sweep import follow_replacements
from storage.work import completion

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What became of one file; `problem` is None when it is in the index."""

    blob: str
    problem: str | None


async def reindex(archive: Archive, *, processes: int = 2) -> AsyncIterator[Reindexed]:
    """Forget the index and build it from the files, in the order in which they were stored; yields each file.

    Files that took another's place come last, in the order in which they did: they correct what the others say of study
    and series. Those whose place was taken are let go of when the one that took it is in the index.

    Nobody else may use the archive meanwhile. A run that was cut short is simply repeated.
    """
    await completion.follow(archive.pool)  # what was stored before and not yet looked at is news
    await archive.pool.execute(sql("forget_index"), timeout=ADMINISTRATIVE)
    replacements = await archive.blobs.run(archive.blobs.replacements.read)
    await follow_replacements(archive.pool, archive.blobs)
    gone, numbers = superseded(replacements), {each.new: each.number for each in replacements if each.number}
    names = _in_order(archive.blobs.names(), replacements, gone)
    unread = set()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        batch = await archive.blobs.run(_take, names)
        reading = _read_in(pool, archive, batch)
        while batch:
            following = await archive.blobs.run(_take, names)
            reading, done = _read_in(pool, archive, following), await reading
            results = await _index(archive, batch, done, numbers)
            await completion.pass_over(archive.pool)  # after each batch: a run that is cut short announces nothing
            for result in results:
                if result.problem is not None:
                    unread.add(result.blob)
                yield result
            batch = following
    await archive.pool.execute(sql("discard_blobs"), _let_go(gone, unread))
    await archive.pool.execute("VACUUM (ANALYZE)", timeout=ADMINISTRATIVE)  # searches are planned for what is there


def _in_order(names: Iterator[str], replacements: list[Replacement], gone: Mapping[str, str]) -> Iterator[str]:
    """Yield what is not gone: by their places what corrects nothing, then the corrections by their numbers."""
    noted = {each.new for each in replacements}
    standing = [each for each in replacements if each.new not in gone]
    healed = sorted((each.place, each.new) for each in standing if not each.number)
    plain = ((name, name) for name in names if name not in gone and name not in noted)
    yield from (name for _, name in merge(plain, healed))
    yield from (each.new for each in standing if each.number)


def _let_go(gone: dict[str, str], unread: set[str]) -> list[str]:
    """Return the replaced files whose place is taken by one that is in the index; a file may be replaced repeatedly."""

    def newest(name: str) -> str:
        while name in gone:
            name = gone[name]
        return name

    return [name for name in gone if newest(name) not in unread]


def _take(names: Iterator[str]) -> list[str]:
    return list(islice(names, _BATCH))


def _read_in(
    pool: ProcessPoolExecutor, archive: Archive, names: list[str]
) -> "asyncio.Future[list[Arrival | ArchiveError]]":
    """Begin to read files in other processes."""
    loop = asyncio.get_running_loop()
    calls = [
        loop.run_in_executor(pool, _read, archive.blobs.path("").as_posix(), name, archive.policy) for name in names
    ]
    return asyncio.gather(*calls)


def _read(root: str, name: str, policy: Policy) -> "Arrival | ArchiveError":
    from pathlib import Path

    blobs = LocalBlobs(Path(root), threads=1)
    try:
        record: Record = read_record(FileSource(blobs.path(name)), policy)
        return Arrival(record, FoundBlob(name, blobs.digest(name)))
    except ArchiveError as error:
        return error
    except OSError as error:
        return ArchiveError(f"The file cannot be read: {in_words(error)}.")


async def _index(
    archive: Archive, names: list[str], read: "list[Arrival | ArchiveError]", numbers: dict[str, int]
) -> list[Reindexed]:
    arrivals = [item for item in read if isinstance(item, Arrival)]
    for arrival in arrivals:
        arrival.corrects = numbers.get(arrival.blob.name)
    verdicts = iter(await archive.adopt(arrivals))
    results = []
    for name, item in zip(names, read, strict=True):
        error = item if isinstance(item, ArchiveError) else next(verdicts).error
        results.append(Reindexed(name, str(error) if error else None))
    return results
