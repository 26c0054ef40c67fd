"""JSON in and out of `/api`: bodies are read up to a limit and checked against a model, with readable refusals."""

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.http.problems import RequestRefused
from dicomweb.http.urls import MOUNT, base_url

MOUNT_OF_API = "/api"
LONGEST = 1 << 20
"""Bytes of a body; lists of UIDs and worklist items are far below."""


class Members(BaseModel):
    """The members of a JSON object; others are refused, values are never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Members = TypeVar("_Members", bound=Members)


async def read_json(request: Request, *, longest: int = LONGEST) -> Any:
    """Read the body; an empty one is an empty object.

    Raises
    ------
    RequestRefused
        413 when it is longer than `longest` bytes, 400 when it is not JSON.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            raise RequestRefused(413, f"The body is longer than the limit of {longest} bytes.")
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(400, f"The body is not JSON: {error.msg} at character {error.pos}.") from None


async def read_members(request: Request, model: type[_Members]) -> _Members:
    """Read the body as an object with the members of `model`.

    Raises
    ------
    RequestRefused
        As `read_json`; and 400 that names every member that is wrong.
    """
    value = await read_json(request)
    if not isinstance(value, dict):
        raise RequestRefused(400, "The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RequestRefused(400, explain(error, model)) from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say of each member what is wrong with it; never shows a value, which may be a passcode."""
    sentences = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            sentences.append(f"{name}: there is no such member; there are {', '.join(model.model_fields)}")
        elif problem["type"] == "missing":
            sentences.append(f"{name}: is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            sentences.append(f"{name}: {message}" if name else message)
    return "; ".join(sentences) + "."


def answer(value: Any, status: int = 200, *, location: str | None = None) -> Response:
    """Answer with a JSON value that no cache keeps."""
    headers = {"Cache-Control": "no-store"} | ({"Location": location} if location else {})
    return Response(orjson.dumps(value) + b"\n", status, headers, "application/json")


def api_url(request: Request, path: str = "") -> str:
    """Return the absolute URL of a path below `/api` as this client sees it (RFC 9110 10.2.2)."""
    base = base_url(request)
    if base.endswith(MOUNT):
        return base.removesuffix(MOUNT) + MOUNT_OF_API + path
    scheme, _, rest = base.partition("://")  # a proxy maps the DICOMweb root elsewhere
    return f"{scheme}://{rest.partition('/')[0]}{MOUNT_OF_API}{path}"
