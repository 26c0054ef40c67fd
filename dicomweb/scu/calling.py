"""Opening associations with peers, under our AE title and with our timers and certificates."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dicomweb.dimse.association import Association, Context, Timeouts
from dicomweb.dimse.command_set import Command
from dicomweb.dimse.errors import AssociationError
from dicomweb.dimse.negotiation import UserIdentity
from dicomweb.dimse.requestor import Address, connect
from dicomweb.settings import Settings
from dicomweb.tls import client_context
from storage.errors import ArchiveError
from storage.work.peers import Peer

EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
IMPLICIT_LE: Final = "1.2.840.10008.1.2"
LITTLE_ENDIAN: Final = (EXPLICIT_LE, IMPLICIT_LE)
"""The transfer syntaxes of data sets that have no pixels; every AE knows the second (PS3.5 10.1)."""

USERNAME: Final = 1
USERNAME_AND_PASSCODE: Final = 2
"""Kinds of user identity (PS3.7 D.3.3.7)."""

SUCCESS: Final = 0x0000
PENDING: Final = frozenset((0xFF00, 0xFF01))
CANCELLED: Final = 0xFE00


class NotOffered(AssociationError):
    """The peer talks to us and does not do what is asked of it: no presentation context for it was accepted."""


class OperationFailed(Exception):
    """The peer answered an operation with a failure.

    Attributes
    ----------
    status : int
        Of its response (PS3.7 Annex C).
    """

    def __init__(self, operation: str, status: int, comment: str = "") -> None:
        super().__init__(f"{operation} was answered {status:04X}" + (f": {comment}" if comment else ""))
        self.status = status


def identity_of(peer: Peer) -> UserIdentity | None:
    """Return the user identity under which we call a peer; None when it wants none.

    Standard
    --------
    PS3.7 D.3.3.7. No response is asked for: a peer that knows no user identities would not give one.

    Raises
    ------
    AssociationError
        Our passcode cannot be opened; the message says what to do.
    """
    if not peer.our_username:
        return None
    username = peer.our_username.encode()
    if peer.our_passcode is None:
        return UserIdentity(USERNAME, username, b"", False)
    try:
        passcode = peer.our_passcode.reveal()
    except ArchiveError as error:
        raise AssociationError(
            f"our passcode for {peer.ae_title} cannot be opened, bring its key back or give it anew with "
            f"--our-passcode-file: {error}"
        ) from None
    return UserIdentity(USERNAME_AND_PASSCODE, username, passcode.encode(), False)


class Caller:
    """Opens associations for us.

    Parameters
    ----------
    settings : Settings
        AE title, timers, certificates.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.ae_title = settings.aet

    def address(self, peer: Peer) -> Address:
        """Return where and how the peer is reached.

        Raises
        ------
        SettingsError
            It speaks TLS and our certificates cannot be used.
        """
        return Address(peer.host, peer.port, peer.ae_title, client_context(self._settings) if peer.tls else None)

    async def connect(
        self,
        peer: Peer,
        contexts: Sequence[tuple[str, Sequence[str]]],
        *,
        roles: Mapping[str, tuple[bool, bool]] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of each response, not of the call
    ) -> Association:
        """Open an association.

        Parameters
        ----------
        peer : Peer
            With whom.
        contexts : sequence of (str, sequence of str)
            Abstract syntaxes with the transfer syntaxes proposed, at most 128.
        roles : mapping, optional
            SOP class to the SCU and SCP role proposed.
        timeout : float, optional
            Seconds to wait for a response instead of the setting's.

        Raises
        ------
        AssociationError
            It did not come about; the message says why.
        """
        settings = self._settings
        timeouts = Timeouts(
            connect=min(10.0, settings.dimse_acse_timeout),
            acse=settings.dimse_acse_timeout,
            dimse=timeout or settings.dimse_timeout,
            idle=settings.dimse_idle_timeout,
        )
        return await connect(
            self.address(peer),
            calling_ae_title=self.ae_title,
            contexts=contexts,
            roles=roles or {},
            identity=identity_of(peer),
            timeouts=timeouts,
            max_pdu=settings.dimse_max_pdu,
        )


def context_of(association: Association, *sop_classes: str) -> Context:
    """Return the presentation context of the first of the SOP classes that the peer accepted; raises NotOffered."""
    for sop_class in sop_classes:
        if context := association.context_for(sop_class):
            return context
    raise NotOffered(f"The peer {association.called_ae_title} does not offer this operation to us.")


def status_of(command: Command) -> int:
    """Return the status of a response; one without is a failure."""
    status = command.get("Status")
    return status if isinstance(status, int) else 0x0110


def check_status(operation: str, command: Command, *allowed: int) -> int:
    """Return the status of a response that succeeded; raises OperationFailed."""
    status = status_of(command)
    if status != SUCCESS and status not in allowed:
        raise OperationFailed(operation, status, comment_of(command))
    return status


def comment_of(command: Command) -> str:
    """Return what the peer said about the status, in printable characters."""
    comment: Any = command.get("ErrorComment")
    return "".join(filter(str.isprintable, comment)).strip() if isinstance(comment, str) else ""
