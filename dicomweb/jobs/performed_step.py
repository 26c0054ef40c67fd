"""The job "performed step": a peer is told what a modality told us of a performed procedure step (G-173)."""

from dicomweb.jobs.work import Later, Work
from dicomweb.scu.performed_step import pass_on
from storage.performed_steps import PerformedSteps


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
    if delivered < message.number:
        await pass_on(work.caller, peer, message)
        await steps.note_delivery(message, peer.ae_title)
    work.settle(f"{message.sop_instance_uid} {message.number}")
