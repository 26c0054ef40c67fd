"""Peers for tests of the upper layer: an acceptor of ours, pynetdicom in threads, and bare sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE

from dicomweb.dimse.acceptor import PeerAddress, accept
from dicomweb.dimse.associate import encode_request
from dicomweb.dimse.association import Association, Timeouts
from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.connection import READ_LIMIT
from dicomweb.dimse.errors import AssociationAborted
from dicomweb.dimse.negotiation import (
    IMPLEMENTATION,
    Acceptance,
    ContextAnswer,
    Proposal,
    ProposedContext,
    Rejection,
)
from dicomweb.dimse.requestor import Address, connect

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = [(CT_IMAGE_STORAGE, [EXPLICIT]), (VERIFICATION, [IMPLICIT, EXPLICIT]), (STUDY_ROOT_FIND, [IMPLICIT])]

ECHO = {"CommandField": Operation.C_ECHO, "AffectedSOPClassUID": VERIFICATION}
STORE = {
    "CommandField": Operation.C_STORE,
    "AffectedSOPClassUID": CT_IMAGE_STORAGE,
    "AffectedSOPInstanceUID": "2.25.1",
    "Priority": 0,
}
FIND = {"CommandField": Operation.C_FIND, "AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}

PATIENT = Timeouts(connect=60.0, acse=60.0, dimse=60.0, idle=60.0, write=60.0)
"""Timeouts that end a test that hangs."""

Handle = Callable[[Association], Awaitable[None]]
Negotiate = Callable[[Proposal, PeerAddress], Awaitable[Acceptance | Rejection]]


async def accept_all(proposal: Proposal, address: PeerAddress) -> Acceptance:
    """Accept every context with its first transfer syntax, every role, and every extended negotiation as offered."""
    answers = [ContextAnswer(context.id, 0, context.transfer_syntaxes[0]) for context in proposal.contexts]
    return Acceptance(answers, dict(proposal.roles), dict(proposal.extended), b"")


async def answer_all(association: Association) -> None:
    """Answer every request with success, its data set dropped."""
    async for message in association.messages():
        await association.respond(message, 0)


@dataclass
class Acceptor:
    """What an acceptor of ours saw."""

    port: int = 0
    proposals: list[Proposal] = field(default_factory=list)
    addresses: list[PeerAddress] = field(default_factory=list)
    associations: list[Association] = field(default_factory=list)
    errors: list[AssociationAborted] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address("127.0.0.1", self.port, "ACCEPTOR")

    async def connect(self, **options: Any) -> Association:
        """Open an association to it."""
        return await connect(
            self.address, **{"calling_ae_title": "SCU", "contexts": CONTEXTS, "timeouts": PATIENT} | options
        )

    async def done(self) -> None:
        """Wait until all its associations have ended."""
        while self.tasks:
            await asyncio.wait(self.tasks, timeout=30)


@asynccontextmanager
async def acceptor(
    handle: Handle = answer_all, negotiate: Negotiate = accept_all, *, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Acceptor]:
    """Listen on a free port and give each association to `handle`."""
    seen = Acceptor()

    async def noting(proposal: Proposal, address: PeerAddress) -> Acceptance | Rejection:
        seen.proposals.append(proposal)
        seen.addresses.append(address)
        return await negotiate(proposal, address)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.tasks.add(task)
        try:
            association = await accept(reader, writer, noting, **{"timeouts": PATIENT} | options)
            if association is not None:
                seen.associations.append(association)
                seen.accepted.set()
                async with association:
                    await handle(association)
        except AssociationAborted as error:
            seen.errors.append(error)
        except asyncio.CancelledError:
            pass
        finally:
            seen.tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=READ_LIMIT, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(seen.tasks):
            task.cancel()
        await seen.done()


@contextmanager
def pynetdicom_acceptor(ae: AE, handlers: list[Any], **options: Any) -> Iterator[Address]:
    """Let pynetdicom listen on a free port."""
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, **options)
    try:
        yield Address("127.0.0.1", server.socket.getsockname()[1], ae.ae_title)
    finally:
        server.shutdown()


def request_pdu(**fields: Any) -> bytes:
    """Return an A-ASSOCIATE-RQ for verification and CT storage."""
    contexts = (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CT_IMAGE_STORAGE, (EXPLICIT,)))
    defaults: dict[str, Any] = {
        "calling_ae_title": "RAW",
        "called_ae_title": "ACCEPTOR",
        "contexts": contexts,
        "implementation_class_uid": IMPLEMENTATION.class_uid,
        "implementation_version_name": "RAW",
    }
    return encode_request(Proposal(**defaults | fields))


async def read_pdu(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return type and body of the next PDU, (0, b"") at the end."""
    try:
        header = await asyncio.wait_for(reader.readexactly(6), 30)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    return header[0], await asyncio.wait_for(reader.readexactly(int.from_bytes(header[2:], "big")), 30)
