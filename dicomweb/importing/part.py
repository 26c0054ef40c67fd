"""One file as a part of a store request: its length is known before it is read, and it can be read again."""

from collections.abc import Iterator

from dicomweb.importing.found_file import Found, Unreadable
from dicomweb.importing.opened_file import CHUNK, OpenedFile, open_file
from dicomweb.importing.results import Result
from storage.dicom.part10 import BytesSource, read_header
from storage.dicom.vr import tag_of
from storage.errors import ArchiveError

_SOP_INSTANCE_UID = tag_of("SOPInstanceUID")


class Part:
    """A DICOM file to be sent.

    Attributes
    ----------
    file : Found
        The file.
    size : int
        Its length in bytes; what is sent has this length or the request is broken off.
    """

    def __init__(self, opened: OpenedFile) -> None:
        self.file = opened.file
        self._beginning = opened.first
        self._whole = len(opened.first) < CHUNK
        self.size = len(opened.first) if self._whole else opened.file.size
        if not self._whole:
            self._beginning = self._beginning[: CHUNK // 4]
        opened.close()

    @classmethod
    def of(cls, file: Found) -> "Part | Result":
        """Look at a file; a `Result` when it is not to be sent."""
        opened = open_file(file)
        return opened if isinstance(opened, Result) else cls(opened)

    def pieces(self) -> Iterator[bytes]:
        """Yield the file in pieces, exactly `size` bytes; raises Unreadable."""
        if self._whole:
            yield self._beginning
            return
        opened = open_file(self.file)
        if isinstance(opened, Result):
            raise Unreadable(opened.reason)
        left = self.size
        for piece in opened.pieces():
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise Unreadable("The file changed while it was sent.")

    def sop_instance_uid(self) -> str:
        """The SOP Instance UID, "" when it cannot be told from the beginning of the file."""
        try:
            header, _ = read_header(BytesSource(self._beginning))
        except ArchiveError:
            return ""
        element = header.dataset.get(_SOP_INSTANCE_UID)
        return element.value.decode("latin-1").strip(" \0") if element and isinstance(element.value, bytes) else ""
