"""Storage: C-STORE (PS3.4 Annex B).

Facts this module keeps:

- The data set goes to disk as it comes in, in the transfer syntax of its context, and is never decoded; nothing of it
  is held (G-041, G-049, G-052).
- Success is answered only after the file is durable and the index has committed (G-042). A peer that is gone before its
  data set is complete leaves nothing.
- Whatever is refused is refused after the data set has been taken off the wire: the association goes on.
- Statuses are those of PS3.4 Table B.2-1 and PS3.7 9.1.1.1.9, by the one table of failures (G-043, G-044). A missing or
  odd attribute is nobody's failure (G-045); nothing is coerced (G-047). A900 names the elements that do not match.
- Sending an instance again is a success (G-048).
- What was cut off before it was sent is kept as it came, like by STOW-RS, and answered B007: 0000 would let the sender
  delete what may be whole there.
"""

from typing import Final

from dicomweb.failures import failure_of
from dicomweb.gateway.call import SUCCESS, Call
from dicomweb.scu.received_file import received_file
from storage.dicom.loss import Loss
from storage.errors import InstanceMismatch
from storage.index.record import UID
from storage.ingest import Outcome
from storage.matching.attributes import Tag8, tag_of

DATA_SET_DOES_NOT_MATCH: Final = 0xB007
INVALID_SOP_INSTANCE: Final = 0x0117
CANNOT_UNDERSTAND: Final = 0xC000

LEVEL_2: Final = 2
SIGNATURES_KEPT: Final = 3
COERCES_NOTHING: Final = 0

_IDENTIFYING: Final = {
    keyword: tag_of(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
}


async def store(call: Call) -> None:
    """Store one instance.

    Standard
    --------
    PS3.4 B.2; PS3.7 9.1.1.
    """
    sop_class_uid, sop_instance_uid = call.text("AffectedSOPClassUID"), call.text("AffectedSOPInstanceUID")
    if call.message.data is None:
        await _fail(call, CANNOT_UNDERSTAND, "There is no data set.")
        return
    if not UID.fullmatch(sop_instance_uid) or not UID.fullmatch(sop_class_uid):
        await _fail(call, INVALID_SOP_INSTANCE, "Affected SOP Class or Instance UID is not a UID.")
        return
    named = sop_class_uid, sop_instance_uid
    must_match = call.gateway.settings.dimse_mismatched_uids == "refuse"
    association = call.association
    file = received_file(call.message, sender=association.calling_ae_title, receiver=association.called_ae_title)
    async with call.gateway.archive.ingest() as ingest:
        await ingest.add(file, named=named if must_match else None)
        (outcome,) = await ingest.finish()
    call.gateway.metrics.instance(outcome.status)
    if outcome.error is not None:
        await call.fail(failure_of(outcome.error).dimse_status, str(outcome.error), *_at_fault(outcome, named))
    elif (warning := _warning(outcome, named)) is not None:
        await call.warn(DATA_SET_DOES_NOT_MATCH, warning)
    else:
        await call.respond(SUCCESS)


def negotiate(sop_class_uid: str, offered: bytes) -> bytes:
    """Answer the extended negotiation of a storage class: level 2, signatures kept, nothing coerced.

    Standard
    --------
    PS3.4 B.3.1.2; checklist G-051.
    """
    return bytes((LEVEL_2, 0, SIGNATURES_KEPT, 0, COERCES_NOTHING, 0))[: len(offered)]


def _warning(outcome: Outcome, named: tuple[str, str]) -> str | None:
    """Say what the sender must know of an instance that was stored; that is not every oddity (G-045)."""
    if named != (outcome.sop_class_uid, outcome.sop_instance_uid):
        return "The data set is another instance than the one that was named."
    return next((warning for warning in outcome.warnings if isinstance(warning, Loss)), None)


def _at_fault(outcome: Outcome, named: tuple[str, str]) -> list[Tag8]:
    """Return the elements that make a data set not match (PS3.4 Table B.2-1)."""
    if isinstance(outcome.error, InstanceMismatch):
        found = outcome.sop_class_uid, outcome.sop_instance_uid
        return [tag for tag, ours, theirs in zip(_IDENTIFYING.values(), found, named, strict=False) if ours != theirs]
    said = str(outcome.error).partition(" ")[0]  # a missing identifier is named first
    return [_IDENTIFYING[said]] if said in _IDENTIFYING else []


async def _fail(call: Call, status: int, why: str) -> None:
    call.gateway.metrics.instance("failed")
    await call.fail(status, why)
