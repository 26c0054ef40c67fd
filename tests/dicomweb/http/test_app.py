"""The application as a whole: routes, methods, errors of the router."""

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http import capabilities
from dicomweb.http.app import assemble
from dicomweb.http.wado import routes as wado
from dicomweb.settings import Settings


async def store_instances(request: Request) -> Response:
    return Response()


@pytest.fixture
def client() -> httpx2.AsyncClient:
    routes = [
        *wado.ROUTES,
        Route("/studies", store_instances, methods=["POST"]),
        Route("/studies/{study}", store_instances, methods=["POST"]),
        *capabilities.ROUTES,
    ]
    app = assemble(None, Settings(), routes, [Route("/health", store_instances)])  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")


async def test_an_unknown_path_is_a_404_that_says_where_to_look(client: httpx2.AsyncClient) -> None:
    """Errors of the router are problem documents (A-105, A-110)."""
    async with client:
        for path in ("/dicom-web/nothing", "/nothing"):
            answer = await client.get(path)
            assert answer.status_code == 404 and "OPTIONS" in answer.json()["detail"]


async def test_a_wrong_method_names_the_right_ones(client: httpx2.AsyncClient) -> None:
    """405 carries every method of the path, whichever module answers it (A-104)."""
    async with client:
        answer = await client.put("/dicom-web/studies/1.2")
        root = await client.delete("/health")
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert answer.json()["title"] == "Method Not Allowed"
    assert root.status_code == 405 and root.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_options_of_a_resource_lists_its_methods(client: httpx2.AsyncClient) -> None:
    """OPTIONS below the root answers 200 with Allow (A-155)."""
    async with client:
        answer = await client.options("/dicom-web/studies/1.2")
        unknown = await client.options("/dicom-web/nothing")
    assert answer.status_code == 200 and answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert unknown.status_code == 404


@pytest.mark.parametrize("uid", ["abc", "1" * 65, "1.2%00", "1.2%0d%0a", "%C3%A9", "1 2"])
async def test_a_malformed_uid_is_a_400(client: httpx2.AsyncClient, uid: str) -> None:
    """No spelling of a UID reaches the database or becomes a 500; a line break names nothing (A-003, A-004)."""
    async with client:
        for path in (f"/dicom-web/studies/{uid}", f"/dicom-web/studies/1/series/{uid}/metadata"):
            answer = await client.get(path)
            assert answer.status_code == (404 if "%0a" in uid else 400)
            assert answer.json()["detail"]


async def test_strict_uids_follow_the_standard() -> None:
    """With `strict_uids` a leading zero is refused as well (A-003)."""
    app = assemble(None, Settings(strict_uids=True), wado.ROUTES)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        assert (await client.get("/dicom-web/studies/1.02")).status_code == 400
