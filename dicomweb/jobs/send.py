"""The job "send": studies, series and instances go to a peer by C-STORE; what is settled is not sent again."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from dicomweb.dimse.errors import AssociationAborted
from dicomweb.jobs.work import Hopeless, Later, Work
from dicomweb.scu.contexts import Plan, kind_of, plan_associations
from dicomweb.scu.store_operations import StoreOperations
from storage.archive import Archive
from storage.retrieval.selection import Chosen, UniqueKeys
from storage.work.peers import Peer

PATIENCE = 3
"""Attempts that an association may be lost at the same instance before that is given up: it may be what kills it."""


async def send(work: Work) -> None:
    """Send what the job names to its peer.

    Raises
    ------
    Hopeless
        The peer is unknown, or there is nothing of this here.
    Later
        The peer has no room for some of it.
    AssociationError
        It cannot be reached, or was lost.
    """
    peer = await work.peer()
    chosen = await choose(work.archive, work.parameters["entities"])
    if not chosen:
        raise Hopeless("There is nothing of this in the archive.")
    work.expect(len(chosen))
    waiting = [one for one in chosen if not work.is_settled(one.sop_instance_uid)]
    busy = ""
    for plan in plan_associations(map(kind_of, waiting), peer.transfer_syntaxes):
        busy = await _send(work, peer, plan, [one for one in waiting if kind_of(one) in plan.kinds]) or busy
    if busy:
        raise Later(busy)


async def choose(archive: Archive, entities: Sequence[dict[str, str]]) -> list[Chosen]:
    """Return the instances of studies, series and single ones, each once."""
    chosen: dict[str, Chosen] = {}
    for entity in entities:
        keys = UniqueKeys(
            study_instance_uids=_given(entity, "study_instance_uid"),
            series_instance_uids=_given(entity, "series_instance_uid"),
            sop_instance_uids=_given(entity, "sop_instance_uid"),
        )
        for one in await archive.select(keys):
            chosen.setdefault(one.sop_instance_uid, one)
    return list(chosen.values())


async def _send(work: Work, peer: Peer, plan: Plan, instances: Sequence[Chosen]) -> str:
    """Send instances over one association; returns why some are to be sent later."""
    busy = ""
    answered = 0
    association = await work.caller.connect(peer, plan.contexts)
    try:
        operations = StoreOperations(work.archive, association, preferred=peer.transfer_syntaxes)
        async with aclosing(operations.run(instances)) as results:
            async for sent in results:
                answered += 1
                if sent.status is not None and sent.status >> 8 == 0xA7:  # out of resources
                    busy = sent.error
                else:
                    work.settle(sent.instance.sop_instance_uid, sent.error if sent.has_failed else None)
        await association.release()
    except AssociationAborted as error:
        if not answered and work.job.attempts >= PATIENCE:
            work.settle(instances[0].sop_instance_uid, f"The association was lost while it was sent: {error}.")
        raise
    finally:
        await association.abort()
    return busy


def _given(entity: dict[str, Any], name: str) -> tuple[str, ...]:
    return (entity[name],) if entity.get(name) else ()
