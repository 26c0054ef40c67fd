"""A file of an import, opened: judged by its first bytes, then read piece by piece.

What is DICOM is what the archive's own parser takes for it. A file that is not is passed over, unless it calls itself
DICOM.
"""

from collections.abc import Iterator
from typing import IO

from dicomweb.importing.found_file import Found, Unreadable
from dicomweb.importing.media_directory import is_directory_name
from dicomweb.importing.results import Result, Status
from storage.dicom.elements import Header
from storage.dicom.part10 import BytesSource, read_header
from storage.errors import ArchiveError
from storage.system.errors import in_words

CHUNK = 1 << 20
"""Bytes read at once."""

_ENOUGH_TO_JUDGE = 1 << 16
_DICOM_SUFFIXES = (".dcm", ".dicom")
_MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR under any name


class OpenedFile:
    """A DICOM file being read.

    Parameters
    ----------
    file : Found
        Which one.
    first : bytes
        Its first bytes.
    stream : binary file
        Stands after them.
    """

    def __init__(self, file: Found, first: bytes, stream: IO[bytes]) -> None:
        self.file = file
        self.first = first
        self._stream = stream

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole file, in pieces of at most `CHUNK` bytes, and close it; raises Unreadable."""
        piece = self.first
        with self._stream:
            while piece:
                yield piece
                piece = _read(self._stream)

    def close(self) -> None:
        """Close it unread."""
        self._stream.close()


def open_file(file: Found) -> OpenedFile | Result:
    """Open a file, or say why it is not imported."""
    try:
        stream = file.open()
        try:
            first = _read(stream)
            if (result := _judge(file, first)) is None:
                return OpenedFile(file, first, stream)
        except BaseException:
            stream.close()
            raise
        stream.close()
        return result
    except Unreadable as error:
        return refused(file, str(error))


def refused(file: Found, reason: str, *, again: bool = False) -> Result:
    """Say that a file was refused."""
    return Result(file.name, Status.REFUSED, reason, file.size, again=again)


def header_of(first: bytes) -> Header | None:
    """Read what the first bytes of a file tell of its header; None when they are not DICOM."""
    try:
        return read_header(BytesSource(first))[0]
    except ArchiveError:
        return None


def _read(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(CHUNK)
    except Exception as error:  # zipfile raises nearly anything on damaged input
        reason = in_words(error) if isinstance(error, OSError) and error.errno else "it is damaged"
        raise Unreadable(f"The file cannot be read: {reason}.") from None


def _judge(file: Found, first: bytes) -> Result | None:
    """Return None for a DICOM file, else what becomes of it."""
    name = file.name.rpartition("/")[2]
    if is_directory_name(name) or (first[128:132] == b"DICM" and _MEDIA_STORAGE_DIRECTORY in first[132:1024]):
        return Result(file.name, Status.PASSED_OVER, "It is the directory of a medium.", file.size)
    if first[128:132] == b"DICM":
        return None
    try:
        read_header(BytesSource(first[:_ENOUGH_TO_JUDGE]))
    except ArchiveError as error:
        if name.lower().endswith(_DICOM_SUFFIXES):
            return refused(file, str(error))
        return Result(file.name, Status.PASSED_OVER, "It is not a DICOM file.", file.size)
    return None
