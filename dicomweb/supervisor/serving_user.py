"""Who serves when root starts the server: a user who can do nothing else, and for good.

Facts this module keeps:

- What takes root is done first: listening below port 1024, reading the keys of TLS, giving the data folder away,
  starting the process that keeps the database (`dicomweb/supervisor/database_keeper.py`). Then the supervisor becomes
  that user; its children are never anything else.
- It is the user of the setting, else the owner of the data folder, else the system user `dicomweb`, made if need be.
- It is tried beforehand. Where it cannot be (a closed folder above the data, a container that may not change users, a
  file system without owners) the server goes on as root and says so, unless the user was named: then it does not start.
- The program is opened for passing, as for the database: its files are no secrets.
"""

import logging
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dicomweb.settings import Settings, SettingsError
from storage.system.account import Account, existing_user, open_way_to, system_user
from storage.system.errors import in_words
from storage.system.folder_rights import hand_over
from storage.system.launch import become_user

logger = logging.getLogger(__name__)

SYSTEM_USER = "dicomweb"


@dataclass(frozen=True, slots=True)
class ServingUser:
    """A user of this machine.

    Attributes
    ----------
    name : str
        Its number when this machine has no name for it.
    account : Account
        User and primary group.
    groups : tuple of int
        All groups, the primary one included.
    home : str
        Its home folder.
    """

    name: str
    account: Account
    groups: tuple[int, ...]
    home: str

    def become(self) -> None:
        """Be this user from now on; there is no way back."""
        assert self.account.user_id is not None and self.account.group_id is not None
        become_user(self.account.user_id, self.account.group_id, self.groups)
        os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)
        os.environ.pop("XDG_RUNTIME_DIR", None)

    @contextmanager
    def tried(self) -> Iterator[None]:
        """Be this user for a moment, as far as files are concerned; for a process that is still alone with itself."""
        assert self.account.user_id is not None and self.account.group_id is not None
        groups = os.getgroups()
        try:
            os.setgroups(self.groups)
            os.setegid(self.account.group_id)
            os.seteuid(self.account.user_id)
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            with suppress(PermissionError):  # then they were not changed either
                os.setgroups(groups)


def same_modules() -> dict[str, str]:
    """Return the environment of a program that finds its modules where this one did, whatever folder it starts in."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}


def serving_user(settings: Settings, folder: Path) -> ServingUser | None:
    """Return who is to serve, the data folder given to it; None when nobody else than we.

    Parameters
    ----------
    settings
        `user` above all.
    folder
        The data folder, held by us.

    Raises
    ------
    SettingsError
        The user that was named is unknown or cannot serve, or a file of the settings is closed to it.
    """
    if os.geteuid() != 0:
        if settings.user is not None and settings.user not in (str(os.geteuid()), _name_of(os.geteuid())):
            raise SettingsError(f"--user {settings.user} can be had by root only, and this is user {os.geteuid()}.")
        return None
    user = _named(settings.user) if settings.user else _by_default(folder)
    if user is None or user.account.user_id == 0:
        return None
    if reason := _hindrance(user, folder):
        if settings.user:
            raise SettingsError(f"--user {settings.user} cannot serve the data folder {folder}: {reason}.")
        logger.warning(
            "the server goes on as root: user %s cannot serve the data folder %s: %s", user.name, folder, reason
        )
        return None
    _require_files(user, settings)
    return user


def _named(name: str) -> ServingUser:
    found = existing_user(name)
    if found is None and name.isdecimal():
        return _of_number(int(name), int(name))
    if found is None:
        raise SettingsError(f"--user {name}: this machine has no user of this name.")
    return _of_entry(found)


def _by_default(folder: Path) -> ServingUser | None:
    owner = folder.stat()
    if owner.st_uid:
        return _of_number(owner.st_uid, owner.st_gid)
    found = system_user(SYSTEM_USER) or existing_user("nobody")
    return None if found is None else _of_entry(found)


def _of_entry(entry: pwd.struct_passwd) -> ServingUser:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return ServingUser(entry.pw_name, Account(entry.pw_uid, entry.pw_gid), groups, entry.pw_dir)


def _of_number(user_id: int, group_id: int) -> ServingUser:
    try:
        return _of_entry(pwd.getpwuid(user_id))
    except KeyError:
        return ServingUser(str(user_id), Account(user_id, group_id), (group_id,), "/")


def _name_of(user_id: int) -> str | None:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return None


def _hindrance(user: ServingUser, folder: Path) -> str | None:
    """Return why the user cannot serve; None when it can, and the data folder is its own."""
    try:
        with user.tried():
            closed = next((above for above in reversed(folder.parents) if not _passable(above)), None)
    except OSError as error:
        return f"this process may not change its user, {in_words(error)}"
    if closed is not None:
        return f"the folder {closed} is closed to it (chmod o+x {closed}, or choose another data folder)"
    if _cannot_run(user):
        for place in {sys.prefix, sys.base_prefix, str(Path(sys.executable).parent), *sys.path}:
            if Path(place).is_dir():
                open_way_to(Path(place, "program"), f"user {user.name}, who serves, has to reach the program below it")
        if reason := _cannot_run(user):
            return f"it cannot run the program: {reason}"
    return hand_over(folder, user.account)


def _passable(folder: Path) -> bool:
    return os.access(folder, os.X_OK, effective_ids=True)


def _cannot_run(user: ServingUser) -> str | None:
    """Return why the program does not run as the user, by trying; None when it does."""
    program = "import storage.system.launch, dicomweb.version, pydantic_core, asyncpg"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            user=user.account.user_id,
            group=user.account.group_id,
            extra_groups=user.groups,
            cwd="/",
            env=same_modules(),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return in_words(error)
    return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1] if done.returncode else None


def _require_files(user: ServingUser, settings: Settings) -> None:
    """Raise SettingsError when a file that is read again and again is closed to the user."""
    named = {name: getattr(settings, name) for name in ("viewer_config", "viewer_dir", "passcode_key")}
    there = {name: path for name, path in named.items() if path is not None and path.expanduser().exists()}
    with user.tried():
        for name, path in there.items():
            if not os.access(path.expanduser(), os.R_OK, effective_ids=True):
                raise SettingsError(
                    f"--{name.replace('_', '-')} {path} cannot be read by user {user.name}, who serves; let that user "
                    "read it, or name another with --user."
                )
