r"""The application entities we know, in the database: nothing is cached, so that a change takes effect at once.

Facts this module keeps:

- An AE title has 1 to 16 characters of the default repertoire, neither backslash nor control characters; spaces at its
  ends mean nothing, case does (PS3.5 Table 6.2-1; G-006).
- A passcode that a peer must give is kept as a scrypt digest and never comes out again.
- The one we give a peer goes over the network as it is (PS3.7 D.3.3.7), so it is kept sealed with a key outside the
  database (`storage/system/passcode_key.py`). It is opened for that alone: neither `repr` nor JSON nor a dump shows it.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from storage.database.pool import retrying, sql
from storage.dicom.charset import RIGHT_HALF, STAND_ALONE
from storage.errors import ArchiveError
from storage.index.record import UID
from storage.system.passcode_key import LostKey, PasscodeKey

DELIVERIES: Final = ("same", "new", "next")
"""Ways to deliver a storage commitment report: on the association of the request, on a new one, on the peer's next."""

LONGEST_PASSCODE: Final = 1024

_AE_TITLE: Final = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")
_HOST: Final = re.compile(r"[^\s/@\\\x00-\x1f]{1,255}")
_CHARACTER_SETS: Final = frozenset(
    {name for name in STAND_ALONE if name.startswith("GB")}
    | {f"ISO_IR {number}" for number in (*RIGHT_HALF, "6", "192")}
    | {f"ISO 2022 IR {number}" for number in (*RIGHT_HALF, "6", "87", "159")}
)
_SCRYPT: Final = {"n": 2**14, "r": 8, "p": 1}  # 16 MiB and some 50 ms for each attempt


class InvalidPeer(ArchiveError):
    """An attribute of a peer is wrong; the message names it and says what is expected."""


class Passcode:
    """A passcode that neither logs nor JSON show.

    Parameters
    ----------
    sealed : str
        It, sealed.
    key : PasscodeKey
        What opens it.
    """

    __slots__ = ("_key", "_sealed")

    def __init__(self, sealed: str, key: PasscodeKey) -> None:
        self._sealed = sealed
        self._key = key

    def reveal(self) -> str:
        """Return what it is; only for those who must give it. Raises LostKey, Unavailable."""
        return self._key.open(self._sealed)

    def __repr__(self) -> str:
        return "Passcode(...)"


@dataclass(frozen=True, slots=True)
class Peer:
    """An application entity.

    Attributes
    ----------
    ae_title : str
        Without spaces at its ends.
    host, port, tls
        Where it listens, and whether TLS is spoken there.
    commitment_delivery : tuple of str
        The ways of `DELIVERIES` it takes storage commitment reports in, the first one tried first.
    transfer_syntaxes : tuple of str
        Transfer Syntax UIDs preferred when we send to it, the most preferred first.
    character_set : str
        Specific Character Set (0008,0005) of the answers to it; empty: ours to choose (G-154).
    username : str
        What it must give as its user identity; empty: none asked for.
    has_passcode : bool
        Whether it must give a passcode, too.
    availability : bool
        Whether it is told of studies that have become complete (G-180).
    forward_performed_steps : bool
        Whether it is sent the performed procedure steps we are told of (G-173).
    description : str
        For people.
    our_username : str
        What we give as our user identity when we call it; empty: none.
    our_passcode : Passcode or None
        What we give with that.
    """

    ae_title: str
    host: str
    port: int
    tls: bool = False
    commitment_delivery: tuple[str, ...] = DELIVERIES
    transfer_syntaxes: tuple[str, ...] = ()
    character_set: str = ""
    username: str = ""
    has_passcode: bool = False
    availability: bool = False
    forward_performed_steps: bool = False
    description: str = ""
    our_username: str = ""
    our_passcode: Passcode | None = field(default=None, compare=False)


class Peers:
    """The table of peers.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`, to a migrated database.
    key : PasscodeKey
        What passcodes that we give are sealed with.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", key: PasscodeKey) -> None:
        self._pool = pool
        self._key = key

    async def get(self, ae_title: str) -> Peer | None:
        """Return the peer of this AE title, or None; spaces at the ends do not matter."""
        row = await self._pool.fetchrow(sql("peer"), ae_title.strip(" "))
        return None if row is None else self._peer(row)

    async def all(self) -> list[Peer]:
        """Return every peer, by AE title."""
        return [self._peer(row) for row in await self._pool.fetch(sql("peers"))]

    async def put(self, peer: Peer, *, passcode: str | None = None, our_passcode: str | None = None) -> bool:
        """Write a peer; returns whether it is a new one.

        Parameters
        ----------
        peer : Peer
            All of it replaces what was known; its `has_passcode` and `our_passcode` are not looked at.
        passcode : str, optional
            That it must give together with its username; empty takes the one it had away. None keeps that, unless the
            username changes.
        our_passcode : str, optional
            That we give it together with `our_username`; otherwise as `passcode`.

        Raises
        ------
        InvalidPeer
            Something of it cannot be.
        Unavailable
            The key of passcodes cannot be read or made.
        """
        checked(peer)
        if passcode and not peer.username:
            raise InvalidPeer("A passcode needs a username beside it.")
        if our_passcode and not peer.our_username:
            raise InvalidPeer("our_passcode needs our_username beside it.")
        if len(our_passcode or "") > LONGEST_PASSCODE or "\0" in (our_passcode or ""):
            raise InvalidPeer(f"our_passcode must be at most {LONGEST_PASSCODE} characters of text.")
        digest = await asyncio.to_thread(_digest, passcode) if passcode else passcode
        sealed = await asyncio.to_thread(self._key.seal, our_passcode) if our_passcode else our_passcode
        arguments = (
            *(peer.ae_title, peer.host, peer.port, peer.tls, list(peer.commitment_delivery)),
            *(list(peer.transfer_syntaxes), peer.character_set, peer.username, peer.availability),
            *(peer.forward_performed_steps, peer.description, digest, peer.our_username, sealed),
        )
        return bool(await retrying(lambda: self._pool.fetchval(sql("put_peer"), *arguments)))

    async def delete(self, ae_title: str) -> bool:
        """Forget a peer; returns whether it was known."""
        statement = "DELETE FROM peers WHERE ae_title = $1"
        return bool((await retrying(lambda: self._pool.execute(statement, ae_title.strip(" ")))) != "DELETE 0")

    async def check_passcode(self, ae_title: str, username: str, passcode: str) -> bool:
        """Whether the peer may come with this user identity: its username, and its passcode if it has one.

        False for an unknown peer. One without a username has nothing to give: whether that is enough is the caller's
        to decide, by `Peer.username` (PS3.7 D.3.3.7).
        """
        row = await self._pool.fetchrow(sql("peer_identity"), ae_title.strip(" "))
        if row is None or not hmac.compare_digest(row["username"].encode(), username.encode()):
            return False
        return row["passcode"] is None or await asyncio.to_thread(_matches, passcode, row["passcode"])

    async def seal_plain(self) -> int:
        """Seal what earlier versions kept in the clear, and leave nothing of it in the table; returns how many."""
        rows = await self._pool.fetch(sql("plain_passcodes"))
        for ae_title, passcode in rows:
            sealed = await asyncio.to_thread(self._key.seal, passcode)
            await self._pool.execute(sql("seal_plain_passcode"), ae_title, passcode, sealed)
        if rows:
            await self._pool.execute("VACUUM (FULL) peers")  # else the old rows would stay in its file for a while
        return len(rows)

    async def renew_key(self) -> int:
        """Seal every passcode with a new key and forget the old ones; returns how many.

        Raises
        ------
        LostKey
            One cannot be opened; every key is kept then.
        Unavailable
            The keys cannot be read or written.
        """
        await asyncio.to_thread(self._key.renew)
        rows = await self._pool.fetch(sql("sealed_passcodes"))
        for ae_title, sealed in rows:
            try:
                again = await asyncio.to_thread(self._key.seal_again, sealed)
            except LostKey as error:
                raise LostKey(f"our passcode for {ae_title} cannot be opened, give it anew: {error}") from None
            await self._pool.execute(sql("seal_again"), ae_title, sealed, again)
        await asyncio.to_thread(self._key.forget_others)
        return len(rows)

    def _peer(self, row: Any) -> Peer:
        values = dict(row)
        lists = {name: tuple(values[name]) for name in ("commitment_delivery", "transfer_syntaxes")}
        ours = None if values["our_passcode"] is None else Passcode(values["our_passcode"], self._key)
        return Peer(**values | lists | {"our_passcode": ours})


def checked(peer: Peer) -> Peer:
    """Return the peer when all of it can be.

    Raises
    ------
    InvalidPeer
        Something cannot; the message names it.
    """
    checked_ae_title(peer.ae_title)
    if not _HOST.fullmatch(peer.host):
        raise InvalidPeer("host must be a host name or an address, such as 192.0.2.7 or ct1.example.org.")
    if not 1 <= peer.port <= 65535:
        raise InvalidPeer("port must be a number from 1 to 65535.")
    ways = peer.commitment_delivery
    if not ways or len(set(ways)) < len(ways) or not set(ways) <= set(DELIVERIES):
        raise InvalidPeer(f"commitment_delivery must be a list of one or more of {', '.join(DELIVERIES)}.")
    if len(peer.transfer_syntaxes) > 64 or not all(map(UID.fullmatch, peer.transfer_syntaxes)):
        raise InvalidPeer("transfer_syntaxes must be a list of Transfer Syntax UIDs, such as 1.2.840.10008.1.2.1.")
    first, *others = peer.character_set.split("\\")
    if not {first, *others} - {""} <= _CHARACTER_SETS or "" in others or (others and first.startswith("ISO_IR")):
        raise InvalidPeer(
            r"character_set must be a value of Specific Character Set (0008,0005), such as ISO_IR 100, ISO_IR 192, "
            r"GB18030 or ISO 2022 IR 6\ISO 2022 IR 87."
        )
    texts = (("username", peer.username, 64), ("our_username", peer.our_username, 64))
    for name, value, most in (*texts, ("description", peer.description, 1024)):
        if len(value) > most or not (value.isprintable() or name == "description") or "\0" in value:
            raise InvalidPeer(f"{name} must be at most {most} characters of plain text.")
    return peer


def checked_ae_title(ae_title: str) -> str:
    """Return the AE title when it is one, as it is kept: without spaces at its ends.

    Raises
    ------
    InvalidPeer
        It is too long, empty, or has characters that no AE title has.

    Standard
    --------
    PS3.5 Table 6.2-1 (AE); G-006.
    """
    if not _AE_TITLE.fullmatch(ae_title) or ae_title != ae_title.strip(" "):
        raise InvalidPeer(
            "An AE title has 1 to 16 ASCII characters, no backslash, no control characters, no spaces at its ends."
        )
    return ae_title


def _digest(passcode: str, salt: bytes | None = None) -> str:
    salt = salt or os.urandom(16)
    digest = hashlib.scrypt(passcode.encode(), salt=salt, dklen=32, **_SCRYPT)
    return "$".join(("scrypt", *(base64.b64encode(part).decode() for part in (salt, digest))))


def _matches(passcode: str, digest: str) -> bool:
    salt = base64.b64decode(digest.split("$")[1])
    return hmac.compare_digest(_digest(passcode, salt), digest)
