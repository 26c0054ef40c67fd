"""C-GET: let a peer send what it has over the association on which we ask for it (PS3.4 C.4.3).

Facts this module keeps:

- We propose the storage classes with role selection, as SCP of them (C.5.3; PS3.7 D.3.3.4).
- A context is accepted in one transfer syntax, and peers pick the wrong one of several: compressed images would come
  decompressed. So each transfer syntax stands in a context of its own, as long as there is room (PS3.8 9.3.2.2).
- Some peers (DCMTK's dcmqrscp) send everything of a class in the first context they accepted for it and fail when they
  cannot convert to that. Which ones come first can be said, for a second try.
- An instance is answered with success only when it is durable, as ever.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from dicomweb.dimse.association import Association, Message
from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.errors import AssociationError
from dicomweb.failures import failure_of
from dicomweb.scu.calling import EXPLICIT_LE, IMPLICIT_LE, LITTLE_ENDIAN, Caller
from dicomweb.scu.received_file import received_file
from dicomweb.scu.retrieval import PATIENT_ROOT_GET, STUDY_ROOT_GET, Retrieval, retrievals
from storage.archive import Archive
from storage.dicom.transfer_syntax import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BE,
    GE_BIG_ENDIAN_WORDS,
    TRANSFER_SYNTAXES,
)
from storage.index.record import UID
from storage.ingest import Outcome
from storage.work.peers import Peer

ROOTS: Final = (STUDY_ROOT_GET, PATIENT_ROOT_GET)
MOST_CONTEXTS: Final = 128 - len(ROOTS)
COMPRESSED: Final = tuple(
    uid
    for uid in TRANSFER_SYNTAXES
    if uid
    not in (
        EXPLICIT_LE,
        IMPLICIT_LE,
        EXPLICIT_BE,
        GE_BIG_ENDIAN_WORDS,
        ENCAPSULATED_UNCOMPRESSED,
        DEFLATED_IMAGE_FRAME,
    )
)
MOST_CLASSES: Final = MOST_CONTEXTS // 2
"""SOP classes of one C-GET: each needs a context for what is compressed, and one for what is not."""

_UNRECOGNIZED_OPERATION: Final = 0x0211
_CANNOT_UNDERSTAND: Final = 0xC000
_INVALID_INSTANCE: Final = 0x0117

Taken = Callable[[Outcome], Awaitable[None]]


async def get(
    caller: Caller,
    peer: Peer,
    identifier: Mapping[str, Any],
    sop_classes: Sequence[str],
    archive: Archive,
    taken: Taken,
    *,
    compressed_first: bool = False,
) -> AsyncGenerator[Retrieval, None]:
    """Get something from a peer into the archive; yields how far the peer is with each of its responses.

    Parameters
    ----------
    caller, peer
        Who asks whom.
    identifier : mapping
        From `identifier.uids`.
    sop_classes : sequence of str
        What is taken: at most `MOST_CLASSES`. The fewer there are, the better is what comes.
    archive : Archive
        Where it goes.
    taken : callable
        Called with the outcome of each instance before it is answered.
    compressed_first : bool
        Whether contexts of compressed transfer syntaxes come before those of plain ones.

    Raises
    ------
    AssociationError
        No association came about, it broke, or the peer does not do this for us.
    OperationFailed
        The peer answered with a failure.

    Standard
    --------
    PS3.4 C.4.3.
    """
    contexts = [(root, LITTLE_ENDIAN) for root in ROOTS] + storage_contexts(
        sop_classes, compressed_first=compressed_first
    )
    roles = dict.fromkeys(sop_classes, (False, True))
    association = await caller.connect(peer, contexts, roles=roles)
    storing = asyncio.create_task(_store_all(association, archive, taken))
    try:
        async with aclosing(retrievals(association, Operation.C_GET, ROOTS, identifier)) as found:
            async for retrieval in found:
                yield retrieval
    finally:
        await association.abort()
        storing.cancel()
        with suppress(asyncio.CancelledError, AssociationError):
            await storing


def storage_contexts(
    sop_classes: Sequence[str], *, compressed_first: bool = False
) -> list[tuple[str, tuple[str, ...]]]:
    """Plan the presentation contexts of storage classes: as many as there is room for, the plain ones always."""
    room = MOST_CONTEXTS // max(1, len(sop_classes))
    alone = COMPRESSED if room >= len(COMPRESSED) + 2 else COMPRESSED[: max(0, room - 3)]
    rest = COMPRESSED[len(alone) :]
    plain: list[tuple[str, ...]] = [LITTLE_ENDIAN] if room < len(alone) + 3 else [(EXPLICIT_LE,), (IMPLICIT_LE,)]
    compressed = [*((uid,) for uid in alone), *([rest] if rest else [])]
    offered = compressed + plain if compressed_first else plain + compressed
    return [(sop_class, syntaxes) for sop_class in sop_classes for syntaxes in offered]


async def _store_all(association: Association, archive: Archive, taken: Taken) -> None:
    try:
        await _serve(association, archive, taken)
    except AssociationError:
        raise
    except Exception:  # nobody would answer the peer any more
        await association.abort()
        raise


async def _serve(association: Association, archive: Archive, taken: Taken) -> None:
    async for message in association.messages():
        if message.operation != Operation.C_STORE:
            await association.respond(message, _UNRECOGNIZED_OPERATION)
        elif message.data is None:
            await association.respond(message, _CANNOT_UNDERSTAND, ErrorComment="There is no data set.")
        elif not UID.fullmatch(message.sop_class_uid) or not UID.fullmatch(message.sop_instance_uid):
            await association.respond(message, _INVALID_INSTANCE)
        else:
            await _store(association, message, archive, taken)


async def _store(association: Association, message: Message, archive: Archive, taken: Taken) -> None:
    async with archive.ingest() as ingest:
        await ingest.add(
            received_file(message, sender=association.called_ae_title, receiver=association.calling_ae_title)
        )
        (outcome,) = await ingest.finish()
    await taken(outcome)
    if outcome.error is None:
        await association.respond(message, 0)
    else:
        await association.respond(message, failure_of(outcome.error).dimse_status, ErrorComment=str(outcome.error)[:64])
