"""The requests of ours that wait for responses (PS3.7 9.1, 10.1).

Facts this module keeps:

- A response belongs to a request when it has its Message ID and its operation; nobody gets any other.
- A Message ID is not used again while its request waits.
"""

from typing import Final

from dicomweb.dimse.command_set import RESPONSE, Command, number
from dicomweb.dimse.errors import AssociationError
from dicomweb.dimse.mailbox import Mailbox
from dicomweb.dimse.message import Message

WAITING_RESPONSES: Final = 64
"""How many responses wait for who asked before the socket is left alone."""


class Asked:
    """The requests of ours that wait for responses."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, Mailbox[Message]]] = {}
        self._last_message_id = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, command: Command) -> tuple[int, Mailbox[Message]]:
        """Wait for the responses to a request; return its Message ID, which is new unless it has one."""
        message_id = number(command, "MessageID") or self._new_message_id()
        mailbox: Mailbox[Message] = Mailbox(WAITING_RESPONSES)
        self._waiting[message_id] = (number(command, "CommandField") | RESPONSE, mailbox)
        return message_id, mailbox

    def remove(self, message_id: int) -> None:
        """Wait no longer."""
        _, mailbox = self._waiting.pop(message_id, (0, None))
        if mailbox is not None:
            mailbox.close()

    def who_waits_for(self, response: Message) -> Mailbox[Message] | None:
        """Return where a response belongs, None when nobody waits for it."""
        field, mailbox = self._waiting.get(response.message_id, (0, None))
        return mailbox if field == number(response.command, "CommandField") else None

    def close(self, error: AssociationError) -> None:
        """Tell all who wait that nothing comes."""
        for _, mailbox in self._waiting.values():
            mailbox.close(error)

    def _new_message_id(self) -> int:
        while True:
            self._last_message_id = self._last_message_id % 0xFFFF + 1
            if self._last_message_id not in self._waiting:
                return self._last_message_id
