"""What is true of every response."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dicomweb.http.app import assemble
from dicomweb.settings import Settings
from storage.errors import Unavailable
from tests.dicomweb.loopback import listening

BIG = b'{"a": "' + b"x" * 5000 + b'"}'


async def json(request: Request) -> Response:
    return Response(BIG, media_type="application/dicom+json", headers={"ETag": '"t"', "Vary": "Prefer, accept"})


async def small(request: Request) -> Response:
    return Response(b"{}", media_type="application/json")


async def pixels(request: Request) -> Response:
    return Response(b"\0" * 5000, media_type="application/octet-stream")


async def many(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield BIG

    return StreamingResponse(chunks(), media_type="application/json")


async def broken(request: Request) -> Response:
    raise ZeroDivisionError("a secret")


async def unavailable(request: Request) -> Response:
    raise Unavailable("The database does not answer.")


async def lost(request: Request) -> Response:
    raise asyncpg.ConnectionDoesNotExistError("secret address")


async def breaks_off(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 10
        raise ZeroDivisionError

    return StreamingResponse(chunks(), media_type="application/octet-stream")


ROUTES = [
    Route(f"/{endpoint.__name__}", endpoint)
    for endpoint in (json, small, pixels, many, broken, unavailable, lost, breaks_off)
]


def client_of(**settings: Any) -> httpx2.AsyncClient:
    app = assemble(None, Settings(**settings), ROUTES)  # type: ignore[arg-type]
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost/dicom-web")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/json", 200), ("/nowhere", 404), ("/broken", 500), ("/unavailable", 503), ("/studies/", 404)],
)
async def test_every_response_has_the_cors_headers(path: str, status: int) -> None:
    """Errors, too, can be read by a browser of another origin (A-121, A-122)."""
    async with client_of(cors_origins=["*"]) as client:
        answer = await client.get(path, headers={"Origin": "https://viewer.example"})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"ETag", "Content-Range", "Warning"} <= set(
        answer.headers["access-control-expose-headers"].replace(" ", "").split(",")
    )
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "Accept" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:5173", True),
        ("http://viewer.localhost", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example:8080", False),
        ("http://[", False),
        ("null", False),
    ],
)
async def test_localhost_stands_for_what_this_machine_serves(origin: str, may: bool) -> None:
    """As an entry of `cors_origins`: every port of it; no other site gets at images."""
    async with client_of(cors_origins=["localhost"]) as client:
        answer = await client.get("/small", headers={"Origin": origin})
    assert answer.headers.get("access-control-allow-origin") == (origin if may else None)


async def test_only_listed_origins_may_read() -> None:
    """With an origin list the header names the asking origin, or is absent (A-121)."""
    async with client_of(cors_origins=["https://viewer.example"]) as client:
        ours = await client.get("/small", headers={"Origin": "https://viewer.example"})
        other = await client.get("/small", headers={"Origin": "https://evil.example"})
    assert ours.headers["access-control-allow-origin"] == "https://viewer.example"
    assert "access-control-allow-origin" not in other.headers
    assert "Origin" in ours.headers["vary"] and "Origin" in other.headers["vary"]


async def test_without_origins_other_sites_are_kept_out() -> None:
    """By default nobody but our own pages: not even what this machine serves on other ports."""
    async with client_of() as client:
        for origin in ("https://evil.example", "http://localhost:3000", "null"):
            answer = await client.get("/small", headers={"Origin": origin})
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert "access-control-allow-origin" not in answer.headers


async def test_a_preflight_is_answered_for_any_resource() -> None:
    """OPTIONS with Origin and a method asked for is a preflight: 204 with what is allowed (A-121, A-123)."""
    asked = {
        "Origin": "https://viewer.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    async with client_of() as client:
        answer = await client.options("/studies", headers=asked)
    assert answer.status_code == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"Authorization", "Accept", "Range", "If-None-Match", "If-Range"} <= set(
        answer.headers["access-control-allow-headers"].replace(" ", "").split(",")
    )


async def test_json_is_compressed_when_asked() -> None:
    """gzip for JSON, with a weak tag and without the old length; never for pixels (A-124)."""
    async with client_of() as client:
        packed = await client.get("/json", headers={"Accept-Encoding": "br, gzip;q=0.5"})
        plain = await client.get("/json", headers={"Accept-Encoding": "gzip;q=0"})
        raw = await client.get("/pixels", headers={"Accept-Encoding": "gzip"})
        short = await client.get("/small", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and packed.content == BIG
    assert packed.headers["etag"] == 'W/"t"' and "content-length" not in packed.headers
    assert plain.headers["etag"] == '"t"' and plain.headers["content-length"] == str(len(BIG))
    assert "content-encoding" not in raw.headers and "content-encoding" not in short.headers
    assert packed.headers["vary"] == "Prefer, accept, Accept-Encoding, Authorization, Origin"


async def test_compression_streams() -> None:
    """The first compressed bytes leave before the last row is read (user pain 1)."""
    async with listening(assemble(None, Settings(), ROUTES)) as url, httpx2.AsyncClient() as client:  # type: ignore[arg-type]
        request = client.build_request("GET", f"{url}/dicom-web/many", headers={"Accept-Encoding": "gzip"})
        answer = await client.send(request, stream=True)
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert gzip.decompress(raw) == BIG * 100


async def test_head_is_get_without_the_body() -> None:
    """HEAD has the headers of GET and no body (A-120)."""
    async with listening(assemble(None, Settings(), ROUTES)) as url, httpx2.AsyncClient() as client:  # type: ignore[arg-type]
        for path in ("json", "pixels", "many", "nowhere"):
            got = await client.get(f"{url}/dicom-web/{path}", headers={"Accept-Encoding": "identity"})
            head = await client.head(f"{url}/dicom-web/{path}", headers={"Accept-Encoding": "identity"})
            assert head.status_code == got.status_code and head.content == b""
            assert head.headers.get("content-length") == got.headers.get("content-length")
            assert head.headers["content-type"] == got.headers["content-type"]


async def test_an_unforeseen_error_tells_nothing() -> None:
    """The body of a 500 is a problem document without details of the server (A-111)."""
    async with client_of() as client:
        answer = await client.get("/broken")
        later = await client.get("/unavailable")
        lost_database = await client.get("/lost")
    assert answer.json()["status"] == 500 and "secret" not in answer.text
    for refused in (later, lost_database):
        assert refused.status_code == 503 and refused.headers["retry-after"]
    assert "secret" not in lost_database.text
    assert later.json()["detail"] == "The database does not answer."


async def test_a_body_that_fails_half_way_is_cut_off() -> None:
    """A client never takes half a body for a whole one (D-010)."""
    async with listening(assemble(None, Settings(), ROUTES)) as url, httpx2.AsyncClient() as client:  # type: ignore[arg-type]
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(f"{url}/dicom-web/breaks_off")


async def test_a_slash_at_the_end_is_forgiven() -> None:
    """Clients that join paths carelessly get the resource, not a redirect to an inner URL."""
    async with client_of() as client:
        assert (await client.get("/small/")).status_code == 200
