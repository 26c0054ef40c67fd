"""Files of a backup in a fresh folder: the archive says that nobody finds them; what it advises helps."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from tests.builders import ct_slice
from tests.live.test_commands import run
from tests.live_server import LiveServer


def test_an_archive_of_restored_files_does_not_look_empty(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """The log, `/health` and `/api/status` tell how many and what to do; once it is done, they are silent."""
    first = serve("--workers", "1", "--no-dimse", data_dir=tmp_path / "first")
    for _ in range(3):
        httpx2.post(f"{first.root}/studies", content=ct_slice(), headers={"Content-Type": "application/dicom"})
    first.stop()
    (tmp_path / "second").mkdir()
    shutil.copytree(tmp_path / "first" / "blobs", tmp_path / "second" / "blobs")

    server = serve("--workers", "1", "--no-dimse", data_dir=tmp_path / "second")
    deadline = time.monotonic() + 120
    while "advice" not in (health := httpx2.get(f"{server.url}/health").json()):
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.1)
    assert health["status"] == "ready" and health["advice"].startswith("3 stored files are not in the index")
    while (status := httpx2.get(f"{server.url}/api/status").json()["archive"])["unindexed_files"] != 3:
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    assert (status["instances"], status["advice"]) == (0, health["advice"])
    assert "3 stored files are not in the index" in server.log.read_text()
    assert run(tmp_path, "check", "--repair", "--data-dir", str(server.data_dir))[0] == 0
    assert "advice" not in httpx2.get(f"{server.url}/health").json()
    assert len(httpx2.get(f"{server.root}/studies").json()) == 3
