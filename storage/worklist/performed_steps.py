"""Performed procedure steps in the database: what modalities report, and what follows for the worklist.

Facts this module keeps:

- A message is kept, the step changed and the steps of the worklist it was done for brought up to date in one
  transaction (G-171). Worklist items are locked in the order of their IDs, after the step: nobody waits in a circle.
- Two changes of one step happen one after the other; the second sees what the first made of it (G-164).
- Nothing here is tried again after a lost connection: a step that is there already would then be called a duplicate.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from storage.database.pool import retrying, sql
from storage.dicom.dicomjson import Attribute
from storage.errors import ArchiveError, NotFound
from storage.matching.attributes import tag_of
from storage.work.jobs import Jobs
from storage.worklist.item import column, first_text, start_of
from storage.worklist.performed_step_rules import (
    FINAL,
    IN_PROGRESS,
    REQUESTS,
    SERIES,
    START,
    changed,
    departure,
    items_of,
    missing_at_creation,
    missing_at_the_end,
    readable,
    status_of,
    was_wrong_entry,
)

_IDENTIFIERS: Final = tuple(map(tag_of, ("StudyInstanceUID", "AccessionNumber", "ScheduledProcedureStepID")))
_REFERENCES: Final = tuple(map(tag_of, ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")))
_REFERENCED: Final = tag_of("ReferencedSOPInstanceUID")

FORWARD: Final = "performed step"
"""The kind of job that passes a message on to a peer (G-173)."""


class StepExists(ArchiveError):
    """A performed procedure step of this SOP Instance UID was created before."""


class StepIsFinal(ArchiveError):
    """The performed procedure step is completed or discontinued, and changes no more."""


class WrongStatus(ArchiveError):
    """Performed Procedure Step Status (0040,0252) cannot be what it was set to."""


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """A performed procedure step as it is kept.

    Attributes
    ----------
    sop_instance_uid : str
        Chosen by the modality.
    status : str
        IN PROGRESS, COMPLETED or DISCONTINUED.
    calling_ae_title : str
        Who created it.
    dataset : dict of str to Attribute
        DICOM JSON object of everything that was said of it.
    warnings : list of str
        Where the modality departed from the Standard.
    worklist_items : list of UUID
        The worklist items it was done for; empty in lists.
    patient_id, modality : str or None
        As it was created with.
    start : str
        When it began, YYYYMMDDHHMMSS; empty when unknown.
    version : int
        Grows with every change.
    created_at, updated_at : datetime
        When it was reported first and last.
    """

    sop_instance_uid: str
    status: str
    calling_ae_title: str
    dataset: dict[str, Attribute]
    warnings: list[str]
    worklist_items: list[UUID]
    patient_id: str | None
    modality: str | None
    start: str
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def study_instance_uids(self) -> list[str]:
        """The studies it belongs to."""
        return list(dict.fromkeys(filter(None, (first_text(each, _IDENTIFIERS[0]) for each in self.requests))))

    @property
    def requests(self) -> list[dict[str, Attribute]]:
        """Items of the Scheduled Step Attributes Sequence."""
        return items_of(self.dataset, REQUESTS)

    @property
    def referenced_instances(self) -> list[str]:
        """SOP Instance UIDs of what was made in it."""
        found = (
            first_text(reference, _REFERENCED)
            for series in items_of(self.dataset, SERIES)
            for tag in _REFERENCES
            for reference in items_of(series, tag)
        )
        return list(dict.fromkeys(filter(None, found)))


@dataclass(frozen=True, slots=True)
class StepMessage:
    """What a modality said of a step, once.

    Attributes
    ----------
    sop_instance_uid : str
        Of the step.
    number : int
        From 1, in the order of arrival.
    operation : str
        N-CREATE or N-SET.
    dataset : dict of str to Attribute
        DICOM JSON object.
    received_at : datetime
        When.
    """

    sop_instance_uid: str
    number: int
    operation: str
    dataset: dict[str, Attribute]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StepFilter:
    """What performed steps are listed; None matches all.

    Attributes
    ----------
    start, end : str or None
        YYYYMMDDHHMMSSffffff or a beginning of it: when the step began, both included.
    """

    status: str | None = None
    patient_id: str | None = None
    modality: str | None = None
    calling_ae_title: str | None = None
    start: str | None = None
    end: str | None = None
    study_instance_uid: str | None = None
    accession_number: str | None = None


class PerformedSteps:
    """The table of performed procedure steps.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`, to a migrated database.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._jobs = Jobs(pool)

    async def create(
        self, sop_instance_uid: str, dataset: Mapping[str, Attribute], *, calling_ae_title: str
    ) -> list[str]:
        """Keep a new step and begin the scheduled steps it is for.

        Returns
        -------
        list of str
            Tags of the attributes that it should have and has not.

        Raises
        ------
        WrongStatus
            It is not IN PROGRESS.
        StepExists
            There is one of this UID.

        Standard
        --------
        PS3.4 F.7.2.1; checklist G-160 to G-163.
        """
        step = readable(dataset)
        if status_of(step) != IN_PROGRESS:
            raise WrongStatus("A performed procedure step begins IN PROGRESS.")
        missing = missing_at_creation(step)
        row = (
            *(sop_instance_uid, IN_PROGRESS, False, calling_ae_title, start_of(step, *START)),
            *(column(tag_of("PatientID"), step), column(tag_of("Modality"), step)),
            *(step, departure("N-CREATE", "has no", missing)),
        )

        async def write(connection: Any) -> None:
            if await connection.fetchval(sql("add_performed_step"), *row) is None:
                raise StepExists("A performed procedure step of this UID exists.")
            requests = [
                (sop_instance_uid, number, *(first_text(item, tag) for tag in _IDENTIFIERS))
                for number, item in enumerate(items_of(step, REQUESTS), 1)
            ]
            await connection.executemany(sql("add_performed_request"), requests)
            await self._follow(connection, sop_instance_uid, "N-CREATE", step, calling_ae_title)

        await self._transact(write)
        return missing

    async def change(self, sop_instance_uid: str, changes: Mapping[str, Attribute]) -> list[str]:
        """Change a step that is in progress, or bring it to an end.

        Returns
        -------
        list of str
            Tags of what was not taken, and of what a step at its end should have and has not.

        Raises
        ------
        NotFound
            There is no step of this UID.
        StepIsFinal
            It has ended.
        WrongStatus
            The new status is none.

        Standard
        --------
        PS3.4 F.7.2.2; checklist G-164 to G-170.
        """
        given = readable(changes)
        complaints: list[str] = []

        async def write(connection: Any) -> None:
            row = await connection.fetchrow(sql("lock_performed_step"), sop_instance_uid)
            if row is None:
                raise _not_there()
            if row["status"] in FINAL:
                raise StepIsFinal("The performed procedure step may no longer be updated.")
            step, refused = changed(row["attributes"], given)
            status = status_of(step)
            if status not in (IN_PROGRESS, *FINAL):
                raise WrongStatus("A performed procedure step is IN PROGRESS, COMPLETED or DISCONTINUED.")
            missing = missing_at_the_end(step) if status in FINAL else []
            warnings = [*row["warnings"], *departure("N-SET", "may not change", refused)]
            warnings += departure(f"The step is {status} and", "has no", missing)
            warnings = list(dict.fromkeys(warnings))
            await connection.execute(
                sql("change_performed_step"), sop_instance_uid, status, was_wrong_entry(step), step, warnings
            )
            await self._follow(connection, sop_instance_uid, "N-SET", given, row["calling_ae_title"])
            complaints.extend([*refused, *missing])

        await self._transact(write)
        return complaints

    async def get(self, sop_instance_uid: str) -> PerformedStep:
        """Return a step with the worklist items it was done for; raises NotFound."""
        row = await self._pool.fetchrow(sql("performed_step"), sop_instance_uid)
        if row is None:
            raise _not_there()
        return _step(row)

    async def find(self, wanted: StepFilter, *, limit: int = 100, offset: int = 0) -> list[PerformedStep]:
        """Return steps, those that began last first."""
        rows = await self._pool.fetch(
            sql("performed_steps"),
            *(wanted.status, wanted.patient_id, wanted.modality, wanted.calling_ae_title, wanted.start, wanted.end),
            *(wanted.study_instance_uid, wanted.accession_number, limit, offset),
        )
        return [_step(row) for row in rows]

    async def messages(self, sop_instance_uid: str) -> list[StepMessage]:
        """Return what was said of a step, in order."""
        rows = await self._pool.fetch(sql("performed_messages"), sop_instance_uid)
        return [_message(row) for row in rows]

    async def message(self, sop_instance_uid: str, number: int) -> StepMessage:
        """Return the message of this number of a step; raises NotFound."""
        row = await self._pool.fetchrow(sql("performed_message"), sop_instance_uid, number)
        if row is None:
            raise _not_there()
        return _message(row)

    async def delivered(self, sop_instance_uid: str, ae_title: str) -> int:
        """Return the number of the last message of a step that a peer has had; 0 when it knows nothing of it."""
        return int(await self._pool.fetchval(sql("performed_delivered"), sop_instance_uid, ae_title) or 0)

    async def note_delivery(self, message: StepMessage, ae_title: str) -> None:
        """Keep that a peer has had a message, and so all before it."""
        arguments = message.sop_instance_uid, ae_title, message.number
        await retrying(lambda: self._pool.execute(sql("note_performed_delivery"), *arguments))

    async def stored(self, sop_instance_uids: list[str]) -> int:
        """Count how many of these instances are in the archive."""
        return len(await self._pool.fetch(sql("stored_of"), sop_instance_uids)) if sop_instance_uids else 0

    async def _transact(self, write: Callable[[Any], Awaitable[None]]) -> None:
        async def once() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await write(connection)

        await retrying(once, attempts=1)

    async def _follow(
        self, connection: Any, sop_instance_uid: str, operation: str, said: Mapping[str, Attribute], said_by: str
    ) -> None:
        """Keep what was said, bring the worklist up to date, and have it passed on to whom it concerns."""
        number = await connection.fetchval(sql("add_performed_message"), sop_instance_uid, operation, said)
        for row in await connection.fetch(sql("lock_items_performed"), sop_instance_uid):
            await connection.execute(sql("note_progress"), row["id"], sop_instance_uid)
        for row in await connection.fetch(sql("followers_of_performed_steps"), said_by):
            parameters = {"peer": row["ae_title"], "sop_instance_uid": sop_instance_uid, "message": number}
            await self._jobs.add(FORWARD, parameters, connection=connection)


def _not_there() -> NotFound:
    return NotFound("There is no such performed procedure step.")


def _step(row: Any) -> PerformedStep:
    named = ("sop_instance_uid", "status", "calling_ae_title", "warnings", "patient_id", "modality", "version")
    return PerformedStep(
        **{name: row[name] for name in (*named, "created_at", "updated_at")},
        dataset=dict(sorted(row["attributes"].items())),
        worklist_items=row["items"],
        start=row["start_at"][:14],
    )


def _message(row: Any) -> StepMessage:
    dataset = dict(sorted(row["attributes"].items()))
    return StepMessage(row["performed_step"], row["number"], row["operation"], dataset, row["received_at"])
