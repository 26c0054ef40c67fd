"""The user identity that the archive presents wherever it calls a peer (PS3.7 D.3.3.7)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dicomweb.dimse.acceptor import accept
from dicomweb.dimse.errors import AssociationRejected
from dicomweb.dimse.message import Timeouts
from dicomweb.dimse.negotiation import Proposal, Rejection, UserIdentity
from dicomweb.scu.availability import notify
from dicomweb.scu.calling import Caller
from dicomweb.scu.echo import echo
from dicomweb.scu.find import find
from dicomweb.scu.get import get
from dicomweb.scu.identifier import identifier, uids
from dicomweb.scu.move import move
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.work.jobs import Jobs
from storage.work.peers import Peer
from tests.dicomweb.gateway.committing import committing, stored
from tests.dicomweb.gateway.retrieving import ask_move
from tests.dicomweb.gateway.serving import CT, listening
from tests.dicomweb.jobs.working import until, working

OURS = UserIdentity(2, b"archive", "sésame".encode(), False)


class Doorkeeper(list[UserIdentity | None]):
    """Rejects every association; a list of the identities that were presented, and the peer it is."""

    peer: Peer

    async def knocks(self) -> UserIdentity | None:
        """Wait for somebody; the identity presented."""
        async with asyncio.timeout(60):
            while not self:
                await asyncio.sleep(0.01)
        return self[0]


@asynccontextmanager
async def doorkeeper(archive: Archive, **attributes: Any) -> AsyncIterator[Doorkeeper]:
    """Run one, as the peer REMOTE to whom we present ourselves."""
    keeper = Doorkeeper()

    async def negotiate(proposal: Proposal, peer: Any) -> Rejection:
        keeper.append(proposal.identity)
        return Rejection(1, 1, 3)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await accept(reader, writer, negotiate, timeouts=Timeouts()) is None

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        keeper.peer = Peer("REMOTE", "127.0.0.1", port, our_username="archive", **attributes)
        await archive.peers.put(keeper.peer, our_passcode="sésame")
        known = await archive.peers.get("REMOTE")
        assert known is not None
        keeper.peer = known
        yield keeper


async def drain(found: AsyncIterator[Any]) -> None:
    """Take everything."""
    async for _ in found:
        pass


async def taken(_: Any) -> None:
    """Take no notice of what comes."""


OPERATIONS: dict[str, Callable[[Caller, Peer, Archive], Awaitable[Any]]] = {
    "C-ECHO": lambda caller, peer, archive: echo(caller, peer),
    "C-FIND": lambda caller, peer, archive: drain(find(caller, peer, identifier("STUDY", {}))),
    "C-MOVE": lambda caller, peer, archive: drain(move(caller, peer, uids("STUDY", StudyInstanceUID="1.2"), "US")),
    "C-GET": lambda caller, peer, archive: drain(
        get(caller, peer, uids("STUDY", StudyInstanceUID="1.2"), [CT], archive, taken)
    ),
    "N-CREATE": lambda caller, peer, archive: notify(caller, peer, {}),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_whatever_we_ask_we_say_who_we_are(archive: Archive, operation: str) -> None:
    """Every operation on a peer presents its `our_username` and `our_passcode`."""
    async with doorkeeper(archive) as keeper:
        with pytest.raises(AssociationRejected):
            await OPERATIONS[operation](Caller(Settings()), keeper.peer, archive)
    assert keeper == [OURS]


async def test_without_a_passcode_the_username_goes_alone(archive: Archive) -> None:
    """Kind 1 without a passcode, and no identity at all for a peer that wants none."""
    async with doorkeeper(archive) as keeper:
        for peer in (
            Peer("A", "127.0.0.1", keeper.peer.port, our_username="x"),
            Peer("A", "127.0.0.1", keeper.peer.port),
        ):
            with pytest.raises(AssociationRejected):
                await echo(Caller(Settings()), peer)
    assert keeper == [UserIdentity(1, b"x", b"", False), None]


async def test_what_is_sent_is_sent_under_our_name(archive: Archive) -> None:
    """The job "send", and a C-MOVE that somebody asked for."""
    await stored(archive)
    study = await archive.pool.fetchval("SELECT study_instance_uid FROM studies")
    async with doorkeeper(archive) as keeper, working(archive):
        jobs = Jobs(archive.pool)
        number = await jobs.add("send", {"peer": "REMOTE", "entities": [{"study_instance_uid": study}]})
        job = await until(jobs, number, lambda job: job.state == "waiting")
        await jobs.cancel(number)
        assert "sésame" not in job.error
        assert keeper.pop() == OURS
        async with listening(archive) as port:
            await ask_move(port, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}, "REMOTE")
        assert await keeper.knocks() == OURS


@pytest.mark.parametrize("settings", [{}, {"commitment_downstream": "REMOTE"}])
async def test_commitments_are_reported_and_asked_for_under_our_name(
    archive: Archive, settings: dict[str, str]
) -> None:
    """Reports on associations of our own, and questions downstream."""
    references = await stored(archive)
    async with doorkeeper(archive, commitment_delivery=("new",)) as keeper, committing(archive, **settings) as running:
        await running.commitments.add("1.2.3", "REMOTE", "DICOMWEB", references)
        assert await keeper.knocks() == OURS
