"""`/api/status`: how much there is and how it is, for the page that shows it.

What does not answer is said in its own part: this is asked above all when something does not. Counting may be a
moment behind (`storage/upkeep/statistics.py`).
"""

import asyncio
import logging
import shutil
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.api.body import answer
from dicomweb.http.api.openapi import operation, reference
from dicomweb.http.urls import base_url
from dicomweb.version import program_version
from storage.errors import Busy, Unavailable
from storage.upkeep.statistics import Statistics

if TYPE_CHECKING:
    from storage.archive import Archive

logger = logging.getLogger(__name__)


async def show_status(request: Request) -> Response:
    """Answer with everything; 200 whatever does not answer."""
    statistics, storage, gateway = await asyncio.gather(_statistics(request), _storage(request), _gateway(request))
    facts = {
        "version": program_version(),
        "dicomweb_root": base_url(request),
        "viewer": has_viewer(request),
        "archive": None,
        "database": {"ok": False, "version": None, "bytes": None},
        "storage": storage,
        "gateway": gateway,
        "jobs": {},
        "commitments": {},
    }
    if statistics is not None:
        facts |= {
            "archive": {
                "studies": statistics.studies,
                "series": statistics.series,
                "instances": statistics.instances,
                "bytes": statistics.stored_bytes,
                "bytes_estimated": statistics.estimated,
                "unindexed_files": statistics.unindexed_files,
                "damaged_files": statistics.damaged_files,
                "advice": statistics.advice,
            },
            "database": {"ok": True, "version": statistics.database_version, "bytes": statistics.database_bytes},
            "jobs": statistics.jobs,
            "commitments": statistics.commitments,
        }
    return answer(facts)


async def list_modalities(request: Request) -> Response:
    """Answer with how many studies have each modality, the most frequent first."""
    statistics: Statistics = await request.app.state.statistics.read()
    return answer(statistics.modalities)


def has_viewer(request: Request) -> bool:
    """Whether a viewer is installed, and so served at `/viewer`."""
    folder = getattr(request.app.state, "viewer", None)
    return folder is not None and folder.current() is not None


async def _statistics(request: Request) -> Statistics | None:
    try:
        read: Statistics = await request.app.state.statistics.read()
    except Exception as error:  # whatever it is, this page is there to show it
        logger.warning("the database does not tell how much there is: %s", type(error).__name__)
        return None
    return read


async def _storage(request: Request) -> dict[str, Any]:
    archive: Archive = request.app.state.archive
    least = int(request.app.state.settings.min_free_bytes)
    try:
        usage = await archive.blobs.run(shutil.disk_usage, archive.blobs.root)
    except OSError:
        return {"ok": False, "total_bytes": None, "free_bytes": None, "least_free_bytes": least}
    return {
        "ok": usage.free >= least,
        "total_bytes": usage.total,
        "free_bytes": usage.free,
        "least_free_bytes": least,
    }


async def _gateway(request: Request) -> dict[str, Any]:
    settings = request.app.state.settings
    probe = getattr(request.app.state, "gateway_probe", None)  # there is one when we serve DIMSE
    facts = {"serves": probe is not None, "ok": None, "problem": "", "ae_title": settings.aet}
    facts |= {"port": settings.dimse_port, "tls_port": settings.dimse_tls_port}
    if probe is not None:
        try:
            await probe.ask()
            facts["ok"] = True
        except Busy as error:
            facts |= {"ok": True, "problem": str(error)}
        except Unavailable as error:
            facts |= {"ok": False, "problem": str(error)}
    return facts


ROUTES: list[Route] = [
    Route("/status", show_status, methods=["GET"]),
    Route("/modalities", list_modalities, methods=["GET"]),
]
"""Relative to `/api`."""

_COUNT = {"type": "integer"}
_BYTES = {"type": ["integer", "null"]}
_BY_STATE = {"type": "object", "additionalProperties": _COUNT, "description": "State to how many are in it."}

_BY_MODALITY = {"type": "object", "additionalProperties": _COUNT}


def _part(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


SCHEMAS: dict[str, Any] = {
    "Status": _part(
        version={"type": "string"},
        dicomweb_root={"type": "string", "description": "As this client sees it."},
        viewer={"type": "boolean", "description": "Whether a viewer is served at /viewer."},
        archive=_part(
            studies=_COUNT,
            series=_COUNT,
            instances=_COUNT,
            bytes=_COUNT,
            bytes_estimated={"type": "boolean"},
            unindexed_files=_COUNT | {"description": "Stored files that the index does not know."},
            damaged_files=_COUNT | {"description": "Stored files known to be damaged or missing."},
            advice={"type": "string", "description": "What to do about them; empty when there are none."},
        )
        | {"type": ["object", "null"], "description": "Null while the database does not answer."},
        database=_part(ok={"type": "boolean"}, version={"type": ["string", "null"]}, bytes=_BYTES),
        storage=_part(ok={"type": "boolean"}, total_bytes=_BYTES, free_bytes=_BYTES, least_free_bytes=_COUNT),
        gateway=_part(
            serves={"type": "boolean"},
            ok={"type": ["boolean", "null"]},
            problem={"type": "string"},
            ae_title={"type": "string"},
            port=_COUNT,
            tls_port=_BYTES,
        ),
        jobs=_BY_STATE,
        commitments=_BY_STATE,
    )
}

PATHS: dict[str, Any] = {
    "/status": {
        "get": operation(
            "How much there is, and whether database, storage and gateway answer",
            {200: ("The state of things; a part that does not answer says so.", reference("Status"))},
        ),
    },
    "/modalities": {
        "get": operation(
            "What modalities there are",
            {200: ("Modality to how many studies have it, the most frequent first.", _BY_MODALITY)},
        ),
    },
}
