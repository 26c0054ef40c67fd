"""Files and folders of the archive: for the user who owns the data folder, and for nobody else.

Facts this module keeps:

- Files have mode 0600 and folders 0700, whatever the umask of whoever runs a command.
- What root makes here belongs to the owner of the folder it lies in, so that a server that does not run as root reads
  what a command of root's has stored. Where the file system knows no owners, everything is as it gives it.
"""

import contextlib
import os
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing; one that is there stays as it is."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _hand_on(folder)


def open_file(path: Path, flags: int) -> int:
    """Open a file to write, made when `flags` say so; returns its descriptor, which child processes do not get."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        _hand_on(path, descriptor)
    return descriptor


def _hand_on(path: Path, descriptor: int | None = None) -> None:
    """As root: give what was just made to the owner of the folder it lies in."""
    if os.geteuid() == 0:
        above = path.parent.stat()
        with contextlib.suppress(OSError):  # there are file systems without owners
            if descriptor is None:
                os.chown(path, above.st_uid, above.st_gid, follow_symlinks=False)
            else:
                os.fchown(descriptor, above.st_uid, above.st_gid)
