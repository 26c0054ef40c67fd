"""Passing on performed procedure steps: what a modality told us is told to another AE (PS3.4 F.7, IHE SWF; G-173)."""

from collections.abc import Callable
from typing import Final

from dicomweb.dimse.command_set import Command, Operation, number
from dicomweb.scu.calling import LITTLE_ENDIAN, Caller, check_status, context_of, status_of
from storage.dicom import data_set
from storage.work.peers import Peer
from storage.worklist.performed_step_rules import FINAL
from storage.worklist.performed_step_rules import status_of as step_status_of
from storage.worklist.performed_steps import StepMessage

SOP_CLASS: Final = "1.2.840.10008.3.1.2.3.3"

TAKEN_WITH_WARNING: Final = (0x0107, 0x0116, 0x0001)
DUPLICATE_SOP_INSTANCE: Final = 0x0111
PROCESSING_FAILURE: Final = 0x0110
MAY_NO_LONGER_BE_UPDATED: Final = 0xA710
"""Error ID of a processing failure (PS3.4 F.7.2.2.4)."""


async def pass_on(
    caller: Caller,
    peer: Peer,
    message: StepMessage,
    *,
    again: bool = False,
    sending: Callable[[], None] = lambda: None,
) -> None:
    """Send one message of a modality as it was.

    A step the peer knows already was created by an attempt whose answer was lost; so was one ended that may no longer
    be updated, when its end is told again.

    Parameters
    ----------
    caller, peer
        Who tells whom.
    message : StepMessage
        What.
    again : bool
        Whether the peer may have it from an earlier attempt, which was not answered.
    sending : callable
        Called when the peer may have the message from now on.

    Raises
    ------
    AssociationError
        No association came about, it broke, or the peer takes no performed procedure steps.
    OperationFailed
        The peer answered with a failure.

    Standard
    --------
    PS3.4 F.7.2; PS3.7 10.1.3, 10.1.5.
    """
    async with await caller.connect(peer, [(SOP_CLASS, LITTLE_ENDIAN)]) as association:
        context = context_of(association, SOP_CLASS)
        data = data_set.encode(message.dataset, context.transfer_syntax, character_set=peer.character_set)
        sending()
        answer = await association.request(context, _command(message), data)
        if not _was_taken_before(message, answer.command, again=again):
            check_status(message.operation, answer.command, *TAKEN_WITH_WARNING)


def _was_taken_before(message: StepMessage, answer: Command, *, again: bool) -> bool:
    """Whether the peer refuses the message because it has it."""
    if message.operation == "N-CREATE":
        return status_of(answer) == DUPLICATE_SOP_INSTANCE
    error = number(answer, "ErrorID", MAY_NO_LONGER_BE_UPDATED)  # not all say which processing failure it is
    ended = step_status_of(message.dataset) in FINAL
    return again and ended and status_of(answer) == PROCESSING_FAILURE and error == MAY_NO_LONGER_BE_UPDATED


def _command(message: StepMessage) -> Command:
    is_new = message.operation == "N-CREATE"
    named = "Affected" if is_new else "Requested"
    return {
        "CommandField": Operation.N_CREATE if is_new else Operation.N_SET,
        f"{named}SOPClassUID": SOP_CLASS,
        f"{named}SOPInstanceUID": message.sop_instance_uid,
    }
