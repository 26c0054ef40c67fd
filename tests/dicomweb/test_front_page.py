"""The page at the root of the server."""

import base64
import hashlib
import re
from typing import cast

import httpx2
import pytest

from dicomweb.app import create_app
from dicomweb.settings import Settings
from storage.archive import Archive


def client(**settings: str) -> httpx2.AsyncClient:
    app = create_app(cast(Archive, None), Settings(**settings))  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8080")


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml,*/*;q=0.8", "*/*", "image/png"])
async def test_a_browser_gets_a_page_that_runs_nothing(accept: str) -> None:
    """It names the DICOMweb root and links to health, metrics and studies; no scripts, nothing from elsewhere."""
    async with client() as opened:
        answer = await opened.get("/", headers={"Accept": accept})
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    root = "http://127.0.0.1:8080/dicom-web"
    assert f"<code>{root}</code>" in answer.text
    assert re.findall('href="(.*?)"', answer.text) == [f"{root}/studies", "health", "metrics"]
    assert "<script" not in answer.text and "src=" not in answer.text
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", f"style-src 'sha256-{allowed}'", "frame-ancestors 'none'"} <= set(policy)


async def test_a_program_gets_json() -> None:
    """The same facts for `Accept: application/json`."""
    async with client(public_base_url="https://pacs.example/dicom-web") as opened:
        answer = await opened.get("/", headers={"Accept": "application/json"})
        head = await opened.head("/")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["dicomweb_root"] == "https://pacs.example/dicom-web"
    assert answer.json()["studies"] == "https://pacs.example/dicom-web/studies"
    assert head.status_code == 200 and head.content == b""


async def test_a_hostile_host_puts_no_markup_into_the_page() -> None:
    """The Host header is spelt as a host or not shown at all."""
    async with client() as opened:
        answer = await opened.get("/", headers={"Host": '"><b>x'})
    assert answer.status_code == 200 and "<b>" not in answer.text
