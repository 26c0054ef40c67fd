"""DCMTK's programs, which pynetdicom's own command line tools of the same names would hide."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def find_program(name: str) -> str | None:
    """Return the path of a program outside the environment of Python, None when it is not installed."""
    own = {Path(sys.prefix, "bin").resolve(), Path(sys.executable).parent.resolve()}
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder).resolve() not in own]
    return shutil.which(name, path=os.pathsep.join(folders))


def program(name: str) -> str:
    """Return the path of a program of DCMTK; the test is skipped when it is not installed."""
    found = find_program(name)
    if found is None:
        pytest.skip(f"needs {name} (Debian package dcmtk)")
    return found
