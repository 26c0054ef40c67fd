"""An association: messages in both directions between two AEs until release or abort (PS3.7 6, 7; PS3.8 7, 9.2).

Facts this module keeps:

- One task per association reads: responses go to whoever asked, C-CANCEL is remembered, requests wait for
  `Association.messages`. It waits when a data set is not taken; so does then the peer.
- Messages are sent whole, one after the other. One that cannot be finished ends the association (PS3.8 E.1).
- A-RELEASE-RQ is answered when every request of the peer is answered; when both sides ask at once, the requestor
  answers first (PS3.8 7.2.2.7). An A-ABORT of the peer, a lost connection, an unexpected PDU and silence end it.
- A protocol error is answered with A-ABORT of the service provider and its reason (PS3.8 Table 9-26).
- When `release` or `abort` returns, or `messages` ends, the socket is closed and the task has ended.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from copy import copy
from types import TracebackType
from typing import Final

from dicomweb.dimse import pdu
from dicomweb.dimse.asked import Asked
from dicomweb.dimse.command_set import (
    DATA_SET,
    NO_DATA_SET,
    PENDING,
    Command,
    Operation,
    Value,
    encode,
    is_response,
    number,
)
from dicomweb.dimse.connection import Connection
from dicomweb.dimse.data_set import DataSet
from dicomweb.dimse.errors import AssociationAborted, PeerTimeout, ProtocolError, why_aborted
from dicomweb.dimse.incoming import Incoming
from dicomweb.dimse.mailbox import Mailbox
from dicomweb.dimse.message import Message, Timeouts, is_cancel, is_final_response, response_to
from dicomweb.dimse.negotiation import Acceptance, Context, Implementation, Proposal, contexts_of, shown_title
from dicomweb.dimse.outgoing import Data, Outgoing
from dicomweb.dimse.patience import Patience
from dicomweb.dimse.pdu import Fragment, Parser, Pdu, PduType
from dicomweb.dimse.served import Served

__all__ = ["Association", "Context", "Message", "Timeouts"]

logger = logging.getLogger(__name__)

LONGEST_RESPONSE: Final = 64 << 20
"""Longest data set of a response, which is kept in memory, in bytes."""

LINGER: Final = 5.0
"""Seconds for the peer to close after the last PDU, at most (ARTIM in Sta13 of PS3.8 9.2)."""


class Association:
    """An open association with a peer, on either side; as a context manager it releases, after an error it aborts.

    Attributes
    ----------
    calling_ae_title, called_ae_title : str
        Of the requestor and the acceptor, without spaces around.
    peer_host, peer_port
        Where the peer is.
    is_requestor : bool
        Whether we opened it.
    contexts : dict of int to Context
        The accepted presentation contexts.
    proposal : Proposal
        What was proposed, by whichever side.
    extended : dict of str to bytes
        SOP class -> application information as answered.
    peer_max_pdu : int
        Longest P-DATA-TF the peer takes, in bytes; 0 is any.
    peer_implementation : Implementation
        Which program the peer is.
    opened_at : float
        By the clock of the event loop.
    """

    def __init__(
        self,
        connection: Connection,
        proposal: Proposal,
        acceptance: Acceptance,
        *,
        is_requestor: bool,
        peer_max_pdu: int,
        peer_implementation: Implementation,
        timeouts: Timeouts,
        parser: Parser,
        early: Iterable[Pdu | Fragment] = (),
    ) -> None:
        self.calling_ae_title = proposal.calling_ae_title
        self.called_ae_title = proposal.called_ae_title
        self.peer_host = connection.host
        self.peer_port = connection.port
        self.is_requestor = is_requestor
        self.contexts = contexts_of(proposal, acceptance, is_requestor=is_requestor)
        self.proposal = proposal
        self.extended = acceptance.extended
        self.peer_max_pdu = peer_max_pdu
        self.peer_implementation = peer_implementation
        self.timeouts = timeouts
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self.opened_at = self._loop.time()
        self._parser = parser
        self._incoming = Incoming(self.contexts)
        self._served = Served()
        self._asked = Asked()
        self._response: tuple[Message, Mailbox[Message]] | None = None
        self._outgoing = Outgoing(connection, peer_max_pdu)
        # Busy: somebody on this side is at work, or waits for the peer with a timer of its own.
        self._patience = Patience(connection, timeouts, lambda: bool(self._served.is_busy or len(self._asked)))
        self._is_ended = False
        self._error: AssociationAborted | None = None
        self._release_requested = False
        self._release_collided = False
        self._reader = asyncio.create_task(self._run(early), name=f"association {self.peer_host}:{self.peer_port}")
        # Also when it is cancelled before its first step.
        self._reader.add_done_callback(lambda _: connection.kill())

    def __repr__(self) -> str:
        titles = f"{shown_title(self.calling_ae_title)} -> {shown_title(self.called_ae_title)}"
        return f"<Association {titles} {self.peer_host}:{self.peer_port}>"

    async def __aenter__(self) -> "Association":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await (self.release() if error is None else self.abort())

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return not self._is_ended and not self._release_requested

    @property
    def is_slow(self) -> bool:
        """Whether the peer sends or takes data too slowly for somebody who needs the place."""
        return self._patience.is_slow or self._connection.is_slow

    @property
    def bytes_in(self) -> int:
        """Received bytes, all PDUs counted."""
        return self._connection.bytes_in

    @property
    def bytes_out(self) -> int:
        """Sent bytes, all PDUs counted."""
        return self._connection.bytes_out

    def context_for(
        self, abstract_syntax: str, *, as_scu: bool = True, transfer_syntax: str | None = None
    ) -> Context | None:
        """Return the first accepted context for an abstract syntax in which we have the role."""
        for context in self.contexts.values():
            has_role = context.as_scu if as_scu else context.as_scp
            has_syntax = transfer_syntax in (None, context.transfer_syntax)
            if context.abstract_syntax == abstract_syntax and has_role and has_syntax:
                return context
        return None

    def messages(self) -> AsyncIterator[Message]:
        """Iterate over the requests of the peer until it releases.

        A request counts as being handled until the next one is asked for; what is left of its data set is then dropped.

        Raises
        ------
        AssociationAborted
            From the iterator, when the association ends in another way.
        """
        return self._served.iterate(self._handled, self._ended)

    def is_cancelled(self, request: Message) -> bool:
        """Whether the peer sent C-CANCEL for a request that is not yet answered."""
        return self._served.is_cancelled(request.message_id)

    async def send(self, context: Context, command: Command, data: Data | None = None) -> None:
        """Send a message; return when all of it is handed to the socket.

        Parameters
        ----------
        command : Command
            Command Data Set Type is set here.
        data : bytes or asynchronous iterable of bytes, optional
            The data set in the transfer syntax of the context.

        Raises
        ------
        AssociationAborted
            The association has ended. It is also aborted when `data` raises, and when the sender is cancelled amid it.
        ValueError
            It is no command set.
        """
        kind = NO_DATA_SET if data is None else DATA_SET
        encoded = encode({**command, "CommandDataSetType": kind})
        async with self._outgoing.lock:
            if not self.is_open:
                raise self._reason_of_end()
            try:
                await self._outgoing.send(context.id, encoded, data)
            except AssociationAborted as error:
                raise await self._broken(error) from error
            except BaseException:
                # What was begun cannot be finished, and nothing else may follow it.
                if self._outgoing.is_within_message:
                    self._abort_soon(pdu.abort(0, 0), AssociationAborted("sending a message was given up"))
                raise
        if is_final_response(command):
            self._served.answered(number(command, "MessageIDBeingRespondedTo"))

    async def respond(self, request: Message, status: int, data: bytes | None = None, **fields: Value) -> None:
        """Send a response to a request, the last one not before all of the request has come.

        Parameters
        ----------
        status : int
            PS3.7 Annex C.
        fields : by keyword
            More elements of the command set, or others than those of the request.

        Raises
        ------
        AssociationAborted
            The association has ended.
        """
        if request.data is not None and status not in PENDING:
            await request.data.complete()
        await self.send(request.context, response_to(request, status, fields), data)

    async def request(
        self,
        context: Context,
        command: Command,
        data: Data | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - of silence, not of the whole exchange
    ) -> Message:
        """Send a request and wait for its one response.

        Parameters
        ----------
        command : Command
            Message ID is set here unless it is there.
        timeout : float, optional
            Seconds without anything received or sent; by default `Timeouts.dimse`.

        Raises
        ------
        PeerTimeout
            No response came; the association is aborted.
        AssociationAborted
            The association has ended.
        """
        responses = self.requests(context, command, data, timeout=timeout)
        async with contextlib.aclosing(responses):
            async for response in responses:
                return response
        raise self._reason_of_end()

    async def requests(
        self,
        context: Context,
        command: Command,
        data: Data | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - of silence, not of the whole exchange
    ) -> AsyncGenerator[Message, None]:
        """Send a request and iterate over its responses until one that is not pending.

        Parameters and errors are those of `request`. What the peer asks meanwhile comes out of `messages`.
        """
        message_id, mailbox = self._asked.add(command)
        try:
            await self.send(context, {**command, "MessageID": message_id}, data)
            while True:
                response = await self._wait_for(mailbox, timeout or self.timeouts.dimse)
                yield response
                if response.status not in PENDING:
                    return
        finally:
            self._asked.remove(message_id)

    async def cancel(self, context: Context, message_id: int) -> None:
        """Send C-CANCEL for a request of ours; its last response still comes."""
        command: Command = {"CommandField": Operation.C_CANCEL, "MessageIDBeingRespondedTo": message_id}
        await self.send(context, command)

    async def release(self) -> None:
        """Release the association (PS3.8 7.2) and close the socket; nothing happens when it has ended."""
        try:
            if not self._is_ended and not self._release_requested:
                await self._request_release()
            done, _ = await asyncio.wait([self._reader], timeout=self.timeouts.acse)
        except BaseException:
            # Cancelled: the socket is closed nevertheless.
            self._abort_soon(pdu.abort(0, 0), AssociationAborted("the release was given up"))
            raise
        if not done:
            logger.info("%r: no answer to A-RELEASE-RQ", self)
            self._abort_soon(pdu.abort(0, 0), PeerTimeout("the peer did not answer A-RELEASE-RQ"))
        await self._ended()

    async def abort(self, source: int = 0, reason: int = 0) -> None:
        """Abort the association (PS3.8 7.3) and close the socket; nothing happens when it has ended."""
        self._abort_soon(pdu.abort(source, reason), AssociationAborted("the association was aborted on this side"))
        await self._ended()

    def give_up(self) -> None:
        """Begin to abort it, since its peer is too slow."""
        self._abort_soon(pdu.abort(2, 0), PeerTimeout("the peer was too slow, and others waited"))

    async def _request_release(self) -> None:
        self._release_requested = True
        # What the peer still says is not wanted any more; it must not keep its answer from being read.
        self._served.clear()
        self._asked.close(self._reason_of_end())
        self._incoming.end(self._reason_of_end())
        async with self._outgoing.lock:
            if not self._is_ended:
                self._connection.write_soon([pdu.RELEASE_REQUEST])

    async def _ended(self) -> None:
        """Wait until the reader has closed the socket, which it does within seconds."""
        if asyncio.current_task() is not self._reader:
            await asyncio.wait([self._reader])

    def _abort_soon(self, farewell: bytes, error: AssociationAborted) -> None:
        self._end(error, farewell)
        self._reader.cancel()

    def _end(self, error: AssociationAborted | None, farewell: bytes = b"") -> None:
        """Let everybody know that nothing more comes, the peer by a last PDU; only the first call counts."""
        if self._is_ended:
            return
        self._is_ended = True
        self._error = error
        reason = self._reason_of_end()
        self._served.close(error)
        self._incoming.end(reason)
        self._outgoing.end(reason)
        self._asked.close(reason)
        if farewell:
            self._connection.write_soon([farewell])

    def _reason_of_end(self) -> AssociationAborted:
        return copy(self._error) if self._error else AssociationAborted("the association was released")

    async def _broken(self, error: AssociationAborted) -> AssociationAborted:
        """End after sending failed; return why it failed, as the peer says if it has said so."""
        if isinstance(error, PeerTimeout):
            self._abort_soon(pdu.abort(2, 0), error)
        await asyncio.wait([self._reader], timeout=1)
        self._abort_soon(pdu.abort(2, 0), error)
        return self._reason_of_end()

    async def _wait_for(self, mailbox: Mailbox[Message], seconds: float) -> Message:
        waiting_since = self._loop.time()
        while True:
            left = max(self._connection.last_active, waiting_since) + seconds - self._loop.time()
            try:
                async with asyncio.timeout(max(left, 0.001)):
                    response = await mailbox.get()
            except TimeoutError:
                if self._loop.time() - self._connection.last_active < seconds:
                    continue
                error = PeerTimeout(f"no response for {seconds:g} seconds")
                self._abort_soon(pdu.abort(0, 0), error)
                await self._ended()
                raise self._reason_of_end() from None
            if response is None:
                raise self._reason_of_end()
            return response

    def _handled(self) -> None:
        """Count the time of the peer from here: until now it waited for us."""
        self._connection.last_active = self._loop.time()

    async def _run(self, early: Iterable[Pdu | Fragment]) -> None:
        """Read until the end, then close."""
        has_aborted = True
        try:
            await self._read(early)
            has_aborted = False
        except ProtocolError as error:
            logger.warning("%r: %s; aborted", self, error)
            self._end(error, pdu.abort(2, error.reason))
        except PeerTimeout as error:
            logger.info("%r: %s; aborted", self, error)
            self._end(error, pdu.abort(2, 0))
        except AssociationAborted as error:
            has_aborted = False
            self._end(error)
        except Exception:
            logger.exception("%r: failed; aborted", self)
            self._end(AssociationAborted("the association failed on this side"), pdu.abort(2, 0))
        finally:
            self._end(AssociationAborted("the association was cancelled"), pdu.abort(0, 0))
            await self._connection.close(linger=has_aborted)

    async def _read(self, early: Iterable[Pdu | Fragment]) -> None:
        items = early
        while True:
            for item in items:
                if isinstance(item, Fragment):
                    await self._take_fragment(item)
                elif await self._take_pdu(item):
                    return
                if not self._incoming.is_within_command:
                    self._patience.whole()
            if self._incoming.data is not None:
                await self._room(self._incoming.data)
            chunk = await self._chunk()
            if not chunk:
                raise AssociationAborted("the peer closed the connection")
            items = self._parser.feed(chunk)

    async def _room(self, data: DataSet) -> None:
        if self._response is None:
            await data.room()
        elif data.size > LONGEST_RESPONSE:
            raise ProtocolError(f"a response with a data set of more than {LONGEST_RESPONSE} bytes")

    async def _chunk(self) -> bytes:
        """Return what comes next; in the middle of a message soon, otherwise whenever it does."""
        if self._incoming.data is not None:
            return await self._patience.read_data()
        if self._incoming.is_within_command or self._parser.is_within_pdu:
            return await self._patience.read_command()
        return await self._patience.read_next()

    async def _take_pdu(self, item: Pdu) -> bool:
        """Do what a PDU asks for; return whether it is the last one (PS3.8 Table 9-10)."""
        if item.type is PduType.A_ABORT:
            raise AssociationAborted(why_aborted(item.body))
        if item.type is PduType.A_RELEASE_RQ and not self._incoming.is_within_message:
            return await self._take_release_request()
        if item.type is PduType.A_RELEASE_RP and self._release_requested:
            self._end(None)
            if self._release_collided:
                self._connection.write_soon([pdu.RELEASE_RESPONSE])
                await self._linger()
            return True
        raise ProtocolError(f"{item.type.name} where it has no meaning", pdu.UNEXPECTED_PDU)

    async def _take_release_request(self) -> bool:
        if self._release_requested:
            # Both asked: the requestor answers now, the acceptor when it has its answer (PS3.8 7.2.2.7).
            if self.is_requestor:
                self._connection.write_soon([pdu.RELEASE_RESPONSE])
            self._release_collided = not self.is_requestor
            return False
        await self._served.settle()
        async with self._outgoing.lock:
            self._end(None, pdu.RELEASE_RESPONSE)
        await self._linger()
        return True

    async def _linger(self) -> None:
        """Let the peer close first, so that our last PDU reaches it."""
        await self._connection.wait_closed_by_peer(min(LINGER, self.timeouts.acse))

    async def _take_fragment(self, fragment: Fragment) -> None:
        message = self._incoming.feed(fragment)
        if message is not None:
            if is_response(message.command):
                self._take_response(message)
            elif is_cancel(message.command):
                message.discard()
                self._served.cancel(message.message_id)
            else:
                await self._take_request(message)
        if self._response is not None and not self._incoming.is_within_message:
            (response, mailbox), self._response = self._response, None
            await mailbox.put(response)

    def _take_response(self, response: Message) -> None:
        mailbox = self._asked.who_waits_for(response)
        if mailbox is None:
            logger.info("%r: a response to message %d, which nobody waits for", self, response.message_id)
            response.discard()
        else:
            self._response = response, mailbox

    async def _take_request(self, request: Message) -> None:
        if "MessageID" not in request.command:
            raise ProtocolError("a request without Message ID", pdu.INVALID_VALUE)
        if self._release_requested:
            request.discard()
            return
        await self._served.put(request)
