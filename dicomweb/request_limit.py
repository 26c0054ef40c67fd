"""A bound on what one worker does at once: beyond it a quick 503 rather than a slow answer to everybody.

Without it a flood of requests takes memory, database connections and threads from those that are being answered
(PS3.18 8.5; checklist A-109). The refusal is made inside the layer that adds the CORS headers, so that viewers see it.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb.failures import problem

EXEMPT = ("/health", "/metrics", "/api/changes/events")
"""Asked by those who want to know whether the server is overloaded, cheap; and streams, which have a bound of their own
and mostly wait."""
RETRY_AFTER_SECONDS = 1
"""Most requests take milliseconds, so there will be room again soon."""


class RequestLimit:
    """Refuse requests while as many as allowed are being answered.

    Parameters
    ----------
    app : ASGIApp
        The application inside.
    most : int
        Requests in flight, counted from their head to the end of their response.

    Standard
    --------
    PS3.18 8.5; RFC 9110 10.2.3, 15.6.4.
    """

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self.app = app
        self.most = most
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(EXEMPT):
            await self.app(scope, receive, send)
            return
        if self.in_flight >= self.most:
            refusal = problem(
                503,
                "",
                "The server is busy with as many requests as it takes at once; try again in a moment.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
            await refusal(scope, receive, send)
            return
        self.in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.in_flight -= 1
