"""A bound on what one worker does at once: beyond it a quick 503 rather than a slow answer to everybody.

Without it a flood of requests takes memory, database connections and threads from those that are being answered
(PS3.18 8.5; checklist A-109). The refusal is made inside the layer that adds the CORS headers, so that viewers see it.
"""

import re
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomweb.http.entrance.client_address import client_of
from dicomweb.http.entrance.places import Kind, Place, Places
from dicomweb.http.problems import problem
from dicomweb.http.urls import MOUNT

EXEMPT = ("/health", "/metrics", "/api/changes/events")
"""Asked by those who want to know whether the server is overloaded, cheap; and streams, which have a bound of their own
and mostly wait."""
RETRY_AFTER_SECONDS = 1
"""Most requests take milliseconds, so there will be room again soon."""

_DICOM = (MOUNT, "/wado")
_SHORT = re.compile(r"/(?:studies|series|instances|metadata|rendered|thumbnail|frames/[0-9]+)/?\Z")
_WITHOUT_BODY = frozenset(("GET", "HEAD", "OPTIONS"))


class RequestLimit:
    """Refuse requests while as many as allowed are being worked on.

    Parameters
    ----------
    app : ASGIApp
        The application inside.
    places : mapping of Kind to Places
        Those there are. A request gives its own back while it waits for its client.
    trusted_proxies : iterable of str
        Whose forwarding headers are believed.

    Standard
    --------
    PS3.18 8.5; RFC 9110 10.2.3, 15.6.4.
    """

    def __init__(self, app: ASGIApp, *, places: Mapping[Kind, Places], trusted_proxies: Iterable[str]) -> None:
        self.app = app
        self.places = places
        self.trusted = tuple(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(EXEMPT):
            await self.app(scope, receive, send)
            return
        kind = kind_of(scope["method"], scope["path"])
        places, address = self.places[kind], client_of(scope, self.trusted)
        if not places.has_room(address):
            refusal = problem(
                503,
                "",
                "The server is busy with as many requests as it takes at once, or as one address may have; "
                "try again in a moment.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
            await refusal(scope, receive, send)
            return
        place = Place(places, address)
        if kind is Kind.UPLOAD:
            receive = _Receiving(receive, place)
        try:
            await place.take()
            await self.app(scope, receive, _Sending(send, place, places))
        finally:
            place.give_back()


def kind_of(method: str, path: str) -> Kind:
    """Return what a request is: short are searches, single frames, pictures, and whatever is not about DICOM."""
    if method not in _WITHOUT_BODY:
        return Kind.UPLOAD
    return Kind.SHORT if not path.startswith(_DICOM) or _SHORT.search(path) else Kind.DOWNLOAD


class _Receiving:
    """The `receive` of a request with a body: it has no place while the client sends."""

    __slots__ = ("_more", "_place", "_receive")

    def __init__(self, receive: Receive, place: Place) -> None:
        self._receive = receive
        self._place = place
        self._more = True

    async def __call__(self) -> Message:
        if not self._more:  # only the end of the connection is waited for, beside the work
            return await self._receive()
        self._place.give_back()
        message = await self._receive()
        self._more = message.get("more_body", False)
        await self._place.take()
        return message


class _Sending:
    """The `send` of a request: it has no place while the client reads."""

    __slots__ = ("_place", "_places", "_send")

    def __init__(self, send: Send, place: Place, places: Places) -> None:
        self._send = send
        self._place = place
        self._places = places

    async def __call__(self, message: Message) -> None:
        self._place.give_back()
        self._places.unread += 1
        try:
            await self._send(message)
        finally:
            self._places.unread -= 1
        await self._place.take()
