"""The version of this program, and what tells one build of it from another."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("dicomweb", "storage")
_LIBRARIES = ("numpy", "Pillow", "imagecodecs", "pydicom")
"""Distributions that have a part in pictures and metadata."""


@cache
def program_version() -> str:
    """Return the version of the installed package, or "source" when it runs from a checkout without installation."""
    return _version("dicomweb")


@cache
def build() -> str:
    """Return 32 digits that differ where anything differs that may change what is made of what is stored.

    They name the sources of this program and the versions of the libraries with a part in it, so that nobody has to
    remember to count something up. All processes of an archive say the same.
    """
    digest = hashlib.blake2b(digest_size=16)
    home = Path(__file__).parent.parent
    for path in sorted(path for package in _PACKAGES for path in (home / package).rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(home).as_posix()} {len(source)} ".encode() + source)
    for name in _LIBRARIES:
        digest.update(f"{name} {_version(name)} ".encode())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "source"
