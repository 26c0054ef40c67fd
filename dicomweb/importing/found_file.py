"""A file that may be imported: what it is called, how large it is, what tells it from others, how it is read."""

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Protocol

from dicomweb.importing.results import shown
from storage.errors import ArchiveError
from storage.system.errors import in_words


class Unreadable(ArchiveError):
    """A file of the import cannot be read; the message says why."""


class Found(Protocol):
    """A file that may be imported."""

    @property
    def name(self) -> str:
        """The file, fit to be shown."""
        ...

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def key(self) -> bytes:
        """What tells it from any other file and from its own earlier states, 16 bytes."""
        ...

    def open(self) -> IO[bytes]:
        """Open it for reading; raises Unreadable."""
        ...


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file on disk.

    Attributes
    ----------
    path : Path
        Where it is, absolute.
    size : int
        In bytes.
    modified : int
        When it was modified last, nanoseconds since 1970.
    """

    path: Path
    size: int
    modified: int

    @property
    def name(self) -> str:
        """The file, fit to be shown."""
        return shown(self.path)

    def key(self) -> bytes:
        """What tells it from any other file and from its own earlier states, 16 bytes."""
        return journal_key(os.fsencode(self.path), self.size, self.modified)

    def open(self) -> IO[bytes]:
        """Open it for reading; raises Unreadable."""
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise cannot_be_read(error) from None


def journal_key(*parts: bytes | int) -> bytes:
    """Make the key of a file in the journal of what tells it from others, 16 bytes."""
    return blake2b(
        b"\0".join(part if isinstance(part, bytes) else b"%d" % part for part in parts), digest_size=16
    ).digest()


def cannot_be_read(error: OSError) -> Unreadable:
    """Say that a file cannot be read."""
    return Unreadable(f"The file cannot be read: {in_words(error)}.")
