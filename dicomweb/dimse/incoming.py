"""The fragments of a connection put together to messages (PS3.7 6.3, PS3.8 E.1).

Facts this module keeps:

- The fragments of a command set come first, then those of its data set if it has one, all in one context; the two
  sides of an association send one message after the other (PS3.8 E.1). Anything else ends the association.
- A message is given out when its command set is complete; its data set fills while the connection is read.
- A command set is never longer than `LONGEST_COMMAND`.
"""

from collections.abc import Mapping
from typing import Final

from dicomweb.dimse import command_set
from dicomweb.dimse.data_set import DataSet
from dicomweb.dimse.errors import AssociationError, ProtocolError
from dicomweb.dimse.message import Message
from dicomweb.dimse.negotiation import Context
from dicomweb.dimse.pdu import INVALID_VALUE, UNEXPECTED_PDU, Fragment

LONGEST_COMMAND: Final = 1 << 20
"""Longest command set, in bytes."""


class Incoming:
    """The message that comes in.

    Parameters
    ----------
    contexts : mapping of int to Context
        The accepted ones.
    """

    def __init__(self, contexts: Mapping[int, Context]) -> None:
        self._contexts = contexts
        self._command = bytearray()
        self._context_id: int | None = None
        self.data: DataSet | None = None

    @property
    def is_within_message(self) -> bool:
        """Whether part of a message has come and part of it has not."""
        return self._context_id is not None

    @property
    def is_within_command(self) -> bool:
        """Whether part of a command set has come and part of it has not."""
        return self._context_id is not None and self.data is None

    def feed(self, fragment: Fragment) -> Message | None:
        """Take a fragment; return the message whose command set it completes.

        Raises
        ------
        ProtocolError
            The fragment does not belong there.
        """
        context = self._contexts.get(fragment.context_id)
        if context is None:
            raise ProtocolError(f"data in context {fragment.context_id}, which was not accepted", INVALID_VALUE)
        if self._context_id not in (None, fragment.context_id):
            raise ProtocolError("a message within a message", UNEXPECTED_PDU)
        self._context_id = fragment.context_id
        if fragment.is_command:
            return self._feed_command(fragment, context)
        if self.data is None:
            raise ProtocolError("a data set without command", UNEXPECTED_PDU)
        self.data.feed(fragment.data)
        if fragment.is_last:
            self.data.end()
            self.data = self._context_id = None
        return None

    def end(self, error: AssociationError) -> None:
        """Tell the reader of an incomplete data set that nothing more comes."""
        if self.data is not None:
            self.data.end(error)

    def _feed_command(self, fragment: Fragment, context: Context) -> Message | None:
        if self.data is not None:
            raise ProtocolError("a command within a data set", UNEXPECTED_PDU)
        self._command += fragment.data
        if len(self._command) > LONGEST_COMMAND:
            raise ProtocolError(f"a command set of more than {LONGEST_COMMAND} bytes", INVALID_VALUE)
        if not fragment.is_last:
            return None
        try:
            command = command_set.decode(bytes(self._command))
        except ValueError as error:
            raise ProtocolError(str(error), INVALID_VALUE) from error
        self._command.clear()
        if command_set.has_data_set(command):
            self.data = DataSet()
        else:
            self._context_id = None
        return Message(context, command, self.data)
