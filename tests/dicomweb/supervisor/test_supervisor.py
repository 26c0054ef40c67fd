"""The supervisor's order of starting (what real servers do is in tests/live/test_supervisor.py)."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from dicomweb.opening import calling_facts
from dicomweb.process.listener import DIMSE, HTTP
from dicomweb.settings import Settings
from dicomweb.supervisor import supervisor
from dicomweb.supervisor.children import Kind
from storage.database.data_folder import DataFolder


async def test_the_server_is_published_before_a_child_can_be_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command started as soon as /health/ready is 200 finds `run/server.json` and joins the server."""
    found: list[Any] = []

    class ReadyChild:
        """A child that is ready at once and sees what a guest would see."""

        pid, restarts = 1, 0

        def __init__(self, kind: Kind, *_: object) -> None:
            self.kind = kind
            self.ready = asyncio.Event()

        async def run(self) -> None:
            found.append(DataFolder.running(tmp_path))
            self.ready.set()

        def ask_to_stop(self) -> None: ...

        kill = ask_to_stop

    monkeypatch.setattr(supervisor, "Child", ReadyChild)
    monkeypatch.setattr(supervisor, "_say", lambda _: started._stopping.set())
    started = supervisor.Supervisor(Settings(workers=2, data_dir=tmp_path))
    with (
        DataFolder(tmp_path) as folder,
        socket.create_server(("127.0.0.1", 0)) as http,
        socket.create_server(("127.0.0.1", 0)) as dimse,
    ):
        port, dimse_port = http.getsockname()[1], dimse.getsockname()[1]
        assert await started._serve({HTTP: http, DIMSE: dimse}, folder, "postgresql://somewhere", None) == 0
    assert [(facts["database_url"], facts["url"], facts["aet"], facts["dimse"]) for facts in found] == [
        ("postgresql://somewhere", f"http://127.0.0.1:{port}", "DICOMWEB", f"127.0.0.1:{dimse_port}")
    ] * 4  # two workers, the gateway and the job worker
    assert calling_facts(started.settings).items() <= found[0].items()
