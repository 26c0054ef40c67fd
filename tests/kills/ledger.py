"""What clients were told, and what was wrong in what they saw."""

import hashlib
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.live.exchange import Key


class Sent(NamedTuple):
    """An instance as it was sent.

    Attributes
    ----------
    file : str
        Digest of the whole file for STOW-RS, of its data set for C-STORE, whose file gets a head of ours.
    pixels : str
        Digest of the samples of its frame, native.
    """

    key: Key
    data: bytes
    file: str
    pixels: str
    by_store: bool


def digest(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Ledger:
    """Written by many threads.

    Attributes
    ----------
    acknowledged : dict
        What somebody was told is stored, by key.
    unanswered : list
        What was sent, and nothing was said about it.
    wrong : list of str
        Answers that were not true.
    reads : int
        Answers that were true.
    """

    acknowledged: dict[Key, Sent] = field(default_factory=dict)
    unanswered: list[Sent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    _pictures: dict[tuple[Key, str], str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def told(self, sent: Sent, *, stored: bool) -> None:
        """Write down what was said of an instance."""
        with self._lock:
            if stored:
                self.acknowledged[sent.key] = sent
            else:
                self.unanswered.append(sent)

    def saw(self, what: str, *, as_sent: bool) -> None:
        """Write down whether an answer was what was sent."""
        with self._lock:
            if as_sent:
                self.reads += 1
            else:
                self.wrong.append(what)

    def saw_picture(self, key: Key, form: str, data: bytes) -> None:
        """Write down a rendered picture: each is the same whenever it is asked for."""
        with self._lock:
            first = self._pictures.setdefault((key, form), digest(data))
        self.saw(f"{form} of {key[2]} is another one than before", as_sent=first == digest(data))

    def known(self) -> list[Sent]:
        """Return what is acknowledged now."""
        with self._lock:
            return list(self.acknowledged.values())

    def take_unanswered(self) -> list[Sent]:
        """Return what has no answer, to be sent again."""
        with self._lock:
            taken, self.unanswered = self.unanswered, []
        return taken
