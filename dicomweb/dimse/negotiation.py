"""What two AEs agree on before the first message: proposal, answer and the contexts that come of them (PS3.8 7.1).

Facts this module keeps:

- An answer never says more than was proposed: roles, extended negotiation and a server response are given only when
  they were offered (checklist G-011, G-012, G-013, G-015; PS3.7 D.3.3).
- Without role selection the requestor is SCU and the acceptor is SCP (PS3.7 D.3.3.4).
- A presentation context whose id is even is refused, whatever the application says (checklist G-008; PS3.8 9.3.2.2).
- An AE title is compared without leading and trailing spaces (checklist G-006).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
"""The one application context name of DICOM (PS3.7 A.2.1)."""

VERIFICATION: Final = "1.2.840.10008.1.1"
"""The SOP Class of C-ECHO (PS3.4 A.4)."""

PROTOCOL_VERSION: Final = 1
"""Bit 0 of Protocol Version, the one that counts (PS3.8 Table 9-11)."""

ACCEPTED: Final = 0
REFUSED: Final = 2
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

DEFAULT_MAX_PDU: Final = 131072
"""Longest P-DATA-TF we ask for, in bytes after its header."""

ASSUMED_MAX_PDU: Final = 16384
"""What a peer takes that does not say (it must, PS3.7 D.3.3.1)."""

SMALLEST_MAX_PDU: Final = 8
"""Room for the six bytes before the data of a PDV and two bytes of data, in bytes."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """Which program speaks (PS3.7 D.3.3.2).

    Attributes
    ----------
    class_uid : str
        Implementation Class UID.
    version_name : str
        Implementation Version Name, sent up to its 16th character.
    """

    class_uid: str
    version_name: str


IMPLEMENTATION: Final = Implementation("2.25.123875425177368352425912684582065112765", "DICOMWEB_0_1")
"""This program, as in the file meta information it writes."""


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who asks (PS3.7 D.3.3.7).

    Attributes
    ----------
    kind : int
        1 username, 2 username and passcode, 3 Kerberos service ticket, 4 SAML assertion, 5 JSON web token.
    primary, secondary : bytes
        What the kind says; the passcode is secondary.
    response_requested : bool
        Whether a positive response is asked for.
    """

    kind: int
    primary: bytes
    secondary: bytes = b""
    response_requested: bool = False

    def __repr__(self) -> str:
        return f"UserIdentity(kind={self.kind})"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the requestor proposes in its A-ASSOCIATE-RQ (PS3.8 9.3.2, PS3.7 D.3.3).

    Attributes
    ----------
    calling_ae_title, called_ae_title : str
        Without leading and trailing spaces.
    roles : dict of str to (bool, bool)
        SOP class -> whether the requestor wants to be SCU, SCP. Only those it named.
    extended : dict of str to bytes
        SOP class -> its application information (PS3.7 D.3.3.5).
    common_extended : dict of str to (str, tuple of str)
        SOP class -> service class, related general SOP classes (PS3.7 D.3.3.6).
    max_pdu : int
        Longest P-DATA-TF the requestor takes, in bytes after the header; 0 is any (PS3.8 D.1).
    protocol_version : int
        As sent; bit 0 counts.
    asynchronous_operations : (int, int) or None
        The window offered, if one was (PS3.7 D.3.3.3).
    octets : bytes
        The 64 bytes with the titles as received, which an A-ASSOCIATE-AC repeats (PS3.8 Table 9-17).
    """

    calling_ae_title: str
    called_ae_title: str
    contexts: tuple[ProposedContext, ...]
    application_context: str = APPLICATION_CONTEXT
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    common_extended: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    identity: UserIdentity | None = None
    max_pdu: int = ASSUMED_MAX_PDU
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    protocol_version: int = PROTOCOL_VERSION
    asynchronous_operations: tuple[int, int] | None = None
    octets: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """What became of a proposed context (PS3.8 Table 9-18).

    Attributes
    ----------
    result : int
        0 accepted, 1 or 2 refused, 3 abstract syntax not supported, 4 no transfer syntax supported.
    transfer_syntax : str
        The one chosen; means nothing unless accepted.
    """

    id: int
    result: int = ACCEPTED
    transfer_syntax: str = ""


@dataclass
class Acceptance:
    """What the acceptor agrees to. What was not proposed is not sent; contexts without answer are refused.

    Attributes
    ----------
    roles : dict of str to (bool, bool)
        SOP class -> whether the requestor may be SCU, SCP.
    extended : dict of str to bytes
        SOP class -> answered application information.
    identity_response : bytes or None
        Server response of the user identity; b"" for usernames and passcodes.
    """

    contexts: list[ContextAnswer]
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    identity_response: bytes | None = None


@dataclass(frozen=True)
class Rejection:
    """Why the acceptor does not want the association (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An A-ASSOCIATE-AC as received (PS3.8 9.3.3)."""

    acceptance: Acceptance
    max_pdu: int
    implementation_class_uid: str = ""
    implementation_version_name: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context.

    Attributes
    ----------
    as_scu, as_scp : bool
        Whether we may be SCU and SCP in it, whichever side we are.
    """

    id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool
    as_scp: bool


def shown_title(ae_title: str) -> str:
    """Write an AE title for a log or a message: peers may put anything into it, line ends included."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in ae_title[:16]) or "nobody"


def within(proposal: Proposal, acceptance: Acceptance) -> Acceptance:
    """Take from an acceptance what was not proposed, and refuse what it does not answer or may not accept."""
    answers = {answer.id: answer for answer in acceptance.contexts}
    identity = proposal.identity
    return Acceptance(
        [_allowed(proposed, answers.get(proposed.id)) for proposed in proposal.contexts],
        dict(_granted(proposal.roles, acceptance.roles)),
        {uid: data for uid, data in acceptance.extended.items() if uid in proposal.extended},
        acceptance.identity_response if identity and identity.response_requested else None,
    )


def contexts_of(proposal: Proposal, acceptance: Acceptance, *, is_requestor: bool) -> dict[int, Context]:
    """Return the contexts both sides agreed on by id, with the roles of one side.

    A context that the acceptor accepted with a transfer syntax nobody proposed is not among them.
    """
    proposed = {context.id: context for context in proposal.contexts}
    contexts = {}
    for answer in acceptance.contexts:
        context = proposed.get(answer.id)
        if context is None or answer.result != ACCEPTED or answer.transfer_syntax not in context.transfer_syntaxes:
            continue
        uid = context.abstract_syntax
        scu, scp = True, False
        if uid in proposal.roles and uid in acceptance.roles:
            scu, scp = _both(proposal.roles[uid], acceptance.roles[uid])
        ours = (scu, scp) if is_requestor else (scp, scu)
        contexts[answer.id] = Context(answer.id, uid, answer.transfer_syntax, *ours)
    return contexts


def _allowed(proposed: ProposedContext, answer: ContextAnswer | None) -> ContextAnswer:
    if answer is None or proposed.id % 2 == 0:
        return ContextAnswer(proposed.id, REFUSED)
    if answer.result == ACCEPTED and answer.transfer_syntax not in proposed.transfer_syntaxes:
        return ContextAnswer(proposed.id, TRANSFER_SYNTAXES_NOT_SUPPORTED)
    return answer


def _granted(
    proposed: Mapping[str, tuple[bool, bool]], granted: Mapping[str, tuple[bool, bool]]
) -> Iterable[tuple[str, tuple[bool, bool]]]:
    return ((uid, _both(proposed[uid], roles)) for uid, roles in granted.items() if uid in proposed)


def _both(one: tuple[bool, bool], other: tuple[bool, bool]) -> tuple[bool, bool]:
    return one[0] and other[0], one[1] and other[1]
