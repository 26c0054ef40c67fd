"""C-MOVE: let a peer send what it has to an AE, usually to us (PS3.4 C.4.2)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from dicomweb.dimse.command_set import Operation
from dicomweb.scu.calling import LITTLE_ENDIAN, Caller
from dicomweb.scu.retrieval import PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE, Retrieval, retrievals
from storage.work.peers import Peer

ROOTS = (STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE)


async def move(
    caller: Caller, peer: Peer, identifier: Mapping[str, Any], destination: str
) -> AsyncGenerator[Retrieval, None]:
    """Let a peer send something to an AE; yields how far it is with each of its responses.

    Parameters
    ----------
    caller, peer
        Who asks whom.
    identifier : mapping
        From `identifier.uids`.
    destination : str
        AE title that the peer sends to; it must know its address.

    Raises
    ------
    AssociationError
        No association came about, it broke, or the peer does not do this for us.
    OperationFailed
        The peer answered with a failure, such as A801 for a destination it does not know.

    Standard
    --------
    PS3.4 C.4.2.
    """
    association = await caller.connect(peer, [(root, LITTLE_ENDIAN) for root in ROOTS])
    try:
        found = retrievals(association, Operation.C_MOVE, ROOTS, identifier, MoveDestination=destination)
        async with aclosing(found):
            async for retrieval in found:
                yield retrieval
    finally:
        await association.abort()
