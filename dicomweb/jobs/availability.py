"""The job "availability": a peer is told that a study has become complete (PS3.4 Annex R, G-180)."""

from dicomweb.jobs.work import Work
from dicomweb.scu.availability import notification, notify
from storage.retrieval.selection import UniqueKeys
from storage.work.completion import performed_steps


async def announce(work: Work) -> None:
    """Tell the job's peer what there is of a study now; nothing when it was removed meanwhile."""
    peer = await work.peer()
    study = str(work.parameters["study_instance_uid"])
    work.expect(1)
    instances = await work.archive.select(UniqueKeys(study_instance_uids=(study,)))
    if instances:
        steps = await performed_steps(work.archive.pool, study)
        await notify(work.caller, peer, notification(instances, work.caller.ae_title, steps))
    work.settle(study)
