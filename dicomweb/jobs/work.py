"""What a kind of job has at hand while it is done."""

from typing import Any

from dicomweb.scu.calling import Caller
from storage.archive import Archive
from storage.work.jobs import ClaimedJob, Job
from storage.work.peers import Peer


class Hopeless(Exception):
    """The job cannot be done, and trying again would not help; the message says why."""


class Later(Exception):
    """The job cannot be done now; the message says why."""


class Work:
    """One attempt at a job.

    Parameters
    ----------
    archive : Archive
        The archive.
    caller : Caller
        Opens associations for us.
    job : Job
        As it stood when it was claimed.
    settled : dict
        Items settled earlier: None when done, else why not.
    """

    def __init__(self, archive: Archive, caller: Caller, job: Job, settled: dict[str, str | None]) -> None:
        self.archive = archive
        self.caller = caller
        self.job = job
        self.has_got_on = False
        self._settled = dict(settled)
        self._news: dict[str, str | None] = {}
        self._total: int | None = None
        self._total_is_news = False

    @property
    def parameters(self) -> dict[str, Any]:
        """What the job was given."""
        return self.job.parameters

    async def peer(self) -> Peer:
        """Return the peer of the job as it is known now; raises Hopeless when it no longer is."""
        ae_title = str(self.parameters["peer"])
        peer = await self.archive.peers.get(ae_title)
        if peer is None:
            raise Hopeless(f"There is no peer {ae_title} any more.")
        return peer

    def expect(self, total: int) -> None:
        """Say how many items there are."""
        self._total = total
        self._total_is_news = True

    def settle(self, item: str, error: str | None = None) -> None:
        """Say that an item is done, or why it cannot be; it is written soon."""
        if item in self._settled and self._settled[item] == error:
            return
        self._settled[item] = self._news[item] = error
        self.has_got_on = self.has_got_on or error is None

    def is_settled(self, item: str) -> bool:
        """Whether an item was done or cannot be, in this attempt or before."""
        return item in self._settled

    def has_failed(self, item: str) -> bool:
        """Whether an item is known not to be possible."""
        return bool(self._settled.get(item))

    def problem(self, item: str) -> str:
        """Return why an item could not be done, in this attempt or before; empty when nothing is known against it."""
        return self._settled.get(item) or ""

    @property
    def failed(self) -> int:
        """How many items cannot be done."""
        return sum(error is not None for error in self._settled.values())

    @property
    def has_news(self) -> bool:
        """Whether there is something to be written."""
        return self._total_is_news or bool(self._news)

    async def keep(self, claimed: ClaimedJob) -> bool:
        """Write the number of items and what was settled since the last time, and renew the lease.

        What could not be written, because the job was stopped meanwhile, is news still.

        Returns
        -------
        bool
            False when the job is ours no longer.
        """
        total, items = self._total, dict(self._news)
        if not await claimed.keep(total=total, items=items):
            return False
        self._total_is_news = self._total != total
        for item, error in items.items():
            if self._news[item] == error:
                del self._news[item]
        return True
