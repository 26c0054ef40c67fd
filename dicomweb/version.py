"""The version of this program."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def program_version() -> str:
    """Return the version of the installed package, or "source" when it runs from a checkout without installation."""
    try:
        return version("dicomweb")
    except PackageNotFoundError:
        return "source"
