"""What a data set may cost: bombs, long lists, and the others on the gateway meanwhile."""

import asyncio
import struct
import threading
import zlib
from collections.abc import AsyncIterator

import pytest

from dicomweb.dimse.command_set import Command, Operation
from dicomweb.gateway import decoding
from dicomweb.gateway.retrieve_scp import STUDY_ROOT_MOVE
from dicomweb.scu.commitment_data_set import SOP_CLASS as COMMITMENT
from dicomweb.scu.commitment_data_set import SOP_INSTANCE, write_request
from storage.archive import Archive
from storage.dicom import data_set
from storage.dicom.data_set import Bounds, Decoded
from storage.dicom.transfer_syntax import EXPLICIT_LE, IMPLICIT_LE
from storage.work.commitments import Reference
from tests.dicomweb.gateway.querying import STUDY_ROOT
from tests.dicomweb.gateway.serving import CT, ECHO, Serving, echo, serving
from tests.dicomweb.gateway.worklist_peer import WORKLIST
from tests.storage.indexed import dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
STEP = "1.2.840.10008.3.1.2.3.3"

FIND: Command = {"CommandField": Operation.C_FIND, "Priority": 0}
MOVE: Command = {"CommandField": Operation.C_MOVE, "Priority": 0, "MoveDestination": "NOBODY"}
CREATE: Command = {"CommandField": Operation.N_CREATE, "AffectedSOPInstanceUID": "1.5.1"}
ACTION: Command = {"CommandField": Operation.N_ACTION, "RequestedSOPInstanceUID": SOP_INSTANCE, "ActionTypeID": 1}


@pytest.fixture
async def served(archive: Archive) -> AsyncIterator[Serving]:
    """A gateway over the empty archive."""
    async with serving(archive) as opened:
        yield opened


async def ask(served: Serving, sop_class: str, command: Command, data: bytes, syntax: str = EXPLICIT_LE) -> list[int]:
    """Send a request on an association of its own, then an echo; the statuses."""
    async with await served.open([(sop_class, [syntax]), (ECHO, [IMPLICIT_LE])]) as association:
        context = association.context_for(sop_class)
        assert context is not None
        named = "RequestedSOPClassUID" if "RequestedSOPInstanceUID" in command else "AffectedSOPClassUID"
        answers = association.requests(context, {**command, named: sop_class}, data)
        return [*[answer.status async for answer in answers], await echo(association)]


def deflated(data: bytes) -> bytes:
    """A deflated data set, of even length."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    raw = deflater.compress(data) + deflater.flush()
    return raw + bytes(len(raw) & 1)


def element(number: int, vr: bytes, value: bytes) -> bytes:
    """A private element in Explicit VR Little Endian; the numbers go on through the odd groups."""
    group, within = divmod(number, 0xE000)
    return struct.pack("<HH2sH", 0x0011 + 2 * group, 0x1000 + within, vr, len(value)) + value


def names(count: int) -> bytes:
    """So many person names of one letter."""
    in_one = 30_000
    return b"".join(element(number, b"PN", b"a\\" * in_one) for number in range(-(-count // in_one)))


BOMBS = {
    "values": names(300_000),
    "numbers": b"".join(element(number, b"US", b"\1\0" * 30_000) for number in range(10)),
    "elements": b"".join(element(number, b"PN", b"") for number in range(310_000)),
    "bytes": element(0, b"PN", b"") + struct.pack("<HH2sHL", 0x0011, 0x1001, b"UT", 0, 80 << 20) + b"a" * (80 << 20),
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_a_small_request_that_becomes_large_is_refused(served: Serving, kind: str) -> None:
    """A data set of too many values, elements or bytes is a failure of that request in every service that reads one,
    and the association goes on (G-074, G-105, G-123, G-151)."""
    bomb = deflated(BOMBS[kind])
    for sop_class, command in ((STUDY_ROOT, FIND), (STUDY_ROOT_MOVE, MOVE), (WORKLIST, FIND), (STEP, CREATE)):
        assert await ask(served, sop_class, command, bomb, DEFLATED) == [0xA700, 0]
    assert await ask(served, COMMITMENT, ACTION, bomb, DEFLATED) == [0x0213, 0]


async def test_deflating_buys_nothing(served: Serving) -> None:
    """What is too long to be sent is too long to be inflated, and the other way round (G-074)."""
    long = struct.pack("<HH2sHL", 0x0011, 0x1001, b"UT", 0, 5 << 20) + b"a" * (5 << 20)
    assert await ask(served, STUDY_ROOT, FIND, long) == [0xA700, 0]
    assert await ask(served, STUDY_ROOT, FIND, deflated(long), DEFLATED) == [0xA700, 0]
    assert await ask(served, STEP, CREATE, long) == [0x0106, 0]  # it is read, and does not begin IN PROGRESS
    assert await ask(served, STEP, CREATE, deflated(long), DEFLATED) == [0x0106, 0]


async def test_a_list_of_a_hundred_thousand_uids_is_taken(served: Serving) -> None:
    """C-MOVE names instances by lists of UIDs; the destination is then looked at (G-078, G-091, G-093)."""
    uids = [f"1.2.826.0.1.3680043.8.498.{number:039}" for number in range(1, 100_001)]
    keys = dataset(QueryRetrieveLevel="STUDY", StudyInstanceUID=uids)
    assert await ask(served, STUDY_ROOT_MOVE, MOVE, data_set.encode(keys, IMPLICIT_LE), IMPLICIT_LE) == [0xA801, 0]


async def test_storage_commitment_for_tens_of_thousands_is_taken(served: Serving) -> None:
    """A request names as many instances as we take at once (G-121, G-122)."""
    references = [Reference(CT, f"1.2.826.0.1.3680043.8.498.{number}") for number in range(1, 50_001)]
    request = data_set.encode(write_request("1.2.3", references), DEFLATED)
    assert await ask(served, COMMITMENT, ACTION, request, DEFLATED) == [0, 0]


@pytest.mark.parametrize(
    ("data", "syntax"), [(deflated(names(1)), DEFLATED), (names(60_000), EXPLICIT_LE)], ids=["deflated", "long"]
)
async def test_others_are_served_while_a_long_data_set_is_decoded(
    served: Serving, monkeypatch: pytest.MonkeyPatch, data: bytes, syntax: str
) -> None:
    """All associations share one event loop, which nobody's request holds up (design 2)."""
    begun, answered, waited = threading.Event(), threading.Event(), []

    def slowly(raw: bytes, transfer_syntax_uid: str, bounds: Bounds) -> Decoded:
        begun.set()
        waited.append(answered.wait(30))
        return data_set.read(raw, transfer_syntax_uid, bounds)

    monkeypatch.setattr(decoding, "read", slowly)
    async with await served.open() as other:
        asking = asyncio.create_task(ask(served, WORKLIST, FIND, data, syntax))
        assert await asyncio.to_thread(begun.wait, 30)
        assert await echo(other) == 0
        answered.set()
        statuses = await asking
    assert waited == [True] and statuses[-1] == 0
