"""Whose a data folder is, and that nobody else looks into it.

Facts this module keeps:

- A folder of mode 0700 closes everything below it: closing those at the top is enough, however many files there are.
- A folder in which other things lie, too, is not ours to close or to give away; what is ours in it is closed.
- Root gives a data folder away once, while it is root's: later its owner could have laid links to other files in it.
  The top goes last, so that what was interrupted is done again.
- The embedded database and its log belong to a user of its own (`storage/database/postgres_access.py`).
"""

import logging
import os
from pathlib import Path

from storage.system.account import Account
from storage.system.errors import in_words
from storage.system.passcode_key import PasscodeKey

logger = logging.getLogger(__name__)

FOLDERS = frozenset({"blobs", "imports", "incoming", "run"})
FILES = frozenset({"lock", PasscodeKey.NAME})
DATABASE = ("postgres", ".postgres.new-")
NEITHER = frozenset({"lost+found", "viewer"})
"""What may lie there, too: of the file system; and the viewer, which is public."""


def close_to_others(folder: Path) -> None:
    """Take every right of other users away from a data folder and what lies at its top."""
    kept = [folder / name for name in sorted(FOLDERS | FILES) if (folder / name).exists()]
    for path in (*kept, *([folder] if _is_ours(folder) else [])):
        mode = path.lstat().st_mode & 0o777
        if not mode & 0o077 or path.is_symlink():
            continue
        try:
            path.chmod(mode & 0o700)
            logger.info("%s was open to other users (mode %o); closed", path, mode)
        except OSError as error:
            logger.warning("%s is open to other users (mode %o) and cannot be closed: %s", path, mode, in_words(error))


def hand_over(folder: Path, account: Account) -> str | None:
    """As root: give root's data folder to the account.

    Returns
    -------
    str or None
        Why it was not given; None when it is the account's.
    """
    owner = folder.stat().st_uid
    if owner == account.user_id:
        return None
    if owner != 0:
        return f"it belongs to user {owner}"
    if not _is_ours(folder):
        return "other things lie in it, too"
    try:
        account.own(folder / "lock")  # the first one tells whether it can be done
        if (folder / "blobs").exists():
            logger.warning("the data folder %s belonged to root; giving it to user %s", folder, account.user_id)
        for top in [path for path in folder.iterdir() if not path.name.startswith(DATABASE)]:
            for above, folders, files in os.walk(top):
                for name in (*folders, *files):
                    account.own(Path(above, name))
            account.own(top)
        account.own(folder)
    except OSError as error:
        return in_words(error)
    return None


def _is_ours(folder: Path) -> bool:
    """Whether nothing but an archive lies in a folder."""
    known = FOLDERS | FILES | NEITHER
    return all(entry.name in known or entry.name.startswith(DATABASE) for entry in folder.iterdir())
