"""Logs: one line a request and one an event, for a machine (JSON) or for a person at a terminal.

Facts this module keeps:

- Nothing of a patient is logged. Query strings hold names and identifiers: they are never logged, and of paths only
  what `dicomweb/telemetry/masked_path.py` lets through. Messages of errors
  hold values that were read: they are shown only for the kinds of errors that cannot. Tracebacks show code, never
  the values of variables.
- Every line of a request carries its identifier, which the response tells as `X-Request-ID`. It is ours, or that of a
  trusted proxy; what a stranger sends as one could be that of another's request: it is logged beside ours, as theirs.
- Lines go to standard error in one write each, so that those of several processes do not mix.
"""

import asyncio
import logging
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from dicomweb.settings import Settings
from storage.errors import ArchiveError

logger = logging.getLogger(__name__)
request_id: ContextVar[str] = ContextVar("request_id", default="")
client_request_id: ContextVar[str] = ContextVar("client_request_id", default="")

SHOWN = (ArchiveError, OSError, TypeError, AttributeError, NameError, ImportError, MemoryError)
"""Errors whose messages speak of code or of the machine, never of the values in a data set."""
OURS = ("dicomweb", "storage")
"""Loggers that follow `log_level`; of libraries only warnings and worse are logged, for some tell URLs and values."""
FIELDS = "fields"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identifier := request_id.get():
            line["request_id"] = identifier
        if theirs := client_request_id.get():
            line["client_request_id"] = theirs
        line |= getattr(record, FIELDS, {})
        if record.exc_info and record.exc_info[1]:
            line["error"] = "\n".join(describe(record.exc_info[1]))
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode("utf-8", "replace")


class TextFormatter(logging.Formatter):
    """Short lines for a person."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        fields = getattr(record, FIELDS, None)
        text = _request_text(fields) if fields and "method" in fields else record.getMessage()
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{moment} {record.levelname[:4].lower()} {self.process}: {text}"
        if (identifier := request_id.get()) and record.levelno >= logging.WARNING:
            theirs = client_request_id.get()
            line += f" [{identifier}, to the client {theirs}]" if theirs else f" [{identifier}]"
        if record.exc_info and record.exc_info[1]:
            line = "\n".join([line, *describe(record.exc_info[1])])
        return line


def _request_text(fields: dict[str, Any]) -> str:
    text = "{method} {path} {status} {bytes} bytes {duration_ms} ms".format(**fields)
    if instances := fields.get("instances"):
        text += ", " + ", ".join(f"{count} {status}" for status, count in instances.items())
    return text + (", broken off" if fields.get("broken_off") else "")


def describe(error: BaseException) -> Iterator[str]:
    """Write an error and its causes as lines: code and kinds, but no values.

    A message is shown only for the kinds in `SHOWN`.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from describe(cause)
        yield "which led to:"
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from describe(inner)
        yield "in a group:"
    yield from "".join(traceback.format_tb(error.__traceback__)).splitlines()
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    code = getattr(error, "sqlstate", None)
    yield f"{kind}{f' ({code})' if code else ''}" + (f": {error}" if isinstance(error, SHOWN) else "")


def configure(settings: Settings, process: str, stream: TextIO | None = None) -> None:
    """Send every log of this process to `stream`, in the format of the settings.

    Parameters
    ----------
    settings
        `log_level` and `log_format`.
    process
        What this process is called, such as "worker-1".
    stream
        Where the lines go; standard error by default.
    """
    stream = stream or sys.stderr
    text = settings.log_format == "text" or (settings.log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter(process) if text else JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level.upper())))
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)
    # The first three tell the values they stumble over; the last one tells every second that the database is away.
    for name in ("pydicom", "pynetdicom", "py.warnings", "asyncpg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def report_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody awaited (for `loop.set_exception_handler`); asyncio's own report shows values."""
    error = context.get("exception")
    logger.error("%s", context.get("message", "an error in the event loop"), exc_info=error)
