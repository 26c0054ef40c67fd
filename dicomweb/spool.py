"""Temporary files for request bodies that cannot be read as a stream.

They lie in `<data>/incoming`, on the disk that the instances go to: the system's own temporary folder is
often in memory. What a killed process left there is removed a day later.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterable
from pathlib import Path
from typing import IO

from storage.errors import OutOfSpace
from storage.private_path import make_folder

PREFIX = "request-"
_STALE_AFTER_SECONDS = 24 * 3600
_PIECE = 1024 * 1024


def spool_folder(data_dir: Path) -> Path:
    """Return the folder for temporary files below the data folder, made and cleaned.

    Raises
    ------
    OutOfSpace
        It cannot be made.
    """
    folder = data_dir / "incoming"
    try:
        make_folder(folder)
        oldest = time.time() - _STALE_AFTER_SECONDS
        for left in folder.glob(PREFIX + "*"):
            if left.stat().st_mtime < oldest:
                shutil.rmtree(left, ignore_errors=True)
    except FileNotFoundError:  # another process was faster
        pass
    except OSError as error:
        raise OutOfSpace("There is no room to receive the request.") from error
    return folder


async def receive(body: AsyncIterable[bytes], file: IO[bytes]) -> int:
    """Write a stream to a file, in a thread and in large pieces.

    Parameters
    ----------
    body : asynchronous iterable of bytes
        What to write.
    file : binary file
        Written from where it stands.

    Returns
    -------
    int
        Length of the body in bytes.

    Raises
    ------
    OutOfSpace
        The file cannot be written.
    """
    length = 0
    pending: list[bytes] = []
    held = 0
    async for chunk in body:
        pending.append(chunk)
        held += len(chunk)
        if held >= _PIECE:
            length += await asyncio.to_thread(_write, file, pending)
            pending, held = [], 0
    return length + await asyncio.to_thread(_write, file, pending)


def _write(file: IO[bytes], pieces: list[bytes]) -> int:
    data = b"".join(pieces)
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise OutOfSpace("There is no room to receive the request.") from error
    return len(data)
