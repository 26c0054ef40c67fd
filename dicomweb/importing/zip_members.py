"""The files in a ZIP archive on disk, read one by one and never written anywhere under their names.

A small archive can claim to grow without end: the number of its entries, and what they grow to in proportion to the
archive, are limited. `zipfile` itself never inflates an entry beyond the size it claims. Archives inside are not
opened.
"""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dicomweb.http.stow.body import FREE_INFLATION, MAX_INFLATION
from dicomweb.importing.found_file import FoundFile, Unreadable, journal_key
from dicomweb.importing.results import Result, Status, shown

MOST_ENTRIES = 2_000_000
_ENCRYPTED = 1  # bit of the flags (APPNOTE 4.4.4)


class ZipMember:
    """A file in a ZIP archive.

    Parameters
    ----------
    file : FoundFile
        The archive.
    archive : ZipFile
        The same, open; members share it from several threads, and the last one closes it.
    entry : ZipInfo
        Which member.
    """

    __slots__ = ("_archive", "_entry", "_file")

    def __init__(self, file: FoundFile, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        self._file = file
        self._archive = archive
        self._entry = entry

    @property
    def name(self) -> str:
        """The file, fit to be shown."""
        return shown(f"{self._file.path}/{self._entry.filename}")

    @property
    def size(self) -> int:
        """In bytes, inflated."""
        return self._entry.file_size

    def key(self) -> bytes:
        """What tells it from any other file and from its own earlier states, 16 bytes."""
        entry = self._entry
        return journal_key(self._file.key(), entry.header_offset, entry.CRC, entry.file_size)

    def open(self) -> IO[bytes]:
        """Open it for reading; raises Unreadable."""
        if self._entry.flag_bits & _ENCRYPTED:
            raise Unreadable("The file in the ZIP archive is encrypted.")
        try:
            return self._archive.open(self._entry)
        except Exception:  # zipfile raises nearly anything on damaged input
            raise Unreadable("The file in the ZIP archive is damaged, or is compressed in an unusual way.") from None


def is_zip(path: Path, *, given: bool) -> bool:
    """Whether to look into a file: by its content when it was `given` itself, by its name in a folder."""
    if not given:
        return path.suffix.lower() == ".zip"
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def zip_members(path: Path, status: os.stat_result) -> Iterator[ZipMember | Result]:
    """Yield the files in a ZIP archive, or why it cannot be read."""
    file = FoundFile(path, status.st_size, status.st_mtime_ns)
    try:
        archive = zipfile.ZipFile(path)
    except Exception:  # as above
        yield Result(file.name, Status.REFUSED, "The ZIP archive cannot be read, or was cut off.", file.size)
        return
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    inflated = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_ENTRIES:
        yield Result(file.name, Status.REFUSED, f"The ZIP archive has more than {MOST_ENTRIES:,} entries.", file.size)
    elif inflated > max(FREE_INFLATION, MAX_INFLATION * file.size):
        reason = f"The ZIP archive grows to more than {MAX_INFLATION} times its size."
        yield Result(file.name, Status.REFUSED, reason, file.size)
    else:
        for entry in entries:
            yield ZipMember(file, archive, entry)
