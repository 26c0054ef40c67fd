"""Everything below `/api`: the nouns that there are, and their description."""

from types import ModuleType
from typing import Any, Final

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from dicomweb.http.api import changes, commitments, jobs, peers, performed_steps, status, worklist
from dicomweb.http.api.body import MOUNT_OF_API, answer, api_url
from dicomweb.http.api.guard import Guard
from dicomweb.http.api.openapi import document

NOUNS: Final[tuple[ModuleType, ...]] = (peers, jobs, commitments, worklist, performed_steps, changes, status)
"""Each has `ROUTES` and `PATHS`, and may have `SCHEMAS`."""


def mount() -> Mount:
    """Make `/api`, guarded against other sites."""
    routes = [route for noun in NOUNS for route in noun.ROUTES]
    routes.append(Route("/openapi.json", show_description))
    return Mount(MOUNT_OF_API, app=Router(routes, redirect_slashes=False), middleware=[Middleware(Guard)])


async def show_description(request: Request) -> Response:
    """Answer with the OpenAPI document."""
    return answer(description(api_url(request)))


def description(url: str = MOUNT_OF_API) -> dict[str, Any]:
    """Return the OpenAPI document of everything below `url`."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for noun in NOUNS:
        paths |= noun.PATHS
        schemas |= getattr(noun, "SCHEMAS", {})
    return document(url, paths, schemas)
