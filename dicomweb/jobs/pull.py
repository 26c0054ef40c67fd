"""The job "pull": what a peer has of studies, series and instances comes here, by C-MOVE to us or by C-GET.

Facts this module keeps:

- What is here already, in a file that is not known to be damaged, is not asked for again: the peer is asked what it
  has, and the rest is requested. So an attempt goes on where the last one stopped, whichever process made that.
- Whole studies and series are requested as such, parts of a series as lists of instances.
- An instance is done when it is in the archive, whatever the peer's counters say.
- A peer tells which instances failed, not why (PS3.4 C.4.2.1.5): it may have been out of room here, or a moment of its
  own. What did not come is therefore asked for again with the job's pauses, and given up after `PATIENCE` attempts that
  brought nothing. What this archive refuses for good is not.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from pydicom import uid as pydicom_uid

from dicomweb.jobs.remote_list import RemoteInstance, instances_at
from dicomweb.jobs.work import Later, Work
from dicomweb.scu.calling import OperationFailed
from dicomweb.scu.get import MOST_CLASSES, get
from dicomweb.scu.identifier import uids
from dicomweb.scu.move import move
from dicomweb.scu.retrieval import Retrieval
from storage.blobs.damage import damaged_among
from storage.errors import OutOfSpace, Unavailable
from storage.ingest import Outcome
from storage.retrieval.selection import UniqueKeys
from storage.work.peers import Peer

CLASSES_AT_ONCE: Final = 3
"""SOP classes of one C-GET for which every transfer syntax has a context of its own."""
UIDS_AT_ONCE: Final = 100
"""Instances of one request by list: some peers read no longer values."""
COUNT_EVERY: Final = 1.0
"""Seconds between two looks at what has arrived by C-MOVE."""
PATIENCE: Final = 3
"""Attempts, since something last came, after which what does not come is given up."""
NOTHING_THERE: Final = "The peer has nothing of this."
NOT_SENT: Final = "The peer did not send it."
UNKNOWN_DESTINATION: Final = 0xA801
COMMON_CLASSES: Final = tuple(
    str(getattr(pydicom_uid, keyword))
    for keyword in (
        *("CTImageStorage", "EnhancedCTImageStorage", "MRImageStorage", "EnhancedMRImageStorage"),
        *("ComputedRadiographyImageStorage", "DigitalXRayImageStorageForPresentation", "UltrasoundImageStorage"),
        *("DigitalXRayImageStorageForProcessing", "DigitalMammographyXRayImageStorageForPresentation"),
        *("DigitalMammographyXRayImageStorageForProcessing", "BreastTomosynthesisImageStorage"),
        *("UltrasoundMultiFrameImageStorage", "XRayAngiographicImageStorage", "XRayRadiofluoroscopicImageStorage"),
        *("NuclearMedicineImageStorage", "PositronEmissionTomographyImageStorage", "SecondaryCaptureImageStorage"),
        *("MultiFrameTrueColorSecondaryCaptureImageStorage", "VLPhotographicImageStorage", "RTPlanStorage"),
        *("VLEndoscopicImageStorage", "VideoEndoscopicImageStorage", "EncapsulatedPDFStorage", "BasicTextSRStorage"),
        *("EnhancedSRStorage", "ComprehensiveSRStorage", "KeyObjectSelectionDocumentStorage", "RTImageStorage"),
        *("XRayRadiationDoseSRStorage", "SegmentationStorage", "GrayscaleSoftcopyPresentationStateStorage"),
        *("RTStructureSetStorage", "RTDoseStorage", "TwelveLeadECGWaveformStorage"),
    )
)
"""What is proposed for a C-GET when the peer does not say what it has."""


async def pull(work: Work) -> None:
    """Bring here what the job names.

    Raises
    ------
    Hopeless
        The peer is unknown.
    AssociationError
        It cannot be reached, or was lost.
    OperationFailed
        It refused.
    Later
        Something did not come and may come yet.
    """
    peer = await work.peer()
    puller = _Puller(work, peer, str(work.parameters.get("method", "move")))
    entities: list[dict[str, str]] = work.parameters["entities"]
    listed = [(entity, await instances_at(work.caller, peer, entity)) for entity in entities]
    known = {one.sop_instance_uid for _, found in listed for one in found or ()}
    if all(found is not None for _, found in listed):
        work.expect(len(known) + sum(not found for _, found in listed))
    for entity, found in listed:
        if found is None:
            await puller.whole(entity)
        elif found:
            await puller.missing(entity, found)
        else:
            work.settle(list(entity.values())[-1], NOTHING_THERE)
    puller.conclude()


class _Puller:
    """Requests things of one peer and settles what has come of them."""

    def __init__(self, work: Work, peer: Peer, method: str) -> None:
        self._work = work
        self._peer = peer
        self._method = method
        self._left: set[str] = set()
        self._problem = NOT_SENT

    async def whole(self, entity: Mapping[str, str]) -> None:
        """Request all of an entity that the peer does not list."""
        left = await self._retrieve(_request(entity), COMMON_CLASSES, (), entity)
        self._left.update(left)
        here = await self._here(entity)
        for uid in here:
            self._work.settle(uid)
        if not here and not left and not self._work.failed:
            self._work.settle(list(entity.values())[-1], NOTHING_THERE)

    async def missing(self, entity: Mapping[str, str], found: Sequence[RemoteInstance]) -> None:
        """Request what is not here of what the peer has."""
        here = await self._here(entity)
        for one in found:
            if one.sop_instance_uid in here:
                self._work.settle(one.sop_instance_uid)
        for request, instances in self._requests(entity, found, here):
            classes = list(dict.fromkeys(one.sop_class_uid for one in instances if one.sop_class_uid))
            expected = [one.sop_instance_uid for one in instances]
            left = await self._retrieve(request, classes or COMMON_CLASSES, expected, entity)
            if left and self._method == "get":
                again = [one for one in instances if one.sop_instance_uid in left]
                left = await self._again(entity, again, classes or COMMON_CLASSES)
            self._left.update(left)

    def conclude(self) -> None:
        """Raise Later when something did not come, or settle that it does not."""
        if self._left and (self._work.has_got_on or self._work.job.attempts < PATIENCE):
            raise Later(f"{len(self._left)} of the instances did not come. {self._problem}")
        for uid in self._left:
            self._work.settle(uid, self._problem)

    def _requests(
        self, entity: Mapping[str, str], found: Sequence[RemoteInstance], here: set[str]
    ) -> Iterable[tuple[dict[str, Any], list[RemoteInstance]]]:
        uids_there = [one.sop_instance_uid for one in found]
        wanted = {uid for uid in uids_there if uid not in here and not self._work.has_failed(uid)}
        missing = [one for one in found if one.sop_instance_uid in wanted]
        classes = {one.sop_class_uid for one in missing}
        if len(missing) == len(found) and (self._method == "move" or len(classes) <= CLASSES_AT_ONCE):
            yield _request(entity), missing
            return
        whole: list[str] = []
        parts: list[str] = []
        counts = Counter(one.series_instance_uid for one in found)
        missing_of = Counter(one.series_instance_uid for one in missing)
        for series, count in missing_of.items():
            (whole if count == counts[series] and "sop_instance_uid" not in entity else parts).append(series)
        for series in whole:
            keys = {"StudyInstanceUID": entity["study_instance_uid"], "SeriesInstanceUID": series}
            yield uids("SERIES", **keys), [one for one in missing if one.series_instance_uid == series]
        yield from self._lists(entity, [one for one in missing if one.series_instance_uid in parts])

    def _lists(
        self, entity: Mapping[str, str], instances: Sequence[RemoteInstance]
    ) -> Iterable[tuple[dict[str, Any], list[RemoteInstance]]]:
        """Yield requests of single instances, those of a series together."""
        by_series: dict[str, list[RemoteInstance]] = {}
        for one in instances:
            by_series.setdefault(one.series_instance_uid, []).append(one)
        for series, members in by_series.items():
            keys = {"StudyInstanceUID": entity["study_instance_uid"], "SeriesInstanceUID": series}
            for start in range(0, len(members), UIDS_AT_ONCE):
                some = members[start : start + UIDS_AT_ONCE]
                yield uids("IMAGE", **keys, SOPInstanceUID=[one.sop_instance_uid for one in some]), some

    async def _again(
        self, entity: Mapping[str, str], instances: Sequence[RemoteInstance], classes: Sequence[str]
    ) -> list[str]:
        """Get what did not come with compressed transfer syntaxes proposed first; returns what still did not."""
        left = []
        for request, some in self._lists(entity, instances):
            expected = [one.sop_instance_uid for one in some]
            left += await self._retrieve(request, classes, expected, entity, compressed_first=True)
        return left

    async def _retrieve(
        self,
        request: dict[str, Any],
        classes: Sequence[str],
        expected: Sequence[str],
        entity: Mapping[str, str],
        *,
        compressed_first: bool = False,
    ) -> list[str]:
        """Request something; returns what did not come of what was expected or said to have failed."""
        failed: tuple[str, ...] = ()
        counted = time.monotonic()
        async with aclosing(self._retrievals(request, classes[:MOST_CLASSES], compressed_first)) as retrievals:
            async for retrieval in retrievals:
                failed = retrieval.failed_uids
                if self._method == "move" and time.monotonic() - counted > COUNT_EVERY:
                    await self._count(entity, expected)
                    counted = time.monotonic()
        here = await self._count(entity, expected)
        wanted = dict.fromkeys((*expected, *failed))
        return [uid for uid in wanted if uid not in here and not self._work.has_failed(uid)]

    async def _retrievals(
        self, request: dict[str, Any], classes: Sequence[str], compressed_first: bool
    ) -> AsyncGenerator[Retrieval, None]:
        work = self._work
        if self._method == "get":
            found = get(
                *(work.caller, self._peer, request, classes, work.archive, self._taken),
                compressed_first=compressed_first,
            )
        else:
            found = move(work.caller, self._peer, request, work.caller.ae_title)
        try:
            async with aclosing(found):
                async for retrieval in found:
                    yield retrieval
        except OperationFailed as error:
            if error.status != UNKNOWN_DESTINATION:
                raise
            hint = f"the peer must know our AE title {work.caller.ae_title}; or use C-GET"
            raise OperationFailed("C-MOVE", error.status, hint) from None

    async def _taken(self, outcome: Outcome) -> None:
        uid, error = outcome.sop_instance_uid, outcome.error
        if isinstance(error, OutOfSpace | Unavailable):
            self._problem = str(error)
            self._left.update([uid] if uid else [])
        elif uid is not None:
            self._left.discard(uid)
            self._work.settle(uid, None if error is None else str(error))

    async def _count(self, entity: Mapping[str, str], expected: Sequence[str]) -> set[str]:
        here = await self._here(entity)
        for uid in expected:
            if uid in here:
                self._work.settle(uid)
        return here

    async def _here(self, entity: Mapping[str, str]) -> set[str]:
        names = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
        keys = UniqueKeys((), *((entity[name],) if name in entity else () for name in names))
        found = await self._work.archive.select(keys)
        damaged = await damaged_among(self._work.archive.pool, [one.row for one in found])
        return {one.sop_instance_uid for one in found if one.row not in damaged}


def _request(entity: Mapping[str, str]) -> dict[str, Any]:
    """Return the identifier of a C-MOVE or C-GET of an entity."""
    names = {
        "study_instance_uid": "StudyInstanceUID",
        "series_instance_uid": "SeriesInstanceUID",
        "sop_instance_uid": "SOPInstanceUID",
    }
    level = ("STUDY", "SERIES", "IMAGE")[len(entity) - 1]
    return uids(level, **{names[name]: uid for name, uid in entity.items()})
