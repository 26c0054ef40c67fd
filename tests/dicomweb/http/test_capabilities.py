"""Retrieve Capabilities (PS3.18 8.9)."""

from typing import Any
from xml.etree import ElementTree

import httpx2
import pytest

from dicomweb.http import capabilities
from dicomweb.http.app import assemble
from dicomweb.http.wado import routes as wado
from dicomweb.settings import Settings

NAMESPACE = "{http://wadl.dev.java.net/2009/02}"


@pytest.fixture
def client() -> httpx2.AsyncClient:
    routes = [*wado.ROUTES, *capabilities.ROUTES]
    app = assemble(None, Settings(public_base_url="https://pacs.example"), routes)  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")


def paths(element: ElementTree.Element, above: str = "") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for resource in element.findall(f"{NAMESPACE}resource"):
        path = f"{above}/{resource.get('path')}"
        found[path] = [str(method.get("name")) for method in resource.findall(f"{NAMESPACE}method")]
        found |= paths(resource, path)
    return found


@pytest.mark.parametrize("path", ["/dicom-web/", "/dicom-web"])
async def test_options_on_the_root_describes_the_service(client: httpx2.AsyncClient, path: str) -> None:
    """WADL with one tree of resources below the base (A-150, A-151, Annex H)."""
    async with client:
        answer = await client.options(path)
    assert answer.status_code == 200 and answer.headers["content-type"] == capabilities.WADL
    assert answer.content.startswith(b"<?xml")
    root = ElementTree.fromstring(answer.content)
    (resources,) = root
    assert resources.get("base") == "https://pacs.example/dicom-web/"
    found = paths(resources)
    assert found["/studies/{study}"] == ["GET"]
    assert found["/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"] == ["GET"]
    assert found["/studies"] == []


async def test_the_json_form_follows_annex_g(client: httpx2.AsyncClient) -> None:
    """Attributes become @name, repeatable elements arrays (A-152)."""
    async with client:
        answer = await client.options("/dicom-web/", headers={"Accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    tree: dict[str, Any] = answer.json()
    resources = tree["application"]["resources"]
    assert resources[0]["@base"].endswith("/dicom-web/")
    methods = [method for resource in walk(resources[0]) for method in resource.get("method", [])]
    assert {method["@id"] for method in methods} >= {"retrieve_metadata", "retrieve_instance_frames"}
    assert all(method["doc"][0]["@xml:lang"] == "en" for method in methods)


def walk(resource: dict[str, Any]) -> list[dict[str, Any]]:
    return [resource, *(found for child in resource.get("resource", []) for found in walk(child))]


async def test_an_unchanged_description_is_a_304(client: httpx2.AsyncClient) -> None:
    """Capabilities answer conditional requests (A-154); what nobody can read is a 406 (A-035)."""
    async with client:
        tag = (await client.options("/dicom-web/")).headers["etag"]
        again = await client.options("/dicom-web/", headers={"If-None-Match": tag})
        refused = await client.options("/dicom-web/", headers={"Accept": "image/png"})
    assert again.status_code == 304 and again.content == b""
    assert refused.status_code == 406 and capabilities.WADL in refused.json()["available"]


async def test_every_handler_of_wado_is_described() -> None:
    """No resource is offered without its media types."""
    for route in wado.ROUTES:
        assert capabilities.describe_handler(route.name).answers, route.name
