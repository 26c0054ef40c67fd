"""A race of pynetdicom 3.0, closed: a requestor's own reactor thread at times took the answer its caller waited for.

The caller pauses the reactor by clearing a flag and waits until the reactor says that it is paused. When the reactor
had just passed the flag and not said so yet, the caller went on, the reactor found the answer ("Received unexpected
C-STORE service message") and the caller waited until its time was up. Here passing the flag and saying so are one step.
"""

import threading
from typing import Any

from pynetdicom.association import Association


class Checkpoint(threading.Event):
    """The flag of an association's reactor."""

    def __init__(self, association: Any) -> None:
        super().__init__()
        self._association = association
        self._step = threading.Lock()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Pass once the flag is set; the reactor is running by then."""
        while True:
            super().wait(timeout)
            with self._step:
                if self.is_set():
                    self._association._is_paused = False
                    return True
            if timeout is not None:
                return False

    def clear(self) -> None:
        """Ask the reactor to pause."""
        with self._step:
            super().clear()


def close() -> None:
    """Let all associations made from now on do it that way."""
    original = Association.__init__

    def with_checkpoint(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        self._reactor_checkpoint = Checkpoint(self)

    Association.__init__ = with_checkpoint  # type: ignore[method-assign]
