"""Storage commitments we ask of others: kept, because the answer may come to another process (PS3.4 J.3.3.1.2)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg

from storage.database.pool import retrying, sql

KEPT: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an N-EVENT-REPORT said.

    Attributes
    ----------
    committed : frozenset of str
        SOP Instance UIDs.
    failed : mapping of str to int
        SOP Instance UID to Failure Reason.
    """

    committed: frozenset[str]
    failed: Mapping[str, int]


class CommitmentsAsked:
    """The table of what we asked.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`, to a migrated database.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def ask(self, transaction_uid: str, peer: str) -> None:
        """Keep that a peer is about to be asked."""
        await self._pool.execute(sql("ask_commitment"), transaction_uid, peer)

    async def record(self, transaction_uid: str, answer: Answer) -> bool:
        """Keep an answer, durably; returns whether anybody has asked."""
        arguments = (transaction_uid, _uids(answer.committed), list(answer.failed), list(answer.failed.values()))
        return bool(await retrying(lambda: self._pool.fetchval(sql("answer_asked_commitment"), *arguments)))

    async def answer(self, transaction_uid: str) -> Answer | None:
        """Return the answer, or None while there is none."""
        row: Any = await self._pool.fetchrow(sql("answer_to_asked_commitment"), transaction_uid)
        if row is None:
            return None
        return Answer(frozenset(row["committed"]), dict(zip(row["failed"], row["failure_reasons"], strict=True)))

    async def forget_old(self) -> None:
        """Forget what was asked `KEPT` ago."""
        await self._pool.execute(sql("forget_asked_commitments"), KEPT)


def _uids(uids: Collection[str]) -> list[str]:
    return sorted(uids)
