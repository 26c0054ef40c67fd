"""`/api/changes`: what changed in the archive, in order; and as it happens, as server-sent events.

Facts this module keeps:

- An event is one change; its id is its sequence number, so that a browser that reconnects goes on where it was
  (`Last-Event-ID`, HTML 9.2). Without a number a stream begins with what changes from now on.
- One task of a worker process reads the table while anybody listens, and remembers the latest changes; whoever is
  further behind reads the table himself until he has caught up.
- A line that browsers ignore goes out when nothing else does: proxies cut silent connections, and a listener that is
  gone shows only when something is sent to him.
- Streams end when the process is to end: they would hold it up for as long as requests in flight may take.
- A stream costs its client one of the few connections a browser has to a server (HTTP/1.1), and us memory: there are
  so many and no more, the others are told to come again.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dicomweb.http.api.body import answer
from dicomweb.http.api.openapi import operation, reference
from dicomweb.http.problems import RequestRefused
from storage.database.pool import connection_lost
from storage.upkeep.statistics import newest_change

if TYPE_CHECKING:
    from storage.archive import Archive

logger = logging.getLogger(__name__)

MOST_LISTED: Final = 5000
MOST_LISTENERS: Final = 64
"""Streams of one worker process."""
REMEMBERED: Final = 4096
"""Changes that need not be read again, about 1 MB."""
AT_ONCE: Final = 1000
PAUSE: Final = 0.5
"""Seconds between two looks at the table."""
HEARTBEAT: Final = 15.0
"""Seconds; proxies wait for 60 or so."""
STUCK_AFTER: Final = 60.0
"""Seconds a listener may take to take what it is sent."""
MEDIA_TYPE: Final = "text/event-stream"

Listening = Callable[["asyncio.Future[Any]"], AsyncGenerator[bytes]]

_NUMBER = re.compile(r"[0-9]{1,18}")
_BEGINNING: Final = b"retry: 3000\nid: %d\n\n"
"""Without data it is no event, but a browser that reconnects before the first one knows where it was."""
_NOTHING: Final = b": nothing new\n\n"


class ChangeFeed:
    """The change feed as one worker process hears it.

    Parameters
    ----------
    archive : Archive
        Whose changes.
    most_listeners : int
        Streams at once.
    pause, heartbeat : float
        Seconds between looks at the table, and between signs of life.
    """

    def __init__(
        self,
        archive: "Archive",
        *,
        most_listeners: int = MOST_LISTENERS,
        pause: float = PAUSE,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.archive = archive
        self.listeners = 0
        self.closed = False
        self._most_listeners = most_listeners
        self._pause = pause
        self._heartbeat = heartbeat
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)
        self._floor = 0  # whoever is at or above this position finds the rest in `_recent`
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether nobody else can listen."""
        return self.listeners >= self._most_listeners

    def close(self) -> None:
        """End every stream; there will be no others."""
        self.closed = True
        self._news.set()

    async def open(self, after: int | None) -> Listening:
        """Find out where to begin: what fails, fails before an answer has begun.

        Parameters
        ----------
        after : int or None
            Sequence number of the last change that is known; None for what changes from now on.

        Returns
        -------
        callable
            Yields events, and signs of life, until the future it is given is done or the feed is closed.
        """
        newest = await newest_change(self.archive.pool)
        return partial(self._listen, newest if after is None else min(after, newest), newest)

    async def _listen(self, position: int, newest: int, gone: "asyncio.Future[Any]") -> AsyncGenerator[bytes]:
        self.listeners += 1
        try:
            if self._reader is None:
                self._floor = newest
                self._recent.clear()
                self._reader = asyncio.create_task(self._read(newest))
            yield _BEGINNING % position
            while not (self.closed or gone.done()):
                news = self._news
                events = await self._after(position)
                if events:
                    position = events[-1][0]
                    yield b"".join(text for _, text in events)
                elif not await self._wait(news, gone):
                    yield _NOTHING
        finally:
            self.listeners -= 1
            if not self.listeners and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def _after(self, position: int) -> list[tuple[int, bytes]]:
        if position >= self._floor:
            return [event for event in self._recent if event[0] > position]
        with suppress(Exception):  # the database is away: whoever listens waits, as for news
            return [_event(change) for change in await self.archive.changes(position, AT_ONCE)]
        await asyncio.sleep(self._pause)
        return []

    async def _wait(self, news: asyncio.Event, gone: "asyncio.Future[Any]") -> bool:
        """Wait for news; False when none came for as long as a heartbeat."""
        waiting = asyncio.ensure_future(news.wait())
        try:
            done, _ = await asyncio.wait((waiting, gone), timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        return bool(done)

    async def _read(self, position: int) -> None:
        """Look for changes while anybody listens."""
        while True:
            try:
                changes = await self.archive.changes(position, AT_ONCE)
            except Exception as error:
                level = logging.WARNING if connection_lost(error) else logging.ERROR
                logger.log(level, "the change feed cannot be read", exc_info=None if connection_lost(error) else error)
                await asyncio.sleep(10 * self._pause)
                continue
            if changes:
                self._remember(changes)
                position = changes[-1]["sequence"]
            if len(changes) < AT_ONCE:
                await asyncio.sleep(self._pause)

    def _remember(self, changes: list[dict[str, Any]]) -> None:
        """Keep the latest changes and wake whoever waits for them."""
        for change in changes:
            if len(self._recent) == REMEMBERED:
                self._floor = self._recent[0][0]
            self._recent.append(_event(change))
        news, self._news = self._news, asyncio.Event()
        news.set()


class EventStream(Response):
    """The response that goes on.

    Parameters
    ----------
    listening : callable
        From `ChangeFeed.open`.
    """

    def __init__(self, listening: Listening) -> None:
        # The last header keeps nginx from collecting events into larger pieces.
        super().__init__(None, 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, MEDIA_TYPE)
        del self.headers["content-length"]
        self.listening = listening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client is gone or the process ends."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            gone = asyncio.ensure_future(_gone(receive))
            events = self.listening(gone)
            try:
                async for piece in events:
                    async with asyncio.timeout(STUCK_AFTER):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                pass
            finally:
                await events.aclose()
                gone.cancel()
        # That a listener goes is how a stream ends: it is whole.
        await send({"type": "http.response.body", "body": b""})


async def list_changes(request: Request) -> Response:
    """Answer with changes, the oldest first."""
    limit = min(_number(request, "limit") or AT_ONCE, MOST_LISTED)
    archive: Archive = request.app.state.archive
    return answer(await archive.changes(_number(request, "after") or 0, limit))


async def stream_changes(request: Request) -> Response:
    """Answer with changes as they happen."""
    feed: ChangeFeed = request.app.state.change_feed
    last = request.headers.get("last-event-id")
    after = _number(request, "after") if last is None else _read_number("Last-Event-ID", last)
    if feed.full or feed.closed:
        detail = "As many listen as can; try again later, or ask for /api/changes every few seconds."
        raise RequestRefused(503, detail, {"Retry-After": "30"})
    return EventStream(await feed.open(after))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(change: dict[str, Any]) -> tuple[int, bytes]:
    return change["sequence"], b"id: %d\ndata: %b\n\n" % (change["sequence"], orjson.dumps(change))


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    return None if text is None else _read_number(name, text)


def _read_number(name: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise RequestRefused(400, f"{name}: must be a whole number.")
    return int(text)


ROUTES: list[Route] = [
    Route("/changes", list_changes, methods=["GET"]),
    Route("/changes/events", stream_changes, methods=["GET"]),
]
"""Relative to `/api`."""

_UID = {"type": ["string", "null"]}
_AFTER = ({"type": "integer", "minimum": 0}, "Sequence number of the last change that is known.")
_WRONG = {400: "A parameter is no number."}

SCHEMAS: dict[str, Any] = {
    "Change": {
        "type": "object",
        "properties": {
            "sequence": {"type": "integer", "description": "Grows from change to change, not always by one."},
            "at": {"type": "string", "format": "date-time"},
            "kind": {"type": "string", "description": "instance.stored, instance.replaced, instance.removed or other."},
            "study_instance_uid": {"type": "string"},
            "series_instance_uid": _UID,
            "sop_instance_uid": _UID,
        },
    }
}

PATHS: dict[str, Any] = {
    "/changes": {
        "get": operation(
            "What changed in the archive, the oldest first",
            {200: ("The changes.", {"type": "array", "items": reference("Change")})},
            query={
                "after": _AFTER,
                "limit": ({"type": "integer", "default": AT_ONCE, "maximum": MOST_LISTED}, "Most changes."),
            },
            refusals=_WRONG,
        ),
    },
    "/changes/events": {
        "get": operation(
            "What changes from now on, or after a number, as server-sent events; Last-Event-ID is understood",
            {200: f"{MEDIA_TYPE} without end: the data of an event is a Change, its id the sequence number."},
            query={"after": _AFTER},
            refusals=_WRONG | {503: "As many listen as can."},
        ),
    },
}
