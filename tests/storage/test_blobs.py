"""The blob store: staged, published once, found again."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from storage.blobs import LocalBlobs, blob_name
from storage.errors import NotFound


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
        monkeypatch.setattr("storage.blobs.time.time_ns", lambda now=milliseconds: now * 1_000_000)
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
