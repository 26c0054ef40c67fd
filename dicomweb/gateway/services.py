"""The table of services: which SOP classes we serve, by which handler, in which transfer syntaxes.

Facts this module keeps:

- Storage is whatever `storage_classes.is_storage` says and no other service has; it is kept in the transfer syntax it
  comes in, so every one the archive knows is taken (G-001, G-053).
- Everything else is a short data set: the three uncompressed encodings and the deflated one will do (PS3.5 10.1).
- Of several transfer syntaxes proposed for one storage context the sender's order decides among those that lose
  nothing: one that puts a compressed one first (`storescu +C -xs`) has its files in it, or compresses. For a sender
  that cannot make what it lists there is `dimse_preferred_transfer_syntaxes`. Where we are to send (C-GET), little
  endian goes before all others: nothing else will do for every instance there may be.
- We are the SCP. A peer is granted the SCP role where we speak first on its association: it opened it for C-GET, or to
  deliver a commitment report (PS3.7 D.3.3.4; G-111, G-129).

To add a service, add its row; a handler answers through `Call.respond` and may raise ArchiveError.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicomweb.dimse.command_set import Operation
from dicomweb.gateway import (
    commitment_scp,
    performed_step_scp,
    query_scp,
    retrieve_scp,
    storage_scp,
    verification_scp,
    worklist_scp,
)
from dicomweb.gateway.call import Call
from dicomweb.gateway.storage_classes import is_storage
from dicomweb.settings import Settings
from storage.dicom.transfer_syntax import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    GE_BIG_ENDIAN_WORDS,
    IMPLICIT_LE,
    TRANSFER_SYNTAXES,
)

Handler = Callable[[Call], Awaitable[None]]

PLAIN: Final = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE)
"""Transfer syntaxes of data sets without pixels."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of the table.

    Attributes
    ----------
    name : str
        For logs.
    sop_classes : frozenset of str
        Abstract syntaxes; empty for storage, which has a rule instead.
    handlers : mapping of Operation to handler
        What can be asked.
    negotiate : callable, optional
        SOP class and the peer's extended negotiation to our answer (PS3.7 D.3.3.5).
    peer_may_be_scp : bool
        Whether the SCP role is granted to a peer that proposes it.
    """

    name: str
    sop_classes: frozenset[str]
    handlers: Mapping[Operation, Handler]
    negotiate: Callable[[str, bytes], bytes] | None = None
    peer_may_be_scp: bool = False


STORAGE: Final = Provider(
    "storage", frozenset(), {Operation.C_STORE: storage_scp.store}, storage_scp.negotiate, peer_may_be_scp=True
)

SERVICES: Final = (
    Provider("verification", verification_scp.SOP_CLASSES, {Operation.C_ECHO: verification_scp.echo}),
    STORAGE,
    Provider("query", query_scp.SOP_CLASSES, {Operation.C_FIND: query_scp.find}, query_scp.negotiate),
    Provider("move", retrieve_scp.MOVE_SOP_CLASSES, {Operation.C_MOVE: retrieve_scp.move}, retrieve_scp.negotiate),
    Provider("get", retrieve_scp.GET_SOP_CLASSES, {Operation.C_GET: retrieve_scp.get}, retrieve_scp.negotiate),
    Provider(
        "storage commitment",
        commitment_scp.SOP_CLASSES,
        {Operation.N_ACTION: commitment_scp.act, Operation.N_EVENT_REPORT: commitment_scp.hear},
        peer_may_be_scp=True,
    ),
    Provider("worklist", worklist_scp.SOP_CLASSES, {Operation.C_FIND: worklist_scp.find}, worklist_scp.negotiate),
    Provider(
        "performed procedure step",
        performed_step_scp.SOP_CLASSES,
        {Operation.N_CREATE: performed_step_scp.create, Operation.N_SET: performed_step_scp.set},
    ),
)
"""Every service."""

_BY_SOP_CLASS: Final = {uid: service for service in SERVICES for uid in service.sop_classes}


class Services:
    """The table under the settings of an administrator.

    Parameters
    ----------
    settings : Settings
        What is refused, and what is preferred.
    """

    def __init__(self, settings: Settings) -> None:
        self._refused = frozenset(settings.refused_sop_classes)
        self._unknown = settings.dimse_unknown_sop_classes == "store"
        refused = frozenset(settings.refused_transfer_syntaxes)
        self._stored = frozenset(TRANSFER_SYNTAXES) - refused
        self._preferred = settings.dimse_preferred_transfer_syntaxes

    def of(self, sop_class_uid: str, service_class_uid: str = "") -> Provider | None:
        """Return who serves a SOP class, None when nobody does.

        Parameters
        ----------
        sop_class_uid : str
            An abstract syntax.
        service_class_uid : str
            What the peer says it belongs to (PS3.7 D.3.3.6); empty when it says nothing.
        """
        if (service := _BY_SOP_CLASS.get(sop_class_uid)) is not None:
            return service
        if sop_class_uid in self._refused or not is_storage(sop_class_uid, service_class_uid, unknown=self._unknown):
            return None
        return STORAGE

    def transfer_syntax(self, service: Provider, proposed: Sequence[str], *, to_peer: bool = False) -> str | None:
        """Choose one of the proposed transfer syntaxes, None when none of them will do.

        The first of `dimse_preferred_transfer_syntaxes` that is proposed; else the first proposed that keeps the
        value representations and loses nothing; else Implicit VR, then the retired big endian, then what is lossy: a
        peer that compresses only because we let it would lose for nothing.

        Parameters
        ----------
        to_peer : bool
            Whether it is we who send: then the first of these that is proposed goes before, Explicit VR Little Endian,
            Implicit VR Little Endian.

        Standard
        --------
        PS3.8 9.3.3.3; checklist G-003.
        """
        supported = self._stored if service is STORAGE else PLAIN
        candidates = [uid for uid in proposed if uid in supported]
        for uid in (EXPLICIT_LE, IMPLICIT_LE) if to_peer else self._preferred:
            if uid in candidates:
                return uid
        return min(candidates, key=_rank, default=None)


def _rank(transfer_syntax_uid: str) -> int:
    if transfer_syntax_uid == IMPLICIT_LE:
        return 1
    if transfer_syntax_uid in (EXPLICIT_BE, GE_BIG_ENDIAN_WORDS):
        return 2
    return 3 if TRANSFER_SYNTAXES[transfer_syntax_uid].lossy else 0
