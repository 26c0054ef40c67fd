"""What became of each file of an import, counted, grouped by reason and reported."""

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import orjson

from storage.errors import Unavailable
from storage.system.errors import in_words

FIRST_NAMES = 5
"""Names shown of the files refused for one reason."""

MOST_REASONS = 50
_OTHER_REASONS = "other reasons"


class Status(StrEnum):
    """What became of a file."""

    STORED = "stored"
    DUPLICATE = "already there"
    REPLACED = "replaced"
    PASSED_OVER = "passed over"
    REFUSED = "refused"
    TAKEN = "taken by an earlier run"


ACKNOWLEDGED = frozenset({Status.STORED, Status.DUPLICATE, Status.REPLACED})
REPORTED = frozenset({Status.REPLACED, Status.PASSED_OVER, Status.REFUSED})


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file.

    Attributes
    ----------
    name : str
        The file, fit to be shown.
    status : Status
        What became of it.
    reason : str
        Why, when it was refused or passed over.
    size : int
        In bytes.
    key : bytes
        Its key in the journal; empty when it has none.
    again : bool
        Refused now, but may be taken another time.
    """

    name: str
    status: Status
    reason: str = ""
    size: int = 0
    key: bytes = b""
    again: bool = False


@dataclass(slots=True)
class Refusals:
    """The files refused for one reason: how many, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)


class Tally:
    """Counts results and writes the report.

    Parameters
    ----------
    report : binary file, optional
        Gets a JSON line for every file that was refused, passed over or that replaced another.
    """

    def __init__(self, report: IO[bytes] | None = None) -> None:
        self.counts = dict.fromkeys(Status, 0)
        self.refusals: dict[str, Refusals] = {}
        self.bytes_stored = 0
        self.again = False
        self._report = report

    def add(self, result: Result) -> None:
        """Count one file."""
        self.counts[result.status] += 1
        self.again = self.again or result.again
        if result.status in ACKNOWLEDGED:
            self.bytes_stored += result.size
        if result.status is Status.REFUSED:
            full = len(self.refusals) >= MOST_REASONS and result.reason not in self.refusals
            group = self.refusals.setdefault(_OTHER_REASONS if full else result.reason, Refusals())
            group.count += 1
            if len(group.first) < FIRST_NAMES:
                group.first.append(result.name)
        if self._report is not None and result.status in REPORTED:
            line = {"path": result.name, "status": result.status.value, "reason": result.reason, "size": result.size}
            try:
                self._report.write(orjson.dumps(line) + b"\n")
            except OSError as error:
                raise Unavailable(f"the report cannot be written: {in_words(error)}") from error

    def facts(self) -> dict[str, Any]:
        """Return the numbers, and how many files were refused for which reason, for a program."""
        numbers = {status.name.lower(): number for status, number in self.counts.items()}
        return numbers | {"reasons": {reason: group.count for reason, group in self.refusals.items()}}

    def summary(self) -> str:
        """Say what became of the files, for a person."""
        counts = self.counts
        parts = [
            f"{counts[Status.STORED]:,} stored",
            f"{counts[Status.DUPLICATE]:,} already there",
            f"{counts[Status.REPLACED]:,} replaced",
            f"{counts[Status.PASSED_OVER]:,} passed over (not DICOM)",
            f"{counts[Status.REFUSED]:,} refused",
        ]
        if counts[Status.TAKEN]:
            parts.append(f"{counts[Status.TAKEN]:,} taken by an earlier run")
        total = sum(counts.values())
        lines = [f"{total:,} file{'s' * (total != 1)}: {', '.join(parts)}."]
        for reason, group in sorted(self.refusals.items(), key=lambda item: -item[1].count):
            lines.append(f"Refused, {group.count:,}: {reason}")
            lines += [f"    {name}" for name in group.first]
            if group.count > len(group.first):
                lines.append(f"    ... and {group.count - len(group.first):,} more; --report FILE lists them all")
        return "\n".join(lines)


def shown(path: Path | str) -> str:
    """Write a path so that any terminal and any JSON can show it: what cannot be printed is escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
