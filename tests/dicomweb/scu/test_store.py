"""Sending instances to another AE."""

import asyncio
import io
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pynetdicom import AllStoragePresentationContexts

from dicomweb.dimse.association import Timeouts
from dicomweb.dimse.requestor import Address
from dicomweb.scu.store import Originator, Sender, Sent
from storage.archive import Archive
from storage.dicom.part10 import file_meta_bytes
from storage.dicom.transfer_syntax import JPEG_2000_LOSSLESS, RLE_LOSSLESS
from storage.retrieval.selection import Chosen, UniqueKeys
from tests.builders import EXPLICIT_LE, IMPLICIT_LE, ct_slice, dataset_only, dicom_file, encapsulated, sop_instance_uid
from tests.corpus import wheel_file
from tests.dicomweb.scu.receiving import CT, Receiver, receiver

STUDY = "1.2.77"
PATIENT = Timeouts(connect=60, acse=60, dimse=60)


async def stored(archive: Archive, files: Sequence[bytes]) -> list[Chosen]:
    """Store files; returns them as chosen, in the same order."""
    for data in files:
        assert (await archive.store(data)).error is None
    uids = [sop_instance_uid(data) for data in files]
    chosen = {one.sop_instance_uid: one for one in await archive.select(UniqueKeys(sop_instance_uids=tuple(uids)))}
    return [chosen[uid] for uid in uids]


def slices(number: int) -> list[bytes]:
    """Small CT images of one series."""
    return [ct_slice(STUDY, "1.2.78", instance_number=each, rows=8, columns=8) for each in range(1, number + 1)]


async def sent(archive: Archive, address: Address, chosen: Sequence[Chosen], **options: Any) -> list[Sent]:
    """Send it all."""
    sender = Sender(archive, address, calling_ae_title="DICOMWEB", timeouts=PATIENT, **options)
    return [result async for result in sender.send(chosen)]


async def test_the_stored_bytes_arrive_with_their_command(archive: Archive) -> None:
    """Data set, SOP class and instance, priority, calling AE and move originator (PS3.7 9.1.1.1; G-100, G-106)."""
    files = slices(3)
    chosen = await stored(archive, files)
    with receiver() as to:
        results = await sent(archive, to.address, chosen, priority=2, originator=Originator("VIEWER", 77))
    assert [(result.instance, result.status, result.error) for result in results] == [(one, 0, "") for one in chosen]
    assert [one.data for one in to.received] == [dataset_only(data) for data in files]
    first = to.received[0]
    assert (first.sop_class_uid, first.transfer_syntax_uid, first.priority) == (CT, EXPLICIT_LE, 2)
    assert (first.originator, first.calling_ae_title) == (("VIEWER", 77), "DICOMWEB")
    assert (to.associations, to.released) == (1, 1)


async def test_without_a_move_there_is_no_originator(archive: Archive) -> None:
    """The two fields are of C-MOVE only (PS3.7 9.1.1.1.6)."""
    chosen = await stored(archive, slices(1))
    with receiver() as to:
        await sent(archive, to.address, chosen)
    assert to.received[0].originator == (None, None)


@pytest.mark.parametrize("wanted", [EXPLICIT_LE, IMPLICIT_LE])
async def test_whoever_takes_one_encoding_gets_it(archive: Archive, wanted: str) -> None:
    """Compressed and uncompressed images arrive in it with the same samples (PS3.5 10.1; G-101)."""
    paths = [wheel_file(name) for name in ("MR_small_RLE.dcm", "JPEG2000.dcm", "CT_small.dcm")]
    paths += [wheel_file(name) for name in ("MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm")]
    files = [path.read_bytes() for path in paths]
    classes = {str(dcmread(path).SOPClassUID) for path in paths}
    with receiver(classes, [wanted]) as to:
        for data, path in zip(files, paths, strict=True):  # some of them have the same UIDs
            to.received.clear()
            outcome = await archive.store(data)
            assert outcome.study_instance_uid is not None
            if outcome.status != "stored":
                continue
            chosen = await archive.select(UniqueKeys(study_instance_uids=(outcome.study_instance_uid,)))
            one = next(each for each in chosen if each.sop_instance_uid == outcome.sop_instance_uid)
            assert [result.status for result in await sent(archive, to.address, [one])] == [0]
            assert to.received[0].transfer_syntax_uid == wanted
            meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=wanted)
            arrived = dcmread(io.BytesIO(meta + to.received[0].data))
            assert np.array_equal(arrived.pixel_array, dcmread(path).pixel_array), path.name


async def test_the_receivers_wishes_come_first(archive: Archive) -> None:
    """In the order of its list, before the stored syntax; one we cannot meet is passed over (G-101)."""
    data = ct_slice()
    chosen = await stored(archive, [data])
    with receiver(transfer_syntaxes=[EXPLICIT_LE, RLE_LOSSLESS, JPEG_2000_LOSSLESS]) as to:
        wishes = ("1.2.840.10008.1.2.4.50", JPEG_2000_LOSSLESS, RLE_LOSSLESS)
        assert [one.status for one in await sent(archive, to.address, chosen, preferred=wishes)] == [0]
    assert [one.transfer_syntax_uid for one in to.received] == [JPEG_2000_LOSSLESS]


async def test_more_contexts_than_an_association_has(archive: Archive) -> None:
    """90 SOP classes need 180 contexts, so two associations; everything arrives (G-103)."""
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts[:90]]
    files = [dicom_file(SOPClassUID=uid, StudyInstanceUID=STUDY) for uid in classes]
    chosen = await stored(archive, files)
    with receiver(classes) as to:
        results = await sent(archive, to.address, chosen)
    assert {result.status for result in results} == {0}
    assert len(results) == 90
    assert to.data == {sop_instance_uid(data): dataset_only(data) for data in files}
    assert (to.associations, to.released) == (2, 2)


async def test_what_the_receiver_does_not_take_fails_alone(archive: Archive) -> None:
    """No accepted context, nothing we can decode, a missing file, a removed row: one failure each (G-102)."""
    files = slices(3)
    other = dicom_file(StudyInstanceUID=STUDY)
    broken = encapsulated([b"no codec ", b"sees this"], SOPClassUID=CT, StudyInstanceUID=STUDY)
    missing = ct_slice(STUDY)
    chosen = await stored(archive, [files[0], other, files[1], broken, missing, files[2]])
    (file,) = await archive.instances(STUDY, chosen[4].series_instance_uid)
    archive.blobs.path(file.blob).unlink()
    chosen.insert(1, Chosen(-1, STUDY, "1.2.78", "1.2.99", CT, EXPLICIT_LE))
    with receiver() as to:
        results = await sent(archive, to.address, chosen)
    assert [result.status for result in results] == [0, None, None, 0, None, None, 0]
    reasons = [result.error for result in results if result.has_failed]
    words = ("removed", "no presentation context", "frame", "missing")
    assert all(word in reason for word, reason in zip(words, reasons, strict=True)), reasons
    assert len(to.received) == 3
    assert to.associations == 1


async def test_the_answers_of_the_receiver_are_told_apart(archive: Archive) -> None:
    """Success, warning, failure, by the status of each response (PS3.4 Table B.2-1)."""
    statuses = iter([0x0000, 0xB007, 0xA700, 0xC123, 0x0107])
    chosen = await stored(archive, slices(5))
    with receiver(on_store=lambda event, to: next(statuses)) as to:
        results = await sent(archive, to.address, chosen)
    assert [result.status for result in results] == [0x0000, 0xB007, 0xA700, 0xC123, 0x0107]
    assert [result.is_warning for result in results] == [False, True, False, False, True]
    assert [result.has_failed for result in results] == [False, False, True, True, False]
    assert "A700" in results[2].error


async def test_a_lost_association_is_opened_again(archive: Archive) -> None:
    """The instance under way is sent again, the others once (G-102)."""
    chosen = await stored(archive, slices(6))
    lost: list[str] = []

    def once(event: Any, to: Receiver) -> int:
        if len(to.received) == 2 and not lost:
            lost.append(event.request.AffectedSOPInstanceUID)
            event.assoc.abort()
        return 0

    with receiver(on_store=once) as to:
        results = await sent(archive, to.address, chosen)
    assert [result.status for result in results] == [0] * 6
    assert to.associations == 2
    assert set(to.data) == {one.sop_instance_uid for one in chosen}


async def test_an_instance_that_ends_every_association_costs_only_itself(archive: Archive) -> None:
    """It is tried twice, then those after it (G-102)."""
    chosen = await stored(archive, slices(4))

    def never(event: Any, to: Receiver) -> int:
        if event.request.AffectedSOPInstanceUID == chosen[1].sop_instance_uid:
            event.assoc.abort()
        return 0

    with receiver(on_store=never) as to:
        results = await sent(archive, to.address, chosen)
    assert [result.status for result in results] == [0, None, 0, 0]
    assert "abort" in results[1].error
    assert to.associations == 3


async def test_a_receiver_that_loses_everything_is_given_up(archive: Archive) -> None:
    """After three associations without an answer, in bounded time (G-104)."""
    chosen = await stored(archive, slices(20))

    def never(event: Any, to: Receiver) -> int:
        event.assoc.abort()
        return 0

    with receiver(on_store=never) as to:
        results = await sent(archive, to.address, chosen)
    assert [result.status for result in results] == [None] * 20
    assert to.associations == 3


async def test_a_receiver_that_dies_takes_the_rest_with_it(archive: Archive) -> None:
    """What was answered stays so; the rest has failed, with a reason (G-104)."""
    chosen = await stored(archive, slices(8))
    with receiver() as to:
        sender = Sender(archive, to.address, calling_ae_title="DICOMWEB", timeouts=PATIENT)
        results = []
        async for result in sender.send(chosen):
            results.append(result)
            if len(results) == 3:
                await asyncio.to_thread(to.shut_down)
    assert [result.status for result in results[:3]] == [0] * 3
    assert [result.status for result in results[4:]] == [None] * 4
    assert "cannot be reached" in results[-1].error


async def test_an_unreachable_receiver_fails_everything(archive: Archive) -> None:
    """One result for each instance, and what is wrong (G-104)."""
    chosen = await stored(archive, slices(3))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    results = await sent(archive, Address("127.0.0.1", port, "NOBODY"), chosen)
    assert [result.instance for result in results] == chosen
    assert all(result.has_failed and "cannot be reached" in result.error for result in results)
    with receiver() as to:
        results = await sent(archive, Address("127.0.0.1", to.port, "OTHER"), chosen)
    assert all("called AE title not recognized" in result.error for result in results)


async def test_whoever_stops_listening_ends_it(archive: Archive) -> None:
    """After the operation under way, with a release (G-099)."""
    chosen = await stored(archive, slices(30))
    with receiver() as to:
        results = Sender(archive, to.address, calling_ae_title="DICOMWEB", timeouts=PATIENT).send(chosen)
        assert [(await anext(results)).status for _ in range(3)] == [0] * 3
        await results.aclose()
    assert len(to.received) == 3
    assert (to.associations, to.released) == (1, 1)
