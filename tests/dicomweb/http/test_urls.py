"""The absolute URLs a client is given."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from dicomweb.http.urls import base_url, instance_url, series_url, study_url
from dicomweb.settings import Settings


def request(
    headers: dict[str, str],
    *,
    client: str = "127.0.0.1",
    server: tuple[str, int] = ("127.0.0.1", 8080),
    scheme: str = "http",
    **settings: Any,
) -> Request:
    app = SimpleNamespace(state=SimpleNamespace(settings=Settings(**settings)))
    return Request(
        {
            "type": "http",
            "app": app,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": (client, 50000),
            "server": server,
            "scheme": scheme,
        }
    )


FROM_HEADERS = [
    ({"Host": "pacs:8080"}, "http://pacs:8080/dicom-web"),
    ({"Host": "pacs.example.org"}, "http://pacs.example.org/dicom-web"),
    ({"Host": "127.0.0.1"}, "http://127.0.0.1:8080/dicom-web"),
    ({"Host": "localhost"}, "http://localhost:8080/dicom-web"),
    ({"Host": "[::1]:8080"}, "http://[::1]:8080/dicom-web"),
    ({}, "http://127.0.0.1:8080/dicom-web"),
    ({"Host": "pacs", "X-Forwarded-Proto": "https"}, "https://pacs/dicom-web"),
    ({"Host": "inner:8080", "X-Forwarded-Host": "pacs.example.org"}, "http://pacs.example.org/dicom-web"),
    (
        {"Host": "inner", "X-Forwarded-Host": "a.example, b.example", "X-Forwarded-Proto": "https, http"},
        "https://a.example/dicom-web",
    ),
    ({"Host": "pacs", "X-Forwarded-Port": "8443", "X-Forwarded-Proto": "https"}, "https://pacs:8443/dicom-web"),
    ({"Host": "pacs", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https"}, "https://pacs/dicom-web"),
    ({"Host": "pacs", "X-Forwarded-Prefix": "/archive/"}, "http://pacs/archive/dicom-web"),
    ({"Host": "pacs", "X-Forwarded-Prefix": "/a b"}, "http://pacs/dicom-web"),
    (
        {"Host": "inner", "Forwarded": 'for=192.0.2.1;host="pacs.example.org:444";proto=https, for=10.0.0.1'},
        "https://pacs.example.org:444/dicom-web",
    ),
    (
        {"Host": "inner", "Forwarded": "for=1.2.3.4;proto=https;host=one", "X-Forwarded-Host": "two"},
        "https://one/dicom-web",
    ),
    ({"Host": "127.0.0.1", "X-Forwarded-For": "192.0.2.1"}, "http://127.0.0.1/dicom-web"),
]


@pytest.mark.parametrize(("headers", "expected"), FROM_HEADERS)
def test_the_base_url_is_what_the_client_sees(headers: dict[str, str], expected: str) -> None:
    """URLs follow Forwarded, X-Forwarded-* of a trusted proxy, and Host (A-127)."""
    assert base_url(request(headers)) == expected


@pytest.mark.parametrize(
    "host", ["evil/path", "a b", 'x"y', "a\r\nSet-Cookie: x", "user@host", "<script>", "host:port", "h:123456"]
)
def test_a_host_with_other_characters_is_not_copied(host: str) -> None:
    """A forged Host never reaches a URL; the socket's own address is used instead (A-127)."""
    assert base_url(request({"Host": host})) == "http://127.0.0.1:8080/dicom-web"
    assert base_url(request({"Host": "ok", "X-Forwarded-Host": host})) == "http://ok/dicom-web"


@pytest.mark.parametrize("port", ["\xb2", "8\xb3", "9" * 5000, "123456", "99999", "-1", "+80", "8_0", "x", ""])
def test_a_port_that_is_none_is_not_copied(port: str) -> None:
    """A forwarded port counts when it is one: one to five digits of ASCII, at most 65535."""
    headers = {"Host": "pacs", "X-Forwarded-Port": port, "X-Forwarded-Proto": "https"}
    assert base_url(request(headers)) == "https://pacs/dicom-web"


def test_forwarding_headers_of_strangers_are_ignored() -> None:
    """Only the peers named by trusted_proxies may say what the client saw (A-127)."""
    headers = {"Host": "pacs", "X-Forwarded-Host": "evil", "Forwarded": "host=evil;proto=https"}
    assert base_url(request(headers, client="192.0.2.7")) == "http://pacs/dicom-web"
    assert base_url(request(headers, client="192.0.2.7", trusted_proxies=["192.0.2.0/24"])).startswith("https://evil")
    assert base_url(request(headers, client="192.0.2.7", trusted_proxies=["*"])).startswith("https://evil")


def test_a_port_is_added_only_where_it_cannot_be_wrong() -> None:
    """A name without port may be a port mapping; the socket's own address cannot (A-127)."""
    assert base_url(request({"Host": "pacs"}, server=("10.0.0.5", 8080))) == "http://pacs/dicom-web"
    assert base_url(request({"Host": "10.0.0.5"}, server=("10.0.0.5", 8080))) == "http://10.0.0.5:8080/dicom-web"
    assert base_url(request({"Host": "10.0.0.5"}, server=("10.0.0.5", 80))) == "http://10.0.0.5/dicom-web"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("https://pacs.example.org", "https://pacs.example.org/dicom-web"),
        ("https://pacs.example.org/", "https://pacs.example.org/dicom-web"),
        ("https://pacs.example.org/rs", "https://pacs.example.org/rs"),
    ],
)
def test_the_setting_wins(setting: str, expected: str) -> None:
    """`public_base_url` is the root as configured, whatever the request says (A-127)."""
    headers = {"Host": "x", "X-Forwarded-Host": "y"}
    assert base_url(request(headers, public_base_url=setting)) == expected


def test_resources_hang_below_the_base() -> None:
    """The URLs of the three levels have the Standard's form (PS3.18 Table 10.1-1)."""
    assert study_url("b", "1.2") == "b/studies/1.2"
    assert series_url("b", "1.2", "3") == "b/studies/1.2/series/3"
    assert instance_url("b", "1.2", "3", "4") == "b/studies/1.2/series/3/instances/4"
