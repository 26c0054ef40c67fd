"""Metrics: labels, sums over processes, the supervisor's account."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dicomweb.telemetry.exchange import Exchange
from dicomweb.telemetry.metrics import CHILDREN_FILE, FOLDER_VARIABLE, Metrics
from storage.upkeep.statistics import StatisticsReader
from storage.work.commitments import Commitments, Reference
from storage.work.jobs import Jobs
from tests.live_server import REPOSITORY


def test_requests_are_counted_by_method_route_and_status() -> None:
    """One request is one count, its bytes and its instances."""
    metrics = Metrics()
    metrics.begun()
    metrics.ended(
        Exchange(
            "POST", "/s/1", "/s/{study}", 200, received=7, sent=9, seconds=0.3, outcomes={"stored": 2, "failed": 1}
        )
    )
    text = metrics.exposition().decode()
    assert 'dicomweb_requests_total{method="POST",route="/s/{study}",status="200"} 1.0' in text
    assert 'dicomweb_request_duration_seconds_bucket{le="0.5",method="POST",route="/s/{study}"} 1.0' in text
    assert "dicomweb_requests_in_flight 0.0" in text
    assert "dicomweb_received_bytes_total 7.0" in text
    assert "dicomweb_sent_bytes_total 9.0" in text
    assert 'dicomweb_instances_total{outcome="stored"} 2.0' in text
    assert 'dicomweb_instances_total{outcome="failed"} 1.0' in text


def test_a_client_cannot_make_labels() -> None:
    """Invented methods and paths share one label each."""
    metrics = Metrics()
    for number in range(50):
        metrics.begun()
        metrics.ended(Exchange(f"METHOD{number}", f"/{number}", "", 404))
    assert 'dicomweb_requests_total{method="other",route="none",status="404"} 50.0' in metrics.exposition().decode()


def test_workers_add_up(tmp_path: Path) -> None:
    """What several processes counted is one sum, also after they ended."""
    program = (
        "import sys; from dicomweb.telemetry.metrics import Metrics; from dicomweb.telemetry.exchange import Exchange\n"
        "metrics = Metrics(); metrics.begun(); metrics.ended(Exchange('GET', '/a', '/a', 200))\n"
        "sys.stdout.buffer.write(metrics.exposition())"
    )
    environment = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    for count in (1, 2):
        out = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, check=True
        ).stdout.decode()
        assert f'dicomweb_requests_total{{method="GET",route="/a",status="200"}} {count}.0' in out


def test_the_supervisors_account_is_shown(tmp_path: Path) -> None:
    """Restarts of children and the memory of those that live."""
    account = {"worker-1": {"pid": os.getpid(), "restarts": 3}, "worker-2": {"pid": None, "restarts": 0}}
    (tmp_path / CHILDREN_FILE).write_text(json.dumps(account))
    text = Metrics(tmp_path).exposition().decode()
    assert 'dicomweb_child_restarts_total{child="worker-1"} 3.0' in text
    if Path("/proc/self/statm").exists():
        assert 'dicomweb_process_resident_memory_bytes{child="worker-1"}' in text
    assert 'dicomweb_process_resident_memory_bytes{child="worker-2"}' not in text


async def test_jobs_and_commitments_are_shown_by_state(archive: Any, app: Any, client: httpx2.AsyncClient) -> None:
    """Every state has a sample, 0 included; without the database the rest is shown all the same."""
    app.state.metrics = Metrics()
    jobs = Jobs(archive.pool)
    for number in [await jobs.add("send", {}) for _ in range(3)][:1]:
        await jobs.cancel(number)
    await Commitments(archive.pool).add("1.2.3", "CT1", "DICOMWEB", [Reference("1.2", "1.3")])
    text = (await client.get("/metrics")).text
    for name, state, count in (("jobs", "queued", 2), ("jobs", "cancelled", 1), ("jobs", "failed", 0)):
        assert f'dicomweb_{name}{{state="{state}"}} {count}.0\n' in text
    assert 'dicomweb_commitments{state="checking"} 1.0\n' in text
    assert 'dicomweb_commitments{state="parked"} 0.0\n' in text
    app.state.statistics = StatisticsReader(archive)
    await archive.pool.close()
    text = (await client.get("/metrics")).text
    assert "dicomweb_requests_in_flight" in text and "dicomweb_jobs" not in text


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_missing_account_is_no_failure(tmp_path: Path, content: str | None) -> None:
    """Metrics are answered while the supervisor has not written yet."""
    if content is not None:
        (tmp_path / CHILDREN_FILE).write_text(content)
    assert b"dicomweb_requests_in_flight" in Metrics(tmp_path).exposition()


def test_a_disk_that_fills_up_does_not_kill_the_worker_that_counts(tmp_path: Path) -> None:
    """The files that are mapped into memory have no holes: writing into one on a full disk is a SIGBUS."""
    program = "from dicomweb.telemetry.metrics import Metrics; Metrics().begun()"
    environment = os.environ | {FOLDER_VARIABLE: str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    files = list(tmp_path.glob("*.db"))
    assert {file.name.partition("_")[0] for file in files} == {"counter", "gauge", "histogram"}
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size for file in files)
