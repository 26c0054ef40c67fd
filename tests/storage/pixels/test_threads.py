"""The threads for pixel work: bounded, patient where an answer has begun, dropped when nobody waits."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from storage.dicom.transfer_syntax import JPEG_LS_LOSSLESS
from storage.errors import Busy
from storage.pixels.threads import PixelThreads
from storage.retrieval.transcoded_file import TranscodedFile
from tests.builders import multi_frame


async def test_a_full_queue_refuses_all_but_the_patient() -> None:
    """One at work and one waiting; the third is told to come again unless its answer has begun (A-111)."""
    threads = PixelThreads(1, 1)
    free = threading.Event()
    first = asyncio.ensure_future(threads.run(free.wait))
    second = asyncio.ensure_future(threads.run(int, "2"))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await threads.run(int, "3")
    patient = asyncio.ensure_future(threads.run(int, "4", patient=True))
    await asyncio.sleep(0)
    free.set()
    assert [await first, await second, await patient] == [True, 2, 4]
    assert await threads.run(int, "5") == 5
    threads.close()


async def test_what_nobody_waits_for_is_never_begun() -> None:
    """Work in the queue goes with its caller."""
    threads = PixelThreads(1, 4)
    free, begun = threading.Event(), threading.Event()
    first = asyncio.ensure_future(threads.run(free.wait))
    second = asyncio.ensure_future(threads.run(begun.set))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0)
    free.set()
    await first
    threads.close()
    assert not begun.is_set()


async def test_steps_come_in_order_and_close_nothing_under_a_running_one() -> None:
    """A cancelled reader waits for the step it is in."""
    threads = PixelThreads(1, 1)
    assert [item async for item in threads.steps(iter(range(5)))] == [0, 1, 2, 3, 4]
    entered, free, left = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        entered.set()
        free.wait()
        left.set()
        yield 1

    async def read() -> None:
        async for _ in threads.steps(slow()):
            pass

    reader = asyncio.ensure_future(read())
    while not entered.is_set():
        await asyncio.sleep(0.001)
    reader.cancel()
    await asyncio.sleep(0.01)
    assert not reader.done()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert left.is_set()
    threads.close()


async def test_a_file_nobody_waits_for_is_not_made_to_its_end(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressing stops at the frame it is at when the client goes away."""
    outcome = await archive.store(multi_frame(200, rows=64, columns=64))
    (instance,) = await archive.instances(outcome.study_instance_uid)
    made: list[int] = []
    from storage.writing import transcode

    encode = transcode.encode_decoded
    entered = threading.Event()

    def counted(*args: Any, **named: Any) -> Any:
        made.append(1)
        entered.set()
        threading.Event().wait(0.005)
        return encode(*args, **named)

    monkeypatch.setattr(transcode, "encode_decoded", counted)
    work = TranscodedFile.open(archive.blobs, instance, archive.pixel_threads, JPEG_LS_LOSSLESS)
    opening = asyncio.ensure_future(work)
    while not entered.is_set():
        await asyncio.sleep(0.001)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.to_thread(archive.pixel_threads.close)
    assert len(made) < 100
