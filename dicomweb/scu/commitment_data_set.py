"""The data sets of Storage Commitment, as DICOM JSON objects, written and read; pure.

Facts this module keeps:

- N-ACTION: Transaction UID and Referenced SOP Sequence, both type 1; each instance once (PS3.4 Table J.3-1). The same
  reference twice counts once; one instance of two classes cannot be reported on and is refused.
- N-EVENT-REPORT: event type 1 when all are committed to; type 2 with Failed SOP Sequence otherwise, and with Referenced
  SOP Sequence only if something succeeded; every instance asked for in exactly one of them; the Transaction UID as it
  was given (Table J.3-2).
- Retrieve AE Title stands once, at the top level, when anything was committed to (J.3.3.1.1.1).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from storage.index.record import UID
from storage.work.commitments import SOUND, CheckedReference, Reference
from storage.work.commitments_asked import Answer

SOP_CLASS: Final = "1.2.840.10008.1.20.1"
SOP_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The well-known instance (PS3.4 J.3.5)."""

REQUEST_STORAGE_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3-1)."""
COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs (PS3.4 Table J.3-2)."""

NO_SUCH_ARGUMENT: Final = 0x0114
INVALID_ARGUMENT: Final = 0x0115
PROCESSING_FAILURE: Final = 0x0110
RESOURCE_LIMITATION: Final = 0x0213

MOST_INSTANCES: Final = 50_000
"""Of one request: more are refused with 0213 rather than filling the memory."""

DataSet = Mapping[str, Any]


class ArgumentRefused(Exception):
    """A data set is not what the operation takes.

    Attributes
    ----------
    status : int
        Of the response: 0114 for an attribute that is not there, 0115 for a value that cannot be, 0213 for too many.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def write_request(transaction_uid: str, references: Sequence[Reference]) -> dict[str, Any]:
    """Return the Action Information of an N-ACTION.

    Standard
    --------
    PS3.4 Table J.3-1; checklist G-121.
    """
    return {
        _tag("TransactionUID"): _element("TransactionUID", transaction_uid),
        _tag("ReferencedSOPSequence"): {"vr": "SQ", "Value": [_item(*reference) for reference in references]},
    }


def read_request(data_set: DataSet) -> tuple[str, list[Reference]]:
    """Return the Transaction UID of an N-ACTION and the instances it asks for, each once.

    Raises
    ------
    ArgumentRefused
        Something is missing, ill-formed or too much.

    Standard
    --------
    PS3.4 Table J.3-1; checklist G-121, G-123.
    """
    transaction_uid = _uid(data_set, "TransactionUID")
    items = _items(data_set, "ReferencedSOPSequence")
    if items is None:
        raise ArgumentRefused(NO_SUCH_ARGUMENT, "Referenced SOP Sequence is missing")
    if not items:
        raise ArgumentRefused(INVALID_ARGUMENT, "Referenced SOP Sequence is empty")
    if len(items) > MOST_INSTANCES:
        raise ArgumentRefused(RESOURCE_LIMITATION, f"more than {MOST_INSTANCES} instances in one request")
    classes: dict[str, str] = {}
    for item in items:
        reference = _reference(item)
        if classes.setdefault(reference.sop_instance_uid, reference.sop_class_uid) != reference.sop_class_uid:
            raise ArgumentRefused(INVALID_ARGUMENT, "one instance is referenced with two classes")
    return transaction_uid, [Reference(sop_class, instance) for instance, sop_class in classes.items()]


def write_report(
    transaction_uid: str, retrieve_ae_title: str, references: Sequence[CheckedReference]
) -> tuple[int, dict[str, Any]]:
    """Return the Event Type ID and the Event Information of an N-EVENT-REPORT.

    Parameters
    ----------
    transaction_uid : str
        Of the request.
    retrieve_ae_title : str
        From which the instances can be retrieved.
    references : sequence of CheckedReference
        All of the request.

    Standard
    --------
    PS3.4 Table J.3-2; checklist G-124 to G-127, G-133.
    """
    committed = [_item(one.sop_class_uid, one.sop_instance_uid) for one in references if one.failure_reason == SOUND]
    failed = [_failed_item(one) for one in references if one.failure_reason != SOUND]
    data_set = {_tag("TransactionUID"): _element("TransactionUID", transaction_uid)}
    if committed:
        data_set[_tag("RetrieveAETitle")] = _element("RetrieveAETitle", retrieve_ae_title)
        data_set[_tag("ReferencedSOPSequence")] = {"vr": "SQ", "Value": committed}
    if failed:
        data_set[_tag("FailedSOPSequence")] = {"vr": "SQ", "Value": failed}
    return FAILURES_EXIST if failed else COMMITTED, dict(sorted(data_set.items()))


def read_report(data_set: DataSet) -> tuple[str, Answer]:
    """Return the Transaction UID of an N-EVENT-REPORT and what it says.

    What stands in both sequences has failed; what has failed without a reason has failed with 0110.

    Raises
    ------
    ArgumentRefused
        Something is missing or ill-formed.

    Standard
    --------
    PS3.4 Table J.3-2.
    """
    transaction_uid = _uid(data_set, "TransactionUID")
    committed = [_reference(item) for item in _items(data_set, "ReferencedSOPSequence") or ()]
    failed: dict[str, int] = {}
    for item in _items(data_set, "FailedSOPSequence") or ():
        reason = _value(item, "FailureReason")
        failed[_reference(item).sop_instance_uid] = (reason if isinstance(reason, int) else 0) or PROCESSING_FAILURE
    if not committed and not failed:
        raise ArgumentRefused(NO_SUCH_ARGUMENT, "the report names no instance")
    return transaction_uid, Answer(frozenset(one.sop_instance_uid for one in committed) - failed.keys(), failed)


def _failed_item(reference: CheckedReference) -> dict[str, Any]:
    reason = PROCESSING_FAILURE if reference.failure_reason is None else reference.failure_reason
    item = _item(reference.sop_class_uid, reference.sop_instance_uid)
    return item | {_tag("FailureReason"): _element("FailureReason", reason)}


def _item(sop_class_uid: str, sop_instance_uid: str) -> dict[str, Any]:
    return {
        _tag("ReferencedSOPClassUID"): _element("ReferencedSOPClassUID", sop_class_uid),
        _tag("ReferencedSOPInstanceUID"): _element("ReferencedSOPInstanceUID", sop_instance_uid),
    }


def _reference(item: DataSet) -> Reference:
    return Reference(_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))


def _uid(data_set: DataSet, keyword: str) -> str:
    if _tag(keyword) not in data_set:
        raise ArgumentRefused(NO_SUCH_ARGUMENT, f"{keyword} is missing")
    value = _value(data_set, keyword)
    if not isinstance(value, str) or not UID.fullmatch(value):
        raise ArgumentRefused(INVALID_ARGUMENT, f"{keyword} is no UID")
    return value


def _items(data_set: DataSet, keyword: str) -> list[DataSet] | None:
    """Return the items of a sequence, None when it is not there."""
    element = data_set.get(_tag(keyword))
    return None if element is None else element.get("Value", [])


def _value(data_set: DataSet, keyword: str) -> Any:
    values = data_set.get(_tag(keyword), {}).get("Value", [])
    return values[0] if len(values) == 1 else None


def _element(keyword: str, value: Any) -> dict[str, Any]:
    return {"vr": dictionary_VR(keyword), "Value": [value]}


def _tag(keyword: str) -> str:
    return _TAGS[keyword]


_TAGS: Final = {
    keyword: f"{tag_for_keyword(keyword):08X}"
    for keyword in (
        "TransactionUID",
        "ReferencedSOPSequence",
        "FailedSOPSequence",
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "FailureReason",
        "RetrieveAETitle",
    )
}
