"""Where we listen: named sockets, and what is said when one cannot be had."""

import socket
from typing import Any

import pytest

from dicomweb.process.listener import (
    DIMSE,
    DIMSE_TLS,
    HTTP,
    address_of,
    listen_everywhere,
    places,
    plain_address,
    url_of,
)
from dicomweb.settings import Settings, SettingsError


def names(**settings: Any) -> list[str]:
    """The listeners there are under some settings."""
    return list(places(Settings(**settings)))


def test_each_door_has_its_listener() -> None:
    """G-018: DIMSE and DIMSE over TLS on ports of their own; each can be left out."""
    assert names() == [HTTP, DIMSE]
    assert names(dimse_tls_port=2762) == [HTTP, DIMSE, DIMSE_TLS]
    assert names(dimse=False, dimse_tls_port=2762) == [HTTP]


def test_ports_are_taken_as_asked_and_told() -> None:
    """Port 0 takes any free one; what was taken is told as others reach it."""
    listeners = listen_everywhere(Settings(port=0, dimse_port=0, dimse_tls_port=0))
    try:
        taken = {name: listener.getsockname()[1] for name, listener in listeners.items()}
        assert len(set(taken.values())) == 3
        assert url_of(listeners[HTTP]) == f"http://127.0.0.1:{taken[HTTP]}"
        assert address_of(listeners[DIMSE]) == f"127.0.0.1:{taken[DIMSE]}"
    finally:
        for listener in listeners.values():
            listener.close()


@pytest.mark.parametrize(
    ("setting", "also"), [("port", {}), ("dimse_port", {"port": 0}), ("dimse_tls_port", {"port": 0, "dimse_port": 0})]
)
def test_a_port_that_is_taken_is_named_with_its_setting(setting: str, also: dict[str, int]) -> None:
    """User-pains 18: what is in the way and what to do; nothing else stays open."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError) as refused:
            listen_everywhere(Settings(**also | {setting: port}))
    assert f"Port {port} of 127.0.0.1 is taken" in str(refused.value)
    assert f"--{setting.replace('_', '-')}" in str(refused.value)
    assert ("--no-dimse" in str(refused.value)) == (setting == "dimse_port")


@pytest.mark.parametrize(
    ("settings", "flag"), [({"host": "0.0.0.0"}, "--host 0.0.0.0"), ({"dimse_host": "0.0.0.0"}, "--dimse-host 0.0.0.0")]
)
def test_nothing_listens_for_other_machines_unless_that_is_meant(settings: dict[str, Any], flag: str) -> None:
    """Design 2: an AE title proves nothing, so DIMSE is bound as HTTP is."""
    free = {"port": 0, "dimse_port": 0}
    with pytest.raises(SettingsError, match=f"{flag} can be reached by other machines"):
        listen_everywhere(Settings(**free | settings))
    for listener in listen_everywhere(Settings(**free | settings, insecure_no_auth=True)).values():
        listener.close()


def test_a_host_that_is_none_is_named_with_its_setting() -> None:
    """User-pains 18."""
    with pytest.raises(SettingsError, match="--dimse-host nowhere is neither"):
        listen_everywhere(Settings(port=0, dimse_port=0, dimse_host="nowhere"))


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::1", "::1"),
        ("::ffff:c000:207", "::ffff:c000:207"),
        ("", ""),
    ],
)
def test_an_ipv4_peer_has_its_own_address(said: str, plain: str) -> None:
    """A socket for IPv4 and IPv6 writes IPv4 addresses as mapped ones, with dots (RFC 4291 2.5.5.2, RFC 5952 5)."""
    assert plain_address(said) == plain
