"""The HTTP application: the route table, the middleware and the exception table, put together.

`/dicom-web` carries the DICOMweb resources (PS3.18 10.1), `/api` the administration; the front page, health and
metrics hang at the root.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route, Router
from starlette.types import Lifespan

from dicomweb.http import capabilities, front_page, health
from dicomweb.http.api import routes as api
from dicomweb.http.api.body import MOUNT_OF_API
from dicomweb.http.api.changes import ChangeFeed
from dicomweb.http.entrance.host_names import HostNames
from dicomweb.http.entrance.places import places_for
from dicomweb.http.entrance.request_limit import RequestLimit
from dicomweb.http.entrance.request_rules import Entrance
from dicomweb.http.middleware import ProtocolMiddleware
from dicomweb.http.problems import answer_archive_error, answer_http_exception
from dicomweb.http.qido import resource as qido
from dicomweb.http.rendered import resource as rendered
from dicomweb.http.rendered import thumbnails as retrieve_thumbnail
from dicomweb.http.rendered import wado_uri
from dicomweb.http.rendered.renderer import Renderer
from dicomweb.http.stow import resource as stow
from dicomweb.http.ui import routes as ui
from dicomweb.http.urls import MOUNT
from dicomweb.http.viewer import routes as viewer
from dicomweb.http.viewer.installed import ViewerFolder
from dicomweb.http.wado import routes as wado
from storage.errors import ArchiveError
from storage.upkeep.statistics import StatisticsReader

if TYPE_CHECKING:
    from dicomweb.settings import Settings
    from storage.archive import Archive

METADATA_TURNS = 2
"""Data sets of JSON metadata one worker has in memory at once: a large one takes hundreds of megabytes."""


def create_app(archive: "Archive", settings: "Settings", *, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """Make the application of one HTTP worker.

    Parameters
    ----------
    archive : Archive
        The open archive; handlers find it as `request.app.state.archive`.
    settings : Settings
        Handlers find them as `request.app.state.settings`.
    lifespan : callable, optional
        Opens and closes what the application uses.

    Returns
    -------
    Starlette
        The ASGI application.
    """
    dicomweb_routes = [
        *wado.ROUTES,
        *rendered.ROUTES,
        *retrieve_thumbnail.ROUTES,
        *qido.ROUTES,
        *stow.ROUTES,
        *capabilities.ROUTES,
    ]
    root_routes = [api.mount(), *wado_uri.ROUTES, *viewer.ROUTES, *front_page.ROUTES, *ui.ROUTES, *health.ROUTES]
    return assemble(archive, settings, dicomweb_routes, root_routes, lifespan=lifespan)


def assemble(
    archive: "Archive",
    settings: "Settings",
    dicomweb_routes: Sequence[BaseRoute],
    root_routes: Sequence[BaseRoute] = (),
    *,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Put routes, middleware and exception handlers together (`create_app` with the routes given)."""
    mounted = Router(dicomweb_routes, redirect_slashes=False)
    places = places_for(settings.max_requests_in_flight)
    app = Starlette(
        routes=[Mount(MOUNT, app=mounted), *root_routes],
        middleware=[
            Middleware(
                ProtocolMiddleware, cors_origins=tuple(settings.cors_origins), mount=MOUNT, same_site=MOUNT_OF_API
            ),
            Middleware(Entrance, host_names=HostNames.of(settings)),
            Middleware(RequestLimit, places=places, trusted_proxies=settings.trusted_proxies),
        ],
        exception_handlers={
            ArchiveError: answer_archive_error,
            HTTPException: answer_http_exception,
            405: answer_wrong_method,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.archive = archive
    app.state.settings = settings
    app.state.places = places
    app.state.change_feed = ChangeFeed(archive)
    app.state.statistics = StatisticsReader(archive)
    app.state.viewer = ViewerFolder(settings.folder_of_viewer())
    app.state.metadata_turns = asyncio.Semaphore(METADATA_TURNS)
    app.state.renderer = Renderer(
        archive,
        threads=settings.render_threads,
        queue=settings.render_queue,
        cache_bytes=settings.render_cache_bytes,
    )
    return app


async def answer_wrong_method(request: Request, error: Exception) -> Response:
    """Answer a method the resource does not have: 405 with `Allow`; for OPTIONS, 200 with `Allow`.

    Standard
    --------
    PS3.18 8.5, B.15; checklist A-104, A-155.
    """
    allow = ", ".join(allowed_methods(request.app.routes, request))
    if request.method == "OPTIONS":
        return Response(status_code=200, headers={"Allow": allow})
    assert isinstance(error, HTTPException)
    refused = HTTPException(405, f"This resource answers {allow} only.", {"Allow": allow})
    return await answer_http_exception(request, refused)


def allowed_methods(routes: Iterable[BaseRoute], request: Request) -> list[str]:
    """Return every method some route answers at the path of `request`, OPTIONS included, sorted."""
    # A mounted router replaced root_path in the scope; the table is walked from the top again.
    scope = {**request.scope, "root_path": request.scope.get("app_root_path", ""), "path_params": {}}
    methods = {"OPTIONS"}
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.NONE:
            continue
        if isinstance(route, Mount):
            methods.update(
                method
                for inner in route.routes
                if isinstance(inner, Route) and inner.matches({**scope, **child})[0] is not Match.NONE
                for method in inner.methods or ()
            )
        elif isinstance(route, Route):
            methods.update(route.methods or ())
    return sorted(methods)
