"""What the exit status of a command means: one number for each kind of mistake, so that scripts can tell them apart."""

from collections.abc import Mapping
from enum import IntEnum

from dicomweb.settings import SettingsError
from storage import errors


class ExitStatus(IntEnum):
    """How a command ended."""

    DONE = 0
    INCOMPLETE = 1
    WRONG_USE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: Mapping[ExitStatus, str] = {
    ExitStatus.DONE: "done",
    ExitStatus.INCOMPLETE: "some of it could not be done, or is not in order; the output says what",
    ExitStatus.WRONG_USE: "a command, flag, setting or value is wrong; nothing was done",
    ExitStatus.NOT_FOUND: "the archive, study, peer, job or viewer named is not there",
    ExitStatus.REFUSED: "not as things are: the folder is in use, the database is another, the peer refuses",
    ExitStatus.UNAVAILABLE: "database, disk, server or peer does not answer, or is full; it may work later",
    ExitStatus.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitStatus.PIPE_CLOSED: "nobody read the output any more",
}
"""For the README, which a test compares."""

STATUSES: Mapping[type[Exception], ExitStatus] = {
    SettingsError: ExitStatus.WRONG_USE,
    errors.InvalidQuery: ExitStatus.WRONG_USE,
    errors.WrongDatabaseUrl: ExitStatus.WRONG_USE,
    errors.NotFound: ExitStatus.NOT_FOUND,
    errors.InUse: ExitStatus.REFUSED,
    errors.SchemaMismatch: ExitStatus.REFUSED,
    errors.ForeignFiles: ExitStatus.REFUSED,
    errors.Unavailable: ExitStatus.UNAVAILABLE,
    errors.OutOfSpace: ExitStatus.UNAVAILABLE,
    errors.ArchiveError: ExitStatus.INCOMPLETE,
}
"""Exception class to status; a class that is not here ends as its nearest base here does."""


def status_of(error: Exception) -> ExitStatus:
    """Return the status with which a command ends because of an error that was raised on purpose."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
