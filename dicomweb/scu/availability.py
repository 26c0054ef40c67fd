"""Instance Availability Notification: tell an AE which instances of a study can be had here (PS3.4 Annex R)."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydicom.datadict import dictionary_VR

from dicomweb.dimse.command_set import Operation
from dicomweb.scu.calling import LITTLE_ENDIAN, Caller, check_status, context_of
from storage.dicom import data_set
from storage.matching.attributes import tag_of
from storage.retrieval.selection import Chosen
from storage.work.peers import Peer

SOP_CLASS: Final = "1.2.840.10008.5.1.4.33"


def notification(
    instances: Sequence[Chosen], retrieve_ae_title: str, performed_steps: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Make the data set of a notification.

    Parameters
    ----------
    instances : sequence of Chosen
        All of one study, at least one.
    retrieve_ae_title : str
        From which they can be had.
    performed_steps : iterable of mapping
        Items of Referenced Performed Procedure Step Sequence (0008,1111) found in them, as DICOM JSON.

    Standard
    --------
    PS3.4 Table R.3.2-1; checklist G-180.
    """
    series: dict[str, list[dict[str, Any]]] = {}
    for instance in instances:
        series.setdefault(instance.series_instance_uid, []).append(
            _item(
                ReferencedSOPClassUID=instance.sop_class_uid,
                ReferencedSOPInstanceUID=instance.sop_instance_uid,
                InstanceAvailability="ONLINE",
                RetrieveAETitle=retrieve_ae_title,
            )
        )
    found = _item(
        ReferencedPerformedProcedureStepSequence=list(_steps(performed_steps)),
        ReferencedSeriesSequence=[
            _item(ReferencedSOPSequence=items, SeriesInstanceUID=uid) for uid, items in series.items()
        ],
        StudyInstanceUID=instances[0].study_instance_uid,
    )
    return dict(sorted(found.items()))


async def notify(caller: Caller, peer: Peer, notice: Mapping[str, Any]) -> None:
    """Send a notification.

    Raises
    ------
    AssociationError
        No association came about, it broke, or the peer takes no notifications.
    OperationFailed
        The peer answered with a failure.

    Standard
    --------
    PS3.4 R.3.2.1; PS3.7 10.1.5.
    """
    async with await caller.connect(peer, [(SOP_CLASS, LITTLE_ENDIAN)]) as association:
        context = context_of(association, SOP_CLASS)
        answer = await association.request(
            context,
            {
                "CommandField": Operation.N_CREATE,
                "AffectedSOPClassUID": SOP_CLASS,
                "AffectedSOPInstanceUID": f"2.25.{uuid.uuid4().int}",
            },
            data_set.encode(notice, context.transfer_syntax),
        )
        check_status("N-CREATE", answer.command)


def _steps(found: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Yield each step once, with the two attributes a notification has of it."""
    keywords = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
    seen = set()
    for step in found:
        uids = [(step.get(tag_of(keyword), {}).get("Value") or [""])[0] for keyword in keywords]
        if all(uids) and uids[1] not in seen:
            seen.add(uids[1])
            yield _item(**dict(zip(keywords, uids, strict=True)))


def _item(**values: Any) -> dict[str, Any]:
    return {
        tag_of(keyword): {"vr": dictionary_VR(keyword), "Value": value if isinstance(value, list) else [value]}
        for keyword, value in values.items()
    }
