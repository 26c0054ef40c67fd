"""Files that root alone may read, for children that are not root: read once, handed on in memory.

A copy on disk would be one more place to steal a key from. The path of such a file, /dev/fd/N, is good in every child
that inherits the descriptor, as often as it is opened.
What cannot be read keeps its path: the child tells what is wrong.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from dicomweb.settings import Settings

NAMES: Final = ("dimse_tls_certificate", "dimse_tls_key", "dimse_tls_ca")


def read_for_children(settings: Settings) -> dict[str, Path]:
    """Read the files of TLS.

    Returns
    -------
    dict
        Name of the setting to the path in the children; the descriptors stay open until this process ends.
    """
    files: dict[str, Path] = {}
    for name in NAMES:
        path: Path | None = getattr(settings, name)
        if path is None or not hasattr(os, "memfd_create"):
            continue
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            descriptor = os.memfd_create(name)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(text)
            files[name] = Path(f"/dev/fd/{descriptor}")
    return files


def descriptors_of(files: dict[str, Path]) -> list[int]:
    """Return the descriptors that children must inherit to open the files."""
    return [int(path.name) for path in files.values()]
