"""Whether instances can be committed to: each stored file is read back and compared with what was acknowledged.

Facts this module keeps:

- Nothing is taken from the index that the file can tell: the SHA-256 of the bytes on disk now is compared with that of
  the bytes received, so the private attributes are there as well (PS3.4 J.3.3.1.2: Level 2 storage).
- The system's copy of the file in memory is given up first, so that the bytes come from the disk.
- The threads are its own and few: committing to 10 000 instances must not hold up storing the next one.
- An instance stored in several studies is committed to when every copy of the class asked for is sound, since nobody
  can tell which copy the requester means.
- A file that was replaced while it was read is read again under its new name.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from errno import EMFILE, ENFILE, ENOMEM
from typing import Any, Final

from storage.archive import Archive
from storage.blobs.local import LocalBlobs
from storage.database.pool import sql
from storage.system.errors import in_words
from storage.work.commitments import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT_INSTANCE,
    PROCESSING_FAILURE,
    REFERENCED_SOP_CLASS_NOT_SUPPORTED,
    RESOURCE_LIMITATION,
    SOUND,
    Reference,
)

logger = logging.getLogger(__name__)

_READS: Final = 3
"""How often a file is looked up and read before a difference counts."""


class CommitmentCheck:
    """Reads back what is stored.

    Parameters
    ----------
    archive : Archive
        Where it is stored.
    supports : callable
        Whether instances of a SOP Class, by its UID, can be stored here at all.
    threads : int
        How many files are read at once.
    """

    def __init__(self, archive: Archive, supports: Callable[[str], bool], *, threads: int = 4) -> None:
        self._archive = archive
        self._supports = supports
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="commitment")

    async def examine(self, references: Sequence[Reference]) -> list[int]:
        """Return the Failure Reason of each instance, `SOUND` where there is none.

        Parameters
        ----------
        references : sequence of Reference
            Some hundred: all of them are read at the same time, as far as there are threads.

        Raises
        ------
        Unavailable
            The database does not answer.

        Standard
        --------
        PS3.3 C.14.1.1; checklist G-128, G-134.
        """
        stored = await self._stored(reference.sop_instance_uid for reference in references)
        examined = (self._examine(reference, stored.get(reference.sop_instance_uid, [])) for reference in references)
        return await asyncio.gather(*examined)

    def close(self) -> None:
        """Wait for the files being read; what was not begun is dropped."""
        self._threads.shutdown(cancel_futures=True)

    async def _examine(self, reference: Reference, rows: list[Any]) -> int:
        for _ in range(_READS):
            of_class = [row for row in rows if row["sop_class_uid"] == reference.sop_class_uid]
            if not of_class:
                return self._absent(reference, stored=bool(rows))
            reasons = [await self._read_back(row) for row in of_class]
            if not any(reasons):
                return SOUND
            known = {row["blob"] for row in rows}
            rows = (await self._stored([reference.sop_instance_uid])).get(reference.sop_instance_uid, [])
            if {row["blob"] for row in rows} == known:
                break
        return next(filter(None, reasons))

    def _absent(self, reference: Reference, *, stored: bool) -> int:
        if not self._supports(reference.sop_class_uid):
            return REFERENCED_SOP_CLASS_NOT_SUPPORTED
        return CLASS_INSTANCE_CONFLICT if stored else NO_SUCH_OBJECT_INSTANCE

    async def _stored(self, sop_instance_uids: Iterable[str]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for row in await self._archive.pool.fetch(sql("stored_files_of_instances"), list(set(sop_instance_uids))):
            found.setdefault(row["sop_instance_uid"], []).append(row)
        return found

    async def _read_back(self, row: Any) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _compare, self._archive.blobs, row)


def _compare(blobs: LocalBlobs, row: Any) -> int:
    try:
        blobs.forget_memory_copy(row["blob"])
        size, sha256, _ = blobs.digest(row["blob"])
    except OSError as error:
        logger.error("instance %s cannot be read back: %s", row["sop_instance_uid"], in_words(error))
        return RESOURCE_LIMITATION if error.errno in (EMFILE, ENFILE, ENOMEM) else PROCESSING_FAILURE
    if (size, sha256) == (row["size"], row["sha256"]):
        return SOUND
    blobs.damage.found(row["blob"], row["sop_instance_uid"], "it is not what was stored")
    return PROCESSING_FAILURE
