"""What the gateway counts, in the same files as the HTTP workers (see `dicomweb/telemetry/metrics.py`)."""

import asyncio
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dicomweb.dimse.command_set import Operation
from dicomweb.telemetry.metrics import allocate_files, instances_counter

_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_DESCRIPTORS: Final = Path("/proc/self/fd")


class GatewayMetrics:
    """Counters of one gateway process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._associations = Counter(
            "dicomweb_dimse_associations",
            "Associations asked for by peers, by what became of them: accepted, rejected, and at the end released, "
            "aborted or timed out.",
            ("outcome", "reason"),
            registry=registry,
        )
        self._live = Gauge(
            "dicomweb_dimse_associations_live", "Associations open.", registry=registry, multiprocess_mode="livesum"
        )
        self._tasks = Gauge(
            "dicomweb_dimse_tasks", "Tasks of the gateway.", registry=registry, multiprocess_mode="livesum"
        )
        self._sockets = Gauge(
            "dicomweb_dimse_descriptors",
            "Sockets and files the gateway has open.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._operations = Counter(
            "dicomweb_dimse_operations", "Requests answered.", ("operation", "status"), registry=registry
        )
        self._duration = Histogram(
            "dicomweb_dimse_operation_duration_seconds",
            "Time from the command of a request to its final response.",
            ("operation",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = Counter("dicomweb_dimse_received_bytes", "Bytes of PDUs received.", registry=registry)
        self._sent = Counter("dicomweb_dimse_sent_bytes", "Bytes of PDUs sent.", registry=registry)
        self._instances = instances_counter(registry)
        self._duration.labels("C_ECHO")  # its file exists from the first label on
        allocate_files()

    def accepted(self) -> None:
        """Count an association that was accepted."""
        self._associations.labels("accepted", "").inc()

    def rejected(self, reason: str) -> None:
        """Count one that was rejected."""
        self._associations.labels("rejected", reason).inc()

    def ended(self, outcome: str, reason: str, received: int, sent: int) -> None:
        """Count an end, "released", "aborted" or "timeout", and the bytes that went each way."""
        self._associations.labels(outcome, reason).inc()
        self._received.inc(received)
        self._sent.inc(sent)

    def answered(self, operation: Operation | None, status: int | None, seconds: float) -> None:
        """Count a request and its final status, None when it had none."""
        name = operation.name if operation is not None else "unknown"
        self._operations.labels(name, "none" if status is None else f"{status:04X}").inc()
        self._duration.labels(name).observe(seconds)

    def instance(self, outcome: str) -> None:
        """Count an instance: stored, duplicate, replaced or failed."""
        self._instances.labels(outcome).inc()

    def look(self, live: int) -> None:
        """Note how much is open now; must flatten out however many associations come and go."""
        self._live.set(live)
        self._tasks.set(len(asyncio.all_tasks()))
        try:
            self._sockets.set(sum(1 for _ in _DESCRIPTORS.iterdir()))
        except OSError:
            pass  # not Linux

    def value(self, name: str, **labels: str) -> float:
        """Return one sample as counted by this process, 0 when there is none."""
        return self._registry.get_sample_value(name, labels) or 0.0
