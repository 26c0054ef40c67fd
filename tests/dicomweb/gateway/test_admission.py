"""Who may open an association, asked of a real table of peers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicomweb.dimse.negotiation import Acceptance, Proposal, ProposedContext, Rejection, UserIdentity
from dicomweb.gateway.admission import (
    IDENTITY_REFUSED,
    REASONS,
    STOPPING,
    TOO_MANY,
    UNKNOWN_CALLED_AE,
    UNKNOWN_CALLING_AE,
    WRONG_APPLICATION_CONTEXT,
    Admission,
    Caller,
)
from dicomweb.gateway.gateway import Gateway
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.dicom.transfer_syntax import EXPLICIT_LE
from storage.work.peers import Peer

ECHO = ProposedContext(1, "1.2.840.10008.1.1", (EXPLICIT_LE,))
CT = ProposedContext(3, "1.2.840.10008.5.1.4.1.1.2", (EXPLICIT_LE,))
HERE = Caller("127.0.0.1", "127.0.0.1", "127.0.0.1")
ELSEWHERE = Caller("192.0.2.7", "192.0.2.1", "0.0.0.0")
FROM_HERE_TO_ALL = Caller("192.0.2.1", "192.0.2.1", "0.0.0.0")


def proposal(calling: str = "CT1", called: str = "DICOMWEB", **more: Any) -> Proposal:
    """A proposal of verification and CT storage."""
    return Proposal(calling, called, (ECHO, CT), **more)


def admission(archive: Archive, **settings: Any) -> Admission:
    """One over the database of `archive`."""
    return Admission(Gateway(archive, Settings(data_dir=Path("unused"), **settings), archive.peers))


def results(decision: Acceptance | Rejection) -> list[int]:
    """What became of the two contexts."""
    assert isinstance(decision, Acceptance)
    return [each.result for each in decision.contexts]


@pytest.mark.parametrize(
    ("proposed", "caller", "settings", "expected"),
    [
        (proposal(), HERE, {}, None),
        (proposal(called="OTHER"), HERE, {}, UNKNOWN_CALLED_AE),
        (proposal(called="dicomweb"), HERE, {}, UNKNOWN_CALLED_AE),
        (proposal(called="OTHER"), HERE, {"dimse_any_called_ae": True}, None),
        (proposal(called="OTHER"), HERE, {"aet": " OTHER "}, None),
        (proposal(application_context="1.2.3"), HERE, {}, WRONG_APPLICATION_CONTEXT),
        (proposal(), ELSEWHERE, {}, UNKNOWN_CALLING_AE),
        (proposal(), ELSEWHERE, {"dimse_any_calling_ae": True}, None),
        (proposal(), HERE, {"dimse_any_calling_ae": False}, UNKNOWN_CALLING_AE),
        (proposal("KNOWN"), ELSEWHERE, {}, None),
        (proposal("known"), ELSEWHERE, {}, UNKNOWN_CALLING_AE),
        (proposal(""), ELSEWHERE, {}, UNKNOWN_CALLING_AE),
        (proposal("A\0B"), ELSEWHERE, {}, UNKNOWN_CALLING_AE),
        (proposal("A\nB"), HERE, {}, UNKNOWN_CALLING_AE),
        (proposal(called="A\0B"), HERE, {"dimse_any_called_ae": True}, UNKNOWN_CALLED_AE),
        (proposal("R\xd6NTGEN"), HERE, {}, UNKNOWN_CALLING_AE),
        (proposal(called="R\xd6NTGEN"), HERE, {"dimse_any_called_ae": True}, UNKNOWN_CALLED_AE),
        (proposal(called=""), HERE, {"dimse_any_called_ae": True}, None),
        (proposal("DICOMWEB"), ELSEWHERE, {}, UNKNOWN_CALLING_AE),
        (proposal(), replace(HERE, room=False), {}, TOO_MANY),
        (proposal(), replace(HERE, stopping=True), {}, STOPPING),
    ],
)
async def test_an_association_is_judged_by_its_titles_and_by_room(
    archive: Archive, proposed: Proposal, caller: Caller, settings: dict[str, Any], expected: Rejection | None
) -> None:
    """G-004 to G-006: the rejections of PS3.8 Table 9-21; anybody may call where only this machine can."""
    await archive.peers.put(Peer("KNOWN", "192.0.2.7", 104))
    decision = await admission(archive, **settings).decide(proposed, caller)
    assert isinstance(decision, Acceptance) if expected is None else decision == expected


async def test_a_change_of_the_peers_takes_effect_at_once(archive: Archive) -> None:
    """Design 2: nobody restarts the gateway for a new modality, or to shut one out."""
    ours, peers = admission(archive), archive.peers
    assert await ours.decide(proposal(), ELSEWHERE) == UNKNOWN_CALLING_AE
    await peers.put(Peer("CT1", "192.0.2.7", 104))
    assert isinstance(await ours.decide(proposal(), ELSEWHERE), Acceptance)
    await peers.delete("CT1")
    assert await ours.decide(proposal(), ELSEWHERE) == UNKNOWN_CALLING_AE


async def test_the_archive_itself_may_ask_whether_it_is_well_and_nothing_else(archive: Archive) -> None:
    """The health check works with an allow-list; its title opens no door to anybody else, nor to storing."""
    assert results(await admission(archive).decide(proposal("DICOMWEB"), FROM_HERE_TO_ALL)) == [0, 3]
    assert results(await admission(archive).decide(proposal("DICOMWEB"), HERE)) == [0, 0]
    strict = admission(archive, dimse_any_calling_ae=False)
    assert results(await strict.decide(proposal("DICOMWEB"), HERE)) == [0, 3]


@pytest.mark.parametrize(
    ("identity", "admitted"),
    [
        (None, False),
        (UserIdentity(1, b"radiology"), False),
        (UserIdentity(2, b"radiology", b"wrong"), False),
        (UserIdentity(2, b"other", b"secret"), False),
        *((UserIdentity(kind, b"radiology", b"secret"), False) for kind in (0, 3, 4, 5, 6)),
        (UserIdentity(2, b"\xff", b"\xff"), False),
        (UserIdentity(2, b"radiology", b"secret"), True),
    ],
)
async def test_a_peer_with_credentials_must_show_them(
    archive: Archive, identity: UserIdentity | None, admitted: bool
) -> None:
    """G-013, G-014: username and passcode of the peer, also where anybody may call; else 1, 2, 1."""
    await archive.peers.put(Peer("CT1", "192.0.2.7", 104, username="radiology"), passcode="secret")
    for settings, caller in (({}, HERE), ({}, ELSEWHERE), ({"dimse_any_calling_ae": True}, ELSEWHERE)):
        decision = await admission(archive, **settings).decide(proposal(identity=identity), caller)
        assert isinstance(decision, Acceptance) if admitted else decision == IDENTITY_REFUSED


async def test_a_username_alone_is_enough_for_a_peer_without_passcode(archive: Archive) -> None:
    """PS3.7 D.3.3.7.1: type 1 is a username."""
    await archive.peers.put(Peer("CT1", "192.0.2.7", 104, username="radiology"))
    decide = admission(archive).decide
    assert isinstance(await decide(proposal(identity=UserIdentity(1, b"radiology")), HERE), Acceptance)
    assert await decide(proposal(identity=UserIdentity(1, b"someone")), HERE) == IDENTITY_REFUSED


async def test_a_positive_response_is_given_only_when_asked_for_and_checked(archive: Archive) -> None:
    """G-013: length 0 for usernames; none for an identity that nobody compared with anything."""
    asking = UserIdentity(1, b"radiology", response_requested=True)
    decide = admission(archive).decide
    unchecked = await decide(proposal(identity=asking), HERE)
    assert isinstance(unchecked, Acceptance) and unchecked.identity_response is None
    await archive.peers.put(Peer("CT1", "192.0.2.7", 104, username="radiology"))
    checked = await decide(proposal(identity=asking), HERE)
    assert isinstance(checked, Acceptance) and checked.identity_response == b""
    silent = await decide(proposal(identity=UserIdentity(1, b"radiology")), HERE)
    assert isinstance(silent, Acceptance) and silent.identity_response is None


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
async def test_an_identity_nobody_asked_for_keeps_nobody_out(archive: Archive, kind: int) -> None:
    """G-013: whatever its kind, a peer without credentials here is let in, and gets no response."""
    identity = UserIdentity(kind, b"anything", b"", response_requested=True)
    await archive.peers.put(Peer("CT1", "192.0.2.7", 104))
    decision = await admission(archive).decide(proposal(identity=identity), ELSEWHERE)
    assert isinstance(decision, Acceptance) and decision.identity_response is None


def test_every_rejection_has_a_name_and_the_numbers_of_the_standard() -> None:
    """G-004, G-005, G-014: PS3.8 Table 9-21."""
    assert {name: (one.result, one.source, one.reason) for one, name in REASONS.items()} == {
        "application-context": (1, 1, 2),
        "calling-ae-title": (1, 1, 3),
        "called-ae-title": (1, 1, 7),
        "user-identity": (1, 2, 1),
        "stopping": (2, 3, 1),
        "too-many-associations": (2, 3, 2),
    }
