"""Installing and removing the viewer, also while a server runs.

Facts this module keeps:

- Everything is made in a folder of its own beside the place where it goes, brought to disk, and put there by one
  rename: a version is there completely or not at all.
- One installs at a time (flock); what a killed one left behind is cleared away by the next.
- Of the package only what lies below `package/dist/` is taken, and only plain files.
"""

import base64
import errno
import fcntl
import gzip
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from dicomweb.http.viewer.installed import FILES, GZIP, LIST, Viewer, ViewerFile, describe, load, versions
from dicomweb.http.viewer.package import VERSION, WrongPackage, fetch, verify
from storage.errors import InUse, OutOfSpace, Unavailable
from storage.system.durability import flush
from storage.system.errors import in_words

PAGE = "index.html"
INSIDE = "package/dist/"
LOCK = ".lock"
MAKING = ".making-"
LEVEL = 6
"""Of compression; 9 takes twice as long for one part in a hundred."""
WORTHWHILE = 0.9
"""A file is kept compressed when that makes it smaller than this share."""
AT_ONCE = 2
"""Files being compressed at once; as many more are held in memory."""
MOST_BYTES = 1 << 30
"""Of a whole package, unpacked: no bomb fills the disk."""
ROOM = 192 << 20
"""Bytes that must be free: the package, npm's copy of it and the files."""

_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def install(folder: Path, *, package: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> Viewer:
    """Install the version this program knows, unless it is there already.

    Parameters
    ----------
    folder
        Where versions go; made when it is missing.
    package
        A file that `npm pack` made; without it npm is run.
    tell
        Called with a sentence before each step that takes time.

    Returns
    -------
    Viewer
        What is installed now.

    Raises
    ------
    Unavailable
        npm cannot be used, or the folder not be written.
    WrongPackage
        What was fetched is not what was meant.
    OutOfSpace
        The disk is full.
    InUse
        Another installation is at work.
    """
    target = folder / VERSION
    if found := _complete(target):
        return found  # the folder may be one that only its owner can write
    with _alone(folder):
        if found := _complete(target):
            return found
        if (free := shutil.disk_usage(folder).free) < ROOM:
            raise OutOfSpace(f"{ROOM >> 20} MiB are needed in {folder}, and {free >> 20} MiB are free.")
        making = Path(tempfile.mkdtemp(prefix=MAKING, dir=folder))
        try:
            if package is None:
                tell("Fetching the viewer with npm, some 50 MB ...")
                (making / "npm").mkdir()
                package = fetch(making / "npm")
            verify(package)
            tell("Unpacking and compressing it ...")
            made = making / VERSION
            made.mkdir(mode=0o755)
            files = _unpack(package, made / FILES)
            scripts = _inline_scripts(files)
            _write(made / LIST, describe(VERSION, files, scripts))
            _flush_folders(made)
            if target.exists():
                target.rename(making / "before")  # damaged, see above
            made.rename(target)
            flush(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    viewer = load(target)
    assert viewer is not None
    return viewer


def remove(folder: Path) -> list[str]:
    """Remove every installed version.

    Returns
    -------
    list of str
        The versions that were there.

    Raises
    ------
    Unavailable
        The folder cannot be written.
    InUse
        An installation is at work.
    """
    if not versions(folder):
        return []
    with _alone(folder):
        found = versions(folder)
        going = Path(tempfile.mkdtemp(prefix=MAKING, dir=folder))
        for version in found:
            (folder / version).rename(going / version)
        shutil.rmtree(going, ignore_errors=True)
    return found


def _complete(target: Path) -> Viewer | None:
    viewer = load(target)
    return None if viewer is None or viewer.missing() else viewer


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Have the folder alone, cleared of what earlier ones left; errors of the disk become ours."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _what_is_wrong(error, folder) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f"{MAKING}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    except BlockingIOError:
        raise InUse(f"another `dicomweb viewer` works on {folder}; wait for it to end.") from None
    except OSError as error:
        raise _what_is_wrong(error, folder) from error
    finally:
        os.close(lock)


def _what_is_wrong(error: OSError, folder: Path) -> OutOfSpace | Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(f"the disk of {folder} is full; nothing was installed.")
    return Unavailable(f"the viewer's folder {folder} cannot be used: {in_words(error)}.")


def _unpack(package: Path, folder: Path) -> dict[str, ViewerFile]:
    """Write the files of the package's `dist` below a folder.

    Raises
    ------
    WrongPackage
        The package is damaged, or has something in it that is no plain file of its own.
    """
    found: dict[str, ViewerFile] = {}
    total = 0
    try:
        # Compression leaves Python's lock alone; unpacking goes on meanwhile.
        with tarfile.open(package, "r:gz") as members, ThreadPoolExecutor(AT_ONCE) as threads:
            writing: deque[Future[ViewerFile]] = deque()
            for member in members:
                name = _wanted(member)
                if name is None:
                    continue
                total += member.size
                if total > MOST_BYTES:
                    raise WrongPackage(f"the package unpacks to more than {MOST_BYTES >> 20} MiB.")
                content = members.extractfile(member)
                assert content is not None
                writing.append(threads.submit(_store, folder, name, content.read()))
                if len(writing) > AT_ONCE:
                    file = writing.popleft().result()
                    found[file.name] = file
            found |= {file.name: file for file in (one.result() for one in writing)}
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise WrongPackage(f"the package cannot be unpacked: {error}.") from None
    if PAGE not in found:
        raise WrongPackage(f"the package has no {INSIDE}{PAGE}.")
    return found


def _wanted(member: tarfile.TarInfo) -> str | None:
    """Return the name of a file of the viewer, None for anything that is none."""
    if member.isdir() or not member.name.startswith(INSIDE):
        return None
    name = member.name.removeprefix(INSIDE)
    parts = name.split("/")
    if not member.isreg() or not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise WrongPackage(f"the package holds {member.name!r}, which is no plain file below {INSIDE}.")
    return name


def _store(folder: Path, name: str, content: bytes) -> ViewerFile:
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    small = compressor.compress(content) + compressor.flush()
    gzipped = len(small) < len(content) * WORTHWHILE
    place = folder / (name + GZIP if gzipped else name)
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    kept = small if gzipped else content
    _write(place, kept)
    return ViewerFile(name, place, len(content), len(kept), gzipped, hashlib.sha256(content).hexdigest())


def _inline_scripts(files: dict[str, ViewerFile]) -> tuple[str, ...]:
    """Hash the scripts inside the page: it may run these and no others."""
    page = files[PAGE]
    content = page.place.read_bytes()
    if page.gzipped:
        content = zlib.decompress(content, 31)
    digests = (hashlib.sha256(script).digest() for script in _SCRIPT.findall(content))
    return tuple(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _write(place: Path, content: bytes) -> None:
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folders(top: Path) -> None:
    for folder in (top, *(path for path in top.rglob("*") if path.is_dir())):
        flush(folder)
