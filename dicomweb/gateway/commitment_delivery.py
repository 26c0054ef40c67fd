"""What becomes of a request for storage commitment: checked, asked downstream, reported; through restarts.

Facts this module keeps:

- All that is to be done is in the database, so that nothing is lost with a process, and what another process adds or a
  person has sent again is seen within `LOOK_EVERY`.
- One task at most speaks to a requester, so that it never has two reports to answer at once.
- A report that could not be delivered is tried again after a pause that doubles, and parked when that has gone on for
  `commitment_give_up_hours`. An archive downstream that does not answer is asked again in the same way for
  `DOWNSTREAM_WITHIN`; then what it should have committed to has failed.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dicomweb.dimse.association import Association
from dicomweb.dimse.errors import AssociationError
from dicomweb.gateway.commitment_reports import Reporter, address_of, provider_context
from dicomweb.gateway.gateway import Gateway
from dicomweb.gateway.storage_classes import is_storage
from dicomweb.scu.calling import identity_of
from dicomweb.scu.commitment import CommitmentRefused, CommitmentUnanswered, request_commitment
from storage.database.pool import connection_lost
from storage.errors import Unavailable
from storage.upkeep.commitment_check import CommitmentCheck
from storage.work.commitments import CLAIM, PROCESSING_FAILURE, SOUND, Commitment, Commitments, Reference, State
from storage.work.commitments_asked import CommitmentsAsked

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.5
AFTER_FAILURE: Final = 5.0
"""Seconds between looks for something to do, when nothing here says there is."""
CHECKS: Final = 2
"""Requests checked at the same time; their files are read by the threads of one check."""
QUESTIONS: Final = 4
"""Requests asked downstream at the same time."""
REQUESTERS: Final = 8
"""Requesters reported to at the same time."""
BATCH: Final = 200
"""Instances whose outcome is kept at once."""
ATTEMPTS: Final = 10
"""Of a check that breaks, before what it could not check has failed."""
LONGEST_PAUSE: Final = timedelta(hours=1)
ANSWER_WITHIN: Final = 600.0
"""Seconds until an archive downstream has reported."""
DOWNSTREAM_WITHIN: Final = timedelta(hours=4)


class Delivery:
    """Works on the storage commitments asked of us.

    Parameters
    ----------
    gateway : Gateway
        The archive, the settings, the peers, the associations.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._commitments = Commitments(gateway.archive.pool)
        self._asked = CommitmentsAsked(gateway.archive.pool)
        self._reporter = Reporter(gateway, self._commitments)
        self._check = CommitmentCheck(gateway.archive, self._supports)
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._came_by: set[str] = set()
        self._reported_to: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled; what is under way then is left to whoever runs next."""
        renewed = forgotten = 0.0
        clock = asyncio.get_running_loop().time
        try:
            while True:
                self._wake.clear()
                try:
                    if clock() - renewed > CLAIM.total_seconds() / 3:
                        await self._commitments.extend_claims()
                        renewed = clock()
                    if clock() - forgotten > 3600:
                        await self._commitments.forget_old()
                        await self._asked.forget_old()
                        forgotten = clock()
                    await self._begin_what_is_due()
                except Exception as error:
                    _log(error, "storage commitments are at a halt")
                    await asyncio.sleep(AFTER_FAILURE)
                await self._sleep()
        finally:
            await self._stop()

    async def opened(self, association: Association) -> None:
        """See to what waits for the peer that has opened an association (G-131)."""
        if provider_context(association) is not None:
            self._came_by.add(association.calling_ae_title)
            self._wake.set()

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._check.close()
        try:
            await self._commitments.release(set(self._commitments.claimed))
        except Exception as error:  # the claims run out by themselves
            _log(error, "claims on storage commitments were not given back")

    async def _begin_what_is_due(self) -> None:
        while self._running("check") < CHECKS and (commitment := await self._commitments.claim("checking")):
            self._begin("check", self._check_instances(commitment), commitment)
        while self._running("ask") < QUESTIONS and (commitment := await self._commitments.claim("asking")):
            self._begin("ask", self._ask(commitment), commitment)
        for requester in sorted(self._came_by - self._reported_to):
            self._came_by.discard(requester)
            self._begin_report(requester, came_by=True)
        while self._running("report") < REQUESTERS:
            due = await self._commitments.requester_to_report_to(other_than=self._reported_to)
            if due is None:
                break
            self._begin_report(due, came_by=False)

    def _begin_report(self, requester: str, *, came_by: bool) -> None:
        self._reported_to.add(requester)
        self._begin("report", self._report(requester, came_by=came_by))

    def _running(self, kind: str) -> int:
        return sum(1 for running in self._tasks.values() if running == kind)

    def _begin(self, kind: str, work: Coroutine[Any, Any, None], *claimed: Commitment) -> None:
        task = asyncio.create_task(work, name=f"storage commitment: {kind}")
        self._tasks[task] = kind

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.pop(task, None)
            self._wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                _log(error, "a step of a storage commitment broke off")
                self._commitments.claimed.difference_update(commitment.id for commitment in claimed)

        task.add_done_callback(ended)

    # Checking

    def _supports(self, sop_class_uid: str) -> bool:
        settings = self._gateway.settings
        known = is_storage(sop_class_uid, unknown=settings.dimse_unknown_sop_classes == "store")
        return known and sop_class_uid not in settings.refused_sop_classes

    async def _check_instances(self, commitment: Commitment) -> None:
        """Read back what a request asks for (G-134); a batch that was done is not done again."""
        state: State = "asking" if self._gateway.settings.commitment_downstream else "reporting"
        try:
            while batch := await self._commitments.to_check(commitment.id, BATCH):
                reasons = await self._check.examine([reference for _, reference in batch])
                places = [place for place, _ in batch]
                await self._commitments.record_checks(commitment.id, dict(zip(places, reasons, strict=True)))
            await self._commitments.finish_step(commitment.id, state)
        except Exception as error:
            _log(error, f"storage commitment {commitment.id} could not be checked")
            if commitment.attempts + 1 < ATTEMPTS:
                await self._put_off(commitment, f"the check failed: {type(error).__name__}")
            else:
                await self._commitments.fail_unchecked(commitment.id)
                await self._commitments.finish_step(commitment.id, state)

    # Asking downstream

    async def _ask(self, commitment: Commitment) -> None:
        """Have the archive downstream commit to what is sound here (G-136)."""
        sound = [
            Reference(one.sop_class_uid, one.sop_instance_uid)
            for one in await self._commitments.references(commitment.id, failure_reason=SOUND)
        ]
        try:
            failures = await self._failed_downstream(sound)
        except Exception as error:
            if _is_of_database(error):
                raise
            if not isinstance(error, (AssociationError, CommitmentRefused, CommitmentUnanswered)):
                logger.error("asking downstream failed in a way nobody foresaw", exc_info=error)
            logger.warning("storage commitment %d was not answered downstream: %s", commitment.id, error)
            asked_since = commitment.checked_at or commitment.requested_at
            if datetime.now(UTC) - asked_since < DOWNSTREAM_WITHIN:
                await self._put_off(commitment, f"downstream: {error}")
                return
            failures = {reference.sop_instance_uid: PROCESSING_FAILURE for reference in sound}
        await self._commitments.record_failures(commitment.id, failures)
        await self._commitments.finish_step(commitment.id, "reporting")

    async def _failed_downstream(self, sound: list[Reference]) -> dict[str, int]:
        """Return the Failure Reasons of what is not committed to downstream, by SOP Instance UID."""
        gateway = self._gateway
        if (ae_title := gateway.settings.commitment_downstream) is None:
            return {}  # it was taken out of the settings meanwhile
        if (peer := await gateway.peers.get(ae_title)) is None:
            raise CommitmentRefused(f"{ae_title}, which is to be asked, is not among the peers")
        answer = await request_commitment(
            address_of(gateway, peer),
            gateway.settings.aet,
            sound,
            asked=self._asked,
            within=ANSWER_WITHIN,
            timeouts=gateway.timeouts,
            identity=identity_of(peer),
        )
        return {
            reference.sop_instance_uid: answer.failed.get(reference.sop_instance_uid, PROCESSING_FAILURE)
            for reference in sound
            if reference.sop_instance_uid not in answer.committed
        }

    # Reporting

    async def _report(self, requester: str, *, came_by: bool) -> None:
        """Deliver what is due to a requester; when it came by itself, also what was put off."""
        reports: list[Commitment] = []
        try:
            early = came_by and "next" in (await self._reporter.ways(requester))[1]
            reports = await self._commitments.claim_reports(requester, early=early)
            # What was tried in vain goes to the association just opened; the peer's order holds for what was not.
            tried = [report for report in reports if came_by and report.attempts]
            await self._deliver(requester, tried, first="next")
            await self._deliver(requester, [report for report in reports if report not in tried])
        except Exception:  # the claims run out; nothing that was done is lost
            self._commitments.claimed.difference_update(report.id for report in reports)
            raise
        finally:
            self._reported_to.discard(requester)

    async def _deliver(self, requester: str, reports: Sequence[Commitment], *, first: str = "") -> None:
        left = await self._reporter.deliver(requester, reports, first=first)
        for report in left:
            problem = left.problem(report)
            logger.warning("the report of storage commitment %d was not delivered: %s", report.id, problem)
            await self._put_off(report, problem)

    async def _put_off(self, commitment: Commitment, problem: str) -> None:
        settings = self._gateway.settings
        doublings = min(commitment.attempts, 20)
        pause = min(LONGEST_PAUSE, timedelta(seconds=settings.commitment_retry_seconds * 2**doublings))
        give_up_after = timedelta(hours=settings.commitment_give_up_hours)
        await self._commitments.put_off(commitment.id, problem, pause, give_up_after)


def _is_of_database(error: BaseException) -> bool:
    return isinstance(error, (Unavailable, TimeoutError)) or connection_lost(error)


def _log(error: BaseException, what: str) -> None:
    if _is_of_database(error):
        logger.error("%s: the database does not answer", what)
    else:
        logger.error(what, exc_info=error)
