"""The front page: what a person sees who types the address of the server into a browser."""

import base64
import hashlib
from html import escape
from string import Template

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.media_types import Offer, parse_accept, select
from dicomweb.urls import base_url
from dicomweb.version import program_version

HTML = "text/html"
JSON = "application/json"
OFFERS = (Offer(HTML), Offer(JSON))

STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:42rem;margin:3rem auto;"
    "padding:0 1rem}code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}"
)
PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dicomweb</title>
<style>$style</style>
</head>
<body>
<h1>dicomweb</h1>
<p>An archive for medical images with a DICOMweb interface (STOW-RS, QIDO-RS, WADO-RS; DICOM PS3.18),
version $version.</p>
<p>Viewers and other programs want this DICOMweb root:</p>
<p><code>$root</code></p>
<ul>
<li><a href="$root/studies">Studies</a>, as DICOM JSON</li>
<li><a href="health">Health</a></li>
<li><a href="metrics">Metrics</a>, for Prometheus</li>
</ul>
</body>
</html>
"""
)
SECURITY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page may load nothing and run nothing; its one style is known by its hash."""


async def show_front_page(request: Request) -> Response:
    """Answer what this server is and where its DICOMweb root is, for a person or as JSON."""
    root = base_url(request)
    ranges = parse_accept(", ".join(request.headers.getlist("accept")))
    chosen = select(ranges, OFFERS)
    headers = {"Cache-Control": "no-store"}  # the root follows the request's own headers
    if chosen is not None and chosen.media_type == JSON:
        facts = {
            "name": "dicomweb",
            "version": program_version(),
            "dicomweb_root": root,
            "studies": f"{root}/studies",
            "health": "/health",
            "metrics": "/metrics",
        }
        return Response(orjson.dumps(facts) + b"\n", headers=headers, media_type=JSON)
    page = PAGE.substitute(style=STYLE, version=escape(program_version()), root=escape(root))
    headers |= {"Content-Security-Policy": SECURITY, "Referrer-Policy": "no-referrer"}
    return Response(page, headers=headers, media_type=HTML)


ROUTES = [Route("/", show_front_page)]
"""At the root of the server; links to its neighbours are relative, so that they hold below a proxy's path, too."""
