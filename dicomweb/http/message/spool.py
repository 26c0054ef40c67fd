"""Temporary files for request bodies that cannot be read as a stream.

They lie in `<data>/incoming`, in a folder of the process that receives them, on the disk that the instances go to: the
system's own temporary folder is often in memory. They hold patients' pixels, so what a killed process left there is
removed when the supervisor sees its end, or starts.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterable, Collection
from contextlib import suppress
from pathlib import Path
from typing import IO

from storage.errors import OutOfSpace
from storage.system.private_path import make_folder

FOLDER = "incoming"
PREFIX = "request-"
_PIECE = 1024 * 1024


def spool_folder(data_dir: Path) -> Path:
    """Return this process's folder for temporary files below the data folder, made if need be.

    Raises
    ------
    OutOfSpace
        It cannot be made.
    """
    folder = data_dir / FOLDER / str(os.getpid())
    try:
        make_folder(folder)
    except OSError as error:
        raise OutOfSpace("There is no room to receive the request.") from error
    return folder


def sweep_spool(data_dir: Path, living: Collection[int] = ()) -> None:
    """Remove what processes left behind that are not among the `living` (blocks); only for the holder of the folder."""
    with suppress(FileNotFoundError):
        for left in (data_dir / FOLDER).iterdir():
            if left.name not in {str(process) for process in living}:
                shutil.rmtree(left, ignore_errors=True)


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
