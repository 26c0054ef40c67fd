"""The gateway's side of every connection: admitted, served request by request, ended.

Facts this module keeps:

- One task a connection. Whatever a peer does ends its connection at most; nothing is left behind by one that aborts,
  falls silent or never says a word.
- A place among `dimse_max_associations` is taken when a proposal is judged and given back when it is rejected or its
  connection is gone. Connections that have not proposed yet have some room beside them; more are closed unread. One to
  the TLS port counts from its first moment, not from the end of its handshake.
- Stopping: nobody new is let in, those who ask for something finish it within the grace time, the idle are let go.
"""

import asyncio
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from dicomweb import logs
from dicomweb.dimse.acceptor import accept
from dicomweb.dimse.association import Association
from dicomweb.dimse.connection import READ_LIMIT, abort
from dicomweb.dimse.errors import AssociationError, PeerTimeout
from dicomweb.dimse.negotiation import Acceptance, Proposal, Rejection, shown_title
from dicomweb.gateway.admission import HINTS, REASONS, STOPPING, Admission, Caller
from dicomweb.gateway.call import Call
from dicomweb.gateway.dispatch import dispatch
from dicomweb.gateway.gateway import Gateway
from dicomweb.gateway.presentation import refused
from dicomweb.gateway.secured import shake_hands, take_connections
from dicomweb.gateway.services import Services
from dicomweb.listener import BACKLOG, DIMSE_TLS
from storage.errors import ArchiveError

logger = logging.getLogger(__name__)

UNDECIDED: Final = 64
"""Connections that may be open beyond the associations allowed: those who have not said what they want."""
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
        self._servers: list[asyncio.Server] = []
        self._takers: dict[asyncio.Task[None], socket.socket] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._associated: set[asyncio.Task[None]] = set()
        self._places_taken = 0
        self._stopping = False

    async def start(self, listeners: Mapping[str, socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Begin to serve listening sockets; the one called `dimse_tls` speaks TLS."""
        for name, listener in listeners.items():
            on = str(listener.getsockname()[0])
            if name == DIMSE_TLS and tls is not None:
                taken = partial(self._taken, tls=tls, listening_on=on)
                taker = asyncio.create_task(take_connections(listener, taken))
                taker.add_done_callback(self._gone)
                self._takers[taker] = listener
                continue
            connected = partial(self._connected, listening_on=on)
            server = await asyncio.start_server(connected, sock=listener, limit=READ_LIMIT, backlog=BACKLOG)
            self._servers.append(server)

    async def stop(self, grace: float, hurry: asyncio.Event) -> None:
        """Let associations finish what they do, for at most `grace` seconds or until somebody is in a hurry."""
        self._stopping = True
        await self._stop_listening()
        deadline = time.monotonic() + grace
        while self._connections and time.monotonic() < deadline and not hurry.is_set():
            for task in self._connections - self._associated:
                task.cancel()
            await self._abort(
                live.association for live in self.gateway.associations.live() if live.idle_for() > IDLE_WHEN_STOPPING
            )
            if self._connections:
                await asyncio.wait(self._connections, timeout=0.1)
        if len(self.gateway.associations):
            logger.warning("%d associations are cut off", len(self.gateway.associations))
        await self._abort(self.gateway.associations)
        if self._connections:
            await asyncio.wait(self._connections, timeout=LAST_WORDS)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        for taker in self._takers:
            taker.cancel()
        await asyncio.gather(*self._takers, return_exceptions=True)
        for listener in self._takers.values():
            listener.close()

    async def _abort(self, associations: Iterable[Association]) -> None:
        await asyncio.gather(*(each.abort() for each in associations), return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, listening_on: str) -> None:
        if self._has_room():
            self._begin(self._serve(reader, writer, listening_on))
        else:
            abort(writer)

    def _taken(self, connection: socket.socket, *, tls: ssl.SSLContext, listening_on: str) -> None:
        """Have a connection to the TLS port served, its handshake included."""
        if self._has_room():
            task = self._begin(self._secure(connection, tls, listening_on))
            task.add_done_callback(lambda _: connection.close())  # which a task cancelled at once has not done
        else:
            connection.close()

    def _has_room(self) -> bool:
        if len(self._connections) < self.gateway.settings.dimse_max_associations + UNDECIDED:
            return True
        self.gateway.metrics.rejected("too-many-connections")
        return False

    def _begin(self, serving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(serving)
        self._connections.add(task)
        task.add_done_callback(self._gone)
        return task

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._associated.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("unforeseen error", exc_info=error)

    async def _secure(self, connection: socket.socket, tls: ssl.SSLContext, listening_on: str) -> None:
        try:
            reader, writer = await shake_hands(connection, tls, within=self._timeouts.acse)
        except OSError as error:  # port probes, too
            logger.debug("a TLS handshake failed: %s", error)
        else:
            await self._serve(reader, writer, listening_on)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listening_on: str) -> None:
        """Serve one connection from its first to its last byte."""
        logs.request_id.set(secrets.token_hex(8))
        caller = Caller(_host(writer, "peername"), _host(writer, "sockname"), listening_on)
        has_place = False

        async def negotiate(proposal: Proposal, _: object) -> Acceptance | Rejection:
            nonlocal has_place
            room = self._places_taken < self.gateway.settings.dimse_max_associations
            self._places_taken += room
            decision = await self._negotiate(proposal, replace(caller, room=room, stopping=self._stopping))
            has_place = room and isinstance(decision, Acceptance)
            self._places_taken -= room and not has_place
            return decision

        try:
            association = await accept(
                reader, writer, negotiate, timeouts=self._timeouts, max_pdu=self.gateway.settings.dimse_max_pdu
            )
            if association is not None:
                await self._associate(association)
        finally:
            self._places_taken -= has_place
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
        self._associated.add(task)
        live = self.gateway.associations.add(association)
        self.gateway.metrics.accepted()
        outcome, reason, why = "aborted", "stopping", ""
        begun = time.monotonic()
        try:
            if self._opened is not None:
                await self._opened(association)
            async for message in association.messages():
                await dispatch(Call(self.gateway, association, message), self._services, live)
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
    return str(name[0]) if isinstance(name, tuple) and name else ""
