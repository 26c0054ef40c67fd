"""What all of `/api` keeps: closed to other sites, described, readable refusals."""

import re
from typing import Any

import httpx2
import pytest
from starlette.routing import Mount, Route

from dicomweb.http.app import create_app
from dicomweb.settings import Settings

JSON = {"Content-Type": "application/json"}
PEER = {"host": "192.0.2.7", "port": 104}


async def test_every_route_is_described(app: Any, client: httpx2.AsyncClient) -> None:
    """`/api/openapi.json` is an OpenAPI 3.1 document of every path and method there is, and of no other."""
    answer = await client.get("/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    described = answer.json()
    assert described["openapi"].startswith("3.1.")
    assert described["servers"] == [{"url": "http://archive.test/api"}]
    methods = {
        (path, method.upper())
        for path, item in described["paths"].items()
        for method in item.keys() & {"get", "put", "post", "delete", "patch"}
    }
    (mount,) = (route for route in app.routes if isinstance(route, Mount) and route.path == "/api")
    routes = {
        (re.sub(r":\w+}", "}", route.path), method)
        for route in mount.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert methods == routes
    for path, item in described["paths"].items():
        named = set(re.findall(r"{(\w+)}", path))
        for method in item.keys() & {"get", "put", "post", "delete"}:
            given = {each["name"] for each in item.get("parameters", []) + item[method].get("parameters", [])}
            assert named <= given, f"{method} {path} describes its path parameters"
            assert item[method]["summary"] and item[method]["responses"]


async def test_every_reference_of_the_description_leads_somewhere(client: httpx2.AsyncClient) -> None:
    """The OpenAPI document is whole: what it refers to is in it."""
    answer = await client.get("/api/openapi.json")
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', answer.text))
    assert referred and referred <= answer.json()["components"]["schemas"].keys()


@pytest.mark.parametrize("path", ["/api/peers", "/api/peers/NOBODY", "/api/nothing", "/api/openapi.json"])
async def test_no_answer_lets_other_sites_in(client: httpx2.AsyncClient, path: str) -> None:
    """Nothing below `/api` has CORS headers, errors included, and a page of another site is refused."""
    answer = await client.get(path)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    refused = await client.get(path, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert not [name for name in refused.headers if name.startswith("access-control-")]
    assert (await client.get(path, headers={"Origin": "null"})).status_code == 403
    own = await client.get(path, headers={"Origin": "http://archive.test"})
    assert own.status_code == answer.status_code


async def test_a_name_that_points_here_for_a_while_is_not_answered(client: httpx2.AsyncClient) -> None:
    """A page whose own name was made to point to this machine (DNS rebinding) gets nothing, whatever else it sends."""
    forged = {"Origin": "http://evil.example", "X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
    for host, status in (("evil.example", 421), ("localhost", 403)):
        answer = await client.put("/api/peers/P", json=PEER, headers=forged | {"Host": host})
        assert answer.status_code == status
    assert (await client.get("/api/peers", headers={"Host": "evil.example"})).status_code == 421
    assert (await client.get("/api/peers", headers={"Host": "localhost"})).json() == []


async def test_a_preflight_is_not_granted(archive: Any) -> None:
    """A browser that asks whether another site may PUT gets no permission, whatever `cors_origins` says of DICOMweb."""
    transport = httpx2.ASGITransport(app=create_app(archive, Settings(cors_origins=["localhost"])))
    client = httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080")
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "PUT"}
    answer = await client.options("/api/peers/PACS", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    allowed = (await client.options("/dicom-web/studies", headers=headers)).headers["access-control-allow-origin"]
    assert allowed == "http://localhost:3000"


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""])
async def test_what_a_form_can_send_changes_nothing(client: httpx2.AsyncClient, media_type: str) -> None:
    """A POST or PUT that is not said to be JSON is refused, whatever its body (415)."""
    for method, path in (("PUT", "/api/peers/PACS"), ("POST", "/api/jobs"), ("POST", "/api/jobs/1/retry")):
        answer = await client.request(method, path, content=b"{}", headers={"Content-Type": media_type})
        assert answer.status_code == 415
        assert "application/json" in answer.json()["detail"]
        assert f"came as {media_type}" in answer.json()["detail"] or not media_type
    assert (await client.get("/api/peers")).json() == []


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "JSON object"),
        (b'{"host": "\xff"}', 400, "not JSON"),
        (b" " * (1 << 20) + b"{}", 413, "limit"),
    ],
)
async def test_a_body_that_cannot_be_is_refused(
    client: httpx2.AsyncClient, body: bytes, status: int, says: str
) -> None:
    """A body that is no JSON object, or too long, is a problem document that says so (RFC 9457)."""
    answer = await client.put("/api/peers/PACS", content=body, headers=JSON)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


async def test_a_method_that_is_not_there_names_those_that_are(client: httpx2.AsyncClient) -> None:
    """405 with Allow, as everywhere (RFC 9110 15.5.6)."""
    answer = await client.request("DELETE", "/api/peers")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "path", ["/performed-steps?patient_id=%00", "/performed-steps/%00", "/peers/%00", "/jobs?kind=%00", "/worklist/%00"]
)
async def test_a_nul_is_the_fault_of_the_request(client: httpx2.AsyncClient, path: str) -> None:
    """Promise 7: a character that the database takes in no text is never a 500."""
    answer = await client.get(f"/api{path}")
    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_job_of_a_peer_that_cannot_be_is_refused(client: httpx2.AsyncClient) -> None:
    """Promise 7: so is a NUL in a body."""
    answer = await client.post("/api/jobs", json={"kind": "send", "peer": "\0", "studies": ["1.2"]})
    assert answer.status_code == 400
