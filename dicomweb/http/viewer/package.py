"""The npm package of the viewer: which one, how it is fetched, and whether it is the one that was meant.

Facts this module keeps:

- Which registry is asked, through which proxy and with which certificates is npm's own configuration, not ours.
- The version and the hash of the whole package are pinned here; npm is not believed, the file is hashed again.
- npm says what is wrong as JSON on standard output when it is asked for JSON, and npm of before 7 on standard error.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from storage.errors import ArchiveError, OutOfSpace, Unavailable
from storage.system.errors import in_words

NAME = "@ohif/app"
VERSION = "3.13.2"
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""As `npm view @ohif/app@3.13.2 dist.integrity` says; a new version needs both lines."""

PATIENCE = 1800.0
"""Seconds that npm may take for some 50 MB."""
BY_HAND = (
    f"Where npm or the network is missing, run `npm pack {NAME}@{VERSION}` on another machine, bring the file here and "
    "name it with --package."
)

_UNREACHABLE = re.compile("CONN|TIMEDOUT|TIMEOUT|NOTFOUND|AI_AGAIN|UNREACH|CERT|FETCH|NOTCACHED|PROTO")
"""Somewhere in the codes of npm, of Node.js and of TLS that say so."""


class WrongPackage(ArchiveError):
    """The file is not the package that was asked for: damaged, another version, or tampered with."""


def fetch(folder: Path) -> Path:
    """Fetch the package with npm into a folder.

    Parameters
    ----------
    folder
        An empty one; npm runs in it, so that no project's settings apply.

    Returns
    -------
    Path
        The file, not yet verified.

    Raises
    ------
    Unavailable
        npm is not installed, or cannot reach or use its registry.
    OutOfSpace
        The disk is full.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(
            f"npm is not installed (it comes with Node.js; Debian and Ubuntu: apt install npm). {BY_HAND}"
        )
    command = [npm, "pack", f"{NAME}@{VERSION}", "--json", "--ignore-scripts", "--fetch-retries=1"]
    try:
        ended = subprocess.run(
            [*command, "--pack-destination", str(folder)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm did not fetch {NAME} in {PATIENCE / 60:.0f} minutes. {BY_HAND}") from None
    except OSError as error:
        raise Unavailable(f"npm cannot be run: {in_words(error)}. {BY_HAND}") from None
    packages = sorted(folder.glob("*.tgz"))
    if ended.returncode != 0 or len(packages) != 1:
        raise _failure(ended.stdout, ended.stderr)
    return packages[0]


def verify(package: Path) -> None:
    """Hash the file of a package.

    Raises
    ------
    WrongPackage
        It is not the one that is pinned here.
    Unavailable
        It cannot be read.
    """
    algorithm, _, wanted = INTEGRITY.partition("-")
    try:
        with package.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).digest()
    except OSError as error:
        raise Unavailable(f"{package} cannot be read: {in_words(error)}.") from None
    if found != base64.b64decode(wanted):
        raise WrongPackage(
            f"{package.name} is not {NAME} {VERSION} as it was published: its {algorithm} is "
            f"{base64.b64encode(found).decode()}, not {wanted}. Nothing was installed."
        )


def _failure(output: str, errors: str) -> ArchiveError:
    """Say in one sentence what npm says in many."""
    found = _problem(output)
    code = str(found.get("code") or _code(errors))
    said = " ".join(str(found.get("summary") or _last_line(errors) or "it gave no reason").split())
    if code == "ENOSPC" or "ENOSPC" in said:
        return OutOfSpace(f"npm ran out of disk space while it fetched {NAME}: {said}")
    if _UNREACHABLE.search(code):
        return Unavailable(f"npm cannot reach its registry ({code}: {said}). {BY_HAND}")
    if code in ("E404", "ETARGET"):
        return Unavailable(f"the registry that npm is set to use has no {NAME} {VERSION} ({said}). {BY_HAND}")
    if code == "EINTEGRITY":
        return WrongPackage(f"what npm got is damaged ({said}); `npm cache verify` may help. Nothing was installed.")
    return Unavailable(f"npm failed to fetch {NAME} {VERSION} ({code or 'no code'}: {said}). {BY_HAND}")


def _problem(output: str) -> dict[str, Any]:
    try:
        found = json.loads(output)["error"]
    except (ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


def _code(errors: str) -> str:
    for line in errors.splitlines():
        _, found, code = line.partition(" code ")
        if found:
            return code.strip()
    return ""


def _last_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip() and "complete log of this run" not in line]
    return lines[-1] if lines else ""
