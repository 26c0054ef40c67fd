"""The root of the server: leads people to the pages, and tells programs where everything is.

With a viewer installed its list of studies is here for people (`dicomweb/http/viewer/`); the pages stay at `/ui/`.
"""

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.urls import base_url
from dicomweb.version import program_version

HTML = "text/html"
JSON = "application/json"
PAGES = "ui/"
"""Relative, so that it holds below a proxy's path, too."""


async def show_front_page(request: Request) -> Response:
    """Lead to the pages who says that he takes HTML, as browsers do; answer anybody else with the facts as JSON."""
    headers = {"Cache-Control": "no-store"}  # the root follows the request's own headers
    if HTML in ",".join(request.headers.getlist("accept")).lower():
        return Response(status_code=302, headers={**headers, "Location": PAGES})
    root = base_url(request)
    facts = {
        "name": "dicomweb",
        "version": program_version(),
        "dicomweb_root": root,
        "studies": f"{root}/studies",
        "pages": f"/{PAGES}",
        "health": "/health",
        "metrics": "/metrics",
    }
    return Response(orjson.dumps(facts) + b"\n", headers=headers, media_type=JSON)


ROUTES = [Route("/", show_front_page)]
"""At the root of the server."""
