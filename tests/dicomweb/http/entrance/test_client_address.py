"""Whose request it is, as far as shares go."""

import pytest

from dicomweb.http.entrance.client_address import client_of

TRUSTED = ("127.0.0.1", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("192.0.2.1", {}, "192.0.2.1"),
        ("192.0.2.1", {"x-forwarded-for": "198.51.100.7"}, "192.0.2.1"),  # nobody believes it
        ("127.0.0.1", {}, None),  # a trusted proxy speaks for many
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}, "192.0.2.1"),
        ("127.0.0.1", {"x-forwarded-for": "6.6.6.6, 192.0.2.1"}, "192.0.2.1"),  # the first is the client's own word
        ("127.0.0.1", {"x-forwarded-for": "6.6.6.6, 192.0.2.1, 10.1.1.1"}, "192.0.2.1"),  # two proxies of ours
        ("127.0.0.1", {"x-forwarded-for": "10.1.1.1"}, None),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1:4711"}, "192.0.2.1"),
        ("127.0.0.1", {"forwarded": 'for=6.6.6.6, for="[2001:db8::1]:80";proto=https'}, "2001:db8::1"),
        ("127.0.0.1", {"forwarded": "for=192.0.2.1;host=x"}, "192.0.2.1"),
        ("127.0.0.1", {"forwarded": "host=x"}, None),
    ],
)
def test_the_address_is_the_last_that_a_trusted_proxy_did_not_make_up(
    peer: str, headers: dict[str, str], client: str | None
) -> None:
    """RFC 7239 5.2, 6: what stands before the last one that is no proxy of ours, anybody may have written."""
    scope = {"client": (peer, 1), "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    assert client_of(scope, TRUSTED) == client
