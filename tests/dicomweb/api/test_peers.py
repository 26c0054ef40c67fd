"""`/api/peers`: put, shown, forgotten, and asked."""

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
