"""Another archive that commits to instances (pynetdicom as storage commitment SCP)."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.builders import dataset_of


class Committer:
    """Answers requests, and reports on them on the same association or on a new one.

    Parameters
    ----------
    failures : mapping of str to int
        SOP Instance UID to the Failure Reason it is to have; all others are committed to.
    report_to : int, optional
        Port to open a new association with for the report; without it the same association is used.
    status : int
        Of the answer to the request; with a failure nothing is reported.
    silent : bool
        Never report.
    """

    def __init__(
        self,
        failures: Mapping[str, int] | None = None,
        *,
        report_to: int | None = None,
        status: int = 0x0000,
        silent: bool = False,
    ) -> None:
        self.failures = failures or {}
        self.report_to = report_to
        self.status = status
        self.silent = silent
        self.asked: list[Dataset] = []
        self.answers: list[int] = []
        self._threads: list[threading.Thread] = []

    @contextmanager
    def listening(self, *, offering: bool = True) -> Iterator[int]:
        """Take associations; yields the port."""
        ae = AE("VNA")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        ae.add_supported_context(StorageCommitmentPushModel if offering else "1.2.840.10008.1.1")
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, self._act)])
        try:
            yield server.server_address[1]
        finally:
            self.settle()
            server.shutdown()

    def settle(self) -> None:
        """Wait until every report was sent and answered; blocks, so that whoever answers must run elsewhere."""
        for thread in self._threads:
            thread.join(10)

    def _act(self, event: Any) -> tuple[int, None]:
        self.asked.append(event.action_information)
        if not self.status and not self.silent:
            thread = threading.Timer(0.2, self._report, (event.assoc, event.action_information))
            self._threads.append(thread)
            thread.start()
        return self.status, None

    def _report(self, association: Any, asked: Dataset) -> None:
        items = [
            {
                "ReferencedSOPClassUID": str(item.ReferencedSOPClassUID),
                "ReferencedSOPInstanceUID": str(item.ReferencedSOPInstanceUID),
            }
            for item in asked.ReferencedSOPSequence
        ]
        reasons = self.failures
        failed = [
            item | {"FailureReason": reasons[item["ReferencedSOPInstanceUID"]]}
            for item in items
            if item["ReferencedSOPInstanceUID"] in reasons
        ]
        sound = [item for item in items if item["ReferencedSOPInstanceUID"] not in reasons]
        report = {"TransactionUID": str(asked.TransactionUID)}
        report |= {"ReferencedSOPSequence": sound} if sound else {}
        report |= {"FailedSOPSequence": failed} if failed else {}
        if self.report_to is not None:
            ae = AE("VNA")
            ae.add_requested_context(StorageCommitmentPushModel)
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            association = ae.associate("127.0.0.1", self.report_to, ae_title="DICOMWEB", ext_neg=[role])
        status, _ = association.send_n_event_report(
            dataset_of(report),
            2 if failed else 1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        self.answers.append(status.Status)
        if self.report_to is not None:
            association.release()
