"""`/api/performed-steps`: what modalities report of their work (MPPS).

They cannot be written here: a performed procedure step is what a modality says it is (PS3.4 F.7).
"""

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.api.body import answer, api_url
from dicomweb.http.api.openapi import operation, path_parameter, reference
from storage.errors import InvalidQuery
from storage.matching.date_time import date_range
from storage.worklist.performed_steps import PerformedStep, PerformedSteps, StepFilter

DEFAULT_RESULTS: Final = 100
MOST_RESULTS: Final = 1000
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_FILTERS: Final = ("status", "patient_id", "modality", "calling_ae_title", "study_instance_uid", "accession_number")


async def list_performed_steps(request: Request) -> Response:
    """Answer with performed steps, those that began last first."""
    given = dict(request.query_params.multi_items())
    for name in given:
        if name not in (*_FILTERS, "date", "limit", "offset"):
            raise InvalidQuery(
                f"there is no parameter {name[:40]}; there are {', '.join(_FILTERS)}, date, limit, offset"
            )
    start = end = None
    if "date" in given:
        days = date_range("date", given["date"])
        start, end = days.low, days.high + ":" if days.high else None  # a colon sorts after every digit
    wanted = StepFilter(**{name: given.get(name) for name in _FILTERS}, start=start, end=end)
    limit = min(_number(given, "limit", DEFAULT_RESULTS), MOST_RESULTS)
    found = await _steps(request).find(wanted, limit=limit, offset=_number(given, "offset", 0))
    return answer([_shown(request, step) for step in found])


async def show_performed_step(request: Request) -> Response:
    """Answer with a performed step, all that was said of it, and what of it is in the archive."""
    steps = _steps(request)
    step = await steps.get(request.path_params["sop_instance_uid"])
    references = step.referenced_instances
    shown = _shown(request, step) | {
        "worklist_items": [api_url(request, f"/worklist/{item}") for item in step.worklist_items],
        "referenced_instances": len(references),
        "stored_instances": await steps.stored(references),
        "messages": [
            {"operation": message.operation, "received_at": message.received_at}
            for message in await steps.messages(step.sop_instance_uid)
        ],
        "dataset": step.dataset,
    }
    return answer(shown)


def _steps(request: Request) -> PerformedSteps:
    return PerformedSteps(request.app.state.archive.pool)


def _shown(request: Request, step: PerformedStep) -> dict[str, Any]:
    return {
        "url": api_url(request, f"/performed-steps/{step.sop_instance_uid}"),
        "sop_instance_uid": step.sop_instance_uid,
        "status": step.status,
        "calling_ae_title": step.calling_ae_title,
        "study_instance_uids": step.study_instance_uids,
        "patient_id": step.patient_id,
        "modality": step.modality,
        "start": step.start,
        "created_at": step.created_at,
        "updated_at": step.updated_at,
        "warnings": step.warnings,
    }


def _number(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not _COUNT.fullmatch(text):
        raise InvalidQuery(f"{name} must be an unsigned integer")
    return int(text)


ROUTES: list[Route] = [
    Route("/performed-steps", list_performed_steps, methods=["GET"]),
    Route("/performed-steps/{sop_instance_uid}", show_performed_step, methods=["GET"]),
]
"""Relative to `/api`."""

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_TIME = {"type": "string", "format": "date-time"}

SCHEMAS = {
    "PerformedStep": {
        "type": "object",
        "properties": {
            "url": {**_TEXT, "format": "uri"},
            "sop_instance_uid": _TEXT,
            "status": {**_TEXT, "enum": ["IN PROGRESS", "COMPLETED", "DISCONTINUED"]},
            "calling_ae_title": {**_TEXT, "description": "Who created it."},
            "study_instance_uids": _TEXTS,
            "patient_id": {"type": ["string", "null"]},
            "modality": {"type": ["string", "null"]},
            "start": {**_TEXT, "description": "YYYYMMDDHHMMSS, empty when unknown."},
            "created_at": _TIME,
            "updated_at": _TIME,
            "warnings": {**_TEXTS, "description": "Where the modality departed from the Standard."},
            "worklist_items": {**_TEXTS, "description": "URLs of what it was done for."},
            "referenced_instances": {"type": "integer", "description": "Instances made in it."},
            "stored_instances": {"type": "integer", "description": "Of them in the archive."},
            "messages": {
                "type": "array",
                "description": "What was said, in order.",
                "items": {"type": "object", "properties": {"operation": _TEXT, "received_at": _TIME}},
            },
            "dataset": reference("DicomJson"),
        },
    }
}

PATHS: dict[str, Any] = {
    "/performed-steps": {
        "get": operation(
            "Performed procedure steps, the latest first",
            {200: ("The steps, without their data sets.", {"type": "array", "items": reference("PerformedStep")})},
            query={
                **dict.fromkeys(_FILTERS, (_TEXT, "Exactly this.")),
                "date": (_TEXT, "When it began: YYYYMMDD, or a range YYYYMMDD-YYYYMMDD open at either end."),
                "limit": ({"type": "integer", "default": DEFAULT_RESULTS, "maximum": MOST_RESULTS}, "Most steps."),
                "offset": ({"type": "integer", "default": 0}, "Steps to skip."),
            },
            refusals={400: "A parameter is wrong; the detail names it."},
        ),
    },
    "/performed-steps/{sop_instance_uid}": {
        "parameters": [path_parameter("sop_instance_uid", "SOP Instance UID of the step.")],
        "get": operation(
            "A performed procedure step",
            {200: ("The step.", reference("PerformedStep"))},
            refusals={404: "There is no such step."},
        ),
    },
}
