"""What can go wrong in the archive; every message tells a person what is wrong and what to do.

`dicomweb/failures.py` holds the one table that translates these into HTTP, STOW-RS and DIMSE statuses.
"""

from typing import TypeVar


class ArchiveError(Exception):
    """Base of every error the archive raises on purpose; `str(error)` is safe to show (no patient data, no paths)."""


_Error = TypeVar("_Error", bound=ArchiveError)


def without_frames(error: _Error) -> _Error:
    """Return an error that is kept for long, without what it came from.

    The frames it was raised in hold what was being read when it went wrong, which can be all of it.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


class InvalidDicom(ArchiveError):
    """The bytes are not a DICOM data set that can be read (PS3.4 B.2.3: cannot understand)."""


class ContradictoryPixelData(InvalidDicom):
    """The pixel data that came beside metadata is another image than the metadata describes (PS3.18 10.5.2)."""


class MissingIdentifier(InvalidDicom):
    """One of the four identifying UIDs is absent, empty or ill-formed (PS3.18 I.2.2)."""


class LimitExceeded(ArchiveError):
    """A limit on size, nesting depth, element count or inflation was exceeded."""


class ConflictingInstance(ArchiveError):
    """Another file is already stored under this study, series and SOP Instance UID."""


class StudyMismatch(ArchiveError):
    """The instance does not belong to the study named by the request (PS3.18 10.5.1)."""


class InstanceMismatch(ArchiveError):
    """The data set is another instance, or of another class, than its sender said (PS3.4 B.2.3)."""


class SopClassRefused(ArchiveError):
    """The SOP class is refused by configuration."""


class TransferSyntaxRefused(ArchiveError):
    """The transfer syntax is refused by configuration."""


class OutOfSpace(ArchiveError):
    """There is no room left to store the instance."""


class NotFound(ArchiveError):
    """The study, series, instance, frame or bulk data value is not in the archive, or the archive itself not there."""


class Damaged(ArchiveError):
    """The stored file is not what was stored; nothing of what differs is given out."""


class InvalidQuery(ArchiveError):
    """A search key, its value or a paging parameter is wrong; the message names the parameter."""


class QueryTooBroad(ArchiveError):
    """The search took longer than the archive allows."""


class Unavailable(ArchiveError):
    """The database or the storage does not answer now; trying again later may succeed."""


class Busy(Unavailable):
    """More work is waiting than is taken on; trying again in a moment will succeed."""


class UndecodablePixelData(ArchiveError):
    """The pixel data cannot be turned into pixels: damaged, not as the data set says, or in an unknown encoding."""


class CodecEnded(UndecodablePixelData):
    """What is in the pixel data ends the process that works on it, or keeps it busy for ever."""


class InUse(ArchiveError):
    """The data folder is used by another running instance."""


class WrongDatabaseUrl(ArchiveError):
    """The database URL is none, or says what driver or server do not take; the message shows nothing of it."""


class ForeignFiles(ArchiveError):
    """The files in the data folder are not those that the database knows."""


class DamagedDatabase(ArchiveError):
    """The database cannot be used as it is, most likely since its files are damaged; the message says what to do."""


class SchemaMismatch(ArchiveError):
    """The database schema is newer than this program, or was changed by something else."""
