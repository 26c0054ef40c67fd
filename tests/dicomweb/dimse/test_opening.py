"""How an association comes about between two sides of ours, or does not (PS3.8 7.1, PS3.7 D.3)."""

import pytest

from dicomweb.dimse.acceptor import PeerAddress
from dicomweb.dimse.errors import AssociationAborted, AssociationRejected, PeerUnreachable
from dicomweb.dimse.negotiation import IMPLEMENTATION, Acceptance, ContextAnswer, Proposal, Rejection, UserIdentity
from dicomweb.dimse.requestor import Address, connect
from tests.dicomweb.dimse.peers import (
    CONTEXTS,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    PATIENT,
    STUDY_ROOT_FIND,
    VERIFICATION,
    acceptor,
)


async def test_both_sides_know_what_was_proposed_and_accepted() -> None:
    """The acceptor sees titles, limits, identity and items, the requestor its answers (G-007, G-009)."""
    identity = UserIdentity(2, b"user", b"secret", True)
    options = {
        "extended": {STUDY_ROOT_FIND: b"\1\1"},
        "common_extended": {CT_IMAGE_STORAGE: ("1.2.840.10008.4.2", ("1.2.3",))},
        "identity": identity,
        "max_pdu": 5000,
        "roles": {CT_IMAGE_STORAGE: (False, True)},
    }
    async with acceptor(max_pdu=6000) as seen, await seen.connect(**options) as association:
        await seen.accepted.wait()
        (ours,) = seen.associations
        (proposal,) = seen.proposals
        assert (proposal.calling_ae_title, proposal.called_ae_title) == ("SCU", "ACCEPTOR")
        assert (proposal.extended, proposal.common_extended) == (options["extended"], options["common_extended"])
        assert proposal.identity == identity
        assert "secret" not in repr(proposal)
        assert (ours.peer_max_pdu, association.peer_max_pdu) == (5000, 6000)
        assert ours.peer_implementation == association.peer_implementation == IMPLEMENTATION
        assert association.extended == ours.extended == {STUDY_ROOT_FIND: b"\1\1"}
        assert (ours.is_requestor, association.is_requestor) == (False, True)
        assert seen.addresses == [PeerAddress("127.0.0.1", ours.peer_port)]
        storage = association.context_for(CT_IMAGE_STORAGE, as_scu=False)
        assert storage is not None and not storage.as_scu
        assert association.context_for(CT_IMAGE_STORAGE) is None
        assert association.context_for(VERIFICATION, transfer_syntax=EXPLICIT) is None
        assert association.context_for(VERIFICATION, transfer_syntax=IMPLICIT) is not None


REJECTIONS = [
    (Rejection(1, 1, 7), "rejected for good: called AE title not recognized"),
    (Rejection(1, 1, 3), "rejected for good: calling AE title not recognized"),
    (Rejection(1, 1, 2), "rejected for good: application context name not supported"),
    (Rejection(2, 3, 2), "rejected for now: local limit exceeded"),
    (Rejection(1, 2, 1), "rejected for good: no reason given"),
]


@pytest.mark.parametrize(("rejection", "text"), REJECTIONS)
async def test_a_rejection_says_why(rejection: Rejection, text: str) -> None:
    """A-ASSOCIATE-RJ reaches the requestor with its result, source and reason (G-004, G-005, G-014)."""

    async def reject(proposal: Proposal, address: PeerAddress) -> Rejection:
        return rejection

    async with acceptor(negotiate=reject) as seen:
        with pytest.raises(AssociationRejected, match=text) as raised:
            await seen.connect()
        error = raised.value
        assert Rejection(error.result, error.source, error.reason) == rejection
        await seen.done()
    assert seen.associations == []


async def test_a_negotiation_that_fails_aborts() -> None:
    """When the application cannot decide, the peer is told so and the socket is closed (promise 7)."""

    async def fail(proposal: Proposal, address: PeerAddress) -> Acceptance:
        raise AssociationAborted("no database")

    async with acceptor(negotiate=fail) as seen:
        with pytest.raises(AssociationAborted):
            await seen.connect()
        await seen.done()


async def test_contexts_are_accepted_and_refused_one_by_one() -> None:
    """An unknown abstract or transfer syntax refuses its context and nothing else (G-001, PS3.8 9.3.3.2)."""

    async def some(proposal: Proposal, address: PeerAddress) -> Acceptance:
        return Acceptance([ContextAnswer(1, 3), ContextAnswer(3, 4), ContextAnswer(5, 0, IMPLICIT)])

    async with acceptor(negotiate=some) as seen, await seen.connect() as association:
        assert list(association.contexts) == [5]
        await seen.accepted.wait()
        assert list(seen.associations[0].contexts) == [5]


async def test_a_hundred_and_twenty_eight_contexts_fit_and_no_more() -> None:
    """Context ids are the odd numbers to 255 (G-008, PS3.8 9.3.2.2)."""
    many = [(f"1.2.{at}", [EXPLICIT, IMPLICIT]) for at in range(129)]
    async with acceptor() as seen:
        async with await seen.connect(contexts=many[:128]) as association:
            assert sorted(association.contexts) == list(range(1, 256, 2))
        for contexts in (many, []):
            with pytest.raises(ValueError, match="presentation contexts"):
                await seen.connect(contexts=contexts)


async def test_an_unreachable_peer_is_said_so(unused_tcp_port: int) -> None:
    """Nobody listens, or the name means nothing: PeerUnreachable."""
    for host in ("127.0.0.1", "no-such-host.invalid", "a" * 70 + ".invalid"):
        with pytest.raises(PeerUnreachable, match="NOBODY"):
            await connect(
                Address(host, unused_tcp_port, "NOBODY"), calling_ae_title="SCU", contexts=CONTEXTS, timeouts=PATIENT
            )
