"""Attack after attack: sent, judged, counted; what went wrong is kept."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders import ct_slice
from tests.fuzz.generators import Generator
from tests.fuzz.reading import paths_in, stored
from tests.fuzz.requests import THERE
from tests.fuzz.target import Fault, Target


@dataclass
class Failure:
    """An input that had an effect it must not have."""

    name: str
    why: list[str]
    kept: Path | None = None


@dataclass
class Campaign:
    """The attacks of one generator on one server.

    Attributes
    ----------
    counted : Counter
        How often which outcome was.
    sent : int
        How many inputs.
    seconds : float
        How long it took.
    """

    generator: Generator
    target: Target
    seed: int
    keep_in: Path | None = None
    number: int = 0
    seconds: float = 0.0
    slowest: tuple[float, str] = (0.0, "none")
    counted: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    failures: list[Failure] = field(default_factory=list)

    def pinned(self) -> None:
        """Send every pinned input."""
        for name in self.generator.pinned:
            self.attack(name, self.generator.pinned_input(name))

    def run(self, inputs: int | None = None, seconds: float = float("inf")) -> None:
        """Send the next inputs, for so long."""
        over = time.monotonic() + seconds
        last = self.number + inputs if inputs is not None else None
        while self.number != last and time.monotonic() < over:
            self.attack(f"{self.seed}-{self.number}", self.generator.input(self.seed, self.number))
            self.number += 1

    def attack(self, name: str, data: bytes) -> None:
        """Send one input and see what became of the server."""
        began = time.monotonic()
        self.sent += 1
        why = []
        try:
            self.counted[self.generator.send(self.target, data)] += 1
        except Fault as fault:
            why.append(str(fault))
        except OSError as error:
            why.append(f"cannot be reached: {type(error).__name__}")
        took = time.monotonic() - began
        self.seconds += took
        self.slowest = max(self.slowest, (took, name))
        why += self.target.troubles()
        if why:
            self.failures.append(Failure(f"{self.generator.name} {name}", why, self._keep(name, data)))

    def _keep(self, name: str, data: bytes) -> Path | None:
        if self.keep_in is None:
            return None
        self.keep_in.mkdir(parents=True, exist_ok=True)
        plain = "".join(letter if letter.isalnum() else "-" for letter in name)
        kept = self.keep_in / f"{self.generator.name}-{plain}.bin"
        kept.write_bytes(data)
        return kept

    def lines(self) -> Iterator[str]:
        """Say what became of it."""
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in self.counted.most_common())
        yield (
            f"{self.generator.name}: {self.sent} inputs in {self.seconds:.0f} s, "
            f"the slowest {self.slowest[0]:.1f} s ({self.slowest[1]}), {len(self.failures)} failed: {outcomes}"
        )
        for failure in self.failures:
            yield f"  {failure.name} ({failure.kept}): " + "; ".join(failure.why)[:1500]


def prepare(target: Target) -> None:
    """Store the instance that requests ask for."""
    there = ct_slice(*THERE.values(), rows=8, columns=8)
    assert paths_in(stored(target, "application/dicom", there))


def still_serves(target: Target) -> bool:
    """Whether the server, after everything, stores and shows an image and echoes."""
    from tests.fuzz.generators import GENERATORS

    pdus, part10 = GENERATORS["pdus"], GENERATORS["part10"]
    return (
        part10.send(target, part10.pinned_input("an image")) == "200"
        and pdus.send(target, pdus.pinned_input("a verification")) == "released"
        and not list(target.troubles())
    )
