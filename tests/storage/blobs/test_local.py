"""The blob store: staged, published once, found again."""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.blobs.local import LocalBlobs, blob_name
from storage.errors import NotFound, Unavailable


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """An empty store."""
    return LocalBlobs(tmp_path)


def test_a_published_blob_has_its_bytes_its_hash_and_a_name_made_of_time(blobs: LocalBlobs) -> None:
    """Publishing gives the bytes a name that follows from the identifier alone."""
    blob = blobs.stage()
    blob.write(b"one")
    blob.write(b"two")
    blob.publish()
    blobs.sync([blob.name])
    blob.settle()
    assert blobs.path(blob.name).read_bytes() == b"onetwo"
    assert blob.sha256 == hashlib.sha256(b"onetwo").digest()
    assert blob.name == blob_name(blob.identifier)
    assert list(blobs.names()) == [blob.name]
    assert blobs.staged() == []


def test_a_blob_is_found_staged_until_it_is_settled(blobs: LocalBlobs) -> None:
    """What was published but never settled is found by a sweep."""
    blob = blobs.stage()
    blob.write(b"bytes")
    blob.publish()
    assert blobs.staged() == [blob.name] == list(blobs.names())


def test_discarding_leaves_no_trace(blobs: LocalBlobs) -> None:
    """A discarded blob is gone, staged or published."""
    staged, published = blobs.stage(), blobs.stage()
    staged.write(b"1")
    published.write(b"2")
    published.publish()
    staged.discard()
    published.discard()
    assert list(blobs.names()) == blobs.staged() == []


def test_names_are_ordered_by_the_time_of_staging(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of names is the order of arrival, which `reindex` relies on."""
    names = []
    for milliseconds in (1_000, 61_000, 86_400_000, 1_700_000_000_000):
        monkeypatch.setattr("storage.blobs.local.time.time_ns", lambda now=milliseconds: now * 1_000_000)
        names.append(blobs.stage().name)
    assert names == sorted(names)


async def test_reading_gives_exactly_the_asked_bytes(blobs: LocalBlobs) -> None:
    """Positioned reads and streams return what lies there, fewer bytes only at the end."""
    data = bytes(range(256)) * 8192
    blob = blobs.stage()
    blob.write(data)
    blob.publish()
    reader = blobs.reader(blob.name)
    assert await reader.read(1000, 5000) == data[1000:6000]
    assert await reader.read(len(data) - 10, 100) == data[-10:]
    assert b"".join([chunk async for chunk in reader.stream(3, len(data) - 3)]) == data[3:]


async def test_a_missing_file_is_a_named_error(blobs: LocalBlobs) -> None:
    """A blob that is gone is NotFound, which says which command tells more."""
    with pytest.raises(NotFound, match="dicomweb check"):
        await blobs.reader("20260101/0000/none.dcm").read(0, 1)


async def test_a_cancelled_caller_waits_for_its_thread(blobs: LocalBlobs) -> None:
    """Cancelling never leaves a thread writing to a file that is being closed."""
    done: list[str] = []

    def slow() -> None:
        import time

        time.sleep(0.1)
        done.append("thread")

    task = asyncio.create_task(blobs.run(slow))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["thread"]


def test_what_others_put_into_the_folders_is_passed_over(blobs: LocalBlobs) -> None:
    """A file manager's or a file system's own files stop neither the start nor `check` nor `reindex`."""
    blob = blobs.stage()
    blob.write(b"bytes")
    blob.publish()
    (blobs.root / "lost+found").mkdir()
    (blobs.root / "notes.txt").touch()
    (blobs.path(blob.name).parent.parent / ".DS_Store").touch()
    (blobs.path(blob.name).parent.parent / "notes.txt").touch()
    (blobs.path(blob.name).parent / "folder").mkdir()
    (blobs.root / ".staging" / "copy of a file.dcm").touch()
    assert list(blobs.names()) == blobs.staged() == [blob.name]


def test_publishing_twice_is_publishing_once(blobs: LocalBlobs) -> None:
    """A batch that the index refused is published again one by one."""
    blob = blobs.stage()
    blob.write(b"bytes")
    blob.publish()
    blob.publish()
    assert blobs.path(blob.name).read_bytes() == b"bytes"


def test_a_disk_that_cannot_be_written_is_said_in_our_words(
    blobs: LocalBlobs, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the disk is "send again later" to the sender, its cause goes to the log, no path to either."""
    (blobs.root / ".staging").rmdir()
    blob = blobs.stage()
    with pytest.raises(Unavailable, match="cannot be written"):
        blob.write(b"bytes")
    blob.discard()
    assert "there is no such file or folder" in caplog.text
    assert str(blobs.root) not in caplog.text


KILLED = """
import sys, time
from pathlib import Path
from storage.blobs.local import LocalBlobs
blobs = LocalBlobs(Path(sys.argv[1]), threads=1)
unfinished, published = blobs.stage(), blobs.stage()
for blob in (unfinished, published):
    blob.write(b"pixels of a patient")
published.publish()
print("written", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_was_receiving_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Patients' pixels do not lie about; what is received elsewhere, or may have a row already, is left alone."""
    blobs = LocalBlobs(tmp_path, threads=1)
    mine = blobs.stage()
    mine.write(b"still coming")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        for path in (tmp_path / ".staging").iterdir():
            os.utime(path, (0, 0))
        assert blobs.sweep_unfinished() == 0
        process.kill()
        process.wait()
    assert blobs.sweep_unfinished() == 1
    assert len(blobs.staged()) == 2 and len(list(blobs.names())) == 1
    mine.publish()
    assert blobs.path(mine.name).read_bytes() == b"still coming"
    blobs.close()
