"""Metrics for Prometheus: counted by each worker in files of its own, added up when somebody asks.

How many jobs and storage commitments are in which state is read from the database then: they belong to no process.
While that does not answer they are left out, and the rest is shown.

prometheus-client decides when it is imported whether it counts in files: the supervisor sets `FOLDER_VARIABLE` in the
environment of its children. Without it (tests, one process) it counts in memory.
"""

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dicomweb.telemetry.exchange import Exchange
from storage.database.pool import connection_lost
from storage.errors import ArchiveError
from storage.pixels.codec_children import CHILDREN
from storage.system.errors import in_words
from storage.upkeep.statistics import StatisticsReader
from storage.work import commitments, jobs

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CHILDREN_FILE = "children.json"
"""In the folder `run` of the data folder: the supervisor writes there which children it has."""

QUEUES_WITHIN = 3.0
"""Seconds to count what is in the database."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """What one process counts, and the sum of what all of them counted.

    Parameters
    ----------
    run : Path, optional
        The folder `run` of the data folder, when a supervisor counts its children there.
    """

    def __init__(self, run: Path | None = None) -> None:
        self._run = run
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "dicomweb_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._duration = Histogram(
            "dicomweb_request_duration_seconds",
            "Time from the first to the last byte of a request.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "dicomweb_requests_in_flight",
            "Requests being answered.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._received = Counter("dicomweb_received_bytes", "Bytes of request bodies.", registry=self._registry)
        self._sent = Counter("dicomweb_sent_bytes", "Bytes of response bodies.", registry=self._registry)
        self._instances = instances_counter(self._registry)
        self._duration.labels("GET", "none")  # its file exists from the first label on
        allocate_files()

    def begun(self) -> None:
        """Count a request that begins."""
        self._in_flight.inc()

    def ended(self, exchange: Exchange) -> None:
        """Count a request that ended."""
        self._in_flight.dec()
        method = exchange.method if exchange.method in _METHODS else "other"
        route = exchange.route or "none"
        self._requests.labels(method, route, str(exchange.status)).inc()
        self._duration.labels(method, route).observe(exchange.seconds)
        self._received.inc(exchange.received)
        self._sent.inc(exchange.sent)
        for outcome, count in (exchange.outcomes or {}).items():
            self._instances.labels(outcome).inc(count)

    def exposition(self) -> bytes:
        """Write the metrics of all processes in Prometheus' text format; reads files."""
        registry = self._registry
        if FOLDER_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, os.environ[FOLDER_VARIABLE])  # type: ignore[no-untyped-call]
        text = generate_latest(registry)
        if self._run is not None:
            children = CollectorRegistry()
            children.register(_Children(self._run / CHILDREN_FILE))
            text += generate_latest(children)
        return text


class _Children(Collector):
    """The supervisor's account of its children, and the memory they take."""

    def __init__(self, account: Path) -> None:
        self._account = account

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        try:
            children = json.loads(self._account.read_bytes())
        except (OSError, ValueError):
            children = {}
        restarts = CounterMetricFamily("dicomweb_child_restarts", "Restarts of a child.", labels=["child"])
        memory = GaugeMetricFamily(
            "dicomweb_process_resident_memory_bytes", "Resident memory of a process.", labels=["child"]
        )
        for name, child in children.items():
            restarts.add_metric([name], child["restarts"])
            if (resident := _resident_bytes(child["pid"])) is not None:
                memory.add_metric([name], resident)
        yield restarts
        yield memory


def instances_counter(registry: CollectorRegistry) -> Counter:
    """Make the counter of instances, one for every door they come in by."""
    return Counter(
        "dicomweb_instances",
        "Instances that came in: stored, duplicate, replaced or failed.",
        ("outcome",),
        registry=registry,
    )


def count_codec_endings() -> None:
    """Count, from now on, the children of this process that ended while they decoded or encoded."""
    endings = Counter(
        "dicomweb_codec_endings",
        "Child processes that ended while they decoded or encoded pixels, by what did so and by reason: crashed, "
        "stalled (it took too long) or killed (from outside).",
        ("codec", "reason"),
        registry=CollectorRegistry(),
    )
    CHILDREN.on_ending = lambda codec, reason: endings.labels(codec, reason).inc()


def allocate_files() -> None:
    """Give the files of this process their blocks now: they are mapped into memory, and a write into a hole of such a
    file on a full disk kills the process (SIGBUS)."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None or not hasattr(os, "posix_fallocate"):
        return
    for path in Path(folder).glob(f"*_{os.getpid()}.db"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            logger.error("no room for the metrics: %s", in_words(error))


def _resident_bytes(process: int | None) -> int | None:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None  # not Linux, or just gone


async def queues(reader: StatisticsReader) -> bytes:
    """Write what is in the queues of the database; nothing when it does not answer."""
    try:
        async with asyncio.timeout(QUEUES_WITHIN):
            found = await reader.read()
    except Exception as error:
        if not (isinstance(error, ArchiveError | TimeoutError) or connection_lost(error)):
            logger.error("jobs and commitments cannot be counted", exc_info=error)
        return b""
    registry = CollectorRegistry()
    damaged = Gauge("dicomweb_damaged_files", "Stored files known not to be what was stored.", registry=registry)
    damaged.set(found.damaged_files)
    registry.register(_States("dicomweb_jobs", "Jobs, by their state.", jobs.STATES, found.jobs))
    described = "Storage commitments asked of the archive, by their state."
    registry.register(_States("dicomweb_commitments", described, commitments.STATES, found.commitments))
    return generate_latest(registry)


class _States(Collector):
    """One gauge, with a sample for every state there is."""

    def __init__(self, name: str, description: str, states: Sequence[str], counts: Mapping[str, int]) -> None:
        self._gauge = GaugeMetricFamily(name, description, labels=["state"])
        for state in states:
            self._gauge.add_metric([state], counts.get(state, 0))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield self._gauge
