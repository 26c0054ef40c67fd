"""Storage: C-STORE (PS3.4 Annex B).

Facts this module keeps:

- The data set goes to disk as it comes in, in the transfer syntax of its context, and is never decoded; nothing of it
  is held (G-041, G-049, G-052).
- Success is answered only after the file is durable and the index has committed (G-042). A peer that is gone before its
  data set is complete leaves nothing.
- Whatever is refused is refused after the data set has been taken off the wire: the association goes on.
- Statuses are those of PS3.4 Table B.2-1 and PS3.7 9.1.1.1.9, by the one table of failures (G-043, G-044). A missing or
  odd attribute is nobody's failure (G-045); nothing is coerced (G-047).
- Sending an instance again is a success (G-048).
"""

from collections.abc import AsyncIterator
from typing import Final

from dicomweb.gateway.call import Call, error_comment
from storage.elements import Dataset, Element
from storage.ingest import Outcome
from storage.part10 import file_meta_bytes
from storage.record import UID
from storage.vr import standard_vr, tag_of

SUCCESS: Final = 0x0000
DATA_SET_DOES_NOT_MATCH: Final = 0xB007
INVALID_SOP_INSTANCE: Final = 0x0117
CANNOT_UNDERSTAND: Final = 0xC000

LEVEL_2: Final = 2
SIGNATURES_KEPT: Final = 3
COERCES_NOTHING: Final = 0


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
    async with call.gateway.archive.ingest() as ingest:
        await ingest.add(_file(call), named=named if must_match else None)
        (outcome,) = await ingest.finish()
    call.gateway.metrics.instance(outcome.status)
    if outcome.error is not None:
        await call.refuse(outcome.error)
    else:
        await call.respond(_warning(outcome, named) or SUCCESS)


def negotiate(sop_class_uid: str, offered: bytes) -> bytes:
    """Answer the extended negotiation of a storage class: level 2, signatures kept, nothing coerced.

    Standard
    --------
    PS3.4 B.3.1.2; checklist G-051.
    """
    return bytes((LEVEL_2, 0, SIGNATURES_KEPT, 0, COERCES_NOTHING, 0))[: len(offered)]


async def _file(call: Call) -> AsyncIterator[bytes]:
    """Yield the instance as a file (PS3.10 7.1): what DIMSE leaves out first, then the data set as it comes in."""
    assert call.message.data is not None
    sender, receiver = call.association.calling_ae_title, call.association.called_ae_title
    yield file_meta_bytes(
        sop_class_uid=call.text("AffectedSOPClassUID"),
        sop_instance_uid=call.text("AffectedSOPInstanceUID"),
        transfer_syntax_uid=call.message.context.transfer_syntax,
        extra=_titles(
            SourceApplicationEntityTitle=sender,
            SendingApplicationEntityTitle=sender,
            ReceivingApplicationEntityTitle=receiver,
        ),
    )
    async for chunk in call.message.data:
        yield chunk


def _titles(**titles: str) -> Dataset:
    elements = {}
    for keyword, title in titles.items():
        tag = tag_of(keyword)
        if value := title.encode("ascii", "replace"):
            elements[tag] = Element(tag, standard_vr(tag) or "AE", value, 0, len(value))
    return elements


def _warning(outcome: Outcome, named: tuple[str, str]) -> int | None:
    matches = named == (outcome.sop_class_uid, outcome.sop_instance_uid)
    return None if matches else DATA_SET_DOES_NOT_MATCH


async def _fail(call: Call, status: int, why: str) -> None:
    call.gateway.metrics.instance("failed")
    await call.respond(status, ErrorComment=error_comment(why))
