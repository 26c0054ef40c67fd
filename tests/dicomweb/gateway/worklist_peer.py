"""A modality: pynetdicom asking a gateway for its worklist and reporting what it performs."""

import asyncio
from typing import Any

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from tests.builders import dataset_of

WORKLIST = "1.2.840.10008.5.1.4.31"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EVERYTHING = {
    "PatientName": "",
    "PatientID": "",
    "AccessionNumber": "",
    "ScheduledProcedureStepSequence": [{"Modality": "", "ScheduledProcedureStepID": "", "ScheduledStationAETitle": ""}],
}

Answers = list[tuple[int, Dataset | None]]
"""Status and identifier of each response."""


def associated(port: int, *, syntax: str = EXPLICIT_LE, aet: str = "CT1", offered: bytes = b"") -> Association:
    """Open an association for worklist and performed steps."""
    entity = AE(aet)
    entity.add_requested_context(WORKLIST, syntax)
    entity.add_requested_context(PERFORMED_STEP, syntax)
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = WORKLIST, offered
    extra: Any = [extended] if offered else None
    association = entity.associate("127.0.0.1", port, ae_title="DICOMWEB", ext_neg=extra)
    assert association.is_established
    return association


def find(port: int, keys: dict[str, Any] | Dataset, *, cancel_after: int | None = None, **options: Any) -> Answers:
    """Send one worklist query over an association of its own, and cancel it after so many answers."""
    association = associated(port, **options)
    try:
        answers: Answers = []
        wanted = keys if isinstance(keys, Dataset) else dataset_of(keys)
        for status, found in association.send_c_find(wanted, WORKLIST, msg_id=7):
            answers.append((status.Status, found))
            if len(answers) == cancel_after:
                association.send_c_cancel(7, query_model=WORKLIST)
        return answers
    finally:
        association.release()


async def ask(port: int, keys: dict[str, Any] | Dataset, **options: Any) -> Answers:
    """Do that in another thread."""
    return await asyncio.to_thread(find, port, keys, **options)


def matches(answers: Answers) -> list[Dataset]:
    """The identifiers of the pending responses; the last response must be success, without one."""
    *pending, last = answers
    assert last == (0x0000, None)
    return [found for _, found in pending if found is not None]


def report(port: int, *messages: tuple[str, str, dict[str, Any]], **options: Any) -> list[Dataset]:
    """Send N-CREATE ("create") and N-SET ("set") of SOP instances over one association; returns the statuses, with the
    data set of a response as `answered`."""
    association = associated(port, **options)
    try:
        statuses = []
        for operation, sop_instance_uid, values in messages:
            send = association.send_n_create if operation == "create" else association.send_n_set
            status, answered = send(dataset_of(values), PERFORMED_STEP, sop_instance_uid or None)
            status.answered = answered  # type: ignore[attr-defined]
            statuses.append(status)
        return statuses
    finally:
        association.release()
