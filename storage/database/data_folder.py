"""The data folder: who uses it, and how others join in.

The folder itself is locked with flock(2) for as long as its holder lives; the kernel lets go of it however the holder
dies. Nobody can take that lock away: it is of the folder, whatever is removed in it, and whatever path (a bind mount, a
link) leads to it. `<data>/lock` is locked as well, for on NFS only locks of files reach other machines; it names the
holder's process. `<data>/run/server.json` says where the holder's database listens, so that commands given beside a
running server work on the same database. It is believed only while the folder is held.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from storage.errors import InUse, Unavailable
from storage.system.errors import in_words
from storage.system.folder_rights import close_to_others
from storage.system.private_path import make_folder, open_file

LOCK = "lock"
RUN = "run"
SERVER = "server.json"
GUESTS = "guests"
_ASKING, _DYING = 0.2, 5.0  # seconds


class DataFolder:
    """The one holder of a data folder; the folder is made (mode 0700) when it is missing, and closed to other users.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    InUse
        Another process (or another `DataFolder` of this one) holds it; the message names its process id.
    Unavailable
        The folder cannot be made or its file system knows no locks.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().resolve()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder: int | None = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(error) from error
        self._file: int | None = None
        try:
            self._take(self._folder, needed=False)
            self._take_file()
        except BaseException:
            self.close()
            raise
        self.run = self.path / RUN
        make_folder(self.run)
        close_to_others(self.path)
        (self.run / SERVER).unlink(missing_ok=True)  # of a holder that was killed

    @property
    def descriptor(self) -> int:
        """The folder's file descriptor; a child process that inherits it holds the folder for as long as it lives."""
        assert self._folder is not None
        return self._folder

    def is_moved(self) -> bool:
        """Whether the path leads to another folder by now, or to none.

        Some file systems number their folders anew: a folder that says it is ours is no other.
        """
        assert self._folder is not None
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._folder)):
                return False
        except FileNotFoundError:
            return True
        except OSError:  # it does not tell now
            return False
        return self._holder() != str(os.getpid())

    def _unusable(self, error: OSError) -> Unavailable:
        return Unavailable(f"the data folder {self.path} cannot be used: {in_words(error)}")

    def _take_file(self) -> None:
        try:
            self._file = open_file(self.path / LOCK, os.O_RDWR | os.O_CREAT)
            self._take(self._file)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            raise self._unusable(error) from error

    def _holder(self) -> str:
        """Return the process id that is written in the folder."""
        try:
            with (self.path / LOCK).open("rb") as file:
                return file.read(32).decode("ascii", "replace").strip() or "unknown"
        except OSError:
            return "unknown"

    def _take(self, descriptor: int, *, needed: bool = True) -> None:
        """Lock the folder, or its file; askers are waited for, and children of a killed holder may take their time.

        A file system that locks no folders is used all the same unless this lock is `needed`.
        """
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    if not needed:
                        return
                    raise Unavailable(f"the data folder {self.path} cannot be locked: {in_words(error)}") from error
                holder = self._holder()
                if time.monotonic() - begun < (_DYING if _is_dead(holder) else _ASKING):
                    time.sleep(0.02)
                    continue
                raise InUse(
                    f"the data folder {self.path} is used by another running dicomweb (process {holder}); "
                    "stop that one first, or choose another folder with --data-dir"
                ) from error

    def publish(self, **facts: Any) -> None:
        """Tell others, in `run/server.json`, how to join: JSON values by name, `database_url` above all.

        The process id is added. The file is replaced in one step and readable by its owner only.
        """
        temporary = self.run / f".{SERVER}"
        with os.fdopen(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as file:
            json.dump({"pid": os.getpid(), **facts}, file)
        temporary.replace(self.run / SERVER)

    @staticmethod
    def running(path: Path | str) -> dict[str, Any] | None:
        """What the living holder of the folder published, or None when nobody holds it (or has not yet published).

        Parameters
        ----------
        path
            The folder; it need not exist.
        """
        folder = Path(path).expanduser().resolve()
        if not (_held(folder) or _held(folder / LOCK)):
            return None
        try:
            facts = json.loads((folder / RUN / SERVER).read_bytes())
        except (OSError, ValueError):
            return None
        return facts if isinstance(facts, dict) else None

    @staticmethod
    @contextmanager
    def guest(path: Path | str) -> Iterator[None]:
        """Work beside the holder: it, or the next one, sweeps nothing away meanwhile."""
        folder = Path(path).expanduser().resolve()
        descriptor = open_file(folder / RUN / GUESTS, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def has_guests(self) -> bool:
        """Whether commands that were guests of this holder or the last one still work on the folder."""
        return _held(self.run / GUESTS, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go of the folder; what was published is taken back first."""
        if self._folder is None:
            return
        if hasattr(self, "run"):
            with contextlib.suppress(OSError):  # in our folder, wherever that is by now
                os.unlink(f"{RUN}/{SERVER}", dir_fd=self._folder)
        for descriptor in (self._file, self._folder):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _held(lock: Path, kind: int = fcntl.LOCK_SH) -> bool:
    """Whether somebody holds the lock; a shared lock is tried, so that askers never hinder each other."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_dead(process: str) -> bool:
    if not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
