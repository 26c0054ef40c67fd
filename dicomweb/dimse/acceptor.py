"""The accepting side of opening an association (PS3.8 7.1, 9.2 Sta2, Sta3).

Facts this module keeps:

- A peer that says nothing is let go after the ACSE timeout (ARTIM, PS3.8 9.1.5); so is one that connects and closes,
  as port probes do, without a word in the log above DEBUG.
- A first PDU that is not A-ASSOCIATE-RQ, or that cannot be read, is answered with A-ABORT (PS3.8 Table 9-10, AA-1).
- A protocol version without bit 0 is rejected here (PS3.8 9.3.4) and told to the log; every other reason to reject is
  the application's, and so is what its log says of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from dicomweb.dimse import pdu
from dicomweb.dimse.associate import decode_request, encode_acceptance
from dicomweb.dimse.association import LINGER, Association
from dicomweb.dimse.connection import Connection
from dicomweb.dimse.errors import AssociationAborted, ProtocolError
from dicomweb.dimse.handshake import first_item
from dicomweb.dimse.message import Timeouts
from dicomweb.dimse.negotiation import (
    DEFAULT_MAX_PDU,
    IMPLEMENTATION,
    PROTOCOL_VERSION,
    SMALLEST_MAX_PDU,
    Acceptance,
    Implementation,
    Proposal,
    Rejection,
    shown_title,
    within,
)
from dicomweb.dimse.pdu import Parser, Pdu, PduType

logger = logging.getLogger(__name__)

PROTOCOL_VERSION_NOT_SUPPORTED = Rejection(1, 2, 2)


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a proposal comes from.

    Attributes
    ----------
    certificate : dict
        The peer's certificate as `ssl.SSLSocket.getpeercert` shows it; empty without one.
    """

    host: str
    port: int
    is_tls: bool = False
    certificate: dict[str, object] = field(default_factory=dict, compare=False, repr=False)


Negotiate = Callable[[Proposal, PeerAddress], Awaitable[Acceptance | Rejection]]


async def accept(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    negotiate: Negotiate,
    *,
    timeouts: Timeouts | None = None,
    max_pdu: int = DEFAULT_MAX_PDU,
    implementation: Implementation = IMPLEMENTATION,
) -> Association | None:
    """Answer the peer of a new connection.

    Parameters
    ----------
    reader, writer
        As `asyncio.start_server` gives them.
    negotiate : callable
        Decides on the proposal. What it grants beyond the proposal is not sent.
    max_pdu : int
        Longest P-DATA-TF that we ask the peer to send, in bytes; 0 is any.

    Returns
    -------
    Association or None
        None when there is no association: the peer was rejected, or what it sent was no proposal. The socket is then
        closed, as it is when `negotiate` raises or the task is cancelled.
    """
    timeouts = timeouts or Timeouts()
    connection = Connection(reader, writer, write_timeout=timeouts.write, least_rate=timeouts.least_rate)
    association = None
    has_aborted = False
    try:
        association = await _answer(connection, negotiate, timeouts, max_pdu, implementation)
    except ProtocolError as error:
        logger.info("%s:%d: %s; aborted", connection.host, connection.port, error)
        connection.write_soon([pdu.abort(2, error.reason)])
        has_aborted = True
    except AssociationAborted as error:
        logger.debug("%s:%d: %s", connection.host, connection.port, error)
    except Exception:
        connection.write_soon([pdu.abort(2, 0)])
        raise
    finally:
        if association is None:
            await connection.close(linger=has_aborted)
    return association


async def _answer(
    connection: Connection, negotiate: Negotiate, timeouts: Timeouts, max_pdu: int, implementation: Implementation
) -> Association | None:
    parser = Parser()
    first, *early = await first_item(connection, parser, timeouts.acse)
    proposal = _proposal(first)
    address = PeerAddress(connection.host, connection.port, connection.is_tls, connection.certificate)
    if proposal.protocol_version & PROTOCOL_VERSION:
        answer = await negotiate(proposal, address)
    else:
        answer = PROTOCOL_VERSION_NOT_SUPPORTED
        who = shown_title(proposal.calling_ae_title)
        logger.info("%s:%d (%s) rejected: protocol version not supported", connection.host, connection.port, who)
    if isinstance(answer, Rejection):
        await _reject(connection, answer, timeouts)
        return None
    acceptance = within(proposal, answer)
    encoded = encode_acceptance(proposal, acceptance, max_pdu=max_pdu, implementation=implementation)
    connection.write_soon([encoded])
    await connection.flush()
    return Association(
        connection,
        proposal,
        acceptance,
        is_requestor=False,
        peer_max_pdu=proposal.max_pdu,
        peer_implementation=Implementation(proposal.implementation_class_uid, proposal.implementation_version_name),
        timeouts=timeouts,
        parser=parser,
        early=early,
    )


def _proposal(first: object) -> Proposal:
    if not isinstance(first, Pdu):
        raise ProtocolError("P-DATA-TF before A-ASSOCIATE-RQ", pdu.UNEXPECTED_PDU)
    if first.type is PduType.A_ABORT:
        raise AssociationAborted("the peer aborted before it proposed anything")
    if first.type is not PduType.A_ASSOCIATE_RQ:
        raise ProtocolError(f"{first.type.name} before A-ASSOCIATE-RQ", pdu.UNEXPECTED_PDU)
    proposal = decode_request(first.body)
    if 0 < proposal.max_pdu < SMALLEST_MAX_PDU:
        raise ProtocolError(f"the peer takes PDUs of {proposal.max_pdu} bytes only", pdu.INVALID_VALUE)
    return proposal


async def _reject(connection: Connection, rejection: Rejection, timeouts: Timeouts) -> None:
    connection.write_soon([pdu.rejection(rejection.result, rejection.source, rejection.reason)])
    await connection.wait_closed_by_peer(min(LINGER, timeouts.acse))
