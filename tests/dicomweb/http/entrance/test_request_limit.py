"""A worker that is asked too much says so at once."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from dicomweb.http.app import assemble
from dicomweb.http.entrance.places import Kind, places_for
from dicomweb.http.entrance.request_limit import RequestLimit, kind_of
from dicomweb.settings import Settings


async def test_more_requests_than_allowed_are_told_to_come_again() -> None:
    """503 with Retry-After, a problem document and CORS headers; room again when one is done (A-109, A-121)."""
    go_on = asyncio.Event()

    async def wait(request: Request) -> Response:
        await go_on.wait()
        raise ZeroDivisionError  # whatever the end is, the place is free again

    async def stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"
            await go_on.wait()

        return StreamingResponse(chunks())

    async def answer(request: Request) -> Response:
        return Response(b"here")

    routes = [Route("/wait", wait), Route("/stream", stream), Route("/quick", answer)]
    outside = [Route(path, answer) for path in ("/health", "/health/live", "/metrics")]
    app = assemble(None, Settings(max_requests_in_flight=2, cors_origins=["localhost"]), routes, outside)  # type: ignore[arg-type]
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        waiting = [asyncio.create_task(client.get(f"/dicom-web/{path}")) for path in ("wait", "stream")]
        await asyncio.sleep(0.05)
        refused = await client.get("/dicom-web/quick", headers={"Origin": "http://localhost:3000"})
        exempt = [(await client.get(route.path)).status_code for route in outside]
        go_on.set()
        assert [(await one).status_code for one in waiting] == [500, 200]
        again = await client.get("/dicom-web/quick")
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json" and refused.json()["status"] == 503
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert exempt == [200, 200, 200]
    assert again.content == b"here"


class Waiting:
    """An application whose requests wait: for the client, or for `go_on`."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await receive()
        elif scope["path"].endswith("wait"):
            await self.go_on.wait()
        await Response(b"here")(scope, receive, send)


async def ask(
    limit: RequestLimit,
    path: str,
    method: str = "GET",
    client: str = "192.0.2.1",
    *,
    stuck: asyncio.Event | None = None,
) -> int:
    """Have a request answered; with `stuck` its client neither sends nor reads before that is set."""
    statuses: list[int] = []

    async def receive() -> Message:
        if stuck is not None:
            await stuck.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))
        if stuck is not None:
            await stuck.wait()

    await limit({"type": "http", "method": method, "path": path, "headers": [], "client": (client, 1)}, receive, send)
    return statuses[0]


STUDY = "/dicom-web/studies/1.2"


def limited(most: int) -> tuple[RequestLimit, Waiting]:
    """An application with so many places of each kind."""
    app = Waiting()
    return RequestLimit(app, places=places_for(most), trusted_proxies=("127.0.0.1",)), app


async def test_who_waits_for_its_client_takes_no_place() -> None:
    """A hundred that do not send and one that does not read, with two places of each kind (A-109)."""
    limit, _ = limited(2)
    stuck = asyncio.Event()
    slow = [asyncio.create_task(ask(limit, "/dicom-web/studies", "POST", stuck=stuck)) for _ in range(100)]
    slow.append(asyncio.create_task(ask(limit, STUDY, stuck=stuck)))
    await asyncio.sleep(0)
    assert await ask(limit, "/dicom-web/studies", "POST") == 200
    assert await ask(limit, STUDY) == 200
    stuck.set()
    assert await asyncio.gather(*slow) == [200] * 101


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/dicom-web/studies", Kind.SHORT),
        ("GET", f"{STUDY}/series/1.3/instances", Kind.SHORT),
        ("GET", f"{STUDY}/metadata", Kind.SHORT),
        ("GET", f"{STUDY}/series/1.3/instances/1.4/frames/7", Kind.SHORT),
        ("GET", f"{STUDY}/series/1.3/instances/1.4/rendered", Kind.SHORT),
        ("GET", "/api/status", Kind.SHORT),
        ("GET", STUDY, Kind.DOWNLOAD),
        ("GET", f"{STUDY}/series/1.3/instances/1.4/frames/1,2", Kind.DOWNLOAD),
        ("GET", "/wado", Kind.DOWNLOAD),
        ("POST", "/dicom-web/studies", Kind.UPLOAD),
        ("PUT", "/api/peers/CT1", Kind.UPLOAD),
    ],
)
def test_what_is_soon_answered_has_places_of_its_own(method: str, path: str, kind: Kind) -> None:
    """Searches, single frames and pictures are not kept waiting by studies that come and go."""
    assert kind_of(method, path) is kind


async def test_downloads_keep_no_search_out_and_one_address_not_the_others() -> None:
    """Half of the places of a kind are left to others; a trusted proxy that names nobody has no share."""
    limit, app = limited(4)
    busy = [asyncio.create_task(ask(limit, f"{STUDY}/wait")) for _ in range(5)]
    await asyncio.sleep(0)
    assert [task.done() and task.result() for task in busy] == [False, False, 503, 503, 503]
    assert await ask(limit, "/dicom-web/studies") == 200
    assert await ask(limit, STUDY, client="192.0.2.2") == 200
    assert await ask(limit, STUDY, client="127.0.0.1") == 200
    app.go_on.set()
    assert (await asyncio.gather(*busy))[:2] == [200, 200]
    assert all(not places.begun and not places.holders for places in limit.places.values())
