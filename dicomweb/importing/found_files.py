"""The files of an import: folders walked, ZIP archives opened, media directories compared with what is there.

Facts this module keeps:

- Folders are walked in the order of their names, so that slices of a series arrive together. No folder is walked
  twice, whatever symbolic links lead to it. A link out of the folder that was named is not followed, and said: whoever
  filled the folder does not choose what else of this machine is imported. The data folder of the archive that is
  imported into is passed over, and so are damaged and unfinished files in that of another; both is said.
- On media with a DICOMDIR the walk finds every file it names; those it names in vain are reported. A DICOMDIR given
  itself stands for exactly the files it names (PS3.10 8).
- Whether a file is DICOM is decided when it is opened, not here: finding is cheap and is done twice, once to count.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from dicomweb.importing.found_file import Found, FoundFile
from dicomweb.importing.media_directory import is_directory_name, referenced_files
from dicomweb.importing.results import Result, Status, shown
from dicomweb.importing.zip_members import is_zip, zip_members
from storage.errors import ArchiveError
from storage.system.errors import in_words

_Identity = tuple[int, int]
_PUT_ASIDE = frozenset({".staging", ".quarantine", ".replaced"})


def find_files(paths: Sequence[Path], leave_out: Path | None = None) -> Iterator[Found | Result]:
    """Find what is to be imported.

    Parameters
    ----------
    paths : sequence of Path
        Files, folders, ZIP archives, DICOMDIR files.
    leave_out : Path, optional
        A folder that is passed over unless it is one of `paths`: that of the archive which takes the files.

    Yields
    ------
    Found or Result
        Files to open, and what can be said at once: what cannot be read, is missing, or is no file.
    """
    own = _identity(leave_out) if leave_out is not None else None
    if own in {_identity(path) for path in paths}:
        own = None
    walked: set[_Identity] = set()
    for path in paths:
        yield from _walk(path.absolute(), walked, own)


def _walk(start: Path, walked: set[_Identity], own: _Identity | None) -> Iterator[Found | Result]:
    """Walk one path of the command line; folders come after the files beside them, and `own` is passed over."""
    waiting, root = [start], Path(os.path.realpath(start))
    while waiting:
        path = waiting.pop()
        try:
            status = path.stat()
            if path is not start and leads_out(path, root):
                yield _refused(path, "It is a link out of the folder that is imported; name what it leads to.")
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield from _file(path, status, given=path is start)
                continue
            folder = status.st_dev, status.st_ino
            if folder in walked:
                continue
            walked.add(folder)
            if folder == own:
                yield Result(shown(path), Status.PASSED_OVER, "It is the archive's own data folder.")
                continue
            if path.name in _PUT_ASIDE and path is not start:
                yield Result(shown(path), Status.PASSED_OVER, "It holds what an archive never took, or put aside.")
                continue
            with os.scandir(path) as entries:
                found = sorted((_is_folder(entry), entry.name) for entry in entries)
        except OSError as error:
            yield _refused(path, f"The file or folder cannot be read: {in_words(error)}.")
            continue
        waiting += [path / name for _, name in reversed(found)]


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path is a symbolic link to what is not below `root`, which has no links in it."""
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _file(path: Path, status: os.stat_result, *, given: bool) -> Iterator[Found | Result]:
    if not stat.S_ISREG(status.st_mode):
        yield Result(shown(path), Status.PASSED_OVER, "It is not a regular file.")
    elif is_directory_name(path.name):
        yield from _medium(path, status, walk=not given)
    elif is_zip(path, given=given):
        yield from zip_members(path, status)
    else:
        yield FoundFile(path, status.st_size, status.st_mtime_ns)


def _medium(path: Path, status: os.stat_result, *, walk: bool) -> Iterator[Found | Result]:
    """Compare a DICOMDIR with what is there; unless its folder is walked anyway, yield the files it names."""
    yield Result(shown(path), Status.PASSED_OVER, "It is the directory of the medium.", status.st_size)
    try:
        for name, target in referenced_files(path):
            if target is None:
                yield _refused(path.parent / name, "The DICOMDIR names it, but there is no such file.")
            elif not walk and not Path(os.path.realpath(target)).is_relative_to(os.path.realpath(path.parent)):
                yield _refused(target, "It is a link out of the folder of the DICOMDIR.")
            elif not walk:
                there = target.stat()
                yield FoundFile(target, there.st_size, there.st_mtime_ns)
    except (ArchiveError, OSError) as error:
        yield _refused(path, f"The DICOMDIR cannot be read, so what it names was not looked for: {in_words(error)}")


def _refused(path: Path, reason: str) -> Result:
    return Result(shown(path), Status.REFUSED, reason)


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
