"""A gateway in this process on a free port, and a client of our own protocol package that talks to it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Command, Operation
from dicomweb.dimse.message import Message
from dicomweb.dimse.requestor import Address, connect
from dicomweb.gateway.commitment_delivery import Delivery
from dicomweb.gateway.gateway import Gateway
from dicomweb.gateway.server import Server
from dicomweb.process.listener import DIMSE, DIMSE_TLS
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.dicom.transfer_syntax import EXPLICIT_LE, IMPLICIT_LE
from tests.builders import dataset_only, sop_instance_uid

ECHO = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS: Sequence[tuple[str, Sequence[str]]] = [(ECHO, [IMPLICIT_LE]), (CT, [EXPLICIT_LE])]


@dataclass
class Serving:
    """A gateway that serves.

    Attributes
    ----------
    port : int
        Where it listens on the loopback interface.
    """

    gateway: Gateway
    server: Server
    port: int

    async def open(
        self, contexts: Sequence[tuple[str, Sequence[str]]] = CONTEXTS, *, calling: str = "CT1", **more: Any
    ) -> Association:
        """Open an association with it; the caller releases or aborts it."""
        tls: ssl.SSLContext | None = more.pop("tls", None)
        called = more.pop("called", "DICOMWEB")
        address = Address("127.0.0.1", self.port, called, tls)
        return await connect(address, calling_ae_title=calling, contexts=contexts, **more)


@asynccontextmanager
async def serving(
    archive: Archive, *, tls: ssl.SSLContext | None = None, delivers: bool = False, **settings: Any
) -> AsyncIterator[Serving]:
    """Serve an archive over DIMSE.

    Parameters
    ----------
    tls : ssl.SSLContext, optional
        Serve over TLS with it.
    delivers : bool
        Whether storage commitments are worked on.
    settings
        Those that are not the defaults.
    """
    gateway = Gateway(archive, Settings(**settings), archive.peers)
    delivery = Delivery(gateway) if delivers else None
    server = Server(gateway, delivery.opened) if delivery else Server(gateway)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await server.start({DIMSE_TLS if tls else DIMSE: listener}, tls)
    running = asyncio.create_task(delivery.run()) if delivery else None
    try:
        yield Serving(gateway, server, port)
    finally:
        if running:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await server.stop(1, asyncio.Event())


@asynccontextmanager
async def listening(archive: Archive, **options: Any) -> AsyncIterator[int]:
    """As `serving`, for those who want to know the port alone."""
    async with serving(archive, **options) as served:
        yield served.port


async def echo(association: Association) -> int:
    """Send a C-ECHO; the status of its answer."""
    context = association.context_for(ECHO)
    assert context is not None
    answer = await association.request(context, {"CommandField": Operation.C_ECHO, "AffectedSOPClassUID": ECHO})
    return answer.status


async def store(association: Association, part10_file: bytes, **changed: Any) -> Message:
    """Send the data set of a file; `sop_class`, `data` and fields of the command can be given instead."""
    sop_class = changed.pop("sop_class", CT)
    data = changed.pop("data", dataset_only(part10_file) if part10_file else None)
    context = association.context_for(sop_class)
    assert context is not None
    command: Command = {
        "CommandField": Operation.C_STORE,
        "AffectedSOPClassUID": sop_class,
        "AffectedSOPInstanceUID": sop_instance_uid(part10_file) if part10_file else "1.2.3",
        "Priority": 0,
    }
    return await association.request(context, {**command, **changed}, data)
