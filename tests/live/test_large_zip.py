"""Huge studies go out as ZIP archives in constant memory, with ZIP64 where it is needed (H-020; design promise 6)."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.builders import new_uid
from tests.live.exchange import Key, path_of
from tests.live.test_large_objects import FRAME, LARGE, client, frames, head_of, server, upload

__all__ = ["client", "server"]  # fixtures

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")

ZIP = {"Accept": "application/zip"}
PIECE = 1 << 20


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    """Where the archive is kept; it does not stay."""
    path = tmp_path / "study.zip"
    yield path
    path.unlink(missing_ok=True)


def fetch(client: httpx2.Client, path: str, target: Path, start: int = 0, stop: int | None = None) -> None:
    """Write what is received behind what was received before; break off when so many bytes are there."""
    wanted = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", path, headers=ZIP | wanted) as answer, target.open("ab") as file:
        assert answer.status_code == (206 if start else 200)
        for chunk in answer.iter_bytes(PIECE):
            file.write(chunk)
            if stop is not None and file.tell() >= stop:
                return
        assert file.tell() == start + int(answer.headers["content-length"])


def test_a_huge_study(client: httpx2.Client, archive: Path) -> None:
    """Two huge files come back bit for bit, in one go after a broken connection, with a length told in advance."""
    study, series = new_uid(), new_uid()
    count = LARGE // 2 // FRAME
    sent = set()
    for _ in range(2):
        key: Key = (study, series, new_uid())
        sent.add(upload(client, head_of(key, count), partial(frames, count)))
    path = path_of(key).partition("/series")[0]
    head = client.head(path, headers=ZIP)
    fetch(client, path, archive, stop=LARGE // 2)
    fetch(client, path, archive, start=archive.stat().st_size)
    assert archive.stat().st_size == int(head.headers["content-length"]) > 2 * count * FRAME
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        assert names == ["DICOMDIR", "DICOM/S0000001/I0000001", "DICOM/S0000001/I0000002"]
        digests = set()
        for name in names[1:]:
            with opened.open(name) as file:  # checks the CRC as it reads
                digests.add(hashlib.file_digest(file, "sha256").digest())
        assert digests == sent
    if shutil.which("unzip"):
        tested = subprocess.run(["unzip", "-tqq", os.fspath(archive)], capture_output=True, check=False)
        assert tested.returncode == 0, tested.stdout + tested.stderr
