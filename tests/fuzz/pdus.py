"""DIMSE as bytes on a connection: PDUs, command sets and data sets, changed."""

import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from dicomweb.dimse.command_set import Operation, encode
from dicomweb.dimse.negotiation import ProposedContext
from dicomweb.dimse.pdu import RELEASE_REQUEST, Packer
from tests.builders import dataset_only
from tests.dicomweb.dimse.peers import (
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    VERIFICATION,
    request_pdu,
)
from tests.fuzz.mutation import BYTES, NUMBERS, TEXTS, mutated
from tests.fuzz.target import Fault, Target
from tests.fuzz.uids import image, uid

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
WORKLIST = "1.2.840.10008.5.1.4.31"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
CLASSES = (
    VERIFICATION,
    CT_IMAGE_STORAGE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    STORAGE_COMMITMENT,
    WORKLIST,
    PERFORMED_STEP,
)
CONTEXTS = tuple(
    ProposedContext(2 * place + 1, name, (EXPLICIT if name == CT_IMAGE_STORAGE else IMPLICIT,))
    for place, name in enumerate(CLASSES)
)
ENDS_WITHIN = 60.0
"""Seconds in which the server is to end a connection on which nothing more will come."""


def element(tag: int, value: bytes) -> bytes:
    """Write an element in Implicit VR Little Endian."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def identifier(chance: random.Random, level: bytes) -> bytes:
    """Write a query."""
    name = chance.choice((b"*", b"DOE*", b"", b"\\", *(text.encode("utf-8", "replace") for text in TEXTS[:12])))
    date = chance.choice((b"", b"20240101-", b"-", b"2024010120240101-2024", b"x"))
    return (
        element(0x00080005, b"ISO_IR 192")
        + element(0x00080020, date)
        + element(0x00080052, level)
        + element(0x00100010, name)
        + element(0x0020000D, chance.choice((b"", b"1.2.3", b"1.2.3\\1.2.4", b"*", uid(chance).encode())))
    )


def message(context_id: int, command: dict[str, object], data: bytes | None, length: int = 4096) -> bytes:
    """Write a message as PDUs with at most `length` bytes in each."""
    command_set = encode({**command, "CommandDataSetType": 0x0101 if data is None else 1})  # type: ignore[dict-item]
    return _packed(context_id, command_set, length, is_command=True) + (
        b"" if data is None else _packed(context_id, data, length, is_command=False)
    )


def _packed(context_id: int, data: bytes, length: int, *, is_command: bool) -> bytes:
    packer = Packer(context_id, length, is_command=is_command)
    return b"".join(b"".join(buffers) for buffers in packer.add(data)) + b"".join(packer.finish())


def _echo(_: random.Random) -> tuple[dict[str, object], bytes | None]:
    return {"CommandField": Operation.C_ECHO}, None


def _store(chance: random.Random) -> tuple[dict[str, object], bytes]:
    instance = uid(chance)
    data = dataset_only(image(chance, SOPInstanceUID=instance))
    command = {"CommandField": Operation.C_STORE, "AffectedSOPInstanceUID": instance, "Priority": 0}
    return command, mutated(chance, data, head=len(data)) if chance.random() < 0.5 else data


def _find(chance: random.Random) -> tuple[dict[str, object], bytes]:
    level = chance.choice((b"STUDY ", b"SERIES", b"IMAGE ", b"PATIENT ", b"", b"xx"))
    return {"CommandField": Operation.C_FIND, "Priority": 0}, _maybe(chance, identifier(chance, level))


def _get(chance: random.Random) -> tuple[dict[str, object], bytes]:
    data = element(0x00080052, b"STUDY ") + element(0x0020000D, uid(chance).encode())
    return {"CommandField": Operation.C_GET, "Priority": 0}, _maybe(chance, data)


def _move(chance: random.Random) -> tuple[dict[str, object], bytes]:
    command, data = _get(chance)
    destination = chance.choice(("NOBODY", "", "x" * 16))
    return command | {"CommandField": Operation.C_MOVE, "MoveDestination": destination}, data


def _commit(chance: random.Random) -> tuple[dict[str, object], bytes]:
    item = element(0x00081150, CT_IMAGE_STORAGE.encode()) + element(0x00081155, uid(chance).encode())
    items = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    data = element(0x00081195, uid(chance).encode()) + element(0x00081199, items * chance.choice((1, 1, 300)))
    command = {"CommandField": Operation.N_ACTION, "ActionTypeID": 1}
    return command | {"RequestedSOPInstanceUID": "1.2.840.10008.1.20.1.1"}, _maybe(chance, data)


def _step(chance: random.Random) -> tuple[dict[str, object], bytes]:
    data = element(0x00080060, b"CT") + element(0x00400252, b"IN PROGRESS ") + element(0x00400253, b"S1")
    return {"CommandField": Operation.N_CREATE, "AffectedSOPInstanceUID": uid(chance)}, _maybe(chance, data)


def _maybe(chance: random.Random, data: bytes) -> bytes:
    return mutated(chance, data, head=len(data)) if chance.random() < 0.4 else data


_REQUESTS = (_echo, _store, _find, _get, _move, _commit, _find, _step)
"""One for each of `CLASSES`."""


def asked(chance: random.Random, number: int) -> bytes:
    """Write a request on the context of one of the classes, or on another."""
    kind = chance.randrange(len(CLASSES))
    command, data = _REQUESTS[kind](chance)
    named = "RequestedSOPClassUID" if command["CommandField"] == Operation.N_ACTION else "AffectedSOPClassUID"
    command |= {named: CLASSES[kind], "MessageID": number}
    if chance.random() < 0.2:
        command |= {chance.choice(("MessageID", "CommandField", "Priority")): chance.choice(NUMBERS) & 0xFFFF}
    if chance.random() < 0.1:
        data = None if data else b"\0" * 10
    context = 2 * kind + 1 if chance.random() < 0.95 else chance.randrange(256)
    return message(context, command, data, chance.choice((16, 100, 4096, 4096, 65536)))


def make(chance: random.Random) -> bytes:
    """Make everything that a peer says on a connection."""
    sent = request_pdu(called_ae_title="DICOMWEB", contexts=CONTEXTS)
    if chance.random() < 0.3:
        sent = mutated(chance, sent)
    for number in range(chance.choice((0, 1, 1, 2, 4))):
        said = asked(chance, number + 1)
        sent += mutated(chance, said) if chance.random() < 0.4 else said
    if chance.random() < 0.1:
        sent += bytes([chance.choice(BYTES)]) * chance.choice((1, 9, 9000))
    return sent + (RELEASE_REQUEST if chance.random() < 0.8 else b"")


def send(target: Target, data: bytes) -> str:
    """Say it and listen to the end.

    Raises
    ------
    Fault
        The server does not end the connection.
    """
    heard = b""
    with socket.create_connection(("127.0.0.1", target.server.dimse_port), timeout=ENDS_WITHIN) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        try:
            while chunk := connection.recv(1 << 16):
                heard = (heard + chunk)[-64:] if heard else chunk
        except TimeoutError:
            raise Fault(f"the connection is open {ENDS_WITHIN:.0f} s after everything was said") from None
        except ConnectionError:
            return "reset"
    return _ending(heard)


def _ending(heard: bytes) -> str:
    """Say what the last PDU was (PS3.8 9.3)."""
    if heard[-10:-4] == b"\x06\0\0\0\0\4":
        return "released"
    if heard[-10:-4] == b"\x07\0\0\0\0\4":
        return f"aborted, reason {heard[-1]}"
    return "rejected" if heard[-10:-4] == b"\x03\0\0\0\0\4" else "closed"


def _after_opening(data: bytes) -> Callable[[random.Random], bytes]:
    return lambda _: request_pdu(called_ae_title="DICOMWEB", contexts=CONTEXTS) + data


PINNED: dict[str, Callable[[random.Random], bytes]] = {
    "a verification": lambda _: _after_opening(
        message(1, {"CommandField": Operation.C_ECHO, "MessageID": 1}, None) + RELEASE_REQUEST
    )(_),
    "a fragment of 4 GB": _after_opening(b"\4\0\xff\xff\xff\xff\xff\xff\xff\xfb\1\3" + bytes(100_000)),
    "a proposal of 4 GB": lambda _: b"\1\0\xff\xff\xff\xff" + bytes(100_000),
    "a proposal of a megabyte of nothing": lambda _: b"\1\0\0\x10\0\0\0\1" + bytes((1 << 20) - 2),
    "ten thousand empty fragments": _after_opening(b"\4\0\0\0\0\6\0\0\0\2\1\1" * 10_000),
    "a command without an end": _after_opening(b"\4\0\0\1\0\0\0\0\xff\xfc\1\1".replace(b"\xff\xfc", b"\xff\xfc") * 50),
    "HTTP": lambda _: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "releases without an association": lambda _: RELEASE_REQUEST * 100,
}
