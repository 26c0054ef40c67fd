"""Importing straight into an archive, without a server between."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from dicomweb.importing.found_file import Found
from dicomweb.importing.opened_file import OpenedFile, open_file, refused
from dicomweb.importing.results import Result, Status
from dicomweb.importing.target import TargetLost
from storage.archive import Archive
from storage.errors import OutOfSpace, Unavailable
from storage.ingest import Outcome
from storage.system.errors import in_words

_STATUS = {"stored": Status.STORED, "duplicate": Status.DUPLICATE, "replaced": Status.REPLACED}


class ArchiveTarget:
    """An archive that is open in this process.

    Parameters
    ----------
    archive : Archive
        The archive; its owner closes it.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def send(self, batch: Sequence[Found]) -> list[Result]:
        """Take files in; raises TargetLost when the archive cannot store now."""
        results: list[Result | None] = []
        try:
            async with self._archive.ingest() as ingest:
                for file in batch:
                    opened = await asyncio.to_thread(open_file, file)
                    if isinstance(opened, OpenedFile):
                        try:
                            await ingest.add(_pieces(opened))
                        finally:
                            opened.close()
                        results.append(None)
                    else:
                        results.append(opened)
                outcomes = iter(await ingest.finish())
        except OSError as error:
            raise TargetLost(f"the archive cannot store now: {in_words(error)}") from error
        return [result or _result(file, next(outcomes)) for file, result in zip(batch, results, strict=True)]

    def wind_up(self) -> None:
        """Nothing to do: nothing is tried again anyway."""

    def abort(self) -> None:
        """Nothing to do: what is cancelled is discarded."""

    async def close(self) -> None:
        """Nothing to do: the archive's owner closes it."""


async def _pieces(opened: OpenedFile) -> AsyncIterator[bytes]:
    pieces = opened.pieces()
    piece = next(pieces, b"")  # read already
    while piece:
        yield piece
        piece = await asyncio.to_thread(next, pieces, b"")


def _result(file: Found, outcome: Outcome) -> Result:
    if isinstance(outcome.error, Unavailable | OutOfSpace):
        raise TargetLost(f"the archive cannot store now: {outcome.error}")
    if outcome.status == "failed":
        return refused(file, str(outcome.error or "The instance could not be stored."))
    return Result(file.name, _STATUS[outcome.status], "", file.size, file.key())
