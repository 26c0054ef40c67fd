"""Fixtures: a certificate, and a log to read."""

import io
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomweb.settings import Settings
from dicomweb.telemetry import logs


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and 127.0.0.1 that signs itself, with its key; made by openssl."""
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *curve, *name, "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Logs of this process as JSON lines, in memory."""
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in ("", *logs.OURS)}
    stream = io.StringIO()
    logs.configure(Settings(log_format="json"), "worker-7", stream)
    logging.captureWarnings(False)
    yield stream
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
