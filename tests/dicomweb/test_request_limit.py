"""A worker that is asked too much says so at once."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dicomweb.app import assemble
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
