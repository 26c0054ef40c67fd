"""PDUs as bytes, and a parser that takes a byte stream in any pieces (PS3.8 9.3, Annex E).

Facts this module keeps:

- A PDU is type, a reserved byte, a length of 32 bits, content; all big endian. A P-DATA-TF holds one or more PDVs:
  a length of 32 bits, the context id, the message control header, data (PS3.8 9.3.5).
- Message control header: bit 0 says command (1) or data set (0), bit 1 says last fragment (PS3.8 E.2).
- P-DATA is never put together: a PDV comes out of the parser in as many pieces as it came in, so a PDU that claims
  4 GB costs nothing. Any other PDU is kept whole and may have `LONGEST_PDU` bytes.
- Nothing here knows sockets or time.
"""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dicomweb.dimse.errors import ProtocolError

LONGEST_PDU: Final = 1 << 20
"""Longest PDU that is not P-DATA-TF, in bytes."""

LONGEST_FRAGMENT: Final = 256 << 10
"""Longest PDV we send to a peer that takes any, in bytes."""

PDV_OVERHEAD: Final = 6
"""What a PDV adds to its data, in bytes; it counts towards the maximum length of the peer (PS3.8 D.1)."""

_HEADER = struct.Struct(">BxI")
_HEADER_LENGTH: Final = 6
"""Of a PDU and of a PDV, in bytes."""
_PDV = struct.Struct(">IBB")
_PDU_AND_PDV = struct.Struct(">BxIIBB")
_COMMAND: Final = 0x01
_LAST: Final = 0x02

UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_VALUE: Final = 6


class PduType(IntEnum):
    """First byte of a PDU (PS3.8 9.3)."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


_TYPES: Final = {int(kind): kind for kind in PduType}

RELEASE_REQUEST: Final = _HEADER.pack(PduType.A_RELEASE_RQ, 4) + bytes(4)
RELEASE_RESPONSE: Final = _HEADER.pack(PduType.A_RELEASE_RP, 4) + bytes(4)


def abort(source: int, reason: int) -> bytes:
    """Write an A-ABORT (PS3.8 9.3.8)."""
    return _HEADER.pack(PduType.A_ABORT, 4) + bytes([0, 0, source, reason])


def rejection(result: int, source: int, reason: int) -> bytes:
    """Write an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _HEADER.pack(PduType.A_ASSOCIATE_RJ, 4) + bytes([0, result, source, reason])


@dataclass(frozen=True, slots=True)
class Pdu:
    """A PDU that is not P-DATA-TF, without its header of six bytes."""

    type: PduType
    body: bytes


@dataclass(slots=True)
class Fragment:
    """A piece of the data of a PDV.

    Attributes
    ----------
    is_last : bool
        Whether the command or data set ends with this piece.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


def fragment_length(max_pdu: int) -> int:
    """Return how much data one PDV may have for a peer that takes `max_pdu` bytes (0: any), an even number."""
    limit = max_pdu - PDV_OVERHEAD if max_pdu else LONGEST_FRAGMENT
    return min(limit, LONGEST_FRAGMENT) & ~1


def p_data(context_id: int, length: int, *, is_command: bool, is_last: bool) -> bytes:
    """Write what stands before the data in a P-DATA-TF with one PDV of `length` bytes."""
    control = (_COMMAND if is_command else 0) | (_LAST if is_last else 0)
    return _PDU_AND_PDV.pack(PduType.P_DATA_TF, length + PDV_OVERHEAD, length + 2, context_id, control)


class Packer:
    """Cuts a command set or a data set into P-DATA-TF PDUs of one PDV each.

    Parameters
    ----------
    limit : int
        How much data one PDV may have, in bytes: see `fragment_length`.
    """

    def __init__(self, context_id: int, limit: int, *, is_command: bool) -> None:
        self._context_id = context_id
        self._limit = limit
        self._is_command = is_command
        self._parts: deque[memoryview] = deque()
        self._size = 0

    def add(self, chunk: bytes | memoryview) -> Iterator[list[bytes | memoryview]]:
        """Yield the PDUs that are full; each as buffers, the data not copied."""
        self._parts.append(memoryview(chunk))
        self._size += len(chunk)
        # The last PDU has to say that it is the last, so there is always one left.
        while self._size > self._limit:
            yield self._pdu(self._limit, is_last=False)

    def finish(self) -> list[bytes | memoryview]:
        """Return the last PDU as buffers."""
        return self._pdu(self._size, is_last=True)

    def _pdu(self, length: int, *, is_last: bool) -> list[bytes | memoryview]:
        self._size -= length
        buffers: list[bytes | memoryview] = [
            p_data(self._context_id, length, is_command=self._is_command, is_last=is_last)
        ]
        while length:
            part = self._parts.popleft()
            if len(part) > length:
                self._parts.appendleft(part[length:])
                part = part[:length]
            length -= len(part)
            buffers.append(part)
        return buffers


class Parser:
    """Takes the bytes of a connection as they come and gives out what they say."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._body = bytearray()
        self._type: PduType | None = None
        self._pdu_left = 0
        self._in_pdv = False
        self._pdv_left = 0
        self._context_id = 0
        self._control = 0

    @property
    def is_within_pdu(self) -> bool:
        """Whether the bytes so far end within a PDU."""
        return self._type is not None or bool(self._header)

    def feed(self, chunk: bytes) -> Iterator[Pdu | Fragment]:
        """Yield what `chunk` says. Exhaust it before the next one; fragments are views of `chunk`.

        Raises
        ------
        ProtocolError
            The bytes are no PDUs.
        """
        view = memoryview(chunk)
        at = 0
        while at < len(view):
            if self._in_pdv:
                taken = min(self._pdv_left, len(view) - at)
                yield self._fragment(view[at : at + taken])
            elif self._type is None or self._type is PduType.P_DATA_TF:
                taken = min(_HEADER_LENGTH - len(self._header), len(view) - at)
                self._header += view[at : at + taken]
                yield from self._begin()
            else:
                taken = min(self._pdu_left, len(view) - at)
                self._body += view[at : at + taken]
                self._pdu_left -= taken
                yield from self._whole()
            at += taken

    def _begin(self) -> Iterator[Pdu | Fragment]:
        """Begin the PDU or PDV whose header is complete; yield it if it is complete, too."""
        if len(self._header) < _HEADER_LENGTH:
            return
        if self._type is None:
            kind, length = _HEADER.unpack(self._header)
            self._begin_pdu(kind, length)
            self._header.clear()
            yield from self._whole()
            return
        length, self._context_id, self._control = _PDV.unpack(self._header)
        self._header.clear()
        if length < 2 or length + 4 > self._pdu_left:
            raise ProtocolError(f"a PDV of {length} bytes in {self._pdu_left} bytes of P-DATA-TF", INVALID_VALUE)
        self._pdu_left -= _HEADER_LENGTH
        self._pdv_left = length - 2
        self._in_pdv = True
        if not self._pdv_left:
            yield self._fragment(memoryview(b""))

    def _begin_pdu(self, kind: int, length: int) -> None:
        if kind not in _TYPES:
            raise ProtocolError(f"a PDU of type {kind:02X}", UNRECOGNIZED_PDU)
        self._type = _TYPES[kind]
        self._pdu_left = length
        is_data = self._type is PduType.P_DATA_TF
        if (is_data and length < _HEADER_LENGTH) or (not is_data and length > LONGEST_PDU):
            raise ProtocolError(f"{self._type.name} of {length} bytes", INVALID_VALUE)

    def _whole(self) -> Iterator[Pdu]:
        if self._type is not None and not self._pdu_left:
            yield Pdu(self._type, bytes(self._body))
            self._body.clear()
            self._type = None

    def _fragment(self, data: memoryview) -> Fragment:
        """Return a piece of the present PDV; after its last one go on to the next PDV or PDU."""
        self._pdv_left -= len(data)
        self._pdu_left -= len(data)
        if not self._pdv_left:
            self._in_pdv = False
            if not self._pdu_left:
                self._type = None
            elif self._pdu_left < _HEADER_LENGTH:
                raise ProtocolError("bytes after the last PDV of a P-DATA-TF", INVALID_VALUE)
        is_last = not self._in_pdv and bool(self._control & _LAST)
        return Fragment(self._context_id, bool(self._control & _COMMAND), is_last, data)
