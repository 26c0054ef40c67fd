"""What tells one build of the program from another."""

import shutil
import subprocess
import sys
from pathlib import Path

from dicomweb.version import build
from tests.live_server import REPOSITORY


def build_of(folder: Path) -> str:
    """What a copy of the program says, in a process of its own."""
    command = [sys.executable, "-c", "from dicomweb.version import build; print(build())"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_build_is_named_by_its_sources(tmp_path: Path) -> None:
    """Wherever it lies its name is the same; one byte of the decoders makes another of it."""
    for package in ("dicomweb", "storage"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert build_of(tmp_path) == build()
    with (tmp_path / "storage" / "pixels" / "decoders.py").open("a") as decoders:
        decoders.write("#")
    assert build_of(tmp_path) != build()
