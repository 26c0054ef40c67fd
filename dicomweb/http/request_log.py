"""The log of requests: one line for each, with the identifier that its other lines carry.

Facts this module keeps:

- Query strings hold names and identifiers: they are never logged, and of paths only what `masked_path.py` lets through.
- A request has an identifier, which the response tells as `X-Request-ID`. It is ours, or that of a trusted proxy; what
  a stranger sends as one could be that of another's request: it is logged beside ours, as theirs.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomweb.http.masked_path import masked_path
from dicomweb.proxies import is_trusted
from dicomweb.telemetry.exchange import Exchange
from dicomweb.telemetry.logs import FIELDS, client_request_id, request_id

logger = logging.getLogger(__name__)

QUIET_PATHS = ("/health", "/metrics")
"""Asked every few seconds by machines: logged at level debug, unless something is wrong."""
QUIET_ROUTES = re.compile(r"/frames/|/(?:rendered|thumbnail)\Z")
"""Asked hundreds of times by a viewer that opens a study: so are these."""
LONGEST_PATH = 512

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}\Z")


class RequestLog:
    """ASGI middleware, outermost: gives a request its identifier, measures it, logs it.

    Parameters
    ----------
    app
        The application inside. It may leave the outcomes of a store in `scope["outcomes"]`.
    begun, ended
        Called at the start and at the end of each request.
    trusted_proxies
        Addresses and networks whose identifiers of requests become ours.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        begun: Callable[[], None] = lambda: None,
        ended: Callable[[Exchange], None] = lambda _: None,
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        self.app = app
        self.trusted_proxies = tuple(trusted_proxies)
        self.begun = begun
        self.ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = _given_identifier(scope)
        if given and is_trusted((scope.get("client") or ("",))[0], self.trusted_proxies):
            identifier, given = given, ""
        else:
            identifier = secrets.token_hex(8)
        request_id.set(identifier)
        client_request_id.set(given)
        header = (b"x-request-id", identifier.encode())
        exchange = Exchange(scope["method"], scope["path"])
        start = time.perf_counter()

        async def counted_receive() -> Message:
            message = await receive()
            exchange.received += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)
            if message["type"] == "http.response.body":
                exchange.sent += len(message.get("body", b""))
                exchange.complete = not message.get("more_body", False)

        self.begun()
        try:
            await self.app(scope, counted_receive, counted_send)
        finally:
            exchange.seconds = time.perf_counter() - start
            exchange.route = _route(scope)
            exchange.outcomes = _count(scope)
            self.ended(exchange)
            _log(exchange, scope.get("app"))


def _given_identifier(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.match(value):
            return bytes(value).decode("ascii")
    return ""


def _route(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    if path is None or "endpoint" not in scope:
        return ""
    mounted: str = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    return str(path) if path == mounted else mounted + str(path)


def _count(scope: Scope) -> dict[str, int] | None:
    # The server keeps the scope until the next request of the connection.
    if (outcomes := scope.pop("outcomes", None)) is None:
        return None
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    return counts


def _log(exchange: Exchange, app: Starlette | None) -> None:
    failed = exchange.status >= 500 or not exchange.complete
    often = exchange.path.startswith(QUIET_PATHS) or (QUIET_ROUTES.search(exchange.route) and exchange.status < 400)
    level = logging.WARNING if failed else logging.DEBUG if often else logging.INFO
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "method": exchange.method,
        "path": masked_path(exchange.path, app)[:LONGEST_PATH],
        "status": exchange.status,
        "bytes": exchange.sent,
        "received": exchange.received,
        "duration_ms": round(exchange.seconds * 1000, 2),
    }
    if exchange.outcomes:
        fields["instances"] = exchange.outcomes
    if not exchange.complete:
        fields["broken_off"] = True
    logger.log(level, "request", extra={FIELDS: fields})
