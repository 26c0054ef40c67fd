"""What a message is to those who use an association, and how long they wait (PS3.7 6.3, PS3.8 9.1.5)."""

from dataclasses import dataclass

from dicomweb.dimse.command_set import PENDING, RESPONSE, Command, Operation, Value, number, text
from dicomweb.dimse.data_set import DataSet
from dicomweb.dimse.negotiation import Context

LONGEST_COMMENT = 64
"""Of an Error Comment, in characters (PS3.7 C.3)."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an association waits, in seconds.

    Attributes
    ----------
    connect : float
        For the TCP or TLS connection.
    acse : float
        For the peer's part in opening and releasing the association (ARTIM, PS3.8 9.1.5).
    dimse : float
        For a response, or for the rest of a message, during which nothing at all is received or sent.
    idle : float
        Without any message, while none is being handled.
    write : float
        During which the peer takes nothing of what we send.
    least_rate : float
        Bytes a second, on average (`dicomweb/pace.py`), that the peer must send of a data set, or take of one.
    """

    connect: float = 10.0
    acse: float = 30.0
    dimse: float = 60.0
    idle: float = 600.0
    write: float = 60.0
    least_rate: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message of the peer.

    Attributes
    ----------
    data : DataSet or None
        The data set as it comes in. Of a response it is here completely.
    """

    context: Context
    command: Command
    data: DataSet | None = None

    @property
    def operation(self) -> int:
        """The operation it asks for or answers, one of `Operation` if we know it."""
        return number(self.command, "CommandField") & ~RESPONSE

    @property
    def message_id(self) -> int:
        """Message ID of a request; of a response that of what it answers."""
        return number(self.command, "MessageIDBeingRespondedTo", number(self.command, "MessageID"))

    @property
    def status(self) -> int:
        """Status of a response."""
        return number(self.command, "Status")

    @property
    def sop_class_uid(self) -> str:
        """The SOP class it is about: affected or requested."""
        return text(self.command, "AffectedSOPClassUID") or text(self.command, "RequestedSOPClassUID")

    @property
    def sop_instance_uid(self) -> str:
        """The SOP instance it is about: affected or requested."""
        return text(self.command, "AffectedSOPInstanceUID") or text(self.command, "RequestedSOPInstanceUID")

    def discard(self) -> None:
        """Drop what is left of its data set."""
        if self.data is not None:
            self.data.discard()


def response_to(request: Message, status: int, fields: dict[str, Value]) -> Command:
    """Make the command set that answers a request (PS3.7 9.3, 10.3)."""
    command: Command = {
        "CommandField": request.operation | RESPONSE,
        "MessageIDBeingRespondedTo": request.message_id,
        "AffectedSOPClassUID": request.sop_class_uid,
        "AffectedSOPInstanceUID": request.sop_instance_uid,
        "Status": status,
    }
    command = {keyword: value for keyword, value in (command | fields).items() if value != ""}
    comment = text(command, "ErrorComment")
    if comment:
        command["ErrorComment"] = comment[:LONGEST_COMMENT]
    return command


def is_final_response(command: Command) -> bool:
    """Whether it is the last response to its request."""
    return bool(number(command, "CommandField") & RESPONSE) and number(command, "Status") not in PENDING


def is_cancel(command: Command) -> bool:
    """Whether it is a C-CANCEL, which nothing answers."""
    return number(command, "CommandField") == Operation.C_CANCEL
