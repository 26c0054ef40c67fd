"""`/api/jobs`: background work that is asked for, watched, cancelled and tried again.

A job outlives the request, the worker and the server; see `storage.work.jobs` for its states and
`dicomweb/jobs/` for what is done.
"""

import re
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.api.body import Members, answer, api_url, read_members
from dicomweb.http.api.openapi import operation, path_parameter, reference, schema_of
from dicomweb.http.problems import RequestRefused
from storage.index.record import UID
from storage.work.jobs import STATES, Job, Jobs

MOST_LISTED = 1000
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


class Entity(Members):
    """A study, a series of it, or an instance of that."""

    study_instance_uid: str
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None

    @field_validator("*")
    @classmethod
    def _uid(cls, value: str | None) -> str | None:
        if value is not None and not UID.fullmatch(value):
            raise ValueError("is not a UID (1 to 64 digits and dots)")
        return value

    def model_post_init(self, context: Any) -> None:
        """Check that nothing between is missing."""
        if self.sop_instance_uid is not None and self.series_instance_uid is None:
            raise ValueError("series_instance_uid is missing: an instance is named by all three UIDs")


class JobMembers(Members):
    """A job that is asked for."""

    kind: Literal["send", "pull"] = Field(
        description="send: C-STORE to the peer; pull: bring here what the peer has, by C-MOVE or C-GET."
    )
    peer: str = Field(description="AE title of a peer.")
    studies: list[str] = Field([], description="Study Instance UIDs.")
    entities: list[Entity] = Field(
        [],
        description="Single series (study_instance_uid, series_instance_uid) and instances (and sop_instance_uid).",
    )
    method: Literal["move", "get"] = Field(
        "move", description="Of a pull: move makes the peer send to our AE title, which it must know; get does not."
    )

    def parameters(self) -> dict[str, Any]:
        """Return what the job is given."""
        wanted = [{"study_instance_uid": uid} for uid in self.studies]
        wanted += [entity.model_dump(exclude_none=True) for entity in self.entities]
        return {"peer": self.peer, "entities": wanted} | ({"method": self.method} if self.kind == "pull" else {})

    @field_validator("studies")
    @classmethod
    def _uids(cls, value: list[str]) -> list[str]:
        if not all(map(UID.fullmatch, value)):
            raise ValueError("one is not a UID (1 to 64 digits and dots)")
        return value


async def list_jobs(request: Request) -> Response:
    """Answer with jobs, the newest first."""
    states = _listed(request, "state", STATES)
    kinds = [kind for given in request.query_params.getlist("kind") for kind in given.split(",") if kind]
    limit, before = _count(request, "limit", 100), _count(request, "before", None)
    jobs = await _jobs(request).list(
        states=states, kinds=kinds, before=before, limit=min(limit or MOST_LISTED, MOST_LISTED)
    )
    return answer([shown(job) for job in jobs])


async def create_job(request: Request) -> Response:
    """Queue a job: 202 with its URL in Location."""
    members = await read_members(request, JobMembers)
    if not members.studies and not members.entities:
        raise RequestRefused(400, "studies: name what to do it with, here or in entities.")
    if await request.app.state.archive.peers.get(members.peer) is None:
        raise RequestRefused(400, "peer: there is no peer of this AE title; PUT it to /api/peers first.")
    number = await _jobs(request).add(members.kind, members.parameters())
    job = await _jobs(request).get(number)
    assert job is not None
    return answer(shown(job), 202, location=api_url(request, f"/jobs/{number}"))


async def show_job(request: Request) -> Response:
    """Answer with one job and how far it is."""
    return answer(shown(await _job(request)))


async def cancel_job(request: Request) -> Response:
    """Cancel a job that is not over."""
    job = await _job(request)
    if not await _jobs(request).cancel(job.id) and job.state != "cancelled":
        raise RequestRefused(409, f"The job is over: {(await _job(request)).state}.")
    return answer(shown(await _job(request)))


async def retry_job(request: Request) -> Response:
    """Queue a job again that has failed, was given up, was cancelled or waits for its next attempt."""
    job = await _job(request)
    if not await _jobs(request).retry(job.id):
        raise RequestRefused(409, f"There is nothing to try again: the job is {(await _job(request)).state}.")
    return answer(shown(await _job(request)), 202)


def shown(job: Job) -> dict[str, Any]:
    """Return a job as it is shown: what it counts stands in `progress`."""
    values = asdict(job)
    progress = {name: values.pop(name) for name in ("total", "done", "failed", "failures")}
    return {**values, "progress": progress}


def _jobs(request: Request) -> Jobs:
    return Jobs(request.app.state.archive.pool)


async def _job(request: Request) -> Job:
    number = request.path_params["number"]
    job = await _jobs(request).get(int(number)) if _NUMBER.fullmatch(number) else None
    if job is None:
        raise RequestRefused(404, "There is no such job; GET /api/jobs lists those there are.")
    return job


def _listed(request: Request, name: str, known: tuple[str, ...]) -> list[str]:
    given = [value for values in request.query_params.getlist(name) for value in values.split(",") if value]
    if unknown := [value for value in given if value not in known]:
        raise RequestRefused(400, f"{name}: {unknown[0][:40]!r} is none of {', '.join(known)}.")
    return given


def _count(request: Request, name: str, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise RequestRefused(400, f"{name}: must be a whole number above zero.")
    return int(text)


ROUTES: list[Route] = [
    Route("/jobs", list_jobs, methods=["GET"]),
    Route("/jobs", create_job, methods=["POST"]),
    Route("/jobs/{number}", show_job, methods=["GET"]),
    Route("/jobs/{number}", cancel_job, methods=["DELETE"]),
    Route("/jobs/{number}/retry", retry_job, methods=["POST"]),
]
"""Relative to `/api`."""

_TIME = {"type": ["string", "null"], "format": "date-time"}
SCHEMAS = {
    "Entity": schema_of(Entity),
    "NewJob": schema_of(JobMembers),
    "Job": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "kind": {"type": "string", "enum": ["send", "pull", "availability"]},
            "state": {"type": "string", "enum": list(STATES)},
            "parameters": {"type": "object"},
            "progress": {
                "type": "object",
                "properties": {
                    "total": {"type": ["integer", "null"], "description": "Instances; null while that is not known."},
                    "done": {"type": "integer"},
                    "failed": {"type": "integer"},
                    "failures": {
                        "type": "array",
                        "description": "The first hundred.",
                        "items": {
                            "type": "object",
                            "properties": {
                                "item": {"type": "string", "description": "SOP Instance UID."},
                                "error": {"type": "string"},
                            },
                        },
                    },
                },
            },
            "error": {"type": "string", "description": "Why the last attempt ended; empty when it did not."},
            "attempts": {"type": "integer", "description": "Since something was last done."},
            "deaths": {
                "type": "integer",
                "description": "Workers that died at it since something was last done; after two it is parked.",
            },
            **dict.fromkeys(("next_attempt_at", "created_at", "started_at", "finished_at"), _TIME),
        },
    },
}

_NUMBER_PARAMETER = path_parameter("number", "Number of the job.", pattern=_NUMBER.pattern)
_UNKNOWN = {404: "There is no such job."}
_OVER = {409: "The job is in no state to do that with."}

PATHS: dict[str, Any] = {
    "/jobs": {
        "get": operation(
            "Jobs, the newest first",
            {200: ("The jobs.", {"type": "array", "items": reference("Job")})},
            query={
                "state": ({"type": "string"}, f"Only these, separated by commas: {', '.join(STATES)}."),
                "kind": ({"type": "string"}, "Only these, separated by commas."),
                "limit": ({"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 100}, "Most jobs."),
                "before": ({"type": "integer"}, "Only jobs with smaller numbers: the last one of the page before."),
            },
            refusals={400: "A parameter is wrong."},
        ),
        "post": operation(
            "Queue a job",
            {202: ("It is queued; Location is its URL.", reference("Job"))},
            body=reference("NewJob"),
            refusals={400: "A member is wrong; the detail names it."},
        ),
    },
    "/jobs/{number}": {
        "parameters": [_NUMBER_PARAMETER],
        "get": operation("A job", {200: ("The job.", reference("Job"))}, refusals=_UNKNOWN),
        "delete": operation("Cancel a job", {200: ("The job.", reference("Job"))}, refusals=_UNKNOWN | _OVER),
    },
    "/jobs/{number}/retry": {
        "parameters": [_NUMBER_PARAMETER],
        "post": operation("Try again", {202: ("The job.", reference("Job"))}, refusals=_UNKNOWN | _OVER),
    },
}
