"""Asking another archive for storage commitment: its report on the same association, its refusals, its silence."""

import pytest

from dicomweb.dimse.errors import PeerUnreachable
from dicomweb.dimse.requestor import Address
from dicomweb.scu.commitment import CommitmentRefused, CommitmentUnanswered, request_commitment
from storage.work.commitments import Reference
from storage.work.commitments_asked import Answer
from tests.dicomweb.scu.committer import Committer

CT = "1.2.840.10008.5.1.4.1.1.2"
REFERENCES = [Reference(CT, f"1.2.3.{number}") for number in range(3)]


async def ask(port: int, within: float = 20.0) -> Answer:
    return await request_commitment(Address("127.0.0.1", port, "VNA"), "DICOMWEB", REFERENCES, within=within)


async def test_all_is_committed_to() -> None:
    """The request names each instance with its class, under a new Transaction UID; the report is confirmed with 0000
    (PS3.4 J.3.2.1.2, J.3.3.1.3; G-136)."""
    committer = Committer()
    with committer.listening() as port:
        answer = await ask(port)
    assert answer == Answer(frozenset(reference.sop_instance_uid for reference in REFERENCES), {})
    (asked,) = committer.asked
    named = [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in asked.ReferencedSOPSequence]
    assert named == REFERENCES
    assert committer.answers == [0x0000]


async def test_what_failed_has_its_reason() -> None:
    """The Failure Reasons of the report are handed on (PS3.4 Table J.3-2)."""
    committer = Committer({"1.2.3.1": 0x0112})
    with committer.listening() as port:
        assert await ask(port) == Answer(frozenset({"1.2.3.0", "1.2.3.2"}), {"1.2.3.1": 0x0112})


async def test_a_refused_request_is_told() -> None:
    """A failure status means that nothing will be reported (PS3.4 J.3.2.1.3)."""
    with Committer(status=0x0213).listening() as port, pytest.raises(CommitmentRefused, match="0213H"):
        await ask(port)


async def test_an_archive_without_storage_commitment_is_told() -> None:
    """No presentation context for it was accepted."""
    with Committer().listening(offering=False) as port, pytest.raises(CommitmentRefused, match="VNA"):
        await ask(port)


async def test_a_report_that_does_not_come_is_waited_for_so_long() -> None:
    """After the time given it counts as not answered."""
    with Committer(silent=True).listening() as port, pytest.raises(CommitmentUnanswered, match="VNA"):
        await ask(port, within=0.3)


async def test_an_archive_that_is_not_there_is_told() -> None:
    """No association comes about."""
    with Committer().listening() as port:
        pass
    with pytest.raises(PeerUnreachable):
        await ask(port)
