"""What is on disk, and not in memory only: it survives the power cut."""

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Bring the bytes of a file, or the entries of a folder, to disk (blocks); raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
