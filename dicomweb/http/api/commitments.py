"""`/api/commitments`: storage commitments asked of the archive, what became of them, and reports sent again.

A commitment that is parked has a report that its requester did not take for as long as the settings say; once the
reason is mended, resend delivers it. See `storage.work.commitments` for the states.
"""

import re
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.api.body import answer
from dicomweb.http.api.openapi import operation, path_parameter, reference
from dicomweb.http.problems import RequestRefused
from storage.work.commitments import FAILURE_REASONS, STATES, CheckedReference, Commitment, Commitments, NotYetChecked

MOST_LISTED = 1000
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_HIDDEN = ("association",)


async def list_commitments(request: Request) -> Response:
    """Answer with commitments, the newest first."""
    states = [state for given in request.query_params.getlist("state") for state in given.split(",") if state]
    if unknown := [state for state in states if state not in STATES]:
        raise RequestRefused(400, f"state: {unknown[0][:40]!r} is none of {', '.join(STATES)}.")
    limit, before = _count(request, "limit") or 100, _count(request, "before")
    listed = await _commitments(request).newest(states=states, before=before, limit=min(limit, MOST_LISTED))
    return answer([shown(commitment) for commitment in listed])


async def show_commitment(request: Request) -> Response:
    """Answer with one commitment and its instances."""
    commitments, number = _commitments(request), _number(request)
    commitment = await commitments.get(number)
    references = await commitments.references(number)
    return answer(shown(commitment) | {"instances": [shown_reference(reference) for reference in references]})


async def resend_report(request: Request) -> Response:
    """Have the report delivered now, again if it was delivered before: 202."""
    try:
        return answer(shown(await _commitments(request).resend(_number(request))), 202)
    except NotYetChecked as error:
        raise RequestRefused(409, str(error)) from None


def shown(commitment: Commitment) -> dict[str, Any]:
    """Return a commitment as it is shown."""
    return {name: value for name, value in asdict(commitment).items() if name not in _HIDDEN}


def shown_reference(reference: CheckedReference) -> dict[str, Any]:
    """Return an instance of a commitment as it is shown."""
    reason = reference.failure_reason
    outcome = "unchecked" if reason is None else "failed" if reason else "sound"
    return {
        "sop_class_uid": reference.sop_class_uid,
        "sop_instance_uid": reference.sop_instance_uid,
        "outcome": outcome,
        "failure_reason": f"{reason:04X}" if reason else None,
        "meaning": FAILURE_REASONS.get(reason, "") if reason else "",
    }


def _commitments(request: Request) -> Commitments:
    return Commitments(request.app.state.archive.pool)


def _number(request: Request) -> int:
    number = request.path_params["number"]
    if not _NUMBER.fullmatch(number):
        raise RequestRefused(404, "There is no such commitment; GET /api/commitments lists those there are.")
    return int(number)


def _count(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise RequestRefused(400, f"{name}: must be a whole number above zero.")
    return int(text)


ROUTES: list[Route] = [
    Route("/commitments", list_commitments, methods=["GET"]),
    Route("/commitments/{number}", show_commitment, methods=["GET"]),
    Route("/commitments/{number}/resend", resend_report, methods=["POST"]),
]
"""Relative to `/api`."""

_TIME = {"type": ["string", "null"], "format": "date-time"}
_MEANINGS = ", ".join(f"{reason:04X} {meaning}" for reason, meaning in FAILURE_REASONS.items())
_MEMBERS: dict[str, Any] = {
    "id": {"type": "integer"},
    "transaction_uid": {"type": "string", "description": "The requester's."},
    "requester": {"type": "string", "description": "AE title that asked."},
    "called_ae_title": {"type": "string", "description": "AE title it called us by."},
    "duplicate": {"type": "boolean", "description": "The transaction UID was in use already: everything fails."},
    "state": {
        "type": "string",
        "enum": list(STATES),
        "description": "checking: files are read back; asking: the archive downstream is asked; reporting: the report "
        "is to be delivered; reported: the requester confirmed it; parked: its delivery was given up.",
    },
    "due_at": _TIME | {"description": "When the next step is tried."},
    "attempts": {"type": "integer", "description": "Of the present state."},
    "problem": {"type": "string", "description": "Why the last attempt failed; empty when none did."},
    "delivered_by": {"type": ["string", "null"], "enum": ["same", "new", "next", None]},
    "number_of_instances": {"type": "integer"},
    "number_failed": {"type": ["integer", "null"], "description": "Null until all are checked."},
    **dict.fromkeys(("requested_at", "checked_at", "give_up_at", "reported_at"), _TIME),
}
_INSTANCE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sop_class_uid": {"type": "string"},
        "sop_instance_uid": {"type": "string"},
        "outcome": {"type": "string", "enum": ["unchecked", "sound", "failed"]},
        "failure_reason": {"type": ["string", "null"], "description": f"Four hexadecimal digits: {_MEANINGS}."},
        "meaning": {"type": "string"},
    },
}
SCHEMAS: dict[str, Any] = {
    "Commitment": {"type": "object", "properties": _MEMBERS},
    "CommitmentInFull": {
        "type": "object",
        "properties": _MEMBERS | {"instances": {"type": "array", "items": _INSTANCE}},
    },
}

_NUMBER_PARAMETER = path_parameter("number", "Number of the commitment.", pattern=_NUMBER.pattern)
_UNKNOWN = {404: "There is no such commitment."}

PATHS: dict[str, Any] = {
    "/commitments": {
        "get": operation(
            "Storage commitments asked of the archive, the newest first",
            {200: ("The commitments.", {"type": "array", "items": reference("Commitment")})},
            query={
                "state": ({"type": "string"}, f"Only these, separated by commas: {', '.join(STATES)}."),
                "limit": ({"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 100}, "Most of them."),
                "before": ({"type": "integer"}, "Only those with smaller numbers: the last one of the page before."),
            },
            refusals={400: "A parameter is wrong."},
        ),
    },
    "/commitments/{number}": {
        "parameters": [_NUMBER_PARAMETER],
        "get": operation(
            "A commitment with its instances",
            {200: ("The commitment.", reference("CommitmentInFull"))},
            refusals=_UNKNOWN,
        ),
    },
    "/commitments/{number}/resend": {
        "parameters": [_NUMBER_PARAMETER],
        "post": operation(
            "Deliver the report now, as often and as long as a new one is tried",
            {202: ("It is on its way; the state tells.", reference("Commitment"))},
            refusals=_UNKNOWN | {409: "There is no report yet."},
        ),
    },
}
