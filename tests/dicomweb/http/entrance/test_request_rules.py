"""What is refused before anything looks at it: names that are not ours, heads without or with two of them."""

import asyncio
import socket
from typing import Any

import httpx2
import pytest

from dicomweb.http.app import assemble
from dicomweb.http.entrance.host_names import HostNames
from dicomweb.settings import Settings
from tests.dicomweb.http.test_middleware import ROUTES
from tests.dicomweb.loopback import listening

OURS = [
    "localhost",
    "LOCALHOST:8080",
    "localhost.",
    "archive.localhost:8042",
    "127.0.0.1",
    "127.0.0.1:8080",
    "192.0.2.7:8042",
    "[::1]:8080",
    "[2001:db8::7]",
]
OTHERS = [
    "evil.example",
    "evil.example:8080",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil-localhost",
    "notlocalhost",
    "2130706433",
    "0x7f.1",
    "archive",
]
NO_HOSTS = [
    "",
    ":8080",
    "a b",
    "user@localhost",
    "localhost/",
    "[::1",
    "::1",
    "evil.example:x[",
    "a,localhost",
    '"><b>x',
]


async def status(settings: Settings, host: str, client: str = "127.0.0.1") -> int:
    """What a request for `host` gets, on a path of DICOMweb."""
    app = assemble(None, settings, ROUTES)  # type: ignore[arg-type]
    transport = httpx2.ASGITransport(app=app, client=(client, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost/dicom-web") as opened:
        return (await opened.get("/small", headers={"Host": host})).status_code


@pytest.mark.parametrize(
    ("hosts", "expected"), [(OURS, 200), (OTHERS, 421), (NO_HOSTS, 400)], ids=["ours", "others", "none"]
)
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
async def test_only_our_names_are_answered(hosts: list[str], expected: int, address: str) -> None:
    """Whatever the archive listens on: names nobody else can point here, and addresses (RFC 9110 15.5.20)."""
    settings = Settings(host=address)
    assert {host: await status(settings, host) for host in hosts} == dict.fromkeys(hosts, expected)


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        ({"allowed_hosts": ["PACS.hospital.example"]}, "pacs.hospital.example:8443", 200),
        ({"allowed_hosts": ["pacs.hospital.example"]}, "hospital.example", 421),
        ({"allowed_hosts": ["*.hospital.example"]}, "a.b.hospital.example", 200),
        ({"allowed_hosts": ["*.hospital.example"]}, "hospital.example", 421),
        ({"allowed_hosts": ["*.hospital.example"]}, "evilhospital.example", 421),
        ({"allowed_hosts": "a.example, *"}, "evil.example", 200),
        ({"allowed_hosts": ["*"]}, "evil example", 400),
        ({"host": "pacs.hospital.example"}, "pacs.hospital.example", 200),
        ({"public_base_url": "https://pacs.example.org/dicom-web"}, "PACS.example.org", 200),
        ({"public_base_url": "https://pacs.example.org"}, "evil.example", 421),
    ],
)
async def test_further_names_are_set(settings: dict[str, Any], host: str, expected: int) -> None:
    """Names, all names below one, any; what `host` and `public_base_url` say is a name of ours, too."""
    assert await status(Settings(**settings), host) == expected


async def test_a_machine_answers_to_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host name, that in the local network, and the one the resolver knows it by."""
    monkeypatch.setattr(socket, "gethostname", lambda: "Ward7")
    monkeypatch.setattr(socket, "getfqdn", lambda: "ward7.hospital.example")
    names = HostNames.of(Settings())
    names._ask_resolver()
    for host in ("ward7:8080", "ward7.local", "ward7.hospital.example"):
        assert host in names
    assert "ward8" not in names and "hospital.example" not in names


@pytest.mark.parametrize(
    ("proxies", "client", "expected"),
    [
        (["192.0.2.7"], "192.0.2.7", 200),
        (["192.0.2.0/24"], "192.0.2.7", 200),
        (["192.0.2.7"], "192.0.2.8", 421),
        # a browser of this machine comes from there, too; "*" names nobody
        (["127.0.0.1", "::1"], "127.0.0.1", 421),
        (["127.0.0.0/8"], "127.0.0.2", 421),
        (["*"], "192.0.2.7", 421),
    ],
)
async def test_a_proxy_is_believed_where_it_was_named(proxies: list[str], client: str, expected: int) -> None:
    """It passes on names that it is configured to serve."""
    assert await status(Settings(trusted_proxies=proxies), "pacs.example", client) == expected


async def test_a_refusal_says_what_to_set() -> None:
    """421 with the setting, the flag and the variable; it is a problem document."""
    app = assemble(None, Settings(), ROUTES)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://pacs.example") as opened:
        answer = await opened.get("/dicom-web/small")
    assert answer.headers["content-type"] == "application/problem+json"
    detail = answer.json()["detail"]
    assert "--allowed-hosts pacs.example" in detail and "DICOMWEB_ALLOWED_HOSTS" in detail


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /dicom-web/small HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /dicom-web/small HTTP/1.1\r\nHost: \r\n\r\n", b"400"),
        (b"GET /dicom-web/small HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET /dicom-web/small HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n", b"400"),
        (b"GET /dicom-web/small HTTP/1.0\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET /dicom-web/small HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /dicom-web/small HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),
        (b"GET /dicom-web/small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"200"),
        (
            b"GET /dicom-web/small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"501",
        ),
        (
            b"GET /dicom-web/small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"501",
        ),
    ],
)
async def test_a_head_names_one_host_and_codes_nothing(head: bytes, expected: bytes) -> None:
    """One Host in HTTP/1.1, else 400 (RFC 9112 3.2); a coding besides chunked is a 501 (RFC 9112 6.1)."""
    app = assemble(None, Settings(), ROUTES)  # type: ignore[arg-type]
    async with listening(app, http="httptools") as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(head)
        line = await reader.readline()
        writer.close()
    assert line.split()[1] == expected


@pytest.mark.parametrize("name", ["https://pacs.example", "pacs.example:8080", "*pacs", "a.*.example", "a b", ""])
def test_what_is_no_name_cannot_be_set(name: str) -> None:
    """The message shows how it is written."""
    with pytest.raises(ValueError, match="no name of a host"):
        Settings(allowed_hosts=[name])
