"""`/ui/`: the page, and the files below it.

Facts this module keeps:

- The page may load from this server alone and run nothing that is written into it (Content Security Policy Level 3);
  where browsers know Trusted Types, no text can become markup at all: names of patients come from anywhere.
- It shows documents of this server in frames: reports in a sandbox, each with a policy of its own.
- It may be shown inside pages of this server only, and tells nobody where its reader came from.
- Every reference is relative: it works below whatever path a proxy puts before it.
"""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.message.conditional import is_unchanged
from dicomweb.http.ui.assets import Asset, assets, page, version

MOUNT: Final = "/ui"
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self'",
        "frame-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"


async def lead_to_pages(request: Request) -> Response:
    """Lead to the page, whose references need the slash at the end."""
    return Response(status_code=308, headers={"Location": "ui/", "Cache-Control": ASK_AGAIN})


async def show_pages(request: Request) -> Response:
    """Answer with the page."""
    return _answer(request, page(), ASK_AGAIN)


async def show_asset(request: Request) -> Response:
    """Answer with a file; of another version, the file as it is now: a page may be older than this server."""
    asset = assets().get(request.path_params["path"])
    if asset is None:
        raise HTTPException(404)
    return _answer(request, asset, FOR_EVER if request.path_params["version"] == version() else ASK_AGAIN)


def _answer(request: Request, asset: Asset, cache_control: str) -> Response:
    headers = {
        "ETag": asset.etag,
        "Cache-Control": cache_control,
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
    }
    if is_unchanged(request.headers.get("if-none-match"), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, 200, {**headers, "Content-Type": asset.media_type})


ROUTES = [
    Route(MOUNT, lead_to_pages, methods=["GET"]),
    Route(f"{MOUNT}/", show_pages, methods=["GET"]),
    Route(f"{MOUNT}/{{version}}/{{path:path}}", show_asset, methods=["GET"]),
]
"""At the root of the server."""
