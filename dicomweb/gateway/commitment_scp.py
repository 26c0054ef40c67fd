"""Storage Commitment Push Model: the request for it, and reports on what we asked of others (PS3.4 Annex J).

Facts this module keeps:

- A success status says only that the request was received (J.3.2.1.3): it is durable then, and the work comes later,
  in whatever process finds it (commitment_delivery).
- A failure status says that nothing will be done (J.3.2.1.4); of a request that was received each instance is reported
  on, one whose Transaction UID was used before with 0131 throughout.
- An archive downstream that we asked may open an association with us and report on it: there it is the SCP.
"""

import asyncio
from typing import Final

from dicomweb.dimse.association import Association
from dicomweb.gateway.call import Call, error_comment
from dicomweb.scu.commitment import NO_SUCH_OBJECT_INSTANCE, read_data_set, take_report
from dicomweb.scu.commitment_data_set import (
    REQUEST_STORAGE_COMMITMENT,
    RESOURCE_LIMITATION,
    SOP_CLASS,
    SOP_INSTANCE,
    ArgumentRefused,
    read_request,
)
from storage.errors import OutOfSpace, Unavailable
from storage.work.commitments import Commitments
from storage.work.commitments_asked import CommitmentsAsked

SOP_CLASSES: Final = frozenset({SOP_CLASS})

SUCCESS: Final = 0x0000
NO_SUCH_ACTION: Final = 0x0123


async def act(call: Call) -> None:
    """Take a request for storage commitment (N-ACTION).

    Standard
    --------
    PS3.4 J.3.2; PS3.7 10.1.4; checklist G-120 to G-123.
    """
    association = call.association
    try:
        if call.text("RequestedSOPInstanceUID") != SOP_INSTANCE:
            raise ArgumentRefused(NO_SUCH_OBJECT_INSTANCE, "not the storage commitment instance")
        if call.message.command.get("ActionTypeID") != REQUEST_STORAGE_COMMITMENT:
            raise ArgumentRefused(NO_SUCH_ACTION, "storage commitment has action type 1 only")
        data_set = await read_data_set(call.message)
        transaction_uid, references = await asyncio.to_thread(read_request, data_set)
        await Commitments(call.gateway.archive.pool).add(
            transaction_uid,
            association.calling_ae_title,
            association.called_ae_title,
            references,
            association=name_of(association),
        )
    except ArgumentRefused as error:
        await _answer(call, error.status, str(error))
    except (Unavailable, OutOfSpace) as error:
        await _answer(call, RESOURCE_LIMITATION, str(error))
    else:
        await _answer(call, SUCCESS)


async def hear(call: Call) -> None:
    """Take a report on what we asked another archive to commit to (N-EVENT-REPORT).

    Standard
    --------
    PS3.4 J.3.3; checklist G-136.
    """
    await take_report(call.association, call.message, CommitmentsAsked(call.gateway.archive.pool).record)
    call.final.append(SUCCESS)  # answered, whatever the status


def name_of(association: Association) -> str:
    """Return what no other association is called, in this process or another one."""
    return f"{association.peer_host}:{association.peer_port} {association.opened_at!r}"


async def _answer(call: Call, status: int, comment: str = "") -> None:
    action_type = call.message.command.get("ActionTypeID", 0)
    await call.respond(status, ActionTypeID=action_type, ErrorComment=error_comment(comment))
