"""Query/Retrieve SCP, the retrieval: C-MOVE to a peer, C-GET on the same association (PS3.4 C.4.2, C.4.3).

Facts kept here:

- Four steps: what is meant is looked up in the index; C-MOVE opens associations to the destination, C-GET uses the
  contexts on which the requester is SCP; instances are sent one after another; pending responses tell how far it is.
- A destination is an AE title of the table of peers, looked up anew each time; whoever is not in it, the requester
  included, is unknown: A801 (G-091). No match is success with nothing done (G-094).
- The first pending response comes at once, then one every `PENDING_SECONDS`, whatever a sub-operation takes (G-096):
  with C-GET, too, for an instance may take long to be decoded before anything of it is sent. Messages never mix.
- C-CANCEL is seen after each sub-operation (G-099). When the requester is gone, a move ends, too.
- One bad instance is one failed sub-operation (G-102); a destination that cannot be reached fails them all (G-104).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from dicomweb.dimse.command_set import number
from dicomweb.dimse.requestor import Address
from dicomweb.gateway import identifier
from dicomweb.gateway.call import Call, error_comment
from dicomweb.gateway.retrieve_identifier import unique_keys
from dicomweb.gateway.sub_operations import PENDING, SUCCESS, UNABLE_TO_COUNT, UNKNOWN_DESTINATION, SubOperations
from dicomweb.scu.calling import identity_of
from dicomweb.scu.store import Originator, Sender, Sent
from dicomweb.scu.store_operations import StoreOperations
from storage.dicom import data_set
from storage.errors import ArchiveError
from storage.retrieval.selection import Chosen

PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"

MOVE_SOP_CLASSES: Final = frozenset(identifier.MOVE)
GET_SOP_CLASSES: Final = frozenset(identifier.GET)
SOP_CLASSES: Final = MOVE_SOP_CLASSES | GET_SOP_CLASSES

PENDING_SECONDS: Final = 1.0


def negotiate(sop_class_uid: str, offered: bytes) -> bytes:
    """Answer extended negotiation: relational retrieval is granted, nothing else is.

    Standard
    --------
    PS3.4 C.5.2.1, C.5.3.1; checklist G-015, G-107.
    """
    return bytes((offered[0] & 1, *bytes(len(offered) - 1))) if offered else b""


async def move(call: Call) -> None:
    """Send what is asked for to another AE.

    Standard
    --------
    PS3.4 C.4.2; PS3.7 9.1.4; checklist G-090 to G-107.
    """
    gateway = call.gateway
    chosen = await _chosen(call)
    if chosen is None:
        return
    destination = call.text("MoveDestination")
    peer = await gateway.peers.get(destination) if destination.isprintable() else None
    if peer is None:
        await call.fail(UNKNOWN_DESTINATION, f"Move destination {destination} is not a peer of this archive.")
        return
    sender = Sender(
        gateway.archive,
        Address(peer.host, peer.port, peer.ae_title, gateway.tls if peer.tls else None),
        calling_ae_title=gateway.settings.aet,
        preferred=peer.transfer_syntaxes,
        identity=identity_of(peer),
        timeouts=gateway.timeouts,
        priority=number(call.message.command, "Priority"),
        originator=Originator(call.association.calling_ae_title, number(call.message.command, "MessageID")),
    )
    progress = SubOperations(len(chosen))
    if chosen:
        await _perform(call, sender.send(chosen), progress)
    await _conclude(call, progress)


async def get(call: Call) -> None:
    """Send what is asked for over the association it is asked on.

    Standard
    --------
    PS3.4 C.4.3; PS3.7 9.1.3; checklist G-110 to G-114.
    """
    chosen = await _chosen(call)
    if chosen is None:
        return
    operations = StoreOperations(
        call.gateway.archive, call.association, priority=number(call.message.command, "Priority")
    )
    progress = SubOperations(len(chosen))
    if chosen:
        await _perform(call, operations.run(chosen), progress)
    await _conclude(call, progress)


async def _chosen(call: Call) -> list[Chosen] | None:
    """Return what the identifier asks for; None when the request was refused and answered.

    Raises
    ------
    ArchiveError
        The identifier cannot be read, or is wrong.
    """
    asked = await identifier.read(call)
    negotiated = call.association.extended.get(call.message.context.abstract_syntax, b"")[:1] == b"\1"
    keys = unique_keys(asked, relational=negotiated or call.gateway.settings.dimse_relational_queries)
    try:
        return await call.gateway.archive.select(keys)
    except ArchiveError as error:
        await call.fail(UNABLE_TO_COUNT, str(error))
        return None


async def _perform(call: Call, results: AsyncGenerator[Sent, None], progress: SubOperations) -> None:
    """Have the sub-operations done, with pending responses meanwhile."""
    ended = asyncio.Event()
    reporting = asyncio.create_task(_report(call, progress, ended))
    try:
        async with aclosing(results):
            async for sent in results:
                progress.count(sent)
                if call.association.is_cancelled(call.message) or reporting.done():
                    break
    finally:
        ended.set()
        await reporting  # never cancelled: half a response would break the association


async def _report(call: Call, progress: SubOperations, ended: asyncio.Event) -> None:
    while not ended.is_set():
        await _pending(call, progress)
        try:
            async with asyncio.timeout(PENDING_SECONDS):
                await ended.wait()
        except TimeoutError:
            pass


async def _pending(call: Call, progress: SubOperations) -> None:
    await call.respond(PENDING, None, **progress.counters(PENDING))


async def _conclude(call: Call, progress: SubOperations) -> None:
    status = progress.final_status
    fields = progress.counters(status)
    failed = progress.identifier
    data = data_set.encode(failed, call.message.context.transfer_syntax) if failed else None
    if status != SUCCESS and progress.reason:
        fields["ErrorComment"] = error_comment(progress.reason)
    await call.respond(status, data, **fields)
