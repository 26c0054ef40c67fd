"""What every failure means in HTTP, STOW-RS and DIMSE: one table.

Facts this module keeps:

- HTTP statuses are those of PS3.18 8.5; failure reasons those of PS3.18 Table I.2-2 and PS3.4 Table B.2-1.
- An instance refused because of its class is a 409 with reason 0122, never 501 (checklist A-108).
- The body of an error is a problem document (RFC 9457) that says what is wrong and what would work; it never shows
  patient data, a path of the server or a stack trace (PS3.18 8.5).
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.masked_path import masked_path
from storage import errors
from storage.database import connection_lost, is_no_text
from storage.pixel_data import UndecodablePixelData, UnencodablePixelData
from storage.system_errors import in_words

logger = logging.getLogger(__name__)


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

RETRY_AFTER_SECONDS = 5


class RequestRefused(HTTPException):
    """A request that cannot be answered, with members for its problem document.

    Parameters
    ----------
    status_code : int
        HTTP status.
    detail : str
        What is wrong and what would work; free of patient data.
    headers : mapping, optional
        Response headers.
    **members
        Further members of the problem document.
    """

    def __init__(self, status_code: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(status_code, detail, dict(headers) if headers else None)
        self.members = members


class NotAcceptable(RequestRefused):
    """Nothing the client accepts can be produced (PS3.18 8.7.8.1).

    Parameters
    ----------
    detail : str
        Why.
    available : sequence of str
        The media types, with their parameters, that the resource can be had in (checklist A-035).
    """

    def __init__(self, detail: str, available: "list[str] | tuple[str, ...]") -> None:
        super().__init__(406, detail, available=list(available))


def failure_of(error: BaseException) -> Failure:
    """Return what `error` means; `PROCESSING_FAILURE` for one nobody foresaw."""
    for kind in type(error).__mro__:
        if (failure := FAILURES.get(kind)) is not None:
            return failure
    return PROCESSING_FAILURE


def problem(
    status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """Make the response that tells a client what went wrong.

    Parameters
    ----------
    status : int
        HTTP status.
    title : str
        The kind of problem; the status phrase when empty.
    detail : str
        This problem: what is wrong and what would work.
    headers : mapping, optional
        Further response headers.
    **members
        Further members of the document, for example `available`.

    Returns
    -------
    Response
        application/problem+json (RFC 9457).

    Standard
    --------
    PS3.18 8.6.3.
    """
    body = {"status": status, "title": title or phrase(status), "detail": detail, **members}
    return Response(
        orjson.dumps(body, default=str),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/problem+json",
    )


def phrase(status: int) -> str:
    """Return the phrase of an HTTP status, for example "Not Found"."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


async def answer_archive_error(request: Request, error: Exception) -> Response:
    """Answer an error the archive raised on purpose; being busy is no fault, however often it is said."""
    status = failure_of(error).http_status
    if status >= 500:
        level = logging.WARNING if isinstance(error, errors.Busy) else logging.ERROR
        logger.log(level, "%s %s: %s", request.method, masked_path(request.scope["path"], request.app), error)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    return problem(status, "", str(error) or phrase(status), headers=headers)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer an HTTPException of a handler or of the router."""
    assert isinstance(error, HTTPException)
    members = error.members if isinstance(error, RequestRefused) else {}
    detail = error.detail
    if error.status_code == 404 and detail == phrase(404):
        detail = "There is no such resource; OPTIONS on the DICOMweb root lists what there is."
    return problem(error.status_code, "", detail, headers=error.headers, **members)


def answer_unforeseen(error: BaseException) -> Response:
    """Answer an error nobody foresaw; the log has the details, the client a plain sentence.

    A lost connection is foreseen, wherever it shows: 503, so that clients come again. So is a NUL: 400.
    """
    if is_no_text(error):
        return problem(400, "", "Something in the request has a character that no text has, such as NUL.")
    if connection_lost(error):
        logger.error("the database or the storage does not answer: %s", in_words(error))
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return problem(503, "", "The database or the storage does not answer now; try again later.", headers=headers)
    logger.error("unforeseen error", exc_info=error)
    return problem(500, "", "The server failed on this request; its log has the details.")
