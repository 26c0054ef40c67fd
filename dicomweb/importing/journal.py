"""Which files of an import were acknowledged, so that one that was cut short can go on.

Facts this module keeps:

- A file is written down after it was acknowledged, never before; it is known by its path, size and modification time,
  so that one that was changed is sent again.
- What is written survives the process being killed. After a power cut the last entries may be missing: those files
  are sent again, which is harmless.
- There is one journal for each target with its paths, removed when the import is complete; a running import locks it.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from storage.errors import InUse, Unavailable
from storage.system.errors import in_words
from storage.system.private_path import make_folder, open_file


class Journal:
    """The journal of one import; for one thread at a time.

    Parameters
    ----------
    folder : Path
        Where journals lie.
    target : str
        Where the files go.
    paths : sequence of Path
        What is imported.
    restart : bool
        Forget what an earlier run wrote.

    Raises
    ------
    InUse
        The same import is running already.
    Unavailable
        It cannot be written.
    """

    def __init__(self, folder: Path, target: str, paths: Sequence[Path], *, restart: bool = False) -> None:
        identity = "\0".join([target, *sorted(str(path.absolute()) for path in paths)])
        self.path = folder / f"{sha256(os.fsencode(identity)).hexdigest()[:32]}.journal"
        try:
            make_folder(folder)
            try:
                self._database = self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # the file is damaged: everything is sent again
                self._unlink()
                self._database = self._open()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise InUse("the same import is running already, in another process") from None
            raise Unavailable(f"the journal of the import, {self.path}, cannot be written: {error}") from None
        except OSError as error:
            raise Unavailable(f"the journal of the import, {self.path}, cannot be written: {in_words(error)}") from None
        if restart:
            self._database.execute("DELETE FROM taken")
        (self.taken_earlier,) = self._database.execute("SELECT count(*) FROM taken").fetchone()

    def taken(self, key: bytes) -> bool:
        """Whether a file was acknowledged by an earlier run."""
        if not self.taken_earlier:
            return False
        found = self._database.execute("SELECT EXISTS (SELECT 1 FROM taken WHERE key = ?)", (key,)).fetchone()
        return bool(found[0])

    def add(self, keys: Iterable[bytes]) -> None:
        """Write down files that were acknowledged; raises Unavailable."""
        try:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR IGNORE INTO taken VALUES (?)", [(key,) for key in keys])
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"the journal of the import, {self.path}, cannot be written: {error}") from None

    def close(self, *, complete: bool) -> None:
        """Let go of the journal; it is removed when the import is complete, or when there is nothing in it."""
        (something,) = self._database.execute("SELECT EXISTS (SELECT 1 FROM taken)").fetchone()
        self._database.close()
        if complete or not something:
            self._unlink()

    def _open(self) -> sqlite3.Connection:
        os.close(open_file(self.path, os.O_RDWR | os.O_CREAT))  # SQLite gives its other files the same mode and owner
        database = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            # The lock that the first write takes is kept to the end.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
            database.execute("CREATE TABLE IF NOT EXISTS taken (key BLOB PRIMARY KEY) WITHOUT ROWID")
            database.execute("BEGIN IMMEDIATE")
            database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        return database

    def _unlink(self) -> None:
        for suffix in ("", "-wal", "-journal"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).unlink()


def state_folder() -> Path:
    """Return the user's folder for journals of imports into servers (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "dicomweb" / "imports"
