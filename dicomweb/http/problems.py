"""How a client is told what went wrong: problem documents (RFC 9457), made of the table of failures.

The body says what is wrong and what would work; it never shows patient data, a path of the server or a stack trace
(PS3.18 8.5).
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.failures import failure_of
from dicomweb.http.masked_path import masked_path
from storage import errors
from storage.database.pool import connection_lost, is_no_text
from storage.system.errors import in_words

logger = logging.getLogger(__name__)

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
