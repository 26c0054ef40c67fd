"""`/api/peers`: put, shown, forgotten, and asked."""

import socket
import threading
from typing import Any

import httpx2
import pytest

PEER = {"host": "192.0.2.7", "port": 104}


async def test_a_peer_is_put_shown_changed_and_forgotten(client: httpx2.AsyncClient) -> None:
    """PUT answers 201 with Location, then 200; GET shows every member, but never a passcode; DELETE answers 204."""
    whole = PEER | {
        **{"tls": True, "commitment_delivery": ["new"], "transfer_syntaxes": ["1.2.840.10008.1.2.4.90"]},
        **{"character_set": "ISO_IR 100", "username": "pacs", "passcode": "sesame", "availability": True},
        **{"forward_performed_steps": True, "description": "the PACS"},
        **{"our_username": "archive", "our_passcode": "sesame, too"},
    }
    created = await client.put("/api/peers/PACS", json=whole)
    assert created.status_code == 201
    assert created.headers["location"] == "http://archive.test/api/peers/PACS"
    shown = {name: value for name, value in whole.items() if "passcode" not in name}
    shown |= {"ae_title": "PACS", "has_passcode": True, "has_our_passcode": True}
    assert created.json() == shown
    assert (await client.get(created.headers["location"])).json() == shown
    assert "sesame" not in (await client.get("/api/peers")).text
    again = await client.put("/api/peers/PACS", json=shown)
    assert (again.status_code, again.json()) == (200, shown), "what is shown can be put"
    plain = await client.put("/api/peers/PACS", json=PEER)
    assert plain.json()["commitment_delivery"] == ["same", "new", "next"]
    assert plain.json()["has_passcode"] is False
    assert [peer["ae_title"] for peer in (await client.get("/api/peers")).json()] == ["PACS"]
    assert (await client.delete("/api/peers/PACS")).status_code == 204
    gone = await client.get("/api/peers/PACS")
    assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")
    assert (await client.delete("/api/peers/PACS")).status_code == 404


async def test_an_ae_title_may_hold_what_urls_take_apart(client: httpx2.AsyncClient) -> None:
    """Spaces and slashes are characters of AE titles (PS3.5 Table 6.2-1)."""
    created = await client.put("/api/peers/CT%201%2Fa", json=PEER)
    assert created.json()["ae_title"] == "CT 1/a"
    assert (await client.get("/api/peers/CT%201%2Fa")).json()["ae_title"] == "CT 1/a"
    assert (await client.delete("/api/peers/CT%201%2Fa")).status_code == 204


@pytest.mark.parametrize(
    ("ae_title", "members", "says"),
    [
        ("SEVENTEEN_LETTERS", PEER, "AE title has 1 to 16"),
        ("A%5CB", PEER, "no backslash"),
        ("A%07B", PEER, "control"),
        ("PACS", {"host": "a"}, "port: is missing"),
        ("PACS", PEER | {"port": "104"}, "port: must be a valid integer"),
        ("PACS", PEER | {"port": 70000}, "port: must be less than or equal to 65535"),
        ("PACS", PEER | {"hots": "a"}, "hots: there is no such member; there are host, port"),
        ("PACS", PEER | {"tls": "yes"}, "tls: must be a valid boolean"),
        ("PACS", PEER | {"commitment_delivery": ["pigeon"]}, "must be 'same', 'new' or 'next'"),
        ("PACS", PEER | {"commitment_delivery": []}, "same, new, next"),
        ("PACS", PEER | {"passcode": "sesame"}, "needs a username"),
        ("PACS", PEER | {"our_passcode": "sesame"}, "needs our_username"),
        ("PACS", PEER | {"ae_title": "OTHER"}, "not that of the URL"),
        ("PACS", PEER | {"host": "a b"}, "host must be"),
        ("PACS", PEER | {"host": "a\0"}, "host must be"),
    ],
)
async def test_what_cannot_be_is_refused_and_named(
    client: httpx2.AsyncClient, ae_title: str, members: dict[str, Any], says: str
) -> None:
    """A wrong member is a 400 that names it and never repeats a value; nothing is written (G-006)."""
    answer = await client.put(f"/api/peers/{ae_title}", json=members)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert "sesame" not in answer.text
    assert (await client.get("/api/peers")).json() == []


@pytest.mark.parametrize(
    ("client_address", "headers", "may_know"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("192.0.2.9", {}, False),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.9"}, False),
        ("127.0.0.1", {"Via": "1.1 proxy"}, False),
        ("", {}, False),
    ],
)
async def test_other_machines_learn_nothing_of_our_network(
    app: Any, client_address: str, headers: dict[str, str], may_know: bool, unused_tcp_port: int
) -> None:
    """A closed port, a port that speaks something else and a name without address: one text, one status."""
    transport = httpx2.ASGITransport(app=app, client=(client_address, 1))
    with socket.create_server(("127.0.0.1", 0)) as other:
        places = [("127.0.0.1", unused_tcp_port), ("127.0.0.1", other.getsockname()[1]), ("no-such.invalid", 104)]
        answering = threading.Thread(target=_speak_http, args=(other,), daemon=True)
        answering.start()
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            told = []
            for host, port in places:
                await client.put("/api/peers/P", json={"host": host, "port": port})
                for asked in ("echo", "find"):
                    answer = await client.post(f"/api/peers/P/{asked}", json={})
                    told.append((answer.status_code, answer.json()["detail"]))
    assert {status for status, _ in told} == {502}
    assert (len(set(told)) > 1) is may_know
    assert any(str(unused_tcp_port) in detail for _, detail in told) is may_know


def _speak_http(listener: socket.socket) -> None:
    for _ in "12":
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.close()
