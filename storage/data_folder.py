"""The data folder: who uses it, and how others join in.

`<data>/lock` is locked with flock(2) for as long as its holder lives; the kernel lets go of it however the holder
dies. `<data>/run/server.json` says where the holder's database listens, so that commands given beside a running
server work on the same database. It is believed only while the lock is held.
"""

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
from storage.folder_rights import close_to_others
from storage.private_path import make_folder, open_file
from storage.system_errors import in_words

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
            self._lock: int | None = open_file(self.path / LOCK, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise Unavailable(f"the data folder {self.path} cannot be used: {in_words(error)}") from error
        try:
            self._take()
        except BaseException:
            self.close()
            raise
        self.run = self.path / RUN
        make_folder(self.run)
        close_to_others(self.path)
        (self.run / SERVER).unlink(missing_ok=True)  # of a holder that was killed

    @property
    def descriptor(self) -> int:
        """The lock's file descriptor; a child process that inherits it holds the folder for as long as it lives."""
        assert self._lock is not None
        return self._lock

    def _take(self) -> None:
        """Lock the folder; askers are waited for, and children of a killed holder may take their time."""
        assert self._lock is not None
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise Unavailable(f"the data folder {self.path} cannot be locked: {in_words(error)}") from error
                holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
                if time.monotonic() - begun < (_DYING if _is_dead(holder) else _ASKING):
                    time.sleep(0.02)
                    continue
                raise InUse(
                    f"the data folder {self.path} is used by another running dicomweb (process {holder}); "
                    "stop that one first, or choose another folder with --data-dir"
                ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

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
        if not _held(folder / LOCK):
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
        if self._lock is None:
            return
        if hasattr(self, "run"):
            (self.run / SERVER).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None

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
