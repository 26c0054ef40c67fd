"""Storage commitments asked of us: a row for each N-ACTION, from the request to the report's delivery (PS3.4 J).

Facts this module keeps:

- The state says what comes next. checking: read back what is stored; asking: ask the archive downstream; reporting:
  deliver the N-EVENT-REPORT; reported: done; parked: delivery was given up, a person may have it sent again.
- Whoever takes the next step claims the row for `CLAIM` and renews the claim while at work. A process that died is
  followed by any other one when its claims have run out; one that ends gives them back.
- Results are kept instance by instance as they are found, so that a check goes on where another stopped.
- A Transaction UID is used once (J.3.3.1.2). Another request with it, of the same requester, is a request of its own
  that fails with 0131 for each instance; the first one goes on untouched.
- A report may be delivered twice, when the answer to it was lost; never not at all.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import asyncpg

from storage.database.pool import retrying, sql
from storage.errors import ArchiveError, NotFound

State = Literal["checking", "asking", "reporting", "reported", "parked"]
STATES: Final[tuple[State, ...]] = ("checking", "asking", "reporting", "reported", "parked")

CLAIM: Final = timedelta(seconds=10)
KEPT: Final = timedelta(days=30)
"""After the requester had its report."""
PARKED_KEPT: Final = timedelta(days=90)
"""After its delivery was given up."""
"""How long a commitment is remembered after its report was delivered, its Transaction UID as well."""

SOUND: Final = 0
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_OBJECT_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119
REFERENCED_SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
DUPLICATE_TRANSACTION_UID: Final = 0x0131
RESOURCE_LIMITATION: Final = 0x0213
FAILURE_REASONS: Final[Mapping[int, str]] = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_OBJECT_INSTANCE: "no such object instance",
    CLASS_INSTANCE_CONFLICT: "class/instance conflict",
    REFERENCED_SOP_CLASS_NOT_SUPPORTED: "referenced SOP class not supported",
    DUPLICATE_TRANSACTION_UID: "duplicate transaction UID",
    RESOURCE_LIMITATION: "resource limitation",
}
"""Failure Reason (0008,1197) and its meaning (PS3.3 C.14.1.1)."""


class NotYetChecked(ArchiveError):
    """A commitment has no report to send yet."""


class Reference(NamedTuple):
    """An instance a commitment is asked for."""

    sop_class_uid: str
    sop_instance_uid: str


class CheckedReference(NamedTuple):
    """An instance and what became of it: a Failure Reason, `SOUND`, or None while it is not checked."""

    sop_class_uid: str
    sop_instance_uid: str
    failure_reason: int | None


@dataclass(frozen=True, slots=True)
class Commitment:
    """A storage commitment asked of us; the columns of sql/migrations/0004_commitments.sql that others need."""

    id: int
    transaction_uid: str
    requester: str
    called_ae_title: str
    association: str
    duplicate: bool
    state: State
    due_at: datetime
    attempts: int
    problem: str
    delivered_by: str | None
    number_of_instances: int
    number_failed: int | None
    requested_at: datetime
    checked_at: datetime | None
    give_up_at: datetime | None
    reported_at: datetime | None

    @classmethod
    def from_row(cls, row: Any) -> "Commitment":
        """Make one from a row of `commitments`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


class Commitments:
    """The table of commitments, as one process works on it.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`, to a migrated database.

    Attributes
    ----------
    claimed : set of int
        What this process has claimed and is at work on.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._claimant = uuid.uuid4()
        self.claimed: set[int] = set()

    async def add(
        self,
        transaction_uid: str,
        requester: str,
        called_ae_title: str,
        references: Sequence[Reference],
        *,
        association: str = "",
    ) -> int:
        """Keep a request, durably; returns its id.

        Parameters
        ----------
        transaction_uid : str
            The requester's.
        requester, called_ae_title : str
            AE titles of the association it came on.
        references : sequence of Reference
            No instance twice.
        association : str
            What the process that holds the association calls it.

        Raises
        ------
        Unavailable, OutOfSpace
            It could not be kept; the requester must be told so.
        """
        token = uuid.uuid4()
        classes, instances = [one.sop_class_uid for one in references], [one.sop_instance_uid for one in references]
        given = (token, transaction_uid, requester, called_ae_title, association, len(references))

        async def add() -> int:
            reason = None
            async with self._pool.acquire() as connection, connection.transaction():
                row: Any = await connection.fetchrow(sql("add_commitment"), *given)
                number = int(row["id"])
                if row["token"] != token:
                    number = int(await connection.fetchval(sql("add_duplicate_commitment"), *given))
                    reason = DUPLICATE_TRANSACTION_UID
                await connection.execute(sql("add_commitment_instances"), number, classes, instances, reason)
            return number

        return await retrying(add)

    # Working on them

    async def claim(self, state: State) -> Commitment | None:
        """Claim the one of this state that has been due for longest."""
        row = await self._pool.fetchrow(sql("claim_commitment"), self._claimant, CLAIM, state)
        return None if row is None else self._claimed([row])[0]

    async def requester_to_report_to(self, *, other_than: Collection[str] = ()) -> str | None:
        """Return a requester with a report that is due, passing over some."""
        requester: str | None = await self._pool.fetchval(sql("requester_to_report_to"), list(other_than))
        return requester

    async def claim_reports(self, requester: str, *, early: bool = False, limit: int = 100) -> list[Commitment]:
        """Claim the reports to a requester that are due, or with `early` all that wait, oldest request first."""
        rows = await self._pool.fetch(sql("claim_reports"), self._claimant, CLAIM, requester, early, limit)
        return sorted(self._claimed(rows), key=lambda commitment: commitment.id)

    async def extend_claims(self) -> None:
        """Renew every claim of this process."""
        if self.claimed:
            await self._pool.execute(sql("extend_claims"), self._claimant, list(self.claimed), CLAIM)

    async def release(self, numbers: Collection[int]) -> None:
        """Give claims back, so that anybody may go on at once."""
        if numbers:
            await self._pool.execute(sql("release_claims"), self._claimant, list(numbers))
        self.claimed.difference_update(numbers)

    async def to_check(self, number: int, limit: int) -> list[tuple[int, Reference]]:
        """Return the next instances of a commitment that were not checked yet, with their places."""
        rows = await self._pool.fetch(sql("instances_to_check"), number, limit)
        return [(row["number"], Reference(row["sop_class_uid"], row["sop_instance_uid"])) for row in rows]

    async def record_checks(self, number: int, reasons: Mapping[int, int]) -> None:
        """Keep what was found for the instances at these places."""
        arguments = (number, list(reasons), list(reasons.values()))
        await retrying(lambda: self._pool.execute(sql("record_checks"), *arguments))

    async def record_failures(self, number: int, reasons: Mapping[str, int]) -> None:
        """Keep which instances, by SOP Instance UID, failed elsewhere."""
        arguments = (number, list(reasons), list(reasons.values()))
        await retrying(lambda: self._pool.execute(sql("record_failures"), *arguments))

    async def fail_unchecked(self, number: int) -> None:
        """Let every instance that could not be checked fail with 0110."""
        await retrying(lambda: self._pool.execute(sql("fail_unchecked"), number, PROCESSING_FAILURE))

    async def finish_step(self, number: int, state: State, *, problem: str = "") -> None:
        """Go on to the next state, unless the claim was lost meanwhile."""
        await retrying(lambda: self._pool.execute(sql("finish_step"), number, self._claimant, state, problem))
        self.claimed.discard(number)

    async def put_off(self, number: int, problem: str, pause: timedelta, give_up_after: timedelta) -> None:
        """Try again after a pause; reporting that has failed for `give_up_after` is parked."""
        arguments = (number, self._claimant, problem[:1000], pause, give_up_after)
        await retrying(lambda: self._pool.execute(sql("put_off"), *arguments))
        self.claimed.discard(number)

    async def record_delivery(self, number: int, way: str) -> None:
        """Keep that the requester has confirmed the report."""
        await retrying(lambda: self._pool.execute(sql("record_delivery"), number, way))
        self.claimed.discard(number)

    async def forget_old(self) -> None:
        """Forget commitments that were reported `KEPT` ago or given up `PARKED_KEPT` ago."""
        while await self._pool.execute(sql("forget_commitments"), KEPT, PARKED_KEPT) == "DELETE 100":
            pass

    # Showing them

    async def newest(
        self, *, states: Collection[str] = (), before: int | None = None, limit: int = 100
    ) -> list[Commitment]:
        """Return commitments, the newest first, of these states (by default all) and older than one of them."""
        rows = await self._pool.fetch(sql("commitments"), list(states), before, limit)
        return [Commitment.from_row(row) for row in rows]

    async def get(self, number: int) -> Commitment:
        """Return one commitment; raises NotFound."""
        row = await self._pool.fetchrow(sql("commitment"), number)
        if row is None:
            raise NotFound("There is no such storage commitment.")
        return Commitment.from_row(row)

    async def references(self, number: int, *, failure_reason: int | None = None) -> list[CheckedReference]:
        """Return the instances of a commitment in the order of the request, or those with one outcome."""
        rows = await self._pool.fetch(sql("instances_of_commitment"), number, failure_reason)
        return [CheckedReference(*row) for row in rows]

    async def resend(self, number: int) -> Commitment:
        """Have a report delivered (again), at once and for as long as a new one would be tried.

        Raises
        ------
        NotFound
            There is no such commitment.
        NotYetChecked
            There is no report yet.
        """
        row = await self._pool.fetchrow(sql("resend_commitment"), number)
        if row is None:
            commitment = await self.get(number)
            raise NotYetChecked(f"The commitment is still {commitment.state}; its report is sent when that is done.")
        return Commitment.from_row(row)

    def _claimed(self, rows: Sequence[Any]) -> list[Commitment]:
        commitments = [Commitment.from_row(row) for row in rows]
        self.claimed.update(commitment.id for commitment in commitments)
        return commitments
