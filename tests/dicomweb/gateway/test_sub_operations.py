"""What the numbers of sub-operations mean."""

import pytest

from dicomweb.gateway.sub_operations import CANCELLED, PENDING, SubOperations
from dicomweb.scu.store import Sent
from storage.retrieval.selection import Chosen


def result(number: int, status: int | None) -> Sent:
    """What became of an instance."""
    return Sent(Chosen(number, "1", "2", f"3.{number}", "4", "5"), status, "" if status == 0 else f"why {number}")


@pytest.mark.parametrize(
    ("statuses", "remaining", "final", "counts"),
    [
        ([], 0, 0x0000, (0, 0, 0)),
        ([0, 0], 0, 0x0000, (2, 0, 0)),
        ([0, None], 0, 0xB000, (1, 1, 0)),
        ([0, 0xB000], 0, 0xB000, (1, 0, 1)),
        ([0xB007, 0xB000], 0, 0xB000, (0, 0, 2)),
        ([0xA700, None], 0, 0xA702, (0, 2, 0)),
        ([0xA700, 0xB000], 0, 0xB000, (0, 1, 1)),
        ([0, 0xC000], 3, 0xFE00, (1, 1, 0)),
        ([], 3, 0xFE00, (0, 0, 0)),
    ],
)
def test_the_last_status_follows_from_the_counters(
    statuses: list[int | None], remaining: int, final: int, counts: tuple[int, int, int]
) -> None:
    """Success, warning, failure or cancelled; failed UIDs exactly when something failed (Table C.4-2; G-097, G-098)."""
    progress = SubOperations(len(statuses) + remaining)
    for number, status in enumerate(statuses):
        progress.count(result(number, status))
    assert progress.final_status == final
    fields = progress.counters(final)
    assert tuple(fields[f"NumberOf{name}Suboperations"] for name in ("Completed", "Failed", "Warning")) == counts
    assert ("NumberOfRemainingSuboperations" in fields) == (final == CANCELLED)
    failed = [f"3.{number}" for number, status in enumerate(statuses) if status is None or status >> 12 in (0xA, 0xC)]
    assert progress.identifier == ({"00080058": {"vr": "UI", "Value": failed}} if failed else None)
    assert bool(progress.reason) == bool(failed)


def test_pending_counters_always_add_up() -> None:
    """Remaining is there, and no sub-operation is counted twice or not at all (PS3.4 C.4.2.1.6; G-095)."""
    progress = SubOperations(4)
    for number, status in enumerate((0, None, 0xB000, 0)):
        fields = progress.counters(PENDING)
        assert sum(value for value in fields.values() if isinstance(value, int)) == 4
        assert fields["NumberOfRemainingSuboperations"] == 4 - number
        progress.count(result(number, status))


def test_counters_fit_into_their_elements() -> None:
    """A study of more than 65535 instances is no error (PS3.7 E.1)."""
    assert SubOperations(100_000).counters(PENDING)["NumberOfRemainingSuboperations"] == 65535
