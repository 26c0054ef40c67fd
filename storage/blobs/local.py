"""The stored files: staged, published once, never edited.

Facts to keep:

* A blob is named by the time it was staged and a random part: `YYYYMMDD/HHMM/<32 hex>.dcm`, from nothing a sender
  can choose. The name follows from the identifier alone.
* Publishing makes a second hard link to the staged file, so it can never overwrite, and the file is on disk before
  the link is, and the link before the index row.
* A staged file is locked until it is published: one that is neither is of a process that was killed.
* The staging link stays until the index row has committed. After a crash, everything that was never acknowledged is
  therefore found in the staging folder; no walk over the whole archive is needed.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from storage.blobs.checksums import BlockChecksums, Checks
from storage.blobs.damage import DamageLog
from storage.blobs.reader import CHUNK, LocalReader
from storage.blobs.replacements import Replacements
from storage.errors import OutOfSpace, Unavailable
from storage.system.durability import flush
from storage.system.errors import in_words
from storage.system.private_path import make_folder, open_file

logger = logging.getLogger(__name__)

YOUNG = 1.0
"""Seconds that a process has to lock the file it just made."""

_T = TypeVar("_T")
_SUFFIX = ".dcm"
_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


class Blob(Protocol):
    """A blob that an index row is to name. Its methods block."""

    name: str

    @property
    def size(self) -> int:
        """Bytes of the blob."""
        ...

    @property
    def sha256(self) -> bytes:
        """Digest of the blob, 32 bytes."""
        ...

    @property
    def checksums(self) -> bytes:
        """Of its blocks, see `storage.blobs.checksums`."""
        ...

    def publish(self) -> None:
        """Bring it to disk under its name."""
        ...

    def settle(self) -> None:
        """A row names it now."""
        ...

    def discard(self) -> None:
        """No row will name it."""
        ...

    def abandon(self) -> None:
        """Nobody knows whether a row will name it."""
        ...


class Digest(NamedTuple):
    """What a blob is: its bytes, their SHA-256, and the checksums of its blocks."""

    size: int
    sha256: bytes
    checksums: bytes


class _Digesting:
    """What a blob is that passes by."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._checksums = BlockChecksums()

    def update(self, data: bytes | bytearray) -> None:
        """Take in what comes next."""
        self._hash.update(data)
        self._checksums.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        """Return what it is so far."""
        return Digest(self.size, self._hash.digest(), self._checksums.table())


class StagedBlob:
    """A file on its way in: written and hashed, then published or discarded. Its methods block.

    `write` and `publish` raise OutOfSpace or Unavailable when the disk does not take it; `settle` and `discard` never
    fail: what they could not remove is left to the next sweep.
    """

    def __init__(self, root: Path) -> None:
        self.identifier = _new_identifier()
        self.name = blob_name(self.identifier)
        self._root = root
        self._written = _Digesting()
        self._path = root / ".staging" / (self.identifier + _SUFFIX)
        self._file: int | None = None
        self._published = False

    @property
    def path(self) -> Path:
        """Where the staged bytes are."""
        return self._path

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._written.size

    @property
    def sha256(self) -> bytes:
        """Digest of what was written so far, 32 bytes."""
        return self._written.digest().sha256

    @property
    def checksums(self) -> bytes:
        """Of the blocks of what was written so far."""
        return self._written.digest().checksums

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`."""
        with _disk_refusing():
            if self._file is None:
                self._file = open_file(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                _lock(self._file)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        self._written.update(data)

    def publish(self) -> None:
        """Bring the bytes to disk and give the blob its name; `LocalBlobs.sync` must follow before it is promised.

        Harmless when done twice: a batch that the index refused is published again one by one. What failed once fails
        again.
        """
        if self._published:
            return
        if self._file is None:
            raise Unavailable("The disk did not take the file; send it again.")
        file, self._file = self._file, None  # that a flush failed is told once: it is not tried again
        with _disk_refusing():
            try:
                os.fsync(file)
                target = self._root / self.name
                make_folder(target.parent)
                target.hardlink_to(self._path)
                self._published = True
            finally:
                os.close(file)  # no sooner: the lock goes with it

    def settle(self) -> None:
        """Forget the staging link: an index row now names the blob."""
        _remove(self._path)

    def discard(self) -> None:
        """Remove every trace; no index row names the blob."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._published:
            _remove(self._root / self.name)
            _remove(Replacements(self._root).path(self.name))
        _remove(self._path)

    def abandon(self) -> None:
        """Leave what was published, and its staging link, to the next sweep; remove what was not."""
        if not self._published:
            self.discard()


class FoundBlob:
    """A published blob that has no row yet, to be indexed (again); never removed, whatever is decided about it."""

    def __init__(self, name: str, found: Digest) -> None:
        self.name = name
        self.size, self.sha256, self.checksums = found

    def publish(self) -> None:
        """Nothing to do: it is on disk."""

    def settle(self) -> None:
        """Nothing to do: it has no staging link."""

    def discard(self) -> None:
        """Leave the file alone; a person decides."""

    def abandon(self) -> None:
        """Leave the file alone; a person decides."""


class LocalBlobs:
    """Blobs in a local folder.

    Parameters
    ----------
    root : Path
        The folder; its file system must support hard links.
    threads : int
        Threads for blocking work.
    """

    def __init__(self, root: Path, threads: int = 8) -> None:
        self.root = root
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self.replacements = Replacements(root)
        self.damage = DamageLog()
        self._known_folders: set[Path] = set()
        if not (root / ".staging").is_dir():
            make_folder(root / ".staging")
            for folder in (root, root.parent):
                flush(folder)

    def stage(self) -> StagedBlob:
        """Begin a new blob."""
        return StagedBlob(self.root)

    def sync(self, names: Iterable[str]) -> None:
        """Bring the folder entries of published blobs to disk (blocks)."""
        for folder in {(self.root / name).parent for name in names}:
            flush(folder)
            if folder not in self._known_folders:
                flush(folder.parent)
                flush(self.root)
                self._known_folders = {folder, *list(self._known_folders)[:100]}

    def digest(self, name: str) -> Digest:
        """Return what a blob is as it is on disk now (blocks)."""
        read = _Digesting()
        with (self.root / name).open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                read.update(chunk)
        return read.digest()

    async def digest_slowly(self, name: str, bytes_a_second: float) -> Digest:
        """Return what `digest` does, read from the disk no faster than that; ends at once when it is cancelled."""
        read = _Digesting()
        await self.run(self.forget_memory_copy, name)
        file = await self.run(partial(self.path(name).open, "rb", buffering=0))
        try:
            while chunk := await self.run(file.read, CHUNK):
                await self.run(read.update, chunk)
                await asyncio.sleep(len(chunk) / bytes_a_second)
        finally:
            file.close()
        return read.digest()

    def forget_memory_copy(self, name: str) -> None:
        """Have the system give up what it holds of a blob in memory, so that it is read from the disk (blocks).

        Whoever reads it then is told when it is gone, or cannot be read.
        """
        if hasattr(os, "posix_fadvise"):  # macOS has none
            with suppress(OSError), self.path(name).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def path(self, name: str) -> Path:
        """Return where a blob lies."""
        return self.root / name

    def lost(self, sizes: Mapping[str, int]) -> set[str]:
        """Return those of the named blobs that are gone or not of the size, in bytes, they should have (blocks)."""
        return {name for name, size in sizes.items() if _size_of(self.root / name) not in (size, None)}

    def damaged(self, stored: Mapping[str, tuple[int, bytes]]) -> set[str]:
        """Return those of the named blobs that are gone, cannot be read, or are not what they were when stored: of that
        size, in bytes, and SHA-256 (blocks)."""
        return {name for name, (size, sha256) in stored.items() if not self._is(name, size, sha256)}

    def _is(self, name: str, size: int, sha256: bytes) -> bool:
        try:
            if self.path(name).stat().st_size != size:
                return False
            found = self.digest(name)
        except OSError:
            return False
        return (found.size, found.sha256) == (size, sha256)

    def delete(self, name: str) -> None:
        """Remove a blob that no index row names (blocks)."""
        (self.root / name).unlink(missing_ok=True)
        self.replacements.path(name).unlink(missing_ok=True)

    def note_replacements(self, number: int, corrected: Mapping[str, str], healed: Mapping[str, str]) -> None:
        """Bring to disk what published blobs, the keys, take the place of (blocks): see `Replacements.note`.

        Raises
        ------
        OutOfSpace, Unavailable
            The disk does not take it.
        """
        with _disk_refusing():
            self.replacements.note(number, corrected, healed)

    def quarantine(self, name: str) -> str:
        """Put a blob that no row names out of the way, never deleting it; returns where it is kept (blocks)."""
        target = self.root / ".quarantine" / Path(name).name
        make_folder(target.parent)
        (self.root / name).rename(target)
        return f"{self.root.name}/.quarantine/{target.name}"

    def names(self) -> Iterator[str]:
        """Yield the names of all published blobs, oldest first (blocks).

        What a file manager or the file system put beside them (`.DS_Store`, `lost+found`) is passed over.
        """
        for day in _entries(self.root, folders=True):
            for minute in _entries(self.root / day, folders=True):
                for file in _entries(self.root / day / minute, folders=False):
                    yield f"{day}/{minute}/{file}"

    def staged(self) -> list[str]:
        """Return the names the staged files would have when published."""
        stems = (path.stem for path in (self.root / ".staging").glob(f"*{_SUFFIX}"))
        return sorted(blob_name(stem) for stem in stems if _IDENTIFIER.fullmatch(stem))

    def unstage(self, name: str) -> None:
        """Remove the staging link of a blob, whatever became of it."""
        (self.root / ".staging" / Path(name).name).unlink(missing_ok=True)

    def sweep_unfinished(self) -> int:
        """Remove staged files that were not published and whose process is gone; returns how many (blocks)."""
        removed = 0
        for path in (self.root / ".staging").glob(f"*{_SUFFIX}"):
            with suppress(OSError):  # published or discarded meanwhile
                status = path.stat()
                if status.st_nlink == 1 and time.time() - status.st_mtime > YOUNG and _is_nobodys(path):
                    path.unlink()
                    removed += 1
        return removed

    def free_bytes(self) -> int:
        """Return how much room is left, in bytes."""
        return shutil.disk_usage(self.root).free

    def require_room(self, least: int) -> None:
        """Refuse to store when less than `least` bytes are free (blocks).

        Raises
        ------
        OutOfSpace
            The message says what to do.
        """
        if self.free_bytes() < least:
            raise OutOfSpace("The archive's disk is nearly full; free some room and send again (min_free_bytes).")

    def reader(self, name: str, checks: Checks | None = None) -> "LocalReader":
        """Return a reader of one blob; what differs from `checks` is not given out."""
        return LocalReader(self.root / name, self.run, checks)

    async def run(self, function: Callable[..., _T], *args: Any) -> _T:
        """Run blocking work in a thread; a cancelled caller still waits for it, so that no file is closed under it."""
        future = asyncio.get_running_loop().run_in_executor(self.threads, function, *args)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    def close(self) -> None:
        """Wait for the work under way."""
        self.threads.shutdown()


def blob_name(identifier: str) -> str:
    """Return the name of the blob with this identifier."""
    moment = time.gmtime(int(identifier[:12], 16) / 1000)
    return time.strftime("%Y%m%d/%H%M/", moment) + identifier + _SUFFIX


def _new_identifier() -> str:
    """Return a UUID version 7 as 32 hexadecimal digits: ordered by time, unique without asking anybody."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    return f"{milliseconds << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & (1 << 62) - 1:032x}"


def _lock(file: int) -> bool:
    """Lock a file for as long as it is open; False when somebody else has, or the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_nobodys(path: Path) -> bool:
    """Whether no process has locked a file, and it was not published until then."""
    with path.open("rb") as file:
        return _lock(file.fileno()) and os.fstat(file.fileno()).st_nlink == 1


def _entries(folder: Path, *, folders: bool) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.name != "lost+found" and entry.is_dir() == folders
        )


def _size_of(path: Path) -> int | None:
    """Return the size of a file in bytes, -1 when it is gone, None when the disk does not tell."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
    except OSError:
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.error("a file cannot be removed, the next start tries again: %s", in_words(error))


@contextmanager
def _disk_refusing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise OutOfSpace("The archive's disk is full; free some room and send again.") from None
        logger.error("the archive's disk cannot be written: %s", in_words(error))
        raise Unavailable("The archive's disk cannot be written; send again later.") from None
