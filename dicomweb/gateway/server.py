"""The gateway's side of every connection: admitted, served request by request, ended.

Facts this module keeps:

- One task a connection. Whatever a peer does ends its connection at most; nothing is left behind by one that aborts,
  falls silent or never says a word.
- Connections count from their first moment, not from the end of a TLS handshake. Idle ones give way when they run short
  (`visitors.py`), and take no place among those that are worked for (`places.py`).
- Stopping: nobody new is let in, those who ask for something finish it within the grace time, the idle are let go.
"""

import asyncio
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from dicomweb.dimse.acceptor import accept
from dicomweb.dimse.association import Association
from dicomweb.dimse.connection import abort
from dicomweb.dimse.errors import AssociationError, PeerTimeout
from dicomweb.dimse.negotiation import Acceptance, Proposal, Rejection, shown_title
from dicomweb.gateway.admission import HINTS, REASONS, STOPPING, Admission, Caller
from dicomweb.gateway.call import Call
from dicomweb.gateway.dispatch import dispatch
from dicomweb.gateway.gateway import Gateway
from dicomweb.gateway.places import Places
from dicomweb.gateway.presentation import refused
from dicomweb.gateway.services import Services
from dicomweb.gateway.streams import open_streams
from dicomweb.gateway.visitors import Visitors
from dicomweb.process.listener import DIMSE_TLS, plain_address
from dicomweb.process.taking import Taker
from dicomweb.telemetry import logs
from storage.errors import ArchiveError

logger = logging.getLogger(__name__)

IDLE_WHEN_STOPPING: Final = 2.0
"""Seconds without a request after which an association is let go when the gateway stops."""
LAST_WORDS: Final = 2.0
"""Seconds for aborted associations to end."""


class Server:
    """Serves associations.

    Parameters
    ----------
    gateway : Gateway
        What the services work on.
    opened : callable, optional
        Told of each association that a peer has opened.
    """

    def __init__(self, gateway: Gateway, opened: Callable[[Association], Awaitable[None]] | None = None) -> None:
        self.gateway = gateway
        self._opened = opened
        self._admission = Admission(gateway)
        self._services = Services(gateway.settings)
        self._timeouts = gateway.timeouts
        self._takers: list[Taker] = []
        self._visitors = Visitors(gateway.settings)
        self._places = Places(gateway.settings, gateway.associations)
        self._stopping = False

    async def start(self, listeners: Mapping[str, socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Begin to serve listening sockets; the one called `dimse_tls` speaks TLS."""
        for name, listener in listeners.items():
            spoken = tls if name == DIMSE_TLS else None
            taken = partial(self._taken, tls=spoken, listening_on=str(listener.getsockname()[0]))
            self._takers.append(Taker(listener, taken))

    async def stop(self, grace: float, hurry: asyncio.Event) -> None:
        """Let associations finish what they do, for at most `grace` seconds or until somebody is in a hurry."""
        self._stopping = True
        for taker in self._takers:
            taker.close()
        deadline = time.monotonic() + grace
        while self._visitors.tasks and time.monotonic() < deadline and not hurry.is_set():
            for task in self._visitors.undecided():
                task.cancel()
            await self._abort(
                live.association for live in self.gateway.associations.live() if live.idle_for() > IDLE_WHEN_STOPPING
            )
            if tasks := self._visitors.tasks:
                await asyncio.wait(tasks, timeout=0.1)
        if len(self.gateway.associations):
            logger.warning("%d associations are cut off", len(self.gateway.associations))
        await self._abort(self.gateway.associations)
        if tasks := self._visitors.tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)
        tasks = self._visitors.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _abort(self, associations: Iterable[Association]) -> None:
        await asyncio.gather(*(each.abort() for each in associations), return_exceptions=True)

    def _taken(self, connection: socket.socket, host: str, *, tls: ssl.SSLContext | None, listening_on: str) -> None:
        """Have a connection served, its handshake included."""
        if not self._visitors.has_room():
            self.gateway.metrics.rejected("too-many-connections")
            connection.close()
            return
        visitor = self._visitors.add(plain_address(host), self._open(connection, tls, listening_on))
        visitor.task.add_done_callback(lambda _: connection.close())  # which a task cancelled at once has not done

    async def _open(self, connection: socket.socket, tls: ssl.SSLContext | None, listening_on: str) -> None:
        try:
            reader, writer = await open_streams(connection, tls, within=self._timeouts.acse)
        except OSError as error:  # port probes, too
            logger.debug("a connection could not be opened: %s", error)
        else:
            await self._serve(reader, writer, listening_on)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listening_on: str) -> None:
        """Serve one connection from its first to its last byte."""
        logs.request_id.set(secrets.token_hex(8))
        caller = Caller(_host(writer, "peername"), _host(writer, "sockname"), listening_on)

        async def negotiate(proposal: Proposal, _: object) -> Acceptance | Rejection:
            room = self._places.has_room(caller.peer_host)
            return await self._negotiate(proposal, replace(caller, room=room, stopping=self._stopping))

        try:
            association = await accept(
                reader, writer, negotiate, timeouts=self._timeouts, max_pdu=self.gateway.settings.dimse_max_pdu
            )
            if association is not None:
                await self._associate(association)
        finally:
            abort(writer)  # nothing is left open, whatever happened

    async def _negotiate(self, proposal: Proposal, caller: Caller) -> Acceptance | Rejection:
        try:
            decision = await self._admission.decide(proposal, caller)
            reason, hint = ("", "") if isinstance(decision, Acceptance) else (REASONS[decision], HINTS[decision])
        except ArchiveError as error:
            logger.error("%s", error)
            decision, reason, hint = STOPPING, "unavailable", "the archive does not answer now"
        except Exception as error:
            logger.error("a proposal could not be judged", exc_info=error)
            decision, reason, hint = STOPPING, "unavailable", "a mistake of ours"
        titles = shown_title(proposal.calling_ae_title), caller.peer_host, shown_title(proposal.called_ae_title)
        if isinstance(decision, Rejection):
            self.gateway.metrics.rejected(reason)
            logger.warning("association of %s from %s with %s rejected: %s, %s", *titles, reason, hint)
        elif unserved := refused(proposal, decision):
            logger.info("association of %s from %s with %s: not served are %s", *titles, unserved)
        return decision

    async def _associate(self, association: Association) -> None:
        """Serve an association to its end."""
        task = asyncio.current_task()
        assert task is not None
        live = self.gateway.associations.add(association)
        self._visitors.served(task, live)
        self.gateway.metrics.accepted()
        outcome, reason, why = "aborted", "stopping", ""
        begun = time.monotonic()
        try:
            if self._opened is not None:
                await self._opened(association)
            async for message in association.messages():
                await dispatch(Call(self.gateway, association, message), self._services, live, self._places)
            outcome, reason = "released", ""
        except PeerTimeout as error:
            outcome, reason, why = "timeout", type(error).__name__, f" ({error})"
        except AssociationError as error:
            outcome, reason, why = "aborted", type(error).__name__, f" ({error})"
        finally:
            self.gateway.associations.remove(association)
            await association.abort()
            self.gateway.metrics.ended(outcome, reason, association.bytes_in, association.bytes_out)
            # The HTTP workers' question whether we are well comes every few seconds.
            quiet = outcome == "released" and association.calling_ae_title == self.gateway.settings.aet
            logger.log(
                logging.DEBUG if quiet else logging.INFO if outcome == "released" else logging.WARNING,
                "association of %s from %s %s%s after %d requests and %.1f s, %d bytes in, %d out",
                *(shown_title(association.calling_ae_title), association.peer_host, outcome, why, live.answered),
                *(time.monotonic() - begun, association.bytes_in, association.bytes_out),
            )


def _host(writer: asyncio.StreamWriter, end: str) -> str:
    name = writer.get_extra_info(end)
    return plain_address(str(name[0])) if isinstance(name, tuple) and name else ""
