"""Who runs the embedded PostgreSQL, and who may connect to it.

Facts this module keeps:

- PostgreSQL refuses to run as root. A root process therefore runs it as a user that runs nothing else: the owner of the
  data directory once there is one, else the system user `dicomweb-db`, made if need be, else `postgres` or `nobody`
  (initdb insists on a user that has a name, so a bare number will not do).
- Who connects must reach the socket, in a folder of mode 0700, and know the password: 256 random bits in a file of mode
  0600 beside the tables that it opens, so that a copy of the one is a copy of the other. There is no TCP.
- A data directory of an earlier version, which trusted whoever reached its socket, gets its password while nobody can
  connect. A lost password file is a new password at the next start.
"""

import errno
import logging
import os
import secrets
from pathlib import Path

from storage.database.postgres_binaries import CannotStart, Programs
from storage.database.postgres_processes import ON_LINUX, stop_orphans
from storage.errors import OutOfSpace
from storage.system.account import Account, existing_user, system_user
from storage.system.errors import in_words

logger = logging.getLogger(__name__)

ROLE = "dicomweb"
SYSTEM_USER = "dicomweb-db"
PASSWORD = "dicomweb.password"
RULES = f"""# Written by dicomweb at every start. Nobody is trusted: the password is in {PASSWORD}, in this folder.
local all {ROLE} scram-sha-256
"""


def account_for(folder: Path, client: Account | None = None) -> Account:
    """The account that runs a server on `folder`, which need not exist yet.

    Parameters
    ----------
    folder
        The data directory; when it belongs to root, or to the client, it is given to the database's own user.
    client
        Who connects: another user than the database's.

    Raises
    ------
    CannotStart
        We are not root and the folder is another user's.
    """
    owner = folder.stat() if folder.exists() else None
    if os.geteuid() != 0:
        if owner and owner.st_uid != os.geteuid():
            raise CannotStart(
                f"the database folder {folder} belongs to user {owner.st_uid}, and this is user {os.geteuid()}; "
                "start as that user or as root"
            )
        return Account()
    if owner and owner.st_uid not in (0, client and client.user_id):
        return Account(owner.st_uid, owner.st_gid)
    entry = system_user(SYSTEM_USER) or existing_user("postgres", "nobody")
    if entry is None:
        raise CannotStart(f"PostgreSQL does not run as root and there is no other user: make one named {SYSTEM_USER}")
    account = Account(entry.pw_uid, entry.pw_gid)
    if (folder / "PG_VERSION").exists():  # nothing else of root's is ever given away
        logger.warning("the database folder %s is given to a user of its own, %s", folder, entry.pw_name)
        stop_orphans(folder)
        account.own_all(folder)
    return account


def write_settings(folder: Path, name: str, text: str, account: Account) -> None:
    """Write one of PostgreSQL's configuration files, unless it says so already.

    Raises
    ------
    CannotStart, OutOfSpace
        It cannot be written.
    """
    path = folder / name
    if path.exists() and path.read_text() == text:
        return
    try:
        account.write(path, text)
    except OSError as error:
        kind = OutOfSpace if error.errno == errno.ENOSPC else CannotStart
        raise kind(f"the database's settings cannot be written to {path}: {in_words(error)}") from error


def require_password(folder: Path, programs: Programs) -> str:
    """Return the password of the database, set anew when there is none; the server must not run.

    Raises
    ------
    CannotStart, OutOfSpace
        It cannot be set or written.
    """
    write_settings(folder, "pg_hba.conf", RULES, programs.account)
    path = folder / PASSWORD
    if path.exists() and (known := path.read_text().strip()):
        return known
    new = secrets.token_urlsafe(32)
    here = "/proc/self/cwd" if ON_LINUX else str(folder)
    command = f"ALTER ROLE {ROLE} PASSWORD '{new}'\n"
    programs.run(
        "postgres", "--single", "-D", here, "-c", "shared_buffers=16MB", "template1", within=folder, text=command
    )
    write_settings(folder, PASSWORD, new + "\n", programs.account)
    return new
