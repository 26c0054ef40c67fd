"""The server that hostile things are sent to, and its client."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.live.exchange import key_in, path_of, retrieve, store
from tests.live.hostility import PATIENT, image
from tests.live_server import LiveServer, running_server


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server for hostile input alone; whatever it was sent, its log is clean in the end."""
    with running_server(tmp_path_factory.mktemp("hostile") / "data", "--workers", "2") as server:
        yield server
        log = server.log.read_text(errors="replace")
        assert "Traceback" not in log and "unforeseen" not in log, log[-5000:]
        assert not re.search(PATIENT.replace("^", "|"), log, re.IGNORECASE)
        assert "another one starts" not in log


@pytest.fixture
def hostile_client(hostile: LiveServer) -> Iterator[httpx2.Client]:
    """A client of the server, which still stores and finds when the test is over."""
    with httpx2.Client(base_url=hostile.root, timeout=60) as opened:
        yield opened
        good = image()
        assert store(opened, good).status_code == 200
        assert retrieve(opened, path_of(key_in(good))) == [good]
        assert opened.get(f"{hostile.url}/health/ready").status_code == 200
