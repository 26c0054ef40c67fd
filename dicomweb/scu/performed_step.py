"""Passing on performed procedure steps: what a modality told us is told to another AE (PS3.4 F.7, IHE SWF; G-173)."""

from typing import Final

from dicomweb.dimse.command_set import Command, Operation
from dicomweb.scu.calling import LITTLE_ENDIAN, Caller, check_status, context_of, status_of
from storage import data_set
from storage.peers import Peer
from storage.performed_steps import StepMessage

SOP_CLASS: Final = "1.2.840.10008.3.1.2.3.3"

TAKEN_WITH_WARNING: Final = (0x0107, 0x0116, 0x0001)
DUPLICATE_SOP_INSTANCE: Final = 0x0111


async def pass_on(caller: Caller, peer: Peer, message: StepMessage) -> None:
    """Send one message of a modality as it was.

    A step the peer knows already was created by an attempt whose answer was lost.

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
        answer = await association.request(context, _command(message), data)
        if message.operation == "N-CREATE" and status_of(answer.command) == DUPLICATE_SOP_INSTANCE:
            return
        check_status(message.operation, answer.command, *TAKEN_WITH_WARNING)


def _command(message: StepMessage) -> Command:
    is_new = message.operation == "N-CREATE"
    named = "Affected" if is_new else "Requested"
    return {
        "CommandField": Operation.N_CREATE if is_new else Operation.N_SET,
        f"{named}SOPClassUID": SOP_CLASS,
        f"{named}SOPInstanceUID": message.sop_instance_uid,
    }
