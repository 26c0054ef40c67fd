"""How an association fails to come about, or ends other than by release.

Facts this module keeps:

- Whoever uses an association sees nothing but these errors: no OSError, no TimeoutError, no error of a codec.
- The texts name what the peer said in the words of PS3.8 Tables 9-21 and 9-26 and never show data of a message.
"""

from typing import Final

REJECT_RESULTS: Final = {1: "rejected for good", 2: "rejected for now"}
"""Result of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

REJECT_REASONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""(source, reason) of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

ABORT_REASONS: Final = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
"""Reason of an A-ABORT whose source is the service provider (PS3.8 Table 9-26)."""


class AssociationError(Exception):
    """An association did not come about or has ended."""


class PeerUnreachable(AssociationError):
    """The TCP or TLS connection did not come about."""


class AssociationRejected(AssociationError):
    """The peer answered A-ASSOCIATE-RJ (PS3.8 9.3.4).

    Attributes
    ----------
    result, source, reason : int
        As in PS3.8 Table 9-21.
    """

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(result, source, reason)
        self.result = result
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        result = REJECT_RESULTS.get(self.result, f"rejected ({self.result})")
        reason = REJECT_REASONS.get((self.source, self.reason), f"source {self.source}, reason {self.reason}")
        return f"association {result}: {reason}"


class AssociationAborted(AssociationError):
    """The association ended without release: the peer aborted, the connection was lost, or the protocol was broken."""


class PeerTimeout(AssociationAborted):
    """Nothing came in time, or the peer did not take what we sent, so that we aborted."""


class ProtocolError(AssociationAborted):
    """The peer sent what PS3.8 does not allow here, so that we aborted.

    Attributes
    ----------
    reason : int
        Of the A-ABORT that answers it, as in PS3.8 Table 9-26.
    """

    def __init__(self, text: str, reason: int = 0) -> None:
        super().__init__(text, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


def why_aborted(body: bytes) -> str:
    """Say who ended an association and why, by the body of an A-ABORT (PS3.8 9.3.8)."""
    source, reason = (body[2], body[3]) if len(body) >= 4 else (0, 0)
    if source == 0:
        return "the peer aborted the association"
    return f"the peer's DICOM layer aborted the association: {ABORT_REASONS.get(reason, f'reason {reason}')}"
