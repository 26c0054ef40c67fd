"""Modality Performed Procedure Step: N-CREATE and N-SET (PS3.4 F.7).

Facts and clauses this module keeps:

- Refused: a step that does not begin IN PROGRESS (0106), one that exists (0111), a change of one that has ended
  (0110, Error ID A710), of one nobody created (0112) (F.7.2.1.3, F.7.2.2.3-4; G-161 to G-165).
- Kept, with a warning (0107) that lists the attributes: a step that lacks something, a change of what may not change
  (G-163, G-166, G-168; `storage/worklist/performed_step_rules.py` says why).
- A modality may leave the choice of the SOP Instance UID to us, and is told of it (PS3.7 10.1.5.1.4).
- What peers are to be passed on is queued in the transaction that keeps it (G-173).
"""

import uuid
from typing import Final

from dicomweb.gateway.call import SUCCESS, Call, error_comment
from dicomweb.gateway.decoding import decoded
from storage.dicom import data_set
from storage.dicom.dicomjson import Attribute
from storage.errors import NotFound
from storage.index.record import UID
from storage.worklist.performed_step_rules import STATUS
from storage.worklist.performed_steps import PerformedSteps, StepExists, StepIsFinal, WrongStatus

SOP_CLASSES: Final = frozenset({"1.2.840.10008.3.1.2.3.3"})
"""Modality Performed Procedure Step."""

OF_STEP: Final = data_set.Bounds(length=64 << 20)
"""What a data set may have: a step may refer to tens of thousands of images."""

INVALID_ATTRIBUTE_VALUE: Final = 0x0106
ATTRIBUTE_LIST_ERROR: Final = 0x0107
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_SOP_INSTANCE: Final = 0x0112
INVALID_SOP_INSTANCE: Final = 0x0117
MAY_NO_LONGER_BE_UPDATED: Final = 0xA710
_MOST_LISTED: Final = 64


async def create(call: Call) -> None:
    """Take a new performed procedure step (N-CREATE).

    Standard
    --------
    PS3.4 F.7.2.1; PS3.7 10.1.5; checklist G-160 to G-163.
    """
    sop_instance_uid = call.text("AffectedSOPInstanceUID") or f"2.25.{uuid.uuid4().int}"
    if not UID.fullmatch(sop_instance_uid):
        await call.respond(INVALID_SOP_INSTANCE, ErrorComment="The SOP Instance UID is not a UID.")
        return
    dataset = await _data_set(call)
    try:
        missing = await _steps(call).create(
            sop_instance_uid, dataset, calling_ae_title=call.association.calling_ae_title
        )
    except StepExists as error:
        await call.respond(
            DUPLICATE_SOP_INSTANCE, ErrorComment=error_comment(str(error)), AffectedSOPInstanceUID=sop_instance_uid
        )
    except WrongStatus as error:
        await _refuse_status(call, dataset, error, sop_instance_uid)
    else:
        await _answer(call, missing, "Kept, though these attributes are missing.", sop_instance_uid)


async def set(call: Call) -> None:
    """Take a change of a performed procedure step (N-SET).

    Standard
    --------
    PS3.4 F.7.2.2; PS3.7 10.1.3; checklist G-164 to G-170.
    """
    sop_instance_uid = call.text("RequestedSOPInstanceUID") or call.text("AffectedSOPInstanceUID")
    if not UID.fullmatch(sop_instance_uid):
        await call.respond(INVALID_SOP_INSTANCE, ErrorComment="The SOP Instance UID is not a UID.")
        return
    dataset = await _data_set(call)
    try:
        complaints = await _steps(call).change(sop_instance_uid, dataset)
    except NotFound as error:
        await call.respond(
            NO_SUCH_SOP_INSTANCE, ErrorComment=error_comment(str(error)), AffectedSOPInstanceUID=sop_instance_uid
        )
    except StepIsFinal:
        comment = "Performed Procedure Step Object may no longer be updated"
        await call.respond(
            PROCESSING_FAILURE,
            ErrorID=MAY_NO_LONGER_BE_UPDATED,
            ErrorComment=comment,
            AffectedSOPInstanceUID=sop_instance_uid,
        )
    except WrongStatus as error:
        await _refuse_status(call, dataset, error, sop_instance_uid)
    else:
        await _answer(call, complaints, "Kept, though these attributes are missing or fixed.", sop_instance_uid)


def _steps(call: Call) -> PerformedSteps:
    return PerformedSteps(call.gateway.archive.pool)


async def _data_set(call: Call) -> dict[str, Attribute]:
    found = await decoded(call.message, OF_STEP)
    return found.dataset if found else {}


async def _answer(call: Call, complaints: list[str], comment: str, sop_instance_uid: str) -> None:
    if not complaints:
        await call.respond(SUCCESS, AffectedSOPInstanceUID=sop_instance_uid)
        return
    tags = [int(tag, 16) for tag in dict.fromkeys(complaints)][:_MOST_LISTED]
    await call.respond(
        ATTRIBUTE_LIST_ERROR,
        AttributeIdentifierList=tags,
        ErrorComment=comment,
        AffectedSOPInstanceUID=sop_instance_uid,
    )


async def _refuse_status(call: Call, dataset: dict[str, Attribute], error: WrongStatus, sop_instance_uid: str) -> None:
    """Refuse a status, and send back what was refused (PS3.7 C.5.11)."""
    given = {STATUS: dataset.get(STATUS) or {"vr": "CS"}}
    data = data_set.encode(given, call.message.context.transfer_syntax)
    await call.respond(
        INVALID_ATTRIBUTE_VALUE, data, ErrorComment=error_comment(str(error)), AffectedSOPInstanceUID=sop_instance_uid
    )
