"""DICOM files out of a ZIP archive that came as the body of a store request.

What is kept here:

* A ZIP can be read only from its end, so it is received into an unnamed temporary file first.
* Nothing is ever written under a name of the archive's choosing: the names only tell what may be left out.
* A small archive can claim to grow without end: the number of entries, the size of the directory that lists
  them, the sum of the sizes and their ratio to the archive are limited before anything is inflated.
  Archives inside are not opened. An entry gives no more than it claims, and is inflated in steps: `zipfile` undoes
  bzip2 without any, and 4 KiB of it become gigabytes.
* What is no DICOM file (pictures, texts, viewers on a disc, DICOMDIR) is left out without a word; an entry
  that calls itself DICOM, or is damaged, is reported and costs only itself.
"""

import asyncio
import bz2
import tempfile
import zipfile
from collections.abc import AsyncIterable, AsyncIterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dicomweb.http.message.spool import receive
from dicomweb.http.stow.body import FREE_INFLATION, MAX_INFLATION, BodyError
from storage.errors import InvalidDicom

if TYPE_CHECKING:
    from storage.ingest import Ingest

_CHUNK = 1024 * 1024
_ZIP64_RECORD = b"PK\x06\x06"
_LONGEST_END_RECORD = 22 + 65535 + 20
_LARGEST_DIRECTORY = 64 * 2**20
_DICOM_SUFFIXES = (".dcm", ".dicom", ".dic")
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """What an archive may not exceed.

    Attributes
    ----------
    entries : int
        Most entries, of any kind.
    total_bytes : int
        Most bytes of all entries together, inflated.
    """

    entries: int
    total_bytes: int


async def store_zip(ingest: "Ingest", body: AsyncIterable[bytes], folder: Path, limits: ZipLimits) -> None:
    """Take in every DICOM file of a ZIP archive.

    Parameters
    ----------
    ingest : Ingest
        Where the files go; damaged ones are recorded there as failures.
    body : asynchronous iterable of bytes
        The archive.
    folder : Path
        On the file system that may hold the archive while it is read.
    limits : ZipLimits
        What is refused as a whole.

    Raises
    ------
    BodyError
        400 when it is no ZIP archive or was cut off, 413 when it goes beyond the limits.
    OutOfSpace
        There is no room to receive it.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        await receive(body, file)
        try:
            archive = await asyncio.to_thread(_open, file, limits)
        except BodyError:
            raise
        except Exception:  # zipfile raises nearly anything on hostile input
            raise BodyError(400, "The body is not a ZIP archive, or it was cut off.") from None
        with archive:
            for entry in archive.infolist():
                await _store_entry(ingest, archive, entry)


def _open(file: IO[bytes], limits: ZipLimits) -> zipfile.ZipFile:
    size = file.seek(0, 2)
    entries, directory = _directory_size(file, size)
    if entries > limits.entries or directory > _LARGEST_DIRECTORY:
        raise BodyError(413, f"The ZIP archive has more than {limits.entries} entries.")
    archive = zipfile.ZipFile(file)
    inflated = sum(entry.file_size for entry in archive.infolist())
    if len(archive.infolist()) > limits.entries:
        raise BodyError(413, f"The ZIP archive has more than {limits.entries} entries.")
    if inflated > limits.total_bytes:
        raise BodyError(413, f"The files of the ZIP archive are larger than {limits.total_bytes} bytes together.")
    if inflated > max(FREE_INFLATION, MAX_INFLATION * size):
        raise BodyError(413, f"The ZIP archive grows to more than {MAX_INFLATION} times its size.")
    return archive


def _directory_size(file: IO[bytes], size: int) -> tuple[int, int]:
    """Read how many entries an archive has and how long its directory is, in bytes, without reading that."""
    start = max(0, size - _LONGEST_END_RECORD)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise zipfile.BadZipFile
    entries = int.from_bytes(tail[end + 10 : end + 12], "little")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    locator = tail[max(0, end - 20) : end]
    if locator.startswith(b"PK\x06\x07"):  # ZIP64: the true numbers stand in another record
        record = _zip64_record(file, start + end - 20 - 56, int.from_bytes(locator[8:16], "little"))
        entries = int.from_bytes(record[32:40], "little")
        directory = int.from_bytes(record[40:48], "little")
    return entries, directory


def _zip64_record(file: IO[bytes], place: int, named: int) -> bytes:
    """Read the ZIP64 end record at `place`, directly before its locator: zipfile reads that one.

    The locator gives a place counted from the start of the archive, so with data in front of it `named` is another
    one. A second record there is refused: some versions of zipfile read that, and the two may differ.
    """
    if place < 0:
        raise zipfile.BadZipFile
    file.seek(place)
    record = file.read(56)
    if not record.startswith(_ZIP64_RECORD):
        raise zipfile.BadZipFile
    file.seek(named)
    if named != place and file.read(4) == _ZIP64_RECORD:
        raise zipfile.BadZipFile
    return record


async def _store_entry(ingest: "Ingest", archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    # A folder's name ends in a slash, so that nothing is left of it here.
    name = entry.filename.replace("\\", "/").rpartition("/")[2].lower()
    if not name or name == "dicomdir" or name.startswith(".") or "__MACOSX/" in entry.filename:
        return
    if entry.flag_bits & 1:
        ingest.fail(InvalidDicom("A file in the ZIP archive is encrypted."))
        return
    try:
        file = await asyncio.to_thread(_opened, archive, entry)
        first = await asyncio.to_thread(file.read, _CHUNK)
    except Exception:  # as above
        ingest.fail(InvalidDicom("A file in the ZIP archive is damaged, or is compressed in an unusual way."))
        return
    with file:
        if _is_dicom(first):
            await ingest.add(_chunks(file, first, entry.file_size))
        elif name.endswith(_DICOM_SUFFIXES):
            ingest.fail(InvalidDicom("A file in the ZIP archive is named as DICOM but is not."))
        elif name.endswith(_ARCHIVE_SUFFIXES):
            ingest.fail(InvalidDicom("Archives inside the ZIP archive are not opened; send them one by one."))


def _is_dicom(first: bytes) -> bool:
    """Whether a file begins like a DICOM file, with or without its preamble, and is not a directory of a disc."""
    if first[128:132] == b"DICM":
        return _MEDIA_STORAGE_DIRECTORY not in first[132:512]
    # Without preamble: an element of group 0002 or 0008 with a low element number, then a VR or a short
    # length.
    return (
        len(first) > 8
        and first[0] in (0x02, 0x08)
        and first[1] == first[3] == 0
        and (first[4:6].isalpha() or first[6:8] == b"\0\0")
    )


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    """Open an entry so that reading a chunk takes no more memory than a few chunks."""
    if entry.compress_type != zipfile.ZIP_BZIP2:
        return archive.open(entry)
    compressed = copy(entry)
    compressed.compress_type = zipfile.ZIP_STORED
    compressed.file_size = entry.compress_size
    del compressed.CRC  # it is of what comes out; bzip2 has checksums of its own
    return bz2.BZ2File(archive.open(compressed))


async def _chunks(file: IO[bytes], first: bytes, length: int) -> AsyncIterator[bytes]:
    chunk = first
    while chunk:
        length -= len(chunk)
        if length < 0:
            raise InvalidDicom("A file in the ZIP archive is larger than the archive says.")
        yield chunk
        try:
            chunk = await asyncio.to_thread(file.read, _CHUNK)
        except Exception:  # a wrong checksum too
            raise InvalidDicom("A file in the ZIP archive is damaged.") from None
