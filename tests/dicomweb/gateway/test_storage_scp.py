"""C-STORE: what is stored, what is refused and how, and what a broken transfer leaves."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

import pydicom
import pytest

from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.errors import AssociationAborted
from storage.archive import Archive
from storage.dicom.transfer_syntax import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE
from storage.errors import NotFound
from storage.policy import Policy
from tests.builders import ABSENT, ct_slice, dataset_only, dicom_file, encapsulated
from tests.dicomweb.gateway.serving import CONTEXTS, CT, Serving, echo, serving, store
from tests.waiting import until

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRIVATE = "1.3.12.2.1107.5.9.1"


@pytest.fixture
async def served(archive: Archive) -> AsyncIterator[Serving]:
    """A gateway over the empty archive."""
    async with serving(archive) as opened:
        yield opened


@pytest.fixture
async def association(served: Serving) -> AsyncIterator[Association]:
    """An association with it."""
    opened = await served.open()
    yield opened
    await opened.abort()


async def stored_file(archive: Archive, study: str = "1.2") -> bytes:
    """The one file of a study."""
    (found,) = await archive.instances(study)
    return archive.blobs.path(found.blob).read_bytes()


async def count(archive: Archive) -> int:
    """How many files there are, staged ones included."""
    return len(list(archive.blobs.names())) + len(archive.blobs.staged())


@pytest.mark.parametrize(
    ("sop_class", "transfer_syntax", "data"),
    [
        (CT, EXPLICIT_LE, ct_slice("1.2", "1.3", "1.4")),
        (CT, IMPLICIT_LE, ct_slice("1.2", "1.3", "1.4", transfer_syntax=IMPLICIT_LE)),
        (CT, EXPLICIT_BE, ct_slice("1.2", "1.3", "1.4", transfer_syntax=EXPLICIT_BE)),
        (CT, DEFLATED_LE, ct_slice("1.2", "1.3", "1.4", transfer_syntax=DEFLATED_LE)),
        (SECONDARY_CAPTURE, JPEG_BASELINE, encapsulated(StudyInstanceUID="1.2")),
        (PRIVATE, EXPLICIT_LE, dicom_file(StudyInstanceUID="1.2", SOPClassUID=PRIVATE)),
    ],
)
async def test_what_was_sent_is_stored_byte_for_byte_in_its_own_transfer_syntax(
    archive: Archive, served: Serving, sop_class: str, transfer_syntax: str, data: bytes
) -> None:
    """G-041, G-049: the data set untouched, below file meta information that says who sent it to whom."""
    async with await served.open([(sop_class, [transfer_syntax])], calling="CT 1") as association:
        answer = await store(association, data, sop_class=sop_class)
        assert answer.status == 0
    file = await stored_file(archive)
    assert file.endswith(dataset_only(data)) and dataset_only(file) == dataset_only(data)
    meta = pydicom.dcmread(BytesIO(file), specific_tags=[]).file_meta
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID) == (transfer_syntax, sop_class)
    titles = meta.SourceApplicationEntityTitle, meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle
    assert titles == ("CT 1", "CT 1", "DICOMWEB")


async def test_success_means_durable_and_found(archive: Archive, association: Association) -> None:
    """G-042: when 0000 arrives the file has its name, the row is committed and nothing is staged."""
    data = ct_slice("1.2", "1.3", "1.4")
    answer = await store(association, data)
    assert (answer.status, answer.sop_class_uid, answer.sop_instance_uid) == (0, CT, "1.4")
    assert archive.blobs.staged() == []
    assert len(await archive.instances("1.2", "1.3", "1.4")) == 1


async def test_a_file_that_was_lost_is_healed(archive: Archive, association: Association) -> None:
    """What came by STOW-RS and is gone from the disk is stored when it comes by C-STORE (promise 2, G-048)."""
    data = ct_slice("1.2")
    await archive.store(data)
    (lost,) = await archive.instances("1.2")
    archive.blobs.path(lost.blob).unlink()
    assert (await store(association, data)).status == 0
    assert dataset_only(await stored_file(archive)) == dataset_only(data)


async def test_an_instance_sent_again_is_a_success(archive: Archive, served: Serving) -> None:
    """G-048: by the same sender, by another one, and after it came by STOW-RS; one file, one change."""
    data = ct_slice("1.2", "1.3", "1.4")
    await archive.store(data)
    for calling in ("CT1", "CT1", "CT2"):
        async with await served.open(calling=calling) as association:
            assert (await store(association, data)).status == 0
    assert await stored_file(archive) == data
    assert await count(archive) == 1 and len(await archive.changes()) == 1
    assert served.gateway.metrics.value("dicomweb_instances_total", outcome="duplicate") == 3


async def test_stow_after_c_store_is_the_same_instance(archive: Archive, association: Association) -> None:
    """B-042: a file whose data set came by C-STORE is a success without a write by STOW-RS, too."""
    data = ct_slice("1.2", "1.3", "1.4")
    await store(association, data)
    assert (await archive.store(data)).status == "duplicate"
    assert await count(archive) == 1


@pytest.mark.parametrize(
    ("data", "changed", "status"),
    [
        (ct_slice("1.2", "1.3", "1.4"), {"AffectedSOPInstanceUID": "1.5"}, 0xA900),
        (ct_slice("1.2", "1.3", "1.4", SOPClassUID=SECONDARY_CAPTURE), {}, 0xA900),
        (ct_slice("1.2", "1.3", "1.4", StudyInstanceUID=ABSENT), {}, 0xA900),
        (ct_slice("1.2", "1.3", "1.4", SeriesInstanceUID="not a UID"), {}, 0xA900),
        (ct_slice("1.2", "1.3", "1.4"), {"AffectedSOPInstanceUID": "not a UID"}, 0x0117),
        (ct_slice("1.2", "1.3", "1.4"), {"AffectedSOPClassUID": "CT"}, 0x0117),
        (ct_slice("1.2", "1.3", "1.4"), {"data": b"garbage" * 1000}, 0xC000),
        (ct_slice("1.2", "1.3", "1.4"), {"data": b"\0"}, 0xA900),
        (ct_slice("1.2", "1.3", "1.4"), {"data": None}, 0xC000),
        (ct_slice("1.2", "1.3", "1.0", Rows=7), {"data": dataset_only(ct_slice("1.2", "1.3", "1.0", Rows=8))}, 0x0111),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_its_status_and_costs_only_itself(
    archive: Archive, association: Association, data: bytes, changed: dict[str, object], status: int
) -> None:
    """G-043, G-044, G-046: A900, C000, 0117, 0111; a reason of at most 64 characters; the association goes on."""
    if status == 0x0111:
        await archive.store(data)
    before = await count(archive)
    answer = await store(association, data, **changed)
    assert answer.status == status
    comment = answer.command["ErrorComment"]
    assert isinstance(comment, str) and 0 < len(comment) <= 64 and comment.isascii()
    assert await count(archive) == before
    assert await echo(association) == 0
    assert (await store(association, ct_slice("1.2", "1.3"))).status == 0


@pytest.mark.parametrize(
    ("data", "changed", "at_fault"),
    [
        (ct_slice("1.2", "1.3", "1.4"), {"AffectedSOPInstanceUID": "1.5"}, [0x00080018]),
        (ct_slice("1.2", "1.3", "1.4", SOPClassUID=SECONDARY_CAPTURE), {}, [0x00080016]),
        (ct_slice("1.2", "1.3", "1.4", StudyInstanceUID=ABSENT), {}, [0x0020000D]),
        (ct_slice("1.2", "1.3", "1.4", SeriesInstanceUID="not a UID"), {}, [0x0020000E]),
        (ct_slice("1.2", "1.3", "1.4"), {"data": b"garbage" * 1000}, None),
    ],
)
async def test_a_refusal_names_the_element_at_fault(
    association: Association, data: bytes, changed: dict[str, object], at_fault: list[int] | None
) -> None:
    """G-020: Offending Element with A900 (PS3.4 Table B.2-1), where there is one."""
    assert (await store(association, data, **changed)).command.get("OffendingElement") == at_fault


async def test_an_instance_that_was_called_otherwise_can_be_stored_with_a_warning(archive: Archive) -> None:
    """G-046: B007, by the administrator's choice; the data set decides what it is."""
    async with serving(archive, dimse_mismatched_uids="store") as served, await served.open() as association:
        answer = await store(association, ct_slice("1.2", "1.3", "1.4"), AffectedSOPInstanceUID="1.5")
        assert answer.status == 0xB007
        assert (await store(association, ct_slice("1.2", "1.3", "1.6"))).status == 0
    assert [found.sop_instance_uid for found in await archive.instances("1.2")] == ["1.4", "1.6"]


@pytest.mark.parametrize(
    ("kept", "said"), [(-100, "(7FE0,0010) is longer"), (296, "(0020,0032) is longer"), (304, "ends within the head")]
)
async def test_what_was_cut_off_is_kept_with_a_warning(
    served: Serving, association: Association, caplog: pytest.LogCaptureFixture, kept: int, said: str
) -> None:
    """G-043: 0000 would let the sender delete what may be whole there; B007 and the log say what is missing."""
    whole = ct_slice("1.2", "1.3", "1.4")
    answer = await store(association, whole, data=dataset_only(whole)[:kept])
    assert answer.status == 0xB007
    assert said in str(answer.command["ErrorComment"])
    assert "C-STORE of CT1 warned with B007" in caplog.text
    assert (await stored_file(served.gateway.archive)).endswith(dataset_only(whole)[:kept])
    assert (await store(association, whole)).status == 0, "and made good when it is sent again"
    assert (await stored_file(served.gateway.archive)).endswith(dataset_only(whole))
    assert (await store(association, whole, data=dataset_only(whole)[:kept])).status == 0x0111


@pytest.mark.parametrize("policy", [Policy(min_free_bytes=2**62), Policy(max_instance_bytes=10_000)])
async def test_what_is_too_large_or_finds_no_room_is_out_of_resources(archive: Archive, policy: Policy) -> None:
    """G-043: A700 after the data set is off the wire, so that the association goes on."""
    small = Archive(archive.pool, archive.blobs, policy)
    async with serving(small) as served, await served.open() as association:
        answer = await store(association, ct_slice(rows=1024, columns=1024))
        assert answer.status == 0xA700
        assert await echo(association) == 0
    assert await count(archive) == 0


async def test_refused_classes_and_syntaxes_are_not_even_negotiated(archive: Archive) -> None:
    """G-001, 0122: the sender learns it before it sends."""
    async with serving(archive, refused_sop_classes=[CT]) as served, await served.open() as association:
        assert association.context_for(CT) is None
    async with serving(archive, refused_transfer_syntaxes=[EXPLICIT_LE]) as served, await served.open() as association:
        assert association.context_for(CT) is None


async def test_a_sender_that_dies_within_its_data_set_leaves_nothing(archive: Archive, served: Serving) -> None:
    """G-042: nothing that was not complete is in the archive or on its disk, and the gateway serves on."""
    data = dataset_only(ct_slice("1.2", "1.3", "1.4", rows=2048, columns=2048))
    association = await served.open()

    async def half() -> AsyncIterator[bytes]:
        yield data[: len(data) // 2]
        await until(archive.blobs.staged)
        await association.abort()
        yield data[len(data) // 2 :]

    with pytest.raises(AssociationAborted):
        await store(association, ct_slice("1.2", "1.3", "1.4"), data=half())
    await until(lambda: not len(served.gateway.associations))
    assert await count(archive) == 0
    with pytest.raises(NotFound):
        await archive.instances("1.2")
    async with await served.open() as again:
        assert await echo(again) == 0


async def test_many_associations_store_into_one_study_at_once(archive: Archive, served: Serving) -> None:
    """Design 4: parallel stores neither deadlock nor miscount."""

    async def one(number: int) -> list[int]:
        async with await served.open(calling=f"CT{number}") as association:
            files = [ct_slice("1.2", f"1.3.{number % 3}", f"1.4.{number}.{each}") for each in range(5)]
            return [(await store(association, file)).status for file in files]

    statuses = await asyncio.gather(*(one(number) for number in range(8)))
    assert statuses == [[0] * 5] * 8
    assert await archive.pool.fetchrow("SELECT number_of_series, number_of_instances FROM studies") == (3, 40)


async def test_storage_has_no_other_operation(association: Association) -> None:
    """PS3.7 Annex C: 0211, and the association goes on."""
    context = association.context_for(CT)
    assert context is not None
    answer = await association.request(context, {"CommandField": Operation.C_FIND, "AffectedSOPClassUID": CT}, b"")
    assert answer.status == 0x0211
    assert await echo(association) == 0


async def test_storage_negotiation_is_answered(served: Serving) -> None:
    """G-051: level 2, signatures kept, nothing coerced."""
    async with await served.open(CONTEXTS, extended={CT: b"\2\0\0\0\1\0"}) as association:
        assert association.extended == {CT: b"\2\0\3\0\0\0"}
