"""The root of the server."""

from typing import cast

import httpx2
import pytest

from dicomweb.http.app import create_app
from dicomweb.settings import Settings
from storage.archive import Archive


def client(**settings: str) -> httpx2.AsyncClient:
    app = create_app(cast(Archive, None), Settings(**settings))  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8080")


async def test_a_browser_is_led_to_the_pages() -> None:
    """Whoever takes HTML goes on to `/ui/`, by a relative reference that holds below a proxy's path."""
    async with client() as opened:
        answer = await opened.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.status_code == 302 and answer.headers["location"] == "ui/"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", ["application/json", "*/*", "image/png", None])
async def test_a_program_gets_json(accept: str | None) -> None:
    """What it is and where everything is, for all that do not ask for HTML."""
    async with client(public_base_url="https://pacs.example/dicom-web") as opened:
        opened.headers.pop("accept")
        headers = {} if accept is None else {"Accept": accept}
        answer = await opened.get("/", headers=headers)
        head = await opened.head("/", headers=headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["dicomweb_root"] == "https://pacs.example/dicom-web"
    assert answer.json()["studies"] == "https://pacs.example/dicom-web/studies"
    assert answer.json()["pages"] == "/ui/"
    assert head.status_code == 200 and head.content == b""


async def test_a_hostile_host_puts_no_markup_into_the_answer() -> None:
    """What is no host is refused and not shown (RFC 9112 3.2)."""
    async with client() as opened:
        answer = await opened.get("/", headers={"Host": '"><b>x'})
    assert answer.status_code == 400 and "<b>" not in answer.text
