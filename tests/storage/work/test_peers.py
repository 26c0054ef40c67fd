"""The table of peers: what is a peer, and what becomes of passcodes."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from storage.work.peers import InvalidPeer, Peer, Peers

PACS = Peer("PACS", "192.0.2.7", 104)


async def test_a_peer_comes_back_as_it_was_put(archive: Any) -> None:
    """Every attribute is kept; a second put replaces all of them, a delete takes effect at once (G-006)."""
    peers = archive.peers
    whole = Peer(
        *("CT 1/a", "ct1.example.org", 11112, True, ("new", "same"), ("1.2.840.10008.1.2.4.70",)),
        *("ISO 2022 IR 6\\ISO 2022 IR 87", "tech", False, True, True, "the scanner\nof room 3"),
    )
    assert await peers.put(whole) is True
    assert await peers.get(" CT 1/a ") == whole
    assert await peers.put(PACS) is True
    assert await peers.put(replace(PACS, port=4242)) is False
    assert await peers.all() == [whole, replace(PACS, port=4242)]
    assert await peers.delete("PACS") is True
    assert await peers.delete("PACS") is False
    assert await peers.get("PACS") is None
    assert await peers.get("ct 1/a") is None, "case matters"


async def test_a_passcode_is_checked_and_never_shown(archive: Any) -> None:
    """A passcode is kept as a digest; a put without one keeps it, unless the username changes (PS3.7 D.3.3.7)."""
    peers = archive.peers
    peer = replace(PACS, username="pacs")
    await peers.put(peer, passcode="sesame")
    stored = await archive.pool.fetchval("SELECT passcode FROM peers")
    assert "sesame" not in stored
    assert await peers.get("PACS") == replace(peer, has_passcode=True)
    assert await peers.check_passcode("PACS", "pacs", "sesame") is True
    for username, passcode in (("pacs", "Sesame"), ("pacs", ""), ("", "sesame"), ("other", "sesame")):
        assert await peers.check_passcode("PACS", username, passcode) is False
    assert await peers.check_passcode("NOBODY", "pacs", "sesame") is False
    await peers.put(replace(peer, port=4242))
    assert await peers.check_passcode("PACS", "pacs", "sesame") is True
    await peers.put(replace(peer, username="other"))
    assert await peers.get("PACS") == replace(peer, username="other")
    await peers.put(peer, passcode="sesame")
    await peers.put(peer, passcode="")
    assert await peers.get("PACS") == peer
    assert await peers.check_passcode("PACS", "pacs", "") is True


async def test_what_we_give_a_peer_is_kept_and_never_shown(archive: Any) -> None:
    """Our passcode comes out as it went in, for calling alone; neither a Peer in a log nor JSON shows it (D.3.3.7)."""
    peers = archive.peers
    peer = replace(PACS, our_username="archive")
    await peers.put(peer, our_passcode="sesame")
    (found,) = await peers.all()
    assert found.our_passcode is not None and found.our_passcode.reveal() == "sesame"
    assert "sesame" not in f"{found} {found.our_passcode}"
    with pytest.raises(TypeError):
        json.dumps(asdict(found))
    await peers.put(replace(peer, port=4242, username="pacs"), passcode="other")
    found = await get(peers)
    assert found.our_passcode is not None and found.has_passcode
    await peers.put(replace(peer, our_username="somebody"))
    assert (await get(peers)).our_passcode is None
    await peers.put(peer, our_passcode="sesame")
    await peers.put(peer, our_passcode="")
    assert (await get(peers)).our_passcode is None
    for changed, passcode in ((PACS, "sesame"), (peer, "a" * 1025), (peer, "a\0")):
        with pytest.raises(InvalidPeer, match="our_passcode"):
            await peers.put(changed, our_passcode=passcode)


async def get(peers: Peers) -> Peer:
    """The peer PACS."""
    found = await peers.get("PACS")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ae_title": ""}, "1 to 16"),
        ({"ae_title": "SEVENTEEN_LETTERS"}, "1 to 16"),
        ({"ae_title": "A\\B"}, "backslash"),
        ({"ae_title": "A\nB"}, "control"),
        ({"ae_title": "TÜV"}, "ASCII"),
        ({"ae_title": "   "}, "1 to 16"),
        ({"ae_title": " PACS"}, "spaces"),
        ({"host": ""}, "host"),
        ({"host": "http://pacs/"}, "host"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"commitment_delivery": ()}, "same, new, next"),
        ({"commitment_delivery": ("new", "new")}, "same, new, next"),
        ({"commitment_delivery": ("pigeon",)}, "same, new, next"),
        ({"transfer_syntaxes": ("JPEG",)}, "Transfer Syntax"),
        ({"character_set": "UTF-8"}, "ISO_IR 192"),
        ({"character_set": "ISO_IR 100\\ISO 2022 IR 87"}, "ISO 2022"),
        ({"username": "a" * 65}, "username"),
        ({"our_username": "a\nb"}, "our_username"),
        ({"description": "a\0b"}, "description"),
    ],
)
async def test_a_peer_that_cannot_be_is_refused_in_words(archive: Any, change: dict[str, Any], says: str) -> None:
    """What is wrong is named, and nothing is written (PS3.5 Table 6.2-1, G-006)."""
    with pytest.raises(InvalidPeer, match=says):
        await archive.peers.put(replace(PACS, **change))
    assert await archive.peers.all() == []


async def test_a_passcode_needs_a_username(archive: Any) -> None:
    """DICOM knows no passcode without a username (PS3.7 D.3.3.7)."""
    with pytest.raises(InvalidPeer, match="username"):
        await archive.peers.put(PACS, passcode="sesame")
