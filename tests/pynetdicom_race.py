"""Two races of a requestor of pynetdicom 3.0, closed.

Its own reactor thread at times took the answer its caller waited for. The caller pauses the reactor by clearing a flag
and waits until the reactor says that it is paused. When the reactor had just passed the flag and not said so yet, the
caller went on, the reactor found the answer ("Received unexpected C-STORE service message") and the caller waited until
its time was up. Here passing the flag and saying so are one step.

A rejection at times was a failure to connect: its thread for the socket had been rejected and had closed the socket
before the caller looked whether that was connected. Here it closes when the caller waits for the answer.
"""

import threading
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket

PATIENCE = 60
"""Seconds."""


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
    original, receive, close_socket = Association.__init__, DULServiceProvider.receive_pdu, AssociationSocket.close

    def with_events(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        self._reactor_checkpoint = Checkpoint(self)
        self._is_waited_for = threading.Event()

    def say_and_receive(self: Any, *arguments: Any, **named: Any) -> Any:
        self.assoc._is_waited_for.set()
        return receive(self, *arguments, **named)

    def close_when_waited_for(self: Any) -> None:
        if self._is_connected and self.assoc.is_requestor:
            self.assoc._is_waited_for.wait(PATIENCE)
        close_socket(self)

    Association.__init__ = with_events  # type: ignore[method-assign]
    DULServiceProvider.receive_pdu = say_and_receive  # type: ignore[method-assign]
    AssociationSocket.close = close_when_waited_for  # type: ignore[method-assign]
