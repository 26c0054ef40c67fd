"""The table of failures, and the problem documents made of it."""

import inspect
import logging

import httpx2
import orjson
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.failures import FAILURES, PROCESSING_FAILURE, failure_of
from dicomweb.http.app import assemble
from dicomweb.http.problems import NotAcceptable, problem
from dicomweb.settings import Settings
from storage import errors

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ArchiveError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_archive_error_is_in_the_table(kind: type[Exception]) -> None:
    """No error raised on purpose falls back to a guess (PS3.18 8.5, Table I.2-2)."""
    assert kind in FAILURES


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (errors.ConflictingInstance(""), 409, 273),
        (errors.SopClassRefused(""), 409, 290),
        (errors.TransferSyntaxRefused(""), 409, 49442),
        (errors.InvalidDicom(""), 400, 0xC000),
        (errors.ContradictoryPixelData(""), 409, 0xC000),
        (errors.MissingIdentifier(""), 400, 0xA900),
        (errors.OutOfSpace(""), 507, 0xA700),
        (errors.NotFound(""), 404, 0x0112),
        (ZeroDivisionError(), 500, 272),
    ],
)
def test_failures_have_the_codes_of_the_standard(error: Exception, status: int, reason: int) -> None:
    """HTTP statuses and failure reasons are those of the tables (B-030 to B-036, B-043)."""
    failure = failure_of(error)
    assert (failure.http_status, failure.stow_reason) == (status, reason)


def test_a_new_kind_of_error_means_what_its_base_means() -> None:
    """A subclass that is not in the table is treated as its nearest base."""

    class Odd(errors.MissingIdentifier):
        pass

    assert failure_of(Odd("")) == FAILURES[errors.MissingIdentifier]
    assert failure_of(KeyError()) == PROCESSING_FAILURE


def test_a_problem_says_what_is_available() -> None:
    """The body of an error is JSON with status, title and detail, and is not kept by caches (A-110, A-035)."""
    refused = NotAcceptable("no", ["image/jls"])
    response = problem(406, "", "no", **refused.members)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert orjson.loads(response.body) == {
        "status": 406,
        "title": "Not Acceptable",
        "detail": "no",
        "available": ["image/jls"],
    }


async def answer_to(error: Exception) -> httpx2.Response:
    """Return the answer to a request for a study that ends in an error."""

    async def fails(request: Request) -> Response:
        raise error

    app = assemble(None, Settings(), [Route("/studies/{study}", fails)])  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        return await client.get("/dicom-web/studies/SMITH^JOHN")


async def test_the_log_of_a_failure_does_not_tell_the_path(caplog: pytest.LogCaptureFixture) -> None:
    """A name in place of a UID is masked when the archive does not answer (PS3.18 8.5)."""
    with caplog.at_level(logging.ERROR):
        assert (await answer_to(errors.Unavailable("The database does not answer."))).status_code == 503
    assert "GET /dicom-web/studies/*: The database" in caplog.text
    assert "SMITH" not in caplog.text


@pytest.mark.parametrize(("kind", "level"), [(errors.Busy, logging.WARNING), (errors.Unavailable, logging.ERROR)])
async def test_being_busy_is_no_error_in_the_log(
    kind: type[Exception], level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are a 503 with Retry-After; only what does not answer at all is an error (A-109)."""
    with caplog.at_level(logging.WARNING):
        answer = await answer_to(kind("Try again."))
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert [record.levelno for record in caplog.records if record.name == "dicomweb.http.problems"] == [level]
