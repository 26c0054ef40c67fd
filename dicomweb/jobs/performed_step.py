"""The job "performed step": a peer is told what a modality told us of a performed procedure step (G-173)."""

from typing import Final

from dicomweb.jobs.work import Later, Work
from dicomweb.scu.calling import OperationFailed
from dicomweb.scu.performed_step import pass_on
from storage.worklist.performed_steps import PerformedSteps

UNANSWERED: Final = "Sent, but not answered."
"""What is kept of a message while the peer may have it and has not said so."""


async def forward(work: Work) -> None:
    """Pass on the message the job names, after those before it.

    Raises
    ------
    Later
        The peer has not had an earlier message of the step.
    """
    peer = await work.peer()
    steps = PerformedSteps(work.archive.pool)
    message = await steps.message(str(work.parameters["sop_instance_uid"]), int(work.parameters["message"]))
    work.expect(1)
    delivered = await steps.delivered(message.sop_instance_uid, peer.ae_title)
    if delivered < message.number - 1:
        raise Later("The peer has not had the earlier messages of this step.")
    item = f"{message.sop_instance_uid} {message.number}"
    if delivered < message.number:
        again = work.problem(item) == UNANSWERED
        try:
            await pass_on(work.caller, peer, message, again=again, sending=lambda: work.settle(item, UNANSWERED))
        except OperationFailed as error:
            work.settle(item, str(error))
            raise
        await steps.note_delivery(message, peer.ae_title)
    work.settle(item)
