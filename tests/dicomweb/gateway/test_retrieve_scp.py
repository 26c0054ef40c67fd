"""C-MOVE and C-GET, asked by pynetdicom, delivered to pynetdicom."""

import asyncio
import io
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.dsutils import encode

from dicomweb.dimse.command_set import Command, Operation
from dicomweb.dimse.requestor import Address, connect
from dicomweb.gateway import retrieve_scp
from dicomweb.gateway.retrieve_scp import (
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    SOP_CLASSES,
    STUDY_ROOT_MOVE,
    negotiate,
)
from storage.archive import Archive
from storage.dicom.part10 import file_meta_bytes
from storage.dicom.transfer_syntax import DEFLATED_LE, JPEG_BASELINE, RLE_LOSSLESS
from storage.matching.conditions import Level, Query
from storage.retrieval.data_set_file import is_sent_as_stored
from storage.retrieval.instance_file import InstanceFile
from storage.retrieval.selection import UniqueKeys
from tests.builders import EXPLICIT_LE, IMPLICIT_LE, ct_slice, dataset_of, dataset_only, dicom_file, sop_instance_uid
from tests.corpus import corpus_files, wheel_file
from tests.dicomweb.gateway.retrieving import ask_get, ask_move, concluded, counters, make_peer
from tests.dicomweb.gateway.serving import listening
from tests.dicomweb.scu.receiving import CT, Receiver, receiver

PATIENT_STUDY_ONLY_GET = "1.2.840.10008.5.1.4.1.2.3.3"
STUDY, SERIES = "1.2.77", "1.2.78"
WHOLE = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY}


@pytest.fixture
async def port(archive: Archive) -> AsyncIterator[int]:
    """A gateway over the archive."""
    async with listening(archive) as number:
        yield number


async def store_slices(archive: Archive, number: int, **attributes: Any) -> list[bytes]:
    """Store small CT images of one series; returns them in order."""
    options = {"study": STUDY, "series": SERIES, "rows": 4, "columns": 4} | attributes
    files = [ct_slice(instance_number=each, **options) for each in range(1, number + 1)]
    async with archive.ingest() as ingest:
        for data in files:
            await ingest.add(_chunks(data))
        assert all(outcome.error is None for outcome in await ingest.finish())
    return files


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_study_is_moved(archive: Archive, port: int) -> None:
    """All bytes arrive with originator and priority; the last response has counters but Remaining (G-095, G-100)."""
    files = await store_slices(archive, 5)
    with receiver() as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE)
    assert concluded(answers, 5) == (0x0000, {"Completed": 5, "Failed": 0, "Warning": 0}, [])
    assert [one.data for one in to.received] == [dataset_only(data) for data in files]
    assert {(one.originator, one.priority, one.calling_ae_title) for one in to.received} == {
        (("MOVER", 7), 2, "DICOMWEB")
    }
    assert (to.associations, to.released) == (1, 1)


async def test_every_corpus_file_comes_back_as_it_was(archive: Archive, port: int) -> None:
    """In its own transfer syntax, by C-MOVE and by C-GET: the same bytes of the data set (G-041, G-101, G-111)."""
    for path in corpus_files():
        await archive.store(path.read_bytes())
    uids = {match["0020000D"]["Value"][0] for match in (await archive.find(Query(Level.STUDY))).rows}
    chosen = await archive.select(UniqueKeys(study_instance_uids=tuple(sorted(uids))))
    files = [file for file in await archive.files_of(chosen) if file is not None and is_sent_as_stored(file)]
    assert len(files) > 150
    expected = {file.sop_instance_uid: _data_set_of(archive, file) for file in files}
    classes = sorted({one.sop_class_uid for one in chosen})
    syntaxes = sorted({one.transfer_syntax_uid for one in chosen} | {EXPLICIT_LE})
    with receiver(classes, syntaxes) as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE | {"StudyInstanceUID": sorted(uids)})
    assert concluded(answers, len(chosen)) == (0, {"Completed": len(chosen), "Failed": 0, "Warning": 0}, [])
    assert {uid: data for uid, data in to.data.items() if uid in expected} == expected
    for some in {file.sop_class_uid for file in files}:
        wanted = {
            file.sop_instance_uid: expected[file.sop_instance_uid] for file in files if file.sop_class_uid == some
        }
        keys = {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": list(wanted)}
        answers, received = await ask_get(port, keys, sop_classes=[some], syntaxes=syntaxes)
        assert answers[-1][0].Status == 0x0000
        assert {uid: data for uid, (_, data) in received.items()} == wanted


def _data_set_of(archive: Archive, file: InstanceFile) -> bytes:
    """The stored data set; padded to even length when it is deflated (PS3.5 A.5)."""
    data = archive.blobs.path(file.blob).read_bytes()[file.layout.dataset_offset :]
    return data + bytes(len(data) % 2)


async def test_a_thousand_instances_are_counted_exactly(archive: Archive, port: int) -> None:
    """Every pending response adds up to 1000, and the last says 1000 (PS3.4 C.4.2.1.6; G-095)."""
    files = await store_slices(archive, 1000)
    with receiver() as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE)
    assert concluded(answers, 1000) == (0x0000, {"Completed": 1000, "Failed": 0, "Warning": 0}, [])
    assert to.data == {sop_instance_uid(data): dataset_only(data) for data in files}
    assert counters(answers[0][0])["Remaining"] > 900


async def test_keys_choose(archive: Archive, port: int) -> None:
    """Patient, list of series, list of images, and a key above left out (PS3.4 C.4.2.2.1; G-093, G-107)."""
    first = await store_slices(archive, 2)
    second = await store_slices(archive, 2, series="1.2.79", SeriesNumber=2, PatientID="P1")
    other = await store_slices(archive, 1, study="1.2.80", series="1.2.81", PatientID="P2")
    uid = sop_instance_uid
    for keys, root, expected in (
        ({"QueryRetrieveLevel": "PATIENT", "PatientID": "P2"}, PATIENT_ROOT_MOVE, other),
        (WHOLE | {"StudyInstanceUID": [STUDY, "1.2.80"]}, STUDY_ROOT_MOVE, first + second + other),
        (WHOLE | {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.2.79"}, STUDY_ROOT_MOVE, second),
        (
            {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": [uid(first[1]), uid(other[0]), "1.2.3"]},
            STUDY_ROOT_MOVE,
            [first[1], other[0]],
        ),
    ):
        with receiver() as to:
            await make_peer(archive, to)
            answers = await ask_move(port, keys, root=root)
        assert concluded(answers, len(expected))[0] == 0x0000
        assert to.data == {uid(data): dataset_only(data) for data in expected}


async def test_an_unknown_destination(archive: Archive, port: int) -> None:
    """A801 and its name; whoever asks is no destination unless it is a peer (Table C.4-2; G-091)."""
    await store_slices(archive, 1)
    for destination in ("NOBODY", "MOVER"):
        ((status, identifier),) = await ask_move(port, WHOLE, destination)
        assert (status.Status, identifier) == (0xA801, None)
        assert destination in status.ErrorComment


async def test_a_destination_that_is_no_ae_title_is_unknown(archive: Archive, port: int) -> None:
    """A801 for what the table of peers cannot even be asked for (Table C.4-2; G-091)."""
    await store_slices(archive, 1)
    contexts = [(STUDY_ROOT_MOVE, [EXPLICIT_LE])]
    address = Address("127.0.0.1", port, "DICOMWEB")
    async with await connect(address, calling_ae_title="MOVER", contexts=contexts) as association:
        identifier = encode(dataset_of(WHOLE), is_implicit_vr=False, is_little_endian=True)
        command: Command = {"CommandField": Operation.C_MOVE, "AffectedSOPClassUID": STUDY_ROOT_MOVE, "Priority": 0}
        for destination in ("A\0B", "A\nB", ""):
            named = command | {"MoveDestination": destination}
            answer = await association.request(association.contexts[1], named, identifier)
            comment = answer.command["ErrorComment"]
            assert answer.status == 0xA801 and isinstance(comment, str) and comment.isprintable()


async def test_nothing_found_is_success(archive: Archive, port: int) -> None:
    """One response with all counters 0, and no association with the destination (PS3.4 C.4.2.3.1; G-094)."""
    with receiver() as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE | {"StudyInstanceUID": "1.2.3"})
    assert concluded(answers, 0) == (0x0000, {"Completed": 0, "Failed": 0, "Warning": 0}, [])
    assert to.associations == 0


async def test_an_identifier_that_means_nothing_is_refused(archive: Archive, port: int) -> None:
    """A900 with what is wrong and where (Table C.4-2; G-020, G-105)."""
    await make_peer(archive, 1)
    for keys, at_fault in (
        ({"QueryRetrieveLevel": "STUDY"}, 0x0020000D),
        ({"StudyInstanceUID": STUDY}, 0x00080052),
        (WHOLE | {"QueryRetrieveLevel": "FRAME"}, 0x00080052),
    ):
        ((status, identifier),) = await ask_move(port, keys)
        assert (status.Status, status.OffendingElement, identifier) == (0xA900, at_fault, None)
        assert "must be" in status.ErrorComment


async def test_relational_retrieval_is_negotiated_or_tolerated(archive: Archive) -> None:
    """In strict mode keys above the level may be left out only when byte 1 was offered (C.4.2.3.2.1; G-107)."""
    await store_slices(archive, 1)
    keys = {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": SERIES}
    async with listening(archive, dimse_relational_queries=False) as port:
        with receiver() as to:
            await make_peer(archive, to)
            assert [status.Status for status, _ in await ask_move(port, keys)] == [0xA900]
            assert concluded(await ask_move(port, keys, offered=b"\1"), 1)[0] == 0x0000


@pytest.mark.parametrize(
    ("offered", "answer"), [(b"", b""), (b"\1", b"\1"), (b"\0", b"\0"), (b"\1\1\1", b"\1\0\0"), (b"\0\1", b"\0\0")]
)
def test_extended_negotiation(offered: bytes, answer: bytes) -> None:
    """Relational retrieval only, in as many bytes as were offered (PS3.4 C.5.2.1; G-015)."""
    assert {negotiate(uid, offered) for uid in SOP_CLASSES} == {answer}


async def test_an_unreachable_destination(archive: Archive, port: int) -> None:
    """A702 with the reason and all UIDs; the identifier holds nothing else (PS3.4 C.4.2.1.4.2; G-098, G-104)."""
    files = await store_slices(archive, 3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    await make_peer(archive, closed)
    answers = await ask_move(port, WHOLE)
    failed = [sop_instance_uid(data) for data in files]
    assert concluded(answers, 3) == (0xA702, {"Completed": 0, "Failed": 3, "Warning": 0}, failed)
    assert "RECEIVER" in answers[-1][0].ErrorComment


async def test_thousands_of_failed_uids(archive: Archive, port: int) -> None:
    """More than 64 KB of UIDs come across (PS3.5 6.2.2; G-098)."""
    files = await store_slices(archive, 1500)
    await make_peer(archive, 1)
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        status, counts, failed = concluded(await ask_move(port, WHOLE, syntax=syntax), 1500)
        assert (status, counts["Failed"]) == (0xA702, 1500)
        assert failed == [sop_instance_uid(data) for data in files]


async def test_one_bad_instance_is_one_failed_sub_operation(archive: Archive, port: int) -> None:
    """A missing file and a class nobody takes fail, the rest arrives: B000 with their UIDs (G-097, G-102)."""
    files = await store_slices(archive, 4)
    missing = sop_instance_uid(files[1])
    (file,) = await archive.instances(STUDY, SERIES, missing)
    archive.blobs.path(file.blob).unlink()
    other = dicom_file(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.79", SeriesNumber=2)
    await archive.store(other)
    with receiver() as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE)
    status, counts, failed = concluded(answers, 5)
    assert (status, counts) == (0xB000, {"Completed": 3, "Failed": 2, "Warning": 0})
    assert failed == [missing, sop_instance_uid(other)]


async def test_warnings_are_counted_as_such(archive: Archive, port: int) -> None:
    """B000 without an identifier when nothing failed (Table C.4-2; G-097, G-098)."""
    await store_slices(archive, 3)
    statuses = iter([0x0000, 0xB007, 0x0000])
    with receiver(on_store=lambda event, to: next(statuses)) as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE)
    assert concluded(answers, 3) == (0xB000, {"Completed": 2, "Failed": 0, "Warning": 1}, [])
    assert answers[-1][1] is None


async def test_cancel_stops_within_one_sub_operation(archive: Archive, port: int) -> None:
    """FE00, counters that add up, nothing sent afterwards (PS3.4 C.4.2.3.1; G-099)."""
    await store_slices(archive, 500)

    def slowly(event: Any, to: Receiver) -> int:
        time.sleep(0.02)
        return 0

    with receiver(on_store=slowly) as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE, cancel_after=1)
        arrived = len(to.received)
        await asyncio.sleep(0.1)
        assert len(to.received) == arrived
    final, identifier = answers[-1]
    assert (final.Status, identifier) == (0xFE00, None)
    assert counters(final) == {"Remaining": 500 - arrived, "Completed": arrived, "Failed": 0, "Warning": 0}
    assert arrived < 50
    assert to.released == 1


async def test_a_destination_that_dies_midway(archive: Archive, port: int) -> None:
    """What arrived counts, the rest has failed: B000 with the UIDs of the rest (G-097, G-098)."""
    files = await store_slices(archive, 40)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(event: Any, to: Receiver) -> int:
        time.sleep(0.02)
        if len(to.received) == 10:
            loop.call_soon_threadsafe(stop.set)
        return 0

    with receiver(on_store=slowly) as to:
        await make_peer(archive, to)
        moving = asyncio.create_task(ask_move(port, WHOLE))
        await stop.wait()
        await asyncio.to_thread(to.shut_down)
        status, counts, failed = concluded(await moving, 40)
    assert status == 0xB000
    assert counts["Completed"] + counts["Failed"] == 40
    assert 10 <= counts["Completed"] < 40
    assert failed == [sop_instance_uid(data) for data in files[counts["Completed"] :]]


async def test_pending_responses_come_while_a_sub_operation_is_slow(
    archive: Archive, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once and then by the clock, so that the timer of the requester does not run out (G-096)."""
    monkeypatch.setattr(retrieve_scp, "PENDING_SECONDS", 0.1)
    await store_slices(archive, 1)

    def slowly(event: Any, to: Receiver) -> int:
        time.sleep(1)
        return 0

    with receiver(on_store=slowly) as to:
        await make_peer(archive, to)
        answers = await ask_move(port, WHOLE)
    assert concluded(answers, 1)[0] == 0x0000
    assert len(answers) > 5


async def test_several_moves_at_once(archive: Archive, port: int) -> None:
    """Each has its own association, counters and destination (G-092)."""
    files = await store_slices(archive, 60)
    data = {sop_instance_uid(each): dataset_only(each) for each in files}
    with receiver() as one, receiver(title="OTHER") as two:
        await make_peer(archive, one)
        await make_peer(archive, two, "OTHER")
        nothing = ask_move(port, WHOLE | {"StudyInstanceUID": "1.9"})
        results = await asyncio.gather(
            ask_move(port, WHOLE), ask_move(port, WHOLE), nothing, ask_move(port, WHOLE, "OTHER")
        )
    assert [concluded(each, total)[0] for each, total in zip(results, (60, 60, 0, 60), strict=True)] == [0, 0, 0, 0]
    assert (len(one.received), len(two.received)) == (120, 60)
    assert one.data == two.data == data


async def test_a_requester_that_leaves_ends_the_move(archive: Archive, port: int) -> None:
    """Nobody would be told any more; the association with the destination is released."""
    await store_slices(archive, 300)

    def slowly(event: Any, to: Receiver) -> int:
        time.sleep(0.02)
        return 0

    def ask_and_leave() -> None:
        entity = AE("MOVER")
        entity.add_requested_context(STUDY_ROOT_MOVE)
        association = entity.associate("127.0.0.1", port, ae_title="DICOMWEB")
        for _ in association.send_c_move(dataset_of(WHOLE), "RECEIVER", STUDY_ROOT_MOVE):
            association.abort()
            return

    with receiver(on_store=slowly) as to:
        await make_peer(archive, to)
        await asyncio.to_thread(ask_and_leave)
        for _ in range(100):
            if to.released:
                break
            await asyncio.sleep(0.1)
    assert to.released == 1
    assert len(to.received) < 200


async def test_the_peers_transfer_syntaxes_are_heeded(archive: Archive, port: int) -> None:
    """What the administrator set for it comes first (G-101)."""
    await store_slices(archive, 1, rows=32, columns=32)
    with receiver(transfer_syntaxes=[EXPLICIT_LE, RLE_LOSSLESS]) as to:
        await make_peer(archive, to, transfer_syntaxes=(RLE_LOSSLESS,))
        assert concluded(await ask_move(port, WHOLE), 1)[0] == 0x0000
    assert to.received[0].transfer_syntax_uid == RLE_LOSSLESS


async def test_a_study_is_got(archive: Archive, port: int) -> None:
    """All bytes come over the same association, on contexts with the SCP role (PS3.4 C.4.3; G-110, G-111)."""
    files = await store_slices(archive, 5)
    answers, received = await ask_get(port, WHOLE)
    assert concluded(answers, 5) == (0x0000, {"Completed": 5, "Failed": 0, "Warning": 0}, [])
    assert received == {sop_instance_uid(data): (EXPLICIT_LE, dataset_only(data)) for data in files}
    answers, received = await ask_get(port, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, root=PATIENT_ROOT_GET)
    assert concluded(answers, 5)[0] == 0x0000
    assert len(received) == 5


async def test_a_thousand_instances_are_got(archive: Archive, port: int) -> None:
    """Exact counters (PS3.4 C.4.3.1; G-113)."""
    await store_slices(archive, 1000)
    answers, received = await ask_get(port, WHOLE)
    assert concluded(answers, 1000) == (0x0000, {"Completed": 1000, "Failed": 0, "Warning": 0}, [])
    assert len(received) == 1000


async def test_a_context_without_the_scp_role_is_not_used(archive: Archive, port: int) -> None:
    """The sub-operation fails: nobody is sent what it did not ask to receive (C.4.3.3.1; G-112, G-114)."""
    files = await store_slices(archive, 2)
    answers, received = await ask_get(port, WHOLE, as_scp=False)
    failed = [sop_instance_uid(data) for data in files]
    assert concluded(answers, 2) == (0xA702, {"Completed": 0, "Failed": 2, "Warning": 0}, failed)
    assert received == {}


async def test_what_is_got_is_decompressed_if_need_be(archive: Archive, port: int) -> None:
    """An SCU that takes Implicit VR only gets the same samples; one bad instance fails alone (G-101, G-113)."""
    path = wheel_file("MR_small_RLE.dcm")
    outcome = await archive.store(path.read_bytes())
    header = dcmread(path)
    video = dicom_file(StudyInstanceUID=header.StudyInstanceUID)  # of a class the SCU does not name
    await archive.store(video)
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": str(header.StudyInstanceUID)}
    answers, received = await ask_get(port, keys, sop_classes=[str(header.SOPClassUID)], syntaxes=[IMPLICIT_LE])
    status, counts, failed = concluded(answers, 2)
    assert (status, counts) == (0xB000, {"Completed": 1, "Failed": 1, "Warning": 0})
    assert failed == [sop_instance_uid(video)]
    syntax, data = received[str(outcome.sop_instance_uid)]
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=syntax)
    assert np.array_equal(dcmread(io.BytesIO(meta + data)).pixel_array, header.pixel_array)


async def test_one_context_for_all_transfer_syntaxes_gets_everything(archive: Archive, port: int) -> None:
    """Whatever the SCU lists first: the one syntax chosen suits every instance of the class (C.4.3; G-111)."""
    files = await store_slices(archive, 2)
    for first in (DEFLATED_LE, RLE_LOSSLESS, JPEG_BASELINE):
        answers, received = await ask_get(port, WHOLE, syntaxes=[first, IMPLICIT_LE, EXPLICIT_LE], apart=False)
        assert concluded(answers, 2)[0] == 0x0000
        assert received == {sop_instance_uid(data): (EXPLICIT_LE, dataset_only(data)) for data in files}


async def test_pending_responses_come_while_an_instance_is_decoded(
    archive: Archive, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock as with C-MOVE, though nothing of the instance has been sent yet (G-096, G-113)."""
    monkeypatch.setattr(retrieve_scp, "PENDING_SECONDS", 0.1)
    await store_slices(archive, 1)
    prepare = archive.data_set

    async def slowly(*arguments: Any) -> Any:
        await asyncio.sleep(1)
        return await prepare(*arguments)

    monkeypatch.setattr(archive, "data_set", slowly)
    answers, received = await ask_get(port, WHOLE)
    assert concluded(answers, 1)[0] == 0x0000
    assert len(answers) > 5 and len(received) == 1


async def test_the_retired_model_of_patients_and_studies_is_served(archive: Archive, port: int) -> None:
    """Patient/Study Only has two levels and is otherwise as Patient Root (PS3.4 C.3.3; G-060, G-090)."""
    await store_slices(archive, 2)
    answers, received = await ask_get(port, WHOLE, root=PATIENT_STUDY_ONLY_GET)
    assert concluded(answers, 2)[0] == 0x0000
    assert len(received) == 2
    keys = {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": SERIES}
    ((status, _),), _ = await ask_get(port, keys, root=PATIENT_STUDY_ONLY_GET)
    assert (status.Status, status.OffendingElement) == (0xA900, 0x00080052)


async def test_a_get_can_be_cancelled(archive: Archive, port: int) -> None:
    """FE00 within one sub-operation, with counters and failed UIDs (C.4.3.1; G-113)."""
    files = await store_slices(archive, 200)
    statuses = {sop_instance_uid(files[0]): 0xA700}
    answers, received = await ask_get(port, WHOLE, cancel_after=5, statuses=statuses)
    final, identifier = answers[-1]
    assert final.Status == 0xFE00
    assert identifier is not None and identifier.FailedSOPInstanceUIDList == sop_instance_uid(files[0])
    done = len(received)
    assert 5 <= done < 20
    assert counters(final) == {"Remaining": 200 - done, "Completed": done - 1, "Failed": 1, "Warning": 0}


async def test_a_get_without_match(archive: Archive, port: int) -> None:
    """Success with all counters 0 (PS3.4 C.4.3.3.1; G-113)."""
    answers, received = await ask_get(port, WHOLE, sop_classes=[CT])
    assert concluded(answers, 0) == (0x0000, {"Completed": 0, "Failed": 0, "Warning": 0}, [])
    assert received == {}
