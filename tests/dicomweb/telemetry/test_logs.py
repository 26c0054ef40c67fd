"""Logs: what is in them, and above all what never is."""

import asyncio
import io
import json
import logging
from typing import Any

from dicomweb.telemetry import logs
from storage.errors import NotFound

PATIENT = "Musterfrau^Erika"


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines as objects."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_traceback_shows_code_but_no_values(lines: io.StringIO) -> None:
    """Errors are logged with their places; messages that may hold a patient's data are left out."""
    try:
        try:
            int(PATIENT)
        except ValueError as error:
            raise NotFound("There is no such study in the archive.") from error
    except NotFound:
        logging.getLogger("storage.some").exception("it failed")
    (line,) = parsed(lines)
    assert PATIENT not in lines.getvalue()
    assert "ValueError" in line["error"]
    assert "int(PATIENT)" in line["error"]
    assert line["error"].endswith("storage.errors.NotFound: There is no such study in the archive.")


def test_errors_in_a_group_are_shown(lines: io.StringIO) -> None:
    """Errors of tasks in a group are logged one by one, without their values."""
    try:
        raise ExceptionGroup("several", [KeyError(PATIENT), OSError(28, "No space left on device")])
    except ExceptionGroup:
        logging.getLogger("storage.some").exception("it failed")
    text = parsed(lines)[0]["error"]
    assert "KeyError" in text and "No space left" in text and PATIENT not in text


async def test_an_error_nobody_awaited_shows_no_values(lines: io.StringIO) -> None:
    """asyncio's own report has the repr of the error; ours has not."""
    loop = asyncio.get_running_loop()
    logs.report_loop_error(loop, {"message": "never retrieved", "exception": ValueError(PATIENT)})
    assert PATIENT not in lines.getvalue()
    assert parsed(lines)[0]["error"] == "ValueError"


def test_a_library_that_tells_values_is_silent(lines: io.StringIO) -> None:
    """pydicom logs the values it stumbles over: that is not for our log."""
    logging.getLogger("pydicom").warning("Invalid value: '%s'", PATIENT)
    assert lines.getvalue() == ""


def test_lines_for_people_are_short() -> None:
    """On a terminal a request is one short line."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "request", (), None)
    record.fields = {"method": "GET", "path": "/a", "status": 200, "bytes": 5, "duration_ms": 1.5}
    assert logs.TextFormatter("worker-1").format(record).endswith("info worker-1: GET /a 200 5 bytes 1.5 ms")
