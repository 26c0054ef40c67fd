"""The viewer as it lies on disk: what files it has, where, and which of several versions is served.

Facts this module keeps:

- `<folder>/<version>/files.json` lists every file with its size and hash; what is not in it does not exist. A path that
  a client sends is looked up there and never joined to a folder.
- A file that compresses well lies there gzip'ed (its name ends with .gz) and only so.
- A version appears and disappears by one rename, so the list and the files always fit together; running servers see
  it by the folder's time of change.
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from dicomweb.http.viewer.package import VERSION

LIST = "files.json"
FILES = "files"
GZIP = ".gz"
LOOK_AGAIN_AFTER = 1.0
"""Seconds for which a look at the folder is good."""

_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){1,3}\Z")


@dataclass(frozen=True, slots=True)
class ViewerFile:
    """One file of the viewer.

    Attributes
    ----------
    name : str
        Path below the root of the viewer, such as `assets/favicon.ico`.
    place : Path
        Where its bytes are.
    length : int
        Of the file as it was published, in bytes.
    stored : int
        Of the bytes at `place`.
    gzipped : bool
        Whether these are gzip'ed.
    sha256 : str
        Of the file as it was published, in hexadecimal.
    """

    name: str
    place: Path
    length: int
    stored: int
    gzipped: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Viewer:
    """An installed version.

    Attributes
    ----------
    version : str
        Such as 3.13.2.
    folder : Path
        Its folder.
    files : mapping of str to ViewerFile
        All its files by name.
    scripts : tuple of str
        The hashes of the scripts inside its page, as Content-Security-Policy spells them.
    """

    version: str
    folder: Path
    files: Mapping[str, ViewerFile]
    scripts: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Name the files that are not there or have another size."""
        return [name for name, file in self.files.items() if _size(file.place) != file.stored]


@dataclass(slots=True)
class ViewerFolder:
    """The folder of installed versions, looked at while a server runs.

    Attributes
    ----------
    path : Path
        The folder; it need not exist.
    """

    path: Path
    _looked: float = field(default=float("-inf"), init=False)
    _seen: tuple[int, int] | None = field(default=None, init=False)
    _viewer: Viewer | None = field(default=None, init=False)

    def current(self) -> Viewer | None:
        """Return the version to serve: the one this program knows, else the newest; None when there is none."""
        now = time.monotonic()
        if now - self._looked >= LOOK_AGAIN_AFTER:
            self._looked = now
            seen = _changed(self.path)
            if seen != self._seen:
                self._seen = seen
                self._viewer = newest(self.path)
        return self._viewer


def newest(folder: Path) -> Viewer | None:
    """Return the version this program knows if it is installed, else the newest that is."""
    found = versions(folder)
    wanted = [VERSION] if VERSION in found else sorted(found, key=_numbers, reverse=True)
    return next((viewer for version in wanted if (viewer := load(folder / version))), None)


def versions(folder: Path) -> list[str]:
    """Name the versions in a folder."""
    try:
        return [entry.name for entry in folder.iterdir() if _VERSION.match(entry.name)]
    except OSError:
        return []


def load(folder: Path) -> Viewer | None:
    """Read the list of an installed version; None when there is none or it cannot be read."""
    try:
        written = orjson.loads((folder / LIST).read_bytes())
        files = {
            name: ViewerFile(
                name,
                folder / FILES / (name + GZIP if entry["gzipped"] else name),
                entry["length"],
                entry["stored"],
                entry["gzipped"],
                entry["sha256"],
            )
            for name, entry in written["files"].items()
        }
        return Viewer(written["version"], folder, files, tuple(written["scripts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe(version: str, files: Mapping[str, ViewerFile], scripts: tuple[str, ...]) -> bytes:
    """Write the list that `load` reads."""
    entries = {
        name: {"length": file.length, "stored": file.stored, "gzipped": file.gzipped, "sha256": file.sha256}
        for name, file in sorted(files.items())
    }
    return orjson.dumps({"version": version, "scripts": scripts, "files": entries}, option=orjson.OPT_INDENT_2)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 -- a tenth of the time of Path.stat
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
