"""The log of requests: one line each, and nothing of a patient in it."""

import io
import json
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from dicomweb.http.request_log import RequestLog
from dicomweb.telemetry.exchange import Exchange
from storage.ingest import Outcome

PATIENT = "Musterfrau^Erika"


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines as objects."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def answer(request: Request) -> Response:
    """An endpoint that reads the body."""
    await request.body()
    return PlainTextResponse("hello")


async def store(request: Request) -> Response:
    """An endpoint that leaves the outcomes of a store."""
    request.scope["outcomes"] = [Outcome(status="stored"), Outcome(status="stored"), Outcome()]
    return PlainTextResponse("stored")


async def break_off(request: Request) -> Response:
    """An endpoint whose body breaks off with patient data in the error."""

    async def body() -> Any:
        yield b"some"
        raise ValueError(PATIENT)

    return StreamingResponse(body())


async def answer_if_first(request: Request) -> Response:
    """The first frame is there, no other."""
    return Response(status_code=200 if request.path_params["frame"] == "1" else 404)


def client(ended: Any = lambda _: None, trusted_proxies: Sequence[str] = ()) -> httpx2.AsyncClient:
    """A client of a small application inside the middleware."""
    routes = [
        Mount(
            "/dicom-web",
            routes=[
                Route("/studies/{study}", answer, methods=["GET", "POST"]),
                Route("/studies/{study}/thumbnail", answer),
                Route("/studies/{study}/frames/{frame}", answer_if_first),
            ],
        ),
        Route("/broken", break_off),
        Route("/store", store),
        Route("/health/live", answer),
    ]
    app = RequestLog(Starlette(routes=routes), ended=ended, trusted_proxies=trusted_proxies)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://archive.test")


async def test_a_request_is_one_line_without_its_query(lines: io.StringIO) -> None:
    """Method, path, status, bytes, duration and identifier; never the query string."""
    async with client() as opened:
        answer = await opened.post(f"/dicom-web/studies/1.2?PatientName={PATIENT}", content=b"12345")
    (line,) = parsed(lines)
    assert PATIENT not in lines.getvalue()
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert line.pop("duration_ms") >= 0
    wanted = {"method": "POST", "path": "/dicom-web/studies/1.2", "status": 200, "bytes": 5, "received": 5}
    assert wanted.items() <= line.items()
    assert line["process"] == "worker-7"


async def test_frames_and_pictures_are_no_lines_unless_refused(lines: io.StringIO) -> None:
    """A viewer that opens a study asks for hundreds of them: level debug; what goes wrong is told."""
    async with client() as opened:
        await opened.get("/dicom-web/studies/1.2/thumbnail")
        await opened.get("/dicom-web/studies/1.2/frames/1")
        await opened.get("/dicom-web/studies/1.2/frames/2")
        await opened.get("/dicom-web/studies/1.2")
    assert [(line["path"], line["status"]) for line in parsed(lines)] == [
        ("/dicom-web/studies/1.2/frames/2", 404),
        ("/dicom-web/studies/1.2", 200),
    ]


@pytest.mark.parametrize("given", ["abc-1.2:3_4", "x" * 64])
async def test_the_request_identifier_of_a_trusted_proxy_is_kept(given: str, lines: io.StringIO) -> None:
    """X-Request-ID of a proxy goes through log and response."""
    async with client(trusted_proxies=["127.0.0.1"]) as opened:
        answer = await opened.get("/dicom-web/studies/1", headers={"X-Request-ID": given})
    (line,) = parsed(lines)
    assert answer.headers["X-Request-ID"] == given == line["request_id"]
    assert "client_request_id" not in line


async def test_the_request_identifier_of_a_stranger_is_marked_as_theirs(lines: io.StringIO) -> None:
    """It may be that of another's request: the log has it beside one of ours, which the response tells."""
    async with client(trusted_proxies=["192.0.2.7"]) as opened:
        answers = [await opened.get("/dicom-web/studies/1", headers={"X-Request-ID": "theirs"}) for _ in "12"]
        await opened.get("/dicom-web/studies/1")
    ours = [answer.headers["X-Request-ID"] for answer in answers]
    assert len({*ours, "theirs"}) == 3
    first, second, without = parsed(lines)
    assert [first["request_id"], second["request_id"]] == ours
    assert first["client_request_id"] == second["client_request_id"] == "theirs"
    assert "client_request_id" not in without


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", '"}{', "ümlaut".encode().decode("latin-1")])
async def test_a_strange_request_identifier_is_replaced(given: str, lines: io.StringIO) -> None:
    """Nobody writes into the log through X-Request-ID."""
    async with client() as opened:
        answer = await opened.get("/dicom-web/studies/1", headers={"X-Request-ID": given.encode("latin-1")})
    assert answer.headers["X-Request-ID"] not in ("", given)
    assert "client_request_id" not in parsed(lines)[0]


async def test_a_path_cannot_forge_a_line(lines: io.StringIO) -> None:
    """Line breaks and control characters of a path are escaped."""
    async with client() as opened:
        await opened.get("/nothing%0a%1b[31mhere")
    (line,) = parsed(lines)
    assert line["path"] == "/*"


async def test_what_is_no_uid_in_a_path_is_not_logged(lines: io.StringIO) -> None:
    """Names and secrets in unmatched or refused paths are masked; our own words and UIDs stay (PS3.18 8.5)."""
    async with client() as opened:
        await opened.get(f"/dicom-web/studies/{PATIENT}")
        await opened.get(f"/{PATIENT}/studies/1.2.3/")
    assert PATIENT not in lines.getvalue() and "Musterfrau" not in lines.getvalue()
    assert [line["path"] for line in parsed(lines)] == ["/dicom-web/studies/*", "/*/studies/1.2.3/"]


async def test_a_response_that_breaks_off_is_a_warning(lines: io.StringIO) -> None:
    """Half a body is logged as such."""
    async with client() as opened:
        with pytest.raises(Exception):  # noqa: B017 - what the transport makes of it is not ours
            (await opened.get("/broken")).raise_for_status()
            raise RuntimeError
    line = next(line for line in parsed(lines) if line["message"] == "request")
    assert line["level"] == "warning"
    assert line["broken_off"] is True


async def test_outcomes_of_a_store_are_counted(lines: io.StringIO) -> None:
    """An endpoint leaves them in `scope["outcomes"]`; the line has numbers, no identifiers."""
    async with client() as opened:
        await opened.get("/store")
    assert parsed(lines)[0]["instances"] == {"stored": 2, "failed": 1}


async def test_health_checks_do_not_fill_the_log(lines: io.StringIO) -> None:
    """A successful health check is logged at level debug only."""
    async with client() as opened:
        await opened.get("/health/live")
    assert parsed(lines) == []


async def test_the_route_is_the_template_with_its_mount(lines: io.StringIO) -> None:
    """Metrics are by template, so that UIDs make no labels."""
    seen: list[Exchange] = []
    async with client(seen.append) as opened:
        await opened.get("/dicom-web/studies/1.2.3")
        await opened.get("/dicom-web/nothing")
        await opened.get("/nothing")
    assert [one.route for one in seen] == ["/dicom-web/studies/{study}", "/dicom-web", ""]
