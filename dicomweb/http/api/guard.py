"""What keeps web pages of other sites out of `/api`.

A browser sends requests to any address for any page it shows, with the rights of whoever sits before it. Facts that
keep such a page from changing anything here:

- No answer below `/api` carries CORS headers, preflights included (`dicomweb/http/middleware.py`): a page of another
  site can send only what HTML forms can, and cannot read the answers.
- A form cannot send JSON, so a POST or PUT must carry it, even where there is nothing to say (an empty body will do).
  Nor can it send DELETE or PATCH, with whatever body.
- What says by `Origin` that it comes from another site is refused in any case.
- A page whose own name was made to point here (DNS rebinding) gets no answer at any door
  (`dicomweb/http/entrance/request_rules.py`).
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb.http.message.media_types import named_type
from dicomweb.http.problems import RequestRefused
from dicomweb.http.urls import base_url
from dicomweb.process.listener import is_loopback
from dicomweb.proxies import is_sign_of_proxy

MEDIA_TYPES: Final = ("application/json", "application/dicom+json")


class Guard:
    """Refuse requests that a foreign web page could have sent.

    Parameters
    ----------
    app : ASGIApp
        The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            check(Request(scope))
        await self.app(scope, receive, send)


def check(request: Request) -> None:
    """Return when the request may be from here.

    Raises
    ------
    RequestRefused
        403 for a page of another site, 415 for something a form could have sent.
    """
    origin = request.headers.get("origin")
    if origin is not None and not _is_own(origin, request):
        raise RequestRefused(403, "Web pages of other sites have no business here; use the archive's own address.")
    media_type = named_type(request.headers.get("content-type", ""))
    sends = request.method in ("POST", "PUT", "PATCH")
    if sends and media_type.lower() not in MEDIA_TYPES:
        came = f"it came as {media_type}" if media_type else "it came without one"
        raise RequestRefused(
            415, f"Send this with Content-Type: {' or '.join(MEDIA_TYPES)}; {came}.", accepted=MEDIA_TYPES
        )


def is_from_here(request: Request) -> bool:
    """Whether a request comes from this machine itself, through no proxy: from somebody who may know more of it."""
    try:
        loopback = is_loopback(request.client.host if request.client else "")
    except ValueError:
        return False
    return loopback and not any(is_sign_of_proxy(name) for name, _ in request.scope["headers"])


def _is_own(origin: str, request: Request) -> bool:
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    known = (request.headers.get("host", ""), urlsplit(base_url(request)).netloc)
    return host != "" and host in [name.lower() for name in known]
