"""The requesting side of opening an association (PS3.8 7.1, 9.2 Sta4, Sta5).

Facts this module keeps:

- At most 128 presentation contexts, ids 1, 3, 5, ... 255 in the order given (checklist G-008; PS3.8 9.3.2.2).
- No asynchronous operations window is offered: one operation at a time each way (PS3.7 D.3.3.3).
- Whatever goes wrong, the socket is closed when the error comes.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicomweb.dimse import pdu
from dicomweb.dimse.associate import decode_acceptance, encode_request
from dicomweb.dimse.association import Association
from dicomweb.dimse.connection import READ_LIMIT, Connection
from dicomweb.dimse.errors import AssociationAborted, AssociationRejected, PeerTimeout, PeerUnreachable, ProtocolError
from dicomweb.dimse.handshake import first_item
from dicomweb.dimse.message import Timeouts
from dicomweb.dimse.negotiation import (
    DEFAULT_MAX_PDU,
    IMPLEMENTATION,
    SMALLEST_MAX_PDU,
    Answer,
    Implementation,
    Proposal,
    ProposedContext,
    UserIdentity,
)
from dicomweb.dimse.pdu import Parser, Pdu, PduType
from storage.system.errors import in_words

MOST_CONTEXTS: Final = 128
"""How many presentation contexts one association can have."""


@dataclass(frozen=True)
class Address:
    """Where a peer listens.

    Attributes
    ----------
    tls : ssl.SSLContext or None
        Without one the connection is not encrypted.
    """

    host: str
    port: int
    ae_title: str
    tls: ssl.SSLContext | None = None


async def connect(
    address: Address,
    *,
    calling_ae_title: str,
    contexts: Sequence[tuple[str, Sequence[str]]],
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    extended: Mapping[str, bytes] | None = None,
    common_extended: Mapping[str, tuple[str, tuple[str, ...]]] | None = None,
    identity: UserIdentity | None = None,
    timeouts: Timeouts | None = None,
    max_pdu: int = DEFAULT_MAX_PDU,
    implementation: Implementation = IMPLEMENTATION,
) -> Association:
    """Open an association.

    Parameters
    ----------
    contexts : sequence of (str, sequence of str)
        Abstract syntax and the transfer syntaxes offered for it; 1 to 128 of them.
    roles : mapping, optional
        SOP class -> whether we want to be SCU, SCP; proposed only for those named.
    extended : mapping, optional
        SOP class -> application information.
    common_extended : mapping, optional
        SOP class -> its service class and related general SOP classes.
    max_pdu : int
        Longest P-DATA-TF that we ask the peer to send, in bytes; 0 is any.

    Raises
    ------
    PeerUnreachable
        No TCP or TLS connection.
    AssociationRejected
        The peer does not want it.
    PeerTimeout
        The peer did not answer.
    AssociationAborted
        The peer aborted, or answered what cannot be read.
    ValueError
        The proposal cannot be written: too many contexts, an AE title of more than 16 characters, and so on.
    """
    if not 0 < len(contexts) <= MOST_CONTEXTS:
        raise ValueError(f"{len(contexts)} presentation contexts: 1 to {MOST_CONTEXTS} are possible")
    proposal = Proposal(
        calling_ae_title.strip(),
        address.ae_title.strip(),
        tuple(ProposedContext(2 * at + 1, uid, tuple(offered)) for at, (uid, offered) in enumerate(contexts)),
        roles=dict(roles or {}),
        extended=dict(extended or {}),
        common_extended=dict(common_extended or {}),
        identity=identity,
        max_pdu=max_pdu,
        implementation_class_uid=implementation.class_uid,
        implementation_version_name=implementation.version_name,
    )
    encoded = encode_request(proposal)
    timeouts = timeouts or Timeouts()
    streams = await _opened(address, timeouts.connect)
    connection = Connection(*streams, write_timeout=timeouts.write, least_rate=timeouts.least_rate)
    association = None
    try:
        association = await _propose(connection, proposal, encoded, timeouts)
    except PeerTimeout:
        connection.write_soon([pdu.abort(0, 0)])
        raise
    except ProtocolError as error:
        connection.write_soon([pdu.abort(2, error.reason)])
        raise
    finally:
        if association is None:
            await connection.close()
    return association


async def _opened(address: Address, seconds: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = f"{address.ae_title} at {address.host}:{address.port}"
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.open_connection(address.host, address.port, ssl=address.tls, limit=READ_LIMIT)
    except TimeoutError:
        raise PeerUnreachable(f"{where} did not answer within {seconds:g} seconds") from None
    except (OSError, UnicodeError, OverflowError) as error:
        raise PeerUnreachable(f"{where} cannot be reached: {in_words(error)}") from error


async def _propose(connection: Connection, proposal: Proposal, encoded: bytes, timeouts: Timeouts) -> Association:
    parser = Parser()
    connection.write_soon([encoded])
    await connection.flush()
    first, *early = await first_item(connection, parser, timeouts.acse)
    answer = _answer(first)
    return Association(
        connection,
        proposal,
        answer.acceptance,
        is_requestor=True,
        peer_max_pdu=answer.max_pdu,
        peer_implementation=Implementation(answer.implementation_class_uid, answer.implementation_version_name),
        timeouts=timeouts,
        parser=parser,
        early=early,
    )


def _answer(first: object) -> Answer:
    if not isinstance(first, Pdu):
        raise ProtocolError("P-DATA-TF before A-ASSOCIATE-AC", pdu.UNEXPECTED_PDU)
    if first.type is PduType.A_ASSOCIATE_RJ:
        result, source, reason = first.body[1:4].ljust(3, b"\0")
        raise AssociationRejected(result, source, reason)
    if first.type is PduType.A_ABORT:
        raise AssociationAborted("the peer aborted instead of answering the proposal")
    if first.type is not PduType.A_ASSOCIATE_AC:
        raise ProtocolError(f"{first.type.name} before A-ASSOCIATE-AC", pdu.UNEXPECTED_PDU)
    answer = decode_acceptance(first.body)
    if 0 < answer.max_pdu < SMALLEST_MAX_PDU:
        raise ProtocolError(f"the peer takes PDUs of {answer.max_pdu} bytes only", pdu.INVALID_VALUE)
    return answer
