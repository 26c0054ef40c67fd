"""What every failure means in HTTP, STOW-RS and DIMSE: one table.

Facts this module keeps:

- HTTP statuses are those of PS3.18 8.5; failure reasons those of PS3.18 Table I.2-2 and PS3.4 Table B.2-1.
- An instance refused because of its class is a 409 with reason 0122, never 501 (checklist A-108).
"""

from collections.abc import Mapping
from typing import NamedTuple

from storage import errors
from storage.pixels.pixel_data import UndecodablePixelData, UnencodablePixelData


class Failure(NamedTuple):
    """One failure in three languages.

    Attributes
    ----------
    http_status : int
        When the whole request failed for this reason.
    stow_reason : int
        Failure Reason (0008,1197) of an instance (PS3.18 Table I.2-2).
    dimse_status : int
        Status (0000,0900) of the response (PS3.4 Table B.2-1, PS3.7 Annex C).
    """

    http_status: int
    stow_reason: int
    dimse_status: int


PROCESSING_FAILURE = Failure(500, 0x0110, 0x0110)
"""What an error that nobody foresaw means."""

FAILURES: Mapping[type[Exception], Failure] = {
    errors.InvalidDicom: Failure(400, 0xC000, 0xC000),
    errors.ContradictoryPixelData: Failure(409, 0xC000, 0xC000),
    errors.MissingIdentifier: Failure(400, 0xA900, 0xA900),
    errors.LimitExceeded: Failure(413, 0xA700, 0xA700),
    errors.ConflictingInstance: Failure(409, 0x0111, 0x0111),
    errors.StudyMismatch: Failure(409, 0xA901, 0xA900),
    errors.InstanceMismatch: Failure(409, 0xA900, 0xA900),
    errors.SopClassRefused: Failure(409, 0x0122, 0x0122),
    errors.TransferSyntaxRefused: Failure(409, 0xC122, 0xC122),
    errors.OutOfSpace: Failure(507, 0xA700, 0xA700),
    errors.NotFound: Failure(404, 0x0112, 0x0112),
    errors.Damaged: PROCESSING_FAILURE,
    errors.InvalidQuery: Failure(400, 0xC000, 0xA900),
    errors.QueryTooBroad: Failure(413, 0xA700, 0xA700),
    errors.Unavailable: Failure(503, 0xA700, 0xA700),
    errors.Busy: Failure(503, 0xA700, 0xA700),
    UndecodablePixelData: Failure(406, 0xC000, 0xC000),
    errors.CodecEnded: Failure(406, 0xC000, 0xC000),
    UnencodablePixelData: Failure(406, 0xC000, 0xC000),
    errors.InUse: Failure(503, 0xA700, 0xA700),
    errors.SchemaMismatch: Failure(503, 0x0110, 0x0110),
    errors.DamagedDatabase: Failure(503, 0x0110, 0x0110),
    errors.WrongDatabaseUrl: Failure(503, 0x0110, 0x0110),
    errors.ForeignFiles: Failure(503, 0x0110, 0x0110),
    errors.ArchiveError: PROCESSING_FAILURE,
}
"""Exception class to failure; a class that is not here means what its nearest base here means."""


def failure_of(error: BaseException) -> Failure:
    """Return what `error` means; `PROCESSING_FAILURE` for one nobody foresaw."""
    for kind in type(error).__mro__:
        if (failure := FAILURES.get(kind)) is not None:
            return failure
    return PROCESSING_FAILURE
