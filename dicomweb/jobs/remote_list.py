"""What a peer has of a study, by C-FIND: needed to know what is missing here, and how to ask for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dicomweb.dimse.association import Association
from dicomweb.scu.calling import LITTLE_ENDIAN, Caller, NotOffered, OperationFailed
from dicomweb.scu.find import PATIENT_ROOT, STUDY_ROOT, search
from dicomweb.scu.identifier import identifier, value_of
from storage.work.peers import Peer


class RemoteInstance(NamedTuple):
    """An instance that a peer has; its class is empty when the peer does not say."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


async def instances_at(caller: Caller, peer: Peer, entity: Mapping[str, str]) -> list[RemoteInstance] | None:
    """List what a peer has of a study, a series or an instance.

    Returns
    -------
    list of RemoteInstance or None
        None when the peer has no C-FIND, or none of this level, for us; empty when it has nothing.

    Raises
    ------
    AssociationError
        It cannot be reached, or was lost.
    """
    study, series = entity["study_instance_uid"], entity.get("series_instance_uid")
    association = await caller.connect(peer, [(root, LITTLE_ENDIAN) for root in (STUDY_ROOT, PATIENT_ROOT)])
    try:
        if series is None:
            keys = identifier("SERIES", {"StudyInstanceUID": study})
            matches = [value_of(match, "SeriesInstanceUID") async for match in search(association, keys)]
            all_series = list(dict.fromkeys(uid for uid in matches if uid))
        else:
            all_series = [series]
        found: dict[str, RemoteInstance] = {}
        for uid in all_series:
            for one in await _instances(association, study, uid, entity.get("sop_instance_uid", "")):
                found.setdefault(one.sop_instance_uid, one)
        await association.release()
    except (NotOffered, OperationFailed):
        return None
    finally:
        await association.abort()
    return list(found.values()) if found or not all_series or series is not None else None


async def _instances(association: Association, study: str, series: str, instance: str) -> list[RemoteInstance]:
    wanted: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
    return [
        RemoteInstance(study, series, uid, value_of(match, "SOPClassUID"))
        async for match in search(association, identifier("IMAGE", wanted))
        if (uid := value_of(match, "SOPInstanceUID"))
    ]
