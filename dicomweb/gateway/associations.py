"""The associations that peers opened and that are still open."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Operation


@dataclass(slots=True, eq=False)
class LiveAssociation:
    """One of them, and what it is doing.

    Attributes
    ----------
    association : Association
        Itself.
    operation : Operation or None
        What is being answered just now.
    answered : int
        How many requests were.
    since : float
        Since when, or since when nothing is (time.monotonic).
    moved : float
        When bytes were last seen to have gone one way or the other.
    """

    association: Association
    operation: Operation | None = None
    answered: int = 0
    since: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    _bytes: int = 0

    def begun(self, operation: Operation | None) -> None:
        """A request is being answered."""
        self.operation, self.since = operation, time.monotonic()

    def ended(self) -> None:
        """It was answered."""
        self.operation, self.since = None, time.monotonic()
        self.answered += 1

    def idle_for(self) -> float:
        """Seconds since the last request was answered, 0 while one is being answered."""
        return 0.0 if self.operation is not None else time.monotonic() - self.since

    def silent_for(self) -> float:
        """Seconds without a byte, as far as somebody looked."""
        now, total = time.monotonic(), self.association.bytes_in + self.association.bytes_out
        if total != self._bytes:
            self._bytes, self.moved = total, now
        return now - self.moved


class Associations:
    """All of them, in the order in which they were opened; iterate to have each `Association`."""

    def __init__(self) -> None:
        self._live: dict[Association, LiveAssociation] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Association]:
        return iter(list(self._live))

    def live(self) -> list[LiveAssociation]:
        """Return each with what it is doing."""
        return list(self._live.values())

    def add(self, association: Association) -> LiveAssociation:
        """Count one in."""
        return self._live.setdefault(association, LiveAssociation(association))

    def remove(self, association: Association) -> None:
        """Count one out."""
        self._live.pop(association, None)
