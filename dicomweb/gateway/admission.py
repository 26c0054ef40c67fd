"""Who may open an association: application context, AE titles, user identity, room.

Facts this module keeps:

- Rejections are those of PS3.8 Table 9-21: called AE title 1,1,7; calling AE title 1,1,3; application context 1,1,2;
  user identity 1,2,1 (PS3.7 D.3.3.7.3); too many associations 2,3,2; stopping 2,3,1 (G-004, G-005, G-014).
- Who may call is in the table of peers, asked anew for each association. Where only this machine can reach us anybody
  may, unless `dimse_any_calling_ae` says otherwise; a peer that is known and has credentials must show them even so.
- The HTTP workers ask whether we are well, under our own title and from this machine: that is allowed, for verification
  alone.
- A server response to a user identity goes out only when one was asked for and the identity was checked; for a username
  it is empty (PS3.7 D.3.3.7.2; G-013). A peer without credentials here may show what it likes, Kerberos tickets, SAML
  assertions and JSON web tokens included, and gets no response: nobody has checked it, and to refuse it would keep out
  modalities that always send one. Where credentials are asked for, only a username and passcode will do.
- A title with control characters or beyond ASCII is no AE title (PS3.5 Table 6.2-1), and unknown even where anybody
  may call, or be called: one day we may have to call somebody by it, or under it.
"""

import logging
from dataclasses import dataclass
from typing import Final

from dicomweb.dimse.negotiation import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    APPLICATION_CONTEXT,
    VERIFICATION,
    Acceptance,
    ContextAnswer,
    Proposal,
    Rejection,
    UserIdentity,
)
from dicomweb.gateway import presentation
from dicomweb.gateway.gateway import Gateway
from dicomweb.gateway.services import Services
from dicomweb.process.listener import is_loopback
from storage.work.peers import Peer

logger = logging.getLogger(__name__)

USERNAME, USERNAME_AND_PASSCODE = 1, 2
"""User Identity Type (PS3.7 Table D.3-14)."""

WRONG_APPLICATION_CONTEXT: Final = Rejection(1, 1, 2)
UNKNOWN_CALLING_AE: Final = Rejection(1, 1, 3)
UNKNOWN_CALLED_AE: Final = Rejection(1, 1, 7)
IDENTITY_REFUSED: Final = Rejection(1, 2, 1)
STOPPING: Final = Rejection(2, 3, 1)
TOO_MANY: Final = Rejection(2, 3, 2)

HINTS: Final = {
    WRONG_APPLICATION_CONTEXT: "it does not speak DICOM",
    UNKNOWN_CALLING_AE: "it is not among the peers (dicomweb peers add, PUT /api/peers)",
    UNKNOWN_CALLED_AE: "that is not the title of this archive (aet)",
    IDENTITY_REFUSED: "username and passcode are not those of the peer",
    STOPPING: "the gateway stops",
    TOO_MANY: "as many associations are worked for as dimse_max_associations allows",
}
"""What the log says about a rejection to whoever has to mend it."""

REASONS: Final = {
    WRONG_APPLICATION_CONTEXT: "application-context",
    UNKNOWN_CALLING_AE: "calling-ae-title",
    UNKNOWN_CALLED_AE: "called-ae-title",
    IDENTITY_REFUSED: "user-identity",
    STOPPING: "stopping",
    TOO_MANY: "too-many-associations",
}
"""What a rejection is called in logs and metrics."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a proposal comes from.

    Attributes
    ----------
    peer_host, local_host : str
        Addresses of the two ends of the connection.
    listening_on : str
        Address of the socket that took it.
    room : bool
        Whether one more association would be worked for now.
    stopping : bool
        Whether the gateway is about to end.
    """

    peer_host: str
    local_host: str
    listening_on: str
    room: bool = True
    stopping: bool = False

    @property
    def is_this_machine(self) -> bool:
        """Whether both ends of the connection are here."""
        return bool(self.peer_host) and (self.peer_host == self.local_host or is_loopback(self.peer_host))


class Admission:
    """Decides about proposals.

    Parameters
    ----------
    gateway : Gateway
        Its settings and peers.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._settings = gateway.settings
        self._services = Services(gateway.settings)

    async def decide(self, proposal: Proposal, caller: Caller) -> Acceptance | Rejection:
        """Accept a proposal, at least in part, or reject it.

        Raises
        ------
        ArchiveError
            The database does not answer.

        Standard
        --------
        PS3.8 9.3.4; PS3.7 D.3.3.7.
        """
        title = proposal.calling_ae_title
        peer = await self._gateway.peers.get(title) if title and title.isprintable() else None
        itself = peer is None and title == self._settings.aet and caller.is_this_machine
        known = peer is not None or itself or self._anybody_may_call(caller)
        if (rejection := self._refuse(proposal, caller, known=known)) is not None:
            return rejection
        if peer is not None and peer.username and not await self._knows(peer, proposal.identity):
            return IDENTITY_REFUSED
        acceptance = presentation.answer(proposal, self._services)
        if itself and not self._anybody_may_call(caller):
            _allow_only(acceptance, proposal, VERIFICATION)
        if peer is not None and peer.username and proposal.identity and proposal.identity.response_requested:
            acceptance.identity_response = b""
        return acceptance

    def _refuse(self, proposal: Proposal, caller: Caller, *, known: bool) -> Rejection | None:
        settings = self._settings
        if proposal.application_context != APPLICATION_CONTEXT:
            return WRONG_APPLICATION_CONTEXT
        if proposal.called_ae_title != settings.aet and not (
            settings.dimse_any_called_ae and _may_be_title(proposal.called_ae_title)
        ):
            return UNKNOWN_CALLED_AE
        if not (known and _may_be_title(proposal.calling_ae_title)):
            return UNKNOWN_CALLING_AE
        if caller.stopping:
            return STOPPING
        return None if caller.room else TOO_MANY

    def _anybody_may_call(self, caller: Caller) -> bool:
        chosen = self._settings.dimse_any_calling_ae
        return is_loopback(caller.listening_on) if chosen is None else chosen

    async def _knows(self, peer: Peer, identity: UserIdentity | None) -> bool:
        if identity is None or identity.kind not in (USERNAME, USERNAME_AND_PASSCODE):
            return False
        if peer.has_passcode and identity.kind != USERNAME_AND_PASSCODE:
            return False
        username, passcode = (part.decode("utf-8", "replace") for part in (identity.primary, identity.secondary))
        return await self._gateway.peers.check_passcode(peer.ae_title, username, passcode)


def _may_be_title(title: str) -> bool:
    """Whether it has no character that is none of an AE title; a blank one is tolerated."""
    return title.isascii() and title.isprintable()


def _allow_only(acceptance: Acceptance, proposal: Proposal, sop_class_uid: str) -> None:
    """Take back every context but those of one SOP class."""
    allowed = {context.id for context in proposal.contexts if context.abstract_syntax == sop_class_uid}
    acceptance.contexts = [
        answer
        if answer.id in allowed
        else ContextAnswer(answer.id, ABSTRACT_SYNTAX_NOT_SUPPORTED, answer.transfer_syntax)
        for answer in acceptance.contexts
    ]
    acceptance.roles, acceptance.extended = {}, {}
