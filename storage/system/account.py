"""Users of this machine, and what root gives to them.

Facts this module keeps:

- Root follows no symbolic links where others may have made them: what is given away is the link itself.
- A folder that has to be passed is opened for passing (`o+x`), never for listing, and only on the way to programs.
"""

import logging
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Account:
    """Who runs a program; `None` as user: who we are already."""

    user_id: int | None = None
    group_id: int | None = None

    def own(self, path: Path) -> None:
        """Give a file or folder to this account."""
        if self.user_id is not None and self.group_id is not None:
            os.chown(path, self.user_id, self.group_id, follow_symlinks=False)

    def own_all(self, folder: Path) -> None:
        """Give a folder and all below it to this account; the folder itself last, so that it can be tried again."""
        for path in (*folder.rglob("*"), folder):
            self.own(path)

    def write(self, path: Path, text: str) -> None:
        """Write a file that this account alone can read (mode 0600), durably and in one step."""
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.own(new)
        new.replace(path)


def existing_user(*names: str) -> pwd.struct_passwd | None:
    """Return the first of the users that this machine has."""
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def system_user(name: str) -> pwd.struct_passwd | None:
    """Return the system user of this name, made (with a group of its own) when it is missing and that can be done."""
    commands = (
        ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
        ["adduser", "-S", "-D", "-H", name],  # BusyBox
    )
    path = "/usr/sbin:/sbin:/usr/bin:/bin"
    if found := existing_user(name):
        return found
    for program, *arguments in commands:
        if shutil.which(program, path=path) is None:
            continue
        subprocess.run(
            [str(shutil.which(program, path=path)), *arguments], check=False, capture_output=True, env={"PATH": path}
        )
        if found := existing_user(name):  # also when another process made it at the same time
            logger.info("made the system user %s", name)
            return found
    return None


def open_way_to(folder: Path, reason: str) -> None:
    """Let every user pass through the folders above `folder`; what was closed is named in the log."""
    for above in folder.parents:
        mode = above.stat().st_mode
        if not mode & stat.S_IXOTH:
            logger.warning("chmod o+x %s: %s", above, reason)
            above.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
