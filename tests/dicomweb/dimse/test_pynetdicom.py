"""Interoperation with pynetdicom, an independent implementation of the upper layer, in both roles."""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import AE, evt
from pynetdicom.association import Association as PynetdicomAssociation
from pynetdicom.dsutils import encode as encode_dataset
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from dicomweb.dimse.acceptor import PeerAddress
from dicomweb.dimse.association import Association, Message
from dicomweb.dimse.command_set import Command, Operation
from dicomweb.dimse.errors import AssociationAborted, AssociationRejected
from dicomweb.dimse.negotiation import IMPLEMENTATION, Proposal, Rejection, UserIdentity
from dicomweb.dimse.requestor import Address, connect
from tests.dicomweb.dimse.peers import (
    CT_IMAGE_STORAGE,
    ECHO,
    EXPLICIT,
    FIND,
    IMPLICIT,
    PATIENT,
    STORAGE_COMMITMENT,
    STORE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    VERIFICATION,
    Acceptor,
    acceptor,
    pynetdicom_acceptor,
)
from tests.waiting import until

PYNETDICOM_CONTEXTS = [
    (VERIFICATION, [IMPLICIT]),
    (CT_IMAGE_STORAGE, [EXPLICIT]),
    (STUDY_ROOT_FIND, [IMPLICIT]),
    (STUDY_ROOT_GET, [IMPLICIT]),
    (STORAGE_COMMITMENT, [IMPLICIT]),
]


def application_entity(**attributes: Any) -> AE:
    """Return pynetdicom's AE, as SCU and SCP of what the tests use."""
    ae = AE("PYNETDICOM")
    for uid, syntaxes in PYNETDICOM_CONTEXTS:
        ae.add_requested_context(uid, syntaxes)
        ae.add_supported_context(uid, syntaxes, scu_role=True, scp_role=True)
    for name, value in ({"acse_timeout": 60, "dimse_timeout": 60, "network_timeout": 60} | attributes).items():
        setattr(ae, name, value)
    return ae


def image(size: int) -> Dataset:
    """Return a data set with `size` bytes of pixels."""
    dataset = Dataset()
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.SOPInstanceUID = "2.25.7"
    dataset.PatientName = "Test^One"
    dataset.add_new("PixelData", "OW", hashlib.shake_128(b"pixels").digest(size))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """Return a data set in Explicit VR Little Endian."""
    data = encode_dataset(dataset, False, True)
    assert data is not None
    return data


async def ask(seen: Acceptor, work: Any, ae: AE | None = None, **options: Any) -> Any:
    """Let pynetdicom open an association with an acceptor of ours and do some work in a thread."""

    def run() -> Any:
        association = (ae or application_entity()).associate("127.0.0.1", seen.port, ae_title="ACCEPTOR", **options)
        try:
            return work(association)
        finally:
            if association.is_established:
                association.release()

    result = await asyncio.to_thread(run)
    await seen.done()
    return result


async def open_to(address: Address, **options: Any) -> Association:
    """Open an association with pynetdicom."""
    defaults: dict[str, Any] = {"calling_ae_title": "SCU", "contexts": PYNETDICOM_CONTEXTS, "timeouts": PATIENT}
    return await connect(address, **defaults | options)


def context_of(association: Association, uid: str, *, as_scu: bool = True) -> Any:
    """Return the context of an abstract syntax, which must be there."""
    context = association.context_for(uid, as_scu=as_scu)
    assert context is not None
    return context


async def keep_data(association: Association, kept: list[bytes]) -> None:
    """Answer every request, keeping the data sets."""
    async for message in association.messages():
        if message.data is not None:
            kept.append(await message.data.read(1 << 26))
        await association.respond(message, 0)


@pytest.mark.parametrize(("ours", "theirs"), [(131072, 16382), (0, 0), (4096, 4096), (128, 128), (1 << 20, 1 << 20)])
async def test_pynetdicom_stores_with_any_limits(ours: int, theirs: int) -> None:
    """C-ECHO and C-STORE of small and large data sets with any maximum length on either side (G-007, G-040)."""
    kept: list[bytes] = []
    images = [image(10), image(20_000 if ours == 128 else 2_000_000)]

    def work(association: PynetdicomAssociation) -> list[int]:
        statuses = [int(association.send_c_echo().Status)]
        for dataset in images:
            # Its reactor takes the response to a request that comes before it has gone on from the one before.
            while association._is_paused:
                time.sleep(0.001)
            statuses.append(int(association.send_c_store(dataset).Status))
        return statuses

    async with acceptor(lambda association: keep_data(association, kept), max_pdu=ours) as seen:
        assert await ask(seen, work, max_pdu=theirs) == [0, 0, 0]
    assert kept == [encoded(dataset) for dataset in images]
    assert seen.errors == []
    assert (seen.associations[0].peer_max_pdu, seen.associations[0].bytes_in > 20_000) == (theirs, True)


async def test_pynetdicom_finds_and_cancels() -> None:
    """Pending responses with identifiers, and C-CANCEL between two of them (G-071, G-073)."""

    async def find(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            asked = await message.data.read(1000)
            for _ in range(2000):
                if association.is_cancelled(message):
                    await association.respond(message, 0xFE00)
                    break
                await association.respond(message, 0xFF00, asked)
                await asyncio.sleep(0.001)
            else:
                await association.respond(message, 0)

    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientName = "Test*"

    def work(association: PynetdicomAssociation) -> list[Any]:
        found = []
        for status, identifier in association.send_c_find(query, STUDY_ROOT_FIND, msg_id=8):
            found.append((int(status.Status), identifier))
            if len(found) == 5:
                association.send_c_cancel(8, query_model=STUDY_ROOT_FIND)
        return found

    async with acceptor(find) as seen:
        found = await ask(seen, work)
    assert 5 < len(found) < 1000
    assert found[-1][0] == 0xFE00
    assert all((status, identifier) == (0xFF00, query) for status, identifier in found[:-1])


async def test_pynetdicom_reads_every_negotiation_item() -> None:
    """Roles, extended, common extended, identity and window are answered as far as they were offered (G-009..G-016)."""
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT_IMAGE_STORAGE, True, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = STUDY_ROOT_FIND, b"\1\0\1"
    related = SOPClassCommonExtendedNegotiation()
    related.sop_class_uid, related.service_class_uid = CT_IMAGE_STORAGE, "1.2.840.10008.4.2"
    related.related_general_sop_class_identification = ["1.2.840.10008.5.1.4.1.1.88.22"]
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 5
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"user", b"passcode"
    identity.positive_response_requested = True

    def work(association: PynetdicomAssociation) -> Any:
        answer = association.acceptor
        storage = next(one for one in association.accepted_contexts if one.abstract_syntax == CT_IMAGE_STORAGE)
        return (
            answer.implementation_class_uid,
            answer.implementation_version_name,
            answer.asynchronous_operations,
            dict(answer.sop_class_extended),
            (storage.as_scu, storage.as_scp),
            answer.user_identity is not None,
            answer.maximum_length,
        )

    async with acceptor() as seen:
        answered = await ask(seen, work, ext_neg=[role, extended, related, window, identity])
        proposal = seen.proposals[0]
    assert answered == (
        IMPLEMENTATION.class_uid,
        IMPLEMENTATION.version_name,
        (1, 1),
        {STUDY_ROOT_FIND: b"\1\0\1"},
        (True, True),
        True,
        131072,
    )
    assert proposal.identity == UserIdentity(2, b"user", b"passcode", True)
    assert proposal.roles == {CT_IMAGE_STORAGE: (True, True)}
    assert proposal.common_extended == {CT_IMAGE_STORAGE: ("1.2.840.10008.4.2", ("1.2.840.10008.5.1.4.1.1.88.22",))}


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
async def test_every_kind_of_user_identity_is_read(kind: int) -> None:
    """Username, passcode, Kerberos ticket, SAML assertion and JSON web token (G-013, PS3.7 D.3.3.7)."""
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = kind, b"x" * 3000
    if kind == 2:
        identity.secondary_field = b"y" * 10

    async with acceptor() as seen:
        assert await ask(seen, lambda association: association.is_established, ext_neg=[identity])
    assert seen.proposals[0].identity == UserIdentity(kind, b"x" * 3000, b"y" * 10 if kind == 2 else b"", False)


async def test_pynetdicom_understands_a_rejection() -> None:
    """Result, source and reason arrive (G-004, G-005)."""

    async def reject(proposal: Proposal, address: PeerAddress) -> Rejection:
        return Rejection(2, 3, 2)

    def work(association: PynetdicomAssociation) -> Any:
        primitive = association.acceptor.primitive
        return association.is_rejected, (primitive.result, primitive.result_source, primitive.diagnostic)

    async with acceptor(negotiate=reject) as seen:
        assert await ask(seen, work) == (True, (2, 3, 2))


async def test_pynetdicom_gets_with_both_roles() -> None:
    """C-GET: we store to the requestor on its own association (G-012, PS3.4 C.4.3)."""
    dataset = image(300_000)

    async def get(association: Association) -> None:
        async for message in association.messages():
            storage = context_of(association, CT_IMAGE_STORAGE)
            for left in (1, 0):
                stored = await association.request(
                    storage, STORE | {"AffectedSOPInstanceUID": "2.25.7"}, encoded(dataset)
                )
                assert stored.status == 0
                await association.respond(
                    message,
                    0xFF00 if left else 0,
                    NumberOfRemainingSuboperations=left,
                    NumberOfCompletedSuboperations=2 - left,
                    NumberOfFailedSuboperations=0,
                    NumberOfWarningSuboperations=0,
                )

    stored: list[int] = []

    def store(event: evt.Event) -> int:
        stored.append(len(event.dataset.PixelData))
        return 0

    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT_IMAGE_STORAGE, False, True
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"

    def work(association: PynetdicomAssociation) -> list[int]:
        return [int(status.Status) for status, _ in association.send_c_get(query, STUDY_ROOT_GET)]

    async with acceptor(get) as seen:
        statuses = await ask(seen, work, ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, store)])
    assert (statuses, stored) == ([0xFF00, 0], [300_000, 300_000])


async def test_pynetdicom_gets_an_event_report_on_its_association() -> None:
    """N-ACTION is answered, and N-EVENT-REPORT follows on the same association (PS3.4 J.3.2, J.3.3)."""
    answers: list[Message] = []

    async def commit(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            data = await message.data.read(1000)
            await association.respond(message, 0, ActionTypeID=1)
            event: Command = {
                "CommandField": Operation.N_EVENT_REPORT,
                "AffectedSOPClassUID": STORAGE_COMMITMENT,
                "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
                "EventTypeID": 1,
            }
            answers.append(await association.request(message.context, event, data))

    transactions: list[str] = []

    def report(event: evt.Event) -> tuple[int, None]:
        transactions.append(event.event_information.TransactionUID)
        return 0, None

    request = Dataset()
    request.TransactionUID = "2.25.99"

    def work(association: PynetdicomAssociation) -> int:
        status, _ = association.send_n_action(request, 1, STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1")
        deadline = time.monotonic() + 5
        while not transactions and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        return int(status.Status)

    async with acceptor(commit) as seen:
        assert await ask(seen, work, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)]) == 0
    assert transactions == ["2.25.99"]
    assert [answer.status for answer in answers] == [0]


@pytest.mark.parametrize("within", ["idle", "a data set"])
async def test_an_abort_of_pynetdicom_ends_the_association(within: str) -> None:
    """A-ABORT of the peer is an error for whoever serves it (PS3.8 7.3)."""

    def work(association: PynetdicomAssociation) -> None:
        if within != "idle":
            association.send_c_store(image(100))
        association.abort()

    async with acceptor() as seen:
        await ask(seen, work)
    assert len(seen.errors) == 1


async def test_we_store_to_pynetdicom_with_any_limits() -> None:
    """Small and large data sets arrive whole whatever pynetdicom takes (G-007, PS3.8 D.1)."""
    kept: list[bytes] = []

    def store(event: evt.Event) -> int:
        kept.append(event.request.DataSet.getvalue())
        return 0

    for limit in (0, 4096, 128, 1 << 20):
        sent = [encoded(image(size)) for size in (10, 20_000 if limit == 128 else 1_000_000)]
        kept.clear()
        ae = application_entity(maximum_pdu_size=limit)
        with pynetdicom_acceptor(ae, [(evt.EVT_C_STORE, store)]) as address:
            async with await open_to(address) as association:
                assert association.peer_max_pdu == limit
                for data in sent:
                    context = context_of(association, CT_IMAGE_STORAGE)
                    assert (await association.request(context, STORE, data)).status == 0
                assert (await association.request(context_of(association, VERIFICATION), ECHO)).status == 0
        assert kept == sent


async def test_we_find_at_pynetdicom_and_cancel() -> None:
    """Identifiers come with pending responses; C-CANCEL reaches the other side (PS3.7 9.1.2)."""

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for _ in range(500):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            time.sleep(0.002)
            yield 0xFF00, event.identifier

    query = Dataset()
    query.PatientName = "Test*"
    identifier = encode_dataset(query, True, True)
    assert identifier is not None
    with pynetdicom_acceptor(application_entity(), [(evt.EVT_C_FIND, find)]) as address:
        async with await open_to(address) as association:
            context = context_of(association, STUDY_ROOT_FIND)
            statuses = []
            async for response in association.requests(context, FIND | {"MessageID": 3}, identifier):
                statuses.append(response.status)
                if response.data is not None:
                    assert await response.data.read(1000) == identifier
                if len(statuses) == 5:
                    await association.cancel(context, 3)
    assert statuses[-1] == 0xFE00
    assert 5 < len(statuses) < 500


async def test_we_get_from_pynetdicom() -> None:
    """As C-GET SCU we take the stores that come while we wait, in the role we proposed (G-012)."""
    dataset = image(200_000)

    def get(event: evt.Event) -> Iterator[Any]:
        yield 2
        yield 0xFF00, dataset
        yield 0xFF00, dataset

    kept: list[bytes] = []
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    identifier = encode_dataset(query, True, True)
    with pynetdicom_acceptor(application_entity(), [(evt.EVT_C_GET, get)]) as address:
        association = await open_to(address, roles={CT_IMAGE_STORAGE: (True, True)})
        assert association.context_for(CT_IMAGE_STORAGE, as_scu=False) is not None
        storing = asyncio.create_task(keep_data(association, kept))
        command: Command = {"CommandField": Operation.C_GET, "AffectedSOPClassUID": STUDY_ROOT_GET, "Priority": 0}
        context = context_of(association, STUDY_ROOT_GET)
        last = [response async for response in association.requests(context, command, identifier)][-1]
        await association.release()
        await storing
    assert (last.status, last.command["NumberOfCompletedSuboperations"]) == (0, 2)
    assert kept == [encoded(dataset)] * 2


async def test_what_we_propose_reaches_pynetdicom() -> None:
    """Titles, identity, extended negotiation and implementation as pynetdicom sees them (G-009, G-013, G-015)."""
    seen: dict[str, Any] = {}

    def user(event: evt.Event) -> tuple[bool, bytes | None]:
        seen["identity"] = (event.user_id_type, event.primary_field, event.secondary_field)
        return True, None

    def extended(event: evt.Event) -> dict[str, bytes]:
        seen["extended"] = {str(uid): data for uid, data in event.app_info.items()}
        return dict(event.app_info)

    def accepted(event: evt.Event) -> None:
        requestor = event.assoc.requestor
        seen["titles"] = (requestor.ae_title, requestor.primitive.called_ae_title)
        seen["implementation"] = (requestor.implementation_class_uid, requestor.implementation_version_name)

    handlers = [(evt.EVT_USER_ID, user), (evt.EVT_SOP_EXTENDED, extended), (evt.EVT_ACCEPTED, accepted)]
    with pynetdicom_acceptor(application_entity(), handlers) as address:
        association = await open_to(
            address, identity=UserIdentity(2, b"u", b"p", True), extended={STUDY_ROOT_FIND: b"\1\1\0"}
        )
        async with association:
            assert association.extended == {STUDY_ROOT_FIND: b"\1\1\0"}
            assert association.peer_implementation.version_name.startswith("PYNETDICOM")
    assert seen == {
        "identity": (2, b"u", b"p"),
        "extended": {STUDY_ROOT_FIND: b"\1\1\0"},
        "titles": ("SCU", "PYNETDICOM"),
        "implementation": (IMPLEMENTATION.class_uid, IMPLEMENTATION.version_name),
    }


async def test_a_rejection_of_pynetdicom_is_an_error() -> None:
    """The reason why is in the error (G-004)."""
    ae = application_entity()
    ae.require_called_aet = True
    rejected = pytest.raises(AssociationRejected, match="called AE title not recognized")
    with pynetdicom_acceptor(ae, []) as address, rejected:
        await open_to(Address(address.host, address.port, "SOMEBODY"))


async def test_an_abort_of_pynetdicom_is_an_error() -> None:
    """Whoever waits for a response gets AssociationAborted (PS3.8 7.3)."""

    def echo(event: evt.Event) -> int:
        event.assoc.abort()
        return 0

    with pynetdicom_acceptor(application_entity(), [(evt.EVT_C_ECHO, echo)]) as address:
        association = await open_to(address)
        with pytest.raises(AssociationAborted):
            await association.request(context_of(association, VERIFICATION), ECHO)
        await association.abort()


async def test_pynetdicom_notices_our_abort() -> None:
    """A-ABORT of ours ends pynetdicom's association (PS3.8 7.3)."""
    aborted: list[bool] = []
    with pynetdicom_acceptor(application_entity(), [(evt.EVT_ABORTED, lambda event: aborted.append(True))]) as address:
        association = await open_to(address)
        await association.abort()
        await until(lambda: aborted)
    assert aborted == [True]
