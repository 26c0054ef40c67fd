"""C-FIND: search a peer's archive (PS3.4 C.4.1)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Command, Operation
from dicomweb.scu.calling import CANCELLED, LITTLE_ENDIAN, PENDING, Caller, check_status, context_of, status_of
from dicomweb.scu.identifier import value_of
from storage.dicom import data_set
from storage.work.peers import Peer

STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT: Final = "1.2.840.10008.5.1.4.1.2.1.1"
LONGEST_ANSWER: Final = 1 << 20
"""Bytes of one match; longer ones are no search results."""

_MESSAGE_ID: Final = 1


async def find(
    caller: Caller, peer: Peer, identifier: Mapping[str, Any], *, limit: int | None = None
) -> AsyncGenerator[dict[str, Any], None]:
    """Search a peer's archive; yields matches as DICOM JSON objects.

    Parameters
    ----------
    caller, peer
        Who asks whom.
    identifier : mapping
        From `dicomweb.scu.identifier`.
    limit : int, optional
        After so many matches the search is cancelled.

    Raises
    ------
    AssociationError
        No association came about, it broke, or the peer does not search for us.
    OperationFailed
        The peer answered with a failure.

    Standard
    --------
    PS3.4 C.4.1, C.6.
    """
    association = await caller.connect(peer, [(root, LITTLE_ENDIAN) for root in roots(identifier)])
    try:
        async with aclosing(search(association, identifier, limit=limit)) as matches:
            async for match in matches:
                yield match
        await association.release()
    finally:
        await association.abort()


def roots(identifier: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the information models in which a level can be searched, the better one first."""
    is_patient = value_of(identifier, "QueryRetrieveLevel") == "PATIENT"
    return (PATIENT_ROOT,) if is_patient else (STUDY_ROOT, PATIENT_ROOT)


async def search(
    association: Association, identifier: Mapping[str, Any], *, limit: int | None = None
) -> AsyncGenerator[dict[str, Any], None]:
    """Search over an association that is open; as `find`."""
    context = context_of(association, *roots(identifier))
    command: Command = {
        "CommandField": Operation.C_FIND,
        "MessageID": _MESSAGE_ID,
        "AffectedSOPClassUID": context.abstract_syntax,
        "Priority": 0,
    }
    data = data_set.encode(identifier, context.transfer_syntax)
    found = 0
    async with aclosing(association.requests(context, command, data)) as answers:
        async for answer in answers:
            if status_of(answer.command) not in PENDING:
                check_status("C-FIND", answer.command, CANCELLED)
            elif answer.data is not None and found != limit:  # beyond it: on their way when we cancelled
                yield data_set.decode(await answer.data.read(LONGEST_ANSWER), context.transfer_syntax)
                found += 1
                if found == limit:
                    await association.cancel(context, _MESSAGE_ID)
