"""Where the files of an import go."""

from collections.abc import Sequence
from typing import Protocol

from dicomweb.importing.found_file import Found
from dicomweb.importing.results import Result
from storage.errors import ArchiveError


class TargetLost(ArchiveError):
    """The target takes nothing now; the import stops, and can go on later."""


class Target(Protocol):
    """Takes batches of files, several at a time."""

    async def send(self, batch: Sequence[Found]) -> list[Result]:
        """Send files; returns when every one was acknowledged or refused, one result each, in order.

        Raises
        ------
        TargetLost
            It takes nothing any more; what became of the batch is not known.
        """
        ...

    def wind_up(self) -> None:
        """Try nothing again from now on; what is under way may still succeed."""
        ...

    def abort(self) -> None:
        """Break off what is being sent."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...
