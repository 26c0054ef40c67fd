"""Delivering storage commitment reports to one requester (PS3.4 J.3.3).

Facts this module keeps:

- A report goes out in the ways its requester wants, in that order, until one of them is confirmed with status 0000: on
  the association of the request ("same"), on one we open as SCP under the title it called us by ("new"; J.2.1), on any
  other one that it has opened with us ("next"). A requester that is no peer has no address: "same", then "next".
- We wait for a quiet moment before we speak on an association of the peer, though the Standard does not ask for it:
  many an SCU takes whatever comes next for the response to its own request.
- A report of which we do not know that it arrived is sent again: at least once, never exactly once.
- Whatever goes wrong on one way, a mistake of ours included, is a report not delivered: other ways and other reports
  go on, and it is put off and parked like any other. Only a database that does not answer ends it all.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final

from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.errors import AssociationError
from dicomweb.dimse.negotiation import Context
from dicomweb.dimse.requestor import Address, connect
from dicomweb.gateway.commitment_scp import name_of
from dicomweb.gateway.gateway import Gateway
from dicomweb.scu.calling import identity_of
from dicomweb.scu.commitment import TRANSFER_SYNTAXES, status_of, status_text
from dicomweb.scu.commitment_data_set import SOP_CLASS, SOP_INSTANCE, write_report
from storage.database.pool import connection_lost
from storage.dicom.data_set import encode
from storage.errors import Unavailable
from storage.work.commitments import CheckedReference, Commitment, Commitments
from storage.work.peers import Peer

logger = logging.getLogger(__name__)

WITHOUT_ADDRESS: Final = ("same", "next")
"""Ways for a requester that is no peer."""

QUIET: Final = 0.2
"""Seconds without a byte and without a request being answered."""
QUIET_WITHIN: Final = 5.0
"""Seconds we wait for that; then we speak all the same, as the Standard allows."""


class NotConfirmed(Exception):
    """A requester answered a report with a failure, or could not be told of it; says why."""


class Undelivered:
    """Reports to one requester that are still to be delivered, and what stood in the way."""

    def __init__(self, reports: Iterable[Commitment]) -> None:
        self._reports = {report.id: report for report in reports}
        self._problems: dict[int, list[str]] = {number: [] for number in self._reports}

    def __iter__(self) -> Iterator[Commitment]:
        return iter(list(self._reports.values()))

    def __bool__(self) -> bool:
        return bool(self._reports)

    def failed(self, reports: Iterable[Commitment], way: str, problem: object) -> None:
        """Remember why a way did not work."""
        for report in reports:
            self._problems[report.id].append(f"{way}: {problem}")

    @contextmanager
    def trying(self, reports: Sequence[Commitment], way: str) -> Iterator[None]:
        """Have what goes wrong within count as a way that did not work; the database's trouble is not the way's."""
        try:
            yield
        except (AssociationError, NotConfirmed) as error:
            self.failed(reports, way, error)
        except Exception as error:
            if isinstance(error, Unavailable) or connection_lost(error):
                raise
            logger.error("a storage commitment report could not be sent", exc_info=error)
            self.failed(reports, way, f"unforeseen, {type(error).__name__}")

    def delivered(self, report: Commitment) -> None:
        """This one has arrived."""
        del self._reports[report.id]

    def problem(self, report: Commitment) -> str:
        """Say why a report was not delivered."""
        return "; ".join(self._problems[report.id]) or "no way to deliver it was tried"


def address_of(gateway: Gateway, peer: Peer) -> Address:
    """Return where a peer is reached."""
    return Address(peer.host, peer.port, peer.ae_title, gateway.tls if peer.tls else None)


def provider_context(association: Association) -> Context | None:
    """Return the context of an association in which we are the SCP of storage commitment."""
    return association.context_for(SOP_CLASS, as_scu=False)


class Reporter:
    """Delivers reports.

    Parameters
    ----------
    gateway : Gateway
        Its associations, peers and settings.
    commitments : Commitments
        Where confirmed deliveries are kept.
    """

    def __init__(self, gateway: Gateway, commitments: Commitments) -> None:
        self._gateway = gateway
        self._commitments = commitments

    async def ways(self, requester: str) -> tuple[Peer | None, tuple[str, ...]]:
        """Return the peer a requester is, and the ways to report to it in their order."""
        peer = await self._gateway.peers.get(requester)
        return peer, WITHOUT_ADDRESS if peer is None else peer.commitment_delivery

    async def deliver(self, requester: str, reports: Sequence[Commitment], *, first: str = "") -> Undelivered:
        """Deliver reports to one requester.

        Parameters
        ----------
        requester : str
            Its AE title.
        reports : sequence of Commitment
            Claimed by this process.
        first : str
            A way to try before the others, if it is one of them.

        Returns
        -------
        Undelivered
            What did not arrive.

        Standard
        --------
        PS3.4 J.3.3.1.2; checklist G-129 to G-131.
        """
        peer, ways = await self.ways(requester)
        left = Undelivered(reports)
        for way in sorted(ways, key=lambda way: way != first):
            if not left:
                break
            if way == "same":
                await self._on_same(left)
            elif way == "new" and peer is not None:
                await self._on_new(peer, left)
            elif way == "next":
                await self._on_next(requester, left)
        return left

    async def _on_same(self, left: Undelivered) -> None:
        open_now = {name_of(association): association for association in self._gateway.associations}
        for report in left:
            association = open_now.get(report.association)
            if association is None or not association.is_open:
                left.failed([report], "same", "the association of the request is closed")
            else:
                await self._send_all(association, [report], left, "same")

    async def _on_new(self, peer: Peer, left: Undelivered) -> None:
        def title(report: Commitment) -> str:
            return report.called_ae_title or self._gateway.settings.aet  # a request may have called nobody by name

        for ours, group in groupby(sorted(left, key=title), title):
            reports = list(group)
            with left.trying(reports, "new"):
                await self._on_new_association(peer, ours, reports, left)

    async def _on_new_association(
        self, peer: Peer, ours: str, reports: Sequence[Commitment], left: Undelivered
    ) -> None:
        """Deliver on an association opened under the title that was called on the first one (G-129)."""
        association = await connect(
            address_of(self._gateway, peer),
            calling_ae_title=ours,
            contexts=[(SOP_CLASS, TRANSFER_SYNTAXES)],
            roles={SOP_CLASS: (False, True)},
            identity=identity_of(peer),
            timeouts=self._gateway.timeouts,
            max_pdu=self._gateway.settings.dimse_max_pdu,
        )
        try:
            await self._send_all(association, reports, left, "new")
            await association.release()
        finally:
            await association.abort()

    async def _on_next(self, requester: str, left: Undelivered) -> None:
        tried = False
        for association in self._gateway.associations:
            reports = [report for report in left if report.association != name_of(association)]
            if association.calling_ae_title == requester and provider_context(association) is not None and reports:
                await self._send_all(association, reports, left, "next")
                tried = True
        if not tried:
            left.failed(left, "next", "it has no other association open here")

    async def _send_all(
        self, association: Association, reports: Iterable[Commitment], left: Undelivered, way: str
    ) -> None:
        if not association.is_requestor:
            await self._wait_for_quiet(association)
        for report in reports:
            with left.trying([report], way):
                await self._send(association, report)
                await self._commitments.record_delivery(report.id, way)
                left.delivered(report)

    async def _send(self, association: Association, report: Commitment) -> None:
        """Send one N-EVENT-REPORT (PS3.7 10.1.1)."""
        context = provider_context(association)
        if context is None and association.is_requestor:
            # It does not answer role selection, as it must (J.2.1), yet may take what it is sent.
            context = association.context_for(SOP_CLASS)
        if context is None:
            raise NotConfirmed("it does not take storage commitment reports")
        references = await self._commitments.references(report.id)
        retrieve_ae_title = self._gateway.settings.aet
        event_type, data = await asyncio.to_thread(_encoded, report, retrieve_ae_title, references, context)
        response = await association.request(
            context,
            {
                "CommandField": int(Operation.N_EVENT_REPORT),
                "AffectedSOPClassUID": SOP_CLASS,
                "AffectedSOPInstanceUID": SOP_INSTANCE,
                "EventTypeID": event_type,
            },
            data,
        )
        if status_of(response):
            raise NotConfirmed(f"it answered {status_text(response)}")

    async def _wait_for_quiet(self, association: Association) -> None:
        deadline = asyncio.get_running_loop().time() + QUIET_WITHIN
        for live in self._gateway.associations.live():
            if live.association is not association:
                continue
            while association.is_open and asyncio.get_running_loop().time() < deadline:
                if live.operation is None and live.silent_for() >= QUIET:
                    return
                await asyncio.sleep(QUIET / 4)


def _encoded(
    report: Commitment, retrieve_ae_title: str, references: Sequence[CheckedReference], context: Context
) -> tuple[int, bytes]:
    """Return Event Type ID and Event Information in the transfer syntax of a context."""
    event_type, data_set = write_report(report.transaction_uid, retrieve_ae_title, references)
    return event_type, encode(data_set, context.transfer_syntax)
