"""C-ECHO: whether a peer is there and talks to us (PS3.4 Annex A, G-031)."""

import time
from typing import NamedTuple

from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.negotiation import VERIFICATION
from dicomweb.scu.calling import LITTLE_ENDIAN, Caller, check_status, context_of
from storage.work.peers import Peer


class Echo(NamedTuple):
    """What came back: the status, and the seconds from the first packet to the response."""

    status: int
    seconds: float


async def echo(caller: Caller, peer: Peer) -> Echo:
    """Ask a peer whether it is there.

    Raises
    ------
    AssociationError
        No association came about, or it broke.
    OperationFailed
        The peer answered with a failure.

    Standard
    --------
    PS3.7 9.1.5.
    """
    begun = time.monotonic()
    association = await caller.connect(peer, [(VERIFICATION, LITTLE_ENDIAN)])
    try:
        context = context_of(association, VERIFICATION)
        answer = await association.request(
            context, {"CommandField": Operation.C_ECHO, "AffectedSOPClassUID": VERIFICATION}
        )
        seconds = time.monotonic() - begun
        status = check_status("C-ECHO", answer.command)
        await association.release()
    finally:
        await association.abort()
    return Echo(status, seconds)
