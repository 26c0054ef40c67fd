"""The data sets of storage commitment, as tables: what is written, what is read, what is refused."""

from typing import Any

import pytest

from dicomweb.scu import commitment_data_set
from dicomweb.scu.commitment_data_set import ArgumentRefused, read_report, read_request, write_report, write_request
from storage.work.commitments import CheckedReference, Reference
from storage.work.commitments_asked import Answer
from tests.storage.indexed import dataset

CT = "1.2.840.10008.5.1.4.1.1.2"


def item(instance: str, sop_class: str = CT, **more: Any) -> dict[str, Any]:
    return {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": instance, **more}


def test_a_request_is_read_as_it_was_written() -> None:
    """Transaction UID and Referenced SOP Sequence (PS3.4 Table J.3-1; G-121)."""
    written = write_request("1.2.3", [Reference(CT, "1.5"), Reference(CT, "1.6")])
    assert written == dataset(TransactionUID="1.2.3", ReferencedSOPSequence=[item("1.5"), item("1.6")])
    assert read_request(written) == ("1.2.3", [Reference(CT, "1.5"), Reference(CT, "1.6")])


def test_a_reference_that_stands_twice_counts_once() -> None:
    """Each instance is reported on once (PS3.4 J.3.2.1.1.3; G-126)."""
    read = read_request(dataset(TransactionUID="1.2", ReferencedSOPSequence=[item("1.5"), item("1.6"), item("1.5")]))
    assert read == ("1.2", [Reference(CT, "1.5"), Reference(CT, "1.6")])


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (dataset(ReferencedSOPSequence=[item("1.5")]), 0x0114),
        (dataset(TransactionUID="1.2"), 0x0114),
        (dataset(TransactionUID="1.2", ReferencedSOPSequence=[{"ReferencedSOPInstanceUID": "1.5"}]), 0x0114),
        (dataset(TransactionUID=[], ReferencedSOPSequence=[item("1.5")]), 0x0115),
        (dataset(TransactionUID=["1.2", "1.3"], ReferencedSOPSequence=[item("1.5")]), 0x0115),
        (dataset(TransactionUID="1.x", ReferencedSOPSequence=[item("1.5")]), 0x0115),
        (dataset(TransactionUID="1.2", ReferencedSOPSequence=[]), 0x0115),
        (dataset(TransactionUID="1.2", ReferencedSOPSequence=[item("1.5"), item("1.5", "1.9")]), 0x0115),
        (dataset(TransactionUID="1.2", ReferencedSOPSequence=[item("1.5"), item("1.6"), item("1.7")]), 0x0213),
    ],
)
def test_a_request_that_cannot_be_is_refused(
    given: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0114 for what is missing, 0115 for what cannot be, 0213 for too many instances (PS3.7 Annex C; G-123)."""
    monkeypatch.setattr(commitment_data_set, "MOST_INSTANCES", 2)
    with pytest.raises(ArgumentRefused) as refused:
        read_request(given)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("reasons", "event_type", "expected"),
    [
        ([0, 0], 1, {"RetrieveAETitle": "A", "ReferencedSOPSequence": [item("1.0"), item("1.1")]}),
        (
            [0, 0x0110],
            2,
            {
                "RetrieveAETitle": "A",
                "FailedSOPSequence": [item("1.1", FailureReason=0x0110)],
                "ReferencedSOPSequence": [item("1.0")],
            },
        ),
        (
            [0x0112, 0x0119],
            2,
            {"FailedSOPSequence": [item("1.0", FailureReason=0x0112), item("1.1", FailureReason=0x0119)]},
        ),
    ],
    ids=["all", "some", "none"],
)
def test_a_report_says_of_each_instance_one_thing(reasons: list[int], event_type: int, expected: Any) -> None:
    """Event type and sequences follow Table J.3-2 of PS3.4 (G-124 to G-127, G-133)."""
    references = [CheckedReference(CT, f"1.{number}", reason) for number, reason in enumerate(reasons)]
    assert write_report("1.2.3", "A", references) == (event_type, dataset(TransactionUID="1.2.3", **expected))
    transaction_uid, answer = read_report(dataset(TransactionUID="1.2.3", **expected))
    assert transaction_uid == "1.2.3"
    failed = {f"1.{number}": reason for number, reason in enumerate(reasons) if reason}
    assert answer == Answer(frozenset({"1.0", "1.1"}) - failed.keys(), failed)


def test_a_report_that_contradicts_itself_is_taken_for_the_worse() -> None:
    """An instance in both sequences has failed, one without reason with 0110."""
    both = dataset(TransactionUID="1.2", ReferencedSOPSequence=[item("1.5")], FailedSOPSequence=[item("1.5")])
    assert read_report(both) == ("1.2", Answer(frozenset(), {"1.5": 0x0110}))


def test_a_report_without_instances_is_refused() -> None:
    """There must be something in it (PS3.4 Table J.3-2)."""
    with pytest.raises(ArgumentRefused):
        read_report(dataset(TransactionUID="1.2"))
