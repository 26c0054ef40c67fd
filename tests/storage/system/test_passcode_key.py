"""The passcodes that we show others: sealed in the database, with a key that lies elsewhere."""

import asyncio
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from dicomweb.dimse.errors import AssociationError
from dicomweb.scu.calling import identity_of
from storage.database.postgres_binaries import wheel_binaries
from storage.system.passcode_key import LostKey, PasscodeKey
from storage.work.peers import Peer, Peers

PACS = Peer("PACS", "192.0.2.7", 104, our_username="archive")
SECRET = "sesame-öffne-dich"


async def revealed(peers: Peers, ae_title: str = "PACS") -> str:
    """What would be shown to the peer."""
    peer = await peers.get(ae_title)
    assert peer is not None and peer.our_passcode is not None
    return peer.our_passcode.reveal()


def key_of(archive: Any) -> Path:
    """Where the archive of a test has its key."""
    return Path(archive.blobs.root.parent / "passcodes.key")


async def bytes_of_table(archive: Any) -> bytes:
    """What the file of the table of peers holds, rows that are gone included."""
    await archive.pool.execute("CHECKPOINT")
    return bytes(await archive.pool.fetchval("SELECT pg_read_binary_file(pg_relation_filepath('peers'))"))


async def test_neither_database_nor_dump_shows_it(archive: Any, database_url: str) -> None:
    """Who has the database alone has nothing; the key is in a file of mode 0600 (PS3.7 D.3.3.7)."""
    await archive.peers.put(PACS, our_passcode=SECRET)
    assert await revealed(archive.peers) == SECRET
    command = [wheel_binaries() / "pg_dump", "--dbname", database_url]
    dump = (await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)).stdout.decode()
    key = key_of(archive).read_text().strip()
    assert "192.0.2.7" in dump and SECRET not in dump and key not in dump
    assert SECRET.encode() not in await bytes_of_table(archive)
    assert key_of(archive).stat().st_mode & 0o777 == 0o600
    (sealed,) = await archive.pool.fetchrow("SELECT our_passcode_sealed FROM peers")
    assert Fernet(key).decrypt(sealed).decode() == SECRET, "as the README says it is kept"


async def test_what_was_kept_in_the_clear_is_sealed(archive: Any) -> None:
    """Passcodes of an earlier version go on working and leave no trace in the table, rows that are gone included."""
    await archive.peers.put(PACS)
    await archive.peers.put(replace(PACS, ae_title="OTHER"))
    await archive.pool.execute("UPDATE peers SET our_passcode = $1 WHERE ae_title = 'PACS'", SECRET)
    assert SECRET.encode() in await bytes_of_table(archive)
    assert [await archive.peers.seal_plain() for _ in range(2)] == [1, 0]
    assert await revealed(archive.peers) == SECRET
    assert SECRET.encode() not in await bytes_of_table(archive)
    assert (await archive.peers.get("OTHER")).our_passcode is None


@pytest.mark.parametrize(
    "key", [None, Fernet.generate_key().decode(), "no key", "\udcff"], ids=["none", "another", "no key", "no text"]
)
async def test_a_lost_key_is_one_sentence(archive: Any, key: str | None) -> None:
    """Without the key only calling that peer fails, with what to do; nothing else does, and giving it anew mends it."""
    await archive.peers.put(PACS, our_passcode=SECRET)
    key_of(archive).unlink()
    if key is not None:
        key_of(archive).write_bytes(key.encode(errors="surrogateescape"))
    (peer,) = await archive.peers.all()
    with pytest.raises(AssociationError, match=r"our passcode for PACS cannot be opened.*--our-passcode-file"):
        identity_of(peer)
    assert await archive.peers.put(replace(PACS, port=105)) is False
    if key is None:
        await archive.peers.put(PACS, our_passcode="new")
        assert await revealed(archive.peers) == "new"


async def test_a_new_key_takes_the_place_of_the_old_one(archive: Any) -> None:
    """After the change the old key opens nothing; where one passcode cannot be opened, no key is forgotten."""
    await archive.peers.put(PACS, our_passcode=SECRET)
    await archive.peers.put(replace(PACS, ae_title="OTHER"), our_passcode="other")
    old = key_of(archive).read_text()
    assert await archive.peers.renew_key() == 2
    assert old not in key_of(archive).read_text() and len(key_of(archive).read_text().split()) == 1
    assert [await revealed(archive.peers, name) for name in ("PACS", "OTHER")] == [SECRET, "other"]
    await archive.pool.execute("UPDATE peers SET our_passcode_sealed = 'damaged' WHERE ae_title = 'OTHER'")
    before = key_of(archive).read_text()
    with pytest.raises(LostKey, match="our passcode for OTHER"):
        await archive.peers.renew_key()
    assert before in key_of(archive).read_text()
    assert await revealed(archive.peers) == SECRET


def test_processes_that_make_the_key_at_once_have_the_same(tmp_path: Path) -> None:
    """The first one's key is the key: what the others sealed meanwhile is opened with it."""
    sealed: list[str] = []
    ready = threading.Barrier(8)

    def seal(number: int) -> None:
        key = PasscodeKey(tmp_path / "key")
        ready.wait()
        sealed.append(key.seal(str(number)))

    threads = [threading.Thread(target=seal, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(PasscodeKey(tmp_path / "key").open(each) for each in sealed) == list("01234567")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
