"""A gateway in this process that works on storage commitments, and a modality (pynetdicom) that asks for them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicomweb.gateway.gateway import Gateway
from storage.archive import Archive
from storage.work.commitments import Commitment, Commitments, Reference
from storage.work.peers import Peer
from tests.builders import ct_slice, dataset_of, sop_instance_uid
from tests.dicomweb.gateway.serving import CT, serving

WITHIN = 60.0


class Committing:
    """What a test sees of the gateway.

    Attributes
    ----------
    port : int
        Where it listens on the loopback interface.
    """

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port
        self.commitments = Commitments(gateway.archive.pool)

    async def becomes(self, state: str, number: int = 1) -> Commitment:
        """Wait until a commitment is in a state."""
        async with asyncio.timeout(WITHIN):
            while (commitment := await self.commitments.get(number)).state != state:
                await asyncio.sleep(0.02)
        return commitment


@asynccontextmanager
async def committing(archive: Archive, **settings: Any) -> AsyncIterator[Committing]:
    """Run a gateway over the archive."""
    defaults = {"commitment_retry_seconds": 0.2, "dimse_timeout": 60, "dimse_acse_timeout": 60}
    async with serving(archive, delivers=True, **defaults | settings) as served:
        yield Committing(served.gateway, served.port)


class Modality:
    """A storage commitment SCU; its methods block.

    Parameters
    ----------
    ae_title : str
        Its own.

    Attributes
    ----------
    reports : list of (str, int, Dataset)
        How each report came ("same" association object's way), its event type and its data set.
    status : int
        What it answers reports with.
    """

    def __init__(self, ae_title: str = "CT1") -> None:
        self.ae = AE(ae_title)
        self.ae.acse_timeout = self.ae.dimse_timeout = self.ae.network_timeout = 60
        self.ae.add_requested_context(StorageCommitmentPushModel)
        self.ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self.reports: list[tuple[Any, int, Dataset]] = []
        self.status = 0x0000
        self._arrived = threading.Condition()

    @contextmanager
    def listening(self, port: int = 0) -> Iterator[int]:
        """Take associations, as for reports on a new one; yields the port."""
        server = self.ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()

    def open(self, port: int, called: str = "DICOMWEB") -> Any:
        """Open an association with the archive."""
        association = self.ae.associate(
            "127.0.0.1", port, ae_title=called, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        assert association.is_established
        return association

    def ask(self, association: Any, transaction_uid: str, references: Sequence[Reference], **changed: Any) -> Any:
        """Ask for commitment; returns the status as pynetdicom gives it."""
        information = changed.get("information", information_of(transaction_uid, references))
        status, _ = association.send_n_action(
            information,
            changed.get("action", 1),
            StorageCommitmentPushModel,
            changed.get("instance", StorageCommitmentPushModelInstance),
        )
        return status

    def report(self, number: int = 1) -> tuple[Any, int, Dataset]:
        """Wait for the report of that number, counted from 1."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.reports) >= number, WITHIN), "no report"
        return self.reports[number - 1]

    def _take(self, event: Any) -> tuple[int, None]:
        with self._arrived:
            self.reports.append((event.assoc, event.event_type, event.event_information))
            self._arrived.notify_all()
        return self.status, None


def information_of(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    """The data set of an N-ACTION."""
    items = [
        {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": instance} for sop_class, instance in references
    ]
    return dataset_of({"TransactionUID": transaction_uid, "ReferencedSOPSequence": items})


async def stored(archive: Archive, count: int = 1) -> list[Reference]:
    """Store CT slices; returns what to ask for."""
    files = [ct_slice() for _ in range(count)]
    for file in files:
        assert (await archive.store(file)).status == "stored"
    return [Reference(CT, sop_instance_uid(file)) for file in files]


async def flip_a_byte(archive: Archive, reference: Reference) -> None:
    """Damage the stored file of an instance on disk."""
    statement = "SELECT blob FROM instances WHERE sop_instance_uid = $1"
    path = archive.blobs.path(await archive.pool.fetchval(statement, reference.sop_instance_uid))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o640)
    path.write_bytes(data)


def committed(report: Dataset) -> list[str]:
    """The SOP Instance UIDs a report commits to."""
    return [item.ReferencedSOPInstanceUID for item in report.get("ReferencedSOPSequence", [])]


def failed(report: Dataset) -> dict[str, int]:
    """The Failure Reasons in a report, by SOP Instance UID."""
    return {item.ReferencedSOPInstanceUID: item.FailureReason for item in report.get("FailedSOPSequence", [])}


async def peer(gateway: Gateway, port: int, *ways: str, ae_title: str = "CT1") -> None:
    """Make a modality known."""
    await gateway.peers.put(Peer(ae_title, "127.0.0.1", port, commitment_delivery=ways or ("same", "new", "next")))
