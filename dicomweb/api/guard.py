"""What keeps web pages of other sites out of `/api`.

A browser sends requests to any address for any page it shows, with the rights of whoever sits before it. Facts that
keep such a page from changing anything here:

- No answer below `/api` carries CORS headers, preflights included (`dicomweb/middleware.py`): a page of another site
  can send only what HTML forms can, and cannot read the answers.
- A form cannot send JSON, so a POST or PUT must carry it, even where there is nothing to say (an empty body will do).
  Nor can it send DELETE or PATCH, with whatever body.
- What says by `Origin` that it comes from another site is refused in any case.
- A page can have its own name point to 127.0.0.1 once it is loaded (DNS rebinding): to the browser its requests are
  then no other site's. They still name it in `Host`, which no script can set. So an archive that listens on the
  loopback interface answers here only to names of that, and to the host of `public_base_url`. Forwarding headers do
  not help: a script can send them, and it comes from a loopback address as a proxy does. A proxy on the same machine
  that passes `Host` on therefore needs that setting; one that does not (nginx, unless told otherwise) needs nothing.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb.failures import RequestRefused
from dicomweb.listener import is_loopback, reachable
from dicomweb.media_types import named_type
from dicomweb.urls import base_url

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
        403 for a page of another site or a name that is not ours, 415 for something a form could have sent.
    """
    if not _names_us(request):
        raise RequestRefused(
            403, "This is not the archive's own name; use localhost, or set public_base_url to the URL of the proxy."
        )
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


def _names_us(request: Request) -> bool:
    """Whether `Host` is a name by which an archive on the loopback interface is called; True for any other archive."""
    settings = request.app.state.settings
    address, _ = request.scope.get("server") or ("", None)
    listens_everywhere = reachable(settings.host) != settings.host
    host = request.headers.get("host", "")
    if listens_everywhere or not _is_loopback_address(address) or not host:
        return True
    name = _name_of(host)
    if name == "localhost" or name.endswith(".localhost") or _is_loopback_address(name):
        return True
    return bool(settings.public_base_url) and name == _name_of(urlsplit(settings.public_base_url).netloc)


def _name_of(authority: str) -> str:
    """Return the host without its port; empty when it is none."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_loopback_address(text: str) -> bool:
    try:
        return is_loopback(text)
    except ValueError:
        return False


def _is_own(origin: str, request: Request) -> bool:
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    known = (request.headers.get("host", ""), urlsplit(base_url(request)).netloc)
    return host != "" and host in [name.lower() for name in known]
