"""The answer to what a peer proposes: contexts, roles, extended negotiation."""

from typing import Any

from dicomweb.dimse.negotiation import Proposal, ProposedContext
from dicomweb.gateway.presentation import answer, refused
from dicomweb.gateway.services import Services
from dicomweb.gateway.storage_classes import STORAGE_SERVICE_CLASS
from dicomweb.settings import Settings
from storage.dicom.transfer_syntax import DEFLATED_LE, EXPLICIT_LE, IMPLICIT_LE, JPEG_2000_LOSSLESS, JPEG_BASELINE

ECHO = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FILM_SESSION = "1.2.840.10008.5.1.1.1"
STRANGE = "1.2.840.10008.9.9.9"


def proposal(*contexts: tuple[str, list[str]], **more: Any) -> Proposal:
    """A proposal of contexts, numbered 1, 3, 5, ..."""
    proposed = tuple(ProposedContext(2 * n + 1, uid, tuple(syntaxes)) for n, (uid, syntaxes) in enumerate(contexts))
    return Proposal("CT1", "DICOMWEB", proposed, **more)


def answered(proposed: Proposal) -> Any:
    """Our answer under default settings."""
    return answer(proposed, Services(Settings()))


def test_each_context_is_answered_for_itself() -> None:
    """G-001: what we do not know costs only its own context: 3 for the abstract, 4 for the transfer syntaxes."""
    given = answered(
        proposal((ECHO, [IMPLICIT_LE]), (FILM_SESSION, [IMPLICIT_LE]), (CT, ["1.2.3"]), (CT, [JPEG_BASELINE]), (CT, []))
    )
    assert [(each.id, each.result) for each in given.contexts] == [(1, 0), (3, 3), (5, 4), (7, 0), (9, 4)]
    assert [given.contexts[0].transfer_syntax, given.contexts[3].transfer_syntax] == [IMPLICIT_LE, JPEG_BASELINE]


def test_roles_are_answered_only_where_proposed_and_granted_where_we_may_be_scu() -> None:
    """G-012, G-111: the SCP role for storage (C-GET), not for verification, none for what was refused."""
    contexts = [(ECHO, [IMPLICIT_LE]), (CT, [EXPLICIT_LE]), (FILM_SESSION, [IMPLICIT_LE])]
    roles = {ECHO: (True, True), CT: (False, True), FILM_SESSION: (True, True), "1.2": (True, True)}
    assert answered(proposal(*contexts, roles=roles)).roles == {ECHO: (True, False), CT: (False, True)}
    assert answered(proposal(*contexts)).roles == {}


def test_storage_negotiation_says_what_we_keep() -> None:
    """G-051: level 2, signatures preserved, nothing coerced; never longer than the offer (G-015)."""
    contexts = [(CT, [EXPLICIT_LE]), (FILM_SESSION, [IMPLICIT_LE])]
    for offered, expected in ((bytes(6), b"\2\0\3\0\0\0"), (b"\3\0\0\0", b"\2\0\3\0"), (b"", b"")):
        given = answered(proposal(*contexts, extended={CT: offered, FILM_SESSION: b"\1"}))
        assert given.extended == {CT: expected}


def test_common_extended_negotiation_makes_a_storage_class_of_a_strange_name() -> None:
    """G-016, PS3.4 B.3.1.3."""
    strange = (STRANGE, [EXPLICIT_LE])
    assert answered(proposal(strange)).contexts[0].result == 3
    told = {STRANGE: (STORAGE_SERVICE_CLASS, (CT,))}
    assert answered(proposal(strange, common_extended=told)).contexts[0].result == 0


def test_where_we_are_to_send_what_suits_every_instance_is_chosen() -> None:
    """G-111, PS3.8 9.3.3.3: little endian on contexts for C-GET, the peer's order on those for C-STORE."""
    contexts = [(CT, [JPEG_2000_LOSSLESS, DEFLATED_LE, IMPLICIT_LE, EXPLICIT_LE]), (CT, [JPEG_2000_LOSSLESS])]
    for roles, chosen in (({CT: (False, True)}, EXPLICIT_LE), ({CT: (True, False)}, JPEG_2000_LOSSLESS)):
        given = answered(proposal(*contexts, roles=roles)).contexts
        assert [each.transfer_syntax for each in given] == [chosen, JPEG_2000_LOSSLESS]
    ours = Services(Settings(dimse_preferred_transfer_syntaxes=[DEFLATED_LE]))
    assert answer(proposal(*contexts, roles={CT: (True, True)}), ours).contexts[0].transfer_syntax == EXPLICIT_LE


def test_what_is_not_served_has_names_for_the_log() -> None:
    """G-001: those of which no context was accepted, with the reason; text of the peer cannot add lines."""
    proposed = proposal((FILM_SESSION, [IMPLICIT_LE]), (CT, ["1.2"]), (ECHO, [EXPLICIT_LE]))
    assert refused(proposed, answered(proposed)) == "Basic Film Session SOP Class (SOP class not served), " + (
        "CT Image Storage (transfer syntaxes not taken)"
    )
    partly = proposal((CT, ["1.2"]), (CT, [EXPLICIT_LE]))
    assert refused(partly, answered(partly)) == ""
    many = proposal(*((f"1.2.840.10008.9.{number}\n", [EXPLICIT_LE]) for number in range(5)))
    text = refused(many, answered(many))
    assert text.endswith(" and 2 more") and "1.2.840.10008.9.0? (" in text
