"""Codecs in child processes: what ends, stalls or fills one takes nobody with it.

The streams that end codecs are given to them below the checks of headers (`jpeg_2000_limits`), which would refuse them.
"""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from storage.errors import CodecEnded, Unavailable
from storage.pixels.codec_children import CRASHED, KILLED, STALLED, CodecChildren, CodecRefused
from storage.pixels.codec_memory import array_at
from storage.pixels.codec_process import FUNCTIONS
from tests.jpeg_2000 import encoded
from tests.pixels import picture
from tests.waiting import until

GRAY = picture((64, 96), bits=8)
XTSIZ, XTOSIZ = 24, 32
"""Where these are in a codestream (T.800 A.5.1)."""


def patched(place: int, value: int) -> bytes:
    """Return an HTJ2K stream with another 32-bit number at a place."""
    stream = encoded(GRAY, high_throughput=True)
    return stream[:place] + struct.pack(">L", value) + stream[place + 4 :]


CRASHING = patched(XTSIZ, 0)
"""OpenJPH divides by zero."""
ENDLESS = patched(XTOSIZ, 0xFFFF0000)
"""OpenJPH counts to four thousand millions, and then again."""


def greedy(side: int) -> bytes:
    """Return 102 bytes of JPEG 2000: an image with precincts of one sample, of which OpenJPEG allocates all."""
    size = struct.pack(">2sHH8LH3B", b"\xff\x51", 41, 0, side, side, 0, 0, side, side, 0, 0, 1, 7, 1, 1)
    coding = struct.pack(">2sH5B5B6B", b"\xff\x52", 18, 1, 0, 0, 1, 0, 5, 4, 4, 0, 1, 0, *[0x11] * 5)
    steps = struct.pack(">2sHB16B", b"\xff\x5c", 19, 0x40, *range(0x40, 0x50))
    tile = struct.pack(">2sHHLBB", b"\xff\x90", 10, 0, 0, 0, 1)
    return b"\xff\x4f" + size + coding + steps + tile + b"\xff\x93\xff\xd9"


@pytest.fixture
def endings() -> list[tuple[str, str]]:
    """Return what ended, and how, since the test began."""
    return []


@pytest.fixture
def children(endings: list[tuple[str, str]]) -> Iterator[CodecChildren]:
    """Have children of one's own."""
    pool = CodecChildren()
    pool.on_ending = lambda codec, reason: endings.append((codec, reason))
    yield pool
    pool.close()


def decoded(children: CodecChildren, stream: bytes) -> NDArray[Any]:
    """Decode HTJ2K."""
    return children.decoded("htj2k_decode", stream, GRAY.shape, "u1", planar=False)


def good(children: CodecChildren) -> bool:
    """Whether a sound stream is decoded to the bit."""
    return np.array_equal(decoded(children, encoded(GRAY, high_throughput=True)), GRAY)


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    asyncio.run(until(condition))


def number_of(children: CodecChildren) -> int:
    """Return the process id of the child that was used last."""
    return children._idle[-1].number


def is_alive(number: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_codec_that_crashes_takes_nobody_with_it(children: CodecChildren, endings: list[tuple[str, str]]) -> None:
    """Tiles without a width: OpenJPH divides by zero (SIGFPE); a new child tries once more, and the next call works."""
    assert good(children)
    with pytest.raises(CodecEnded, match="ends the process"):
        decoded(children, CRASHING)
    assert endings == [("htj2k_decode", CRASHED)] * 2
    assert good(children)


def test_what_ends_a_new_child_is_not_tried_again(children: CodecChildren, endings: list[tuple[str, str]]) -> None:
    """Nothing before it can have damaged that."""
    with pytest.raises(CodecEnded):
        decoded(children, CRASHING)
    assert endings == [("htj2k_decode", CRASHED)]


def test_a_codec_that_does_not_end_is_ended(children: CodecChildren, endings: list[tuple[str, str]]) -> None:
    """By the processor time it has used, while others go on."""
    with ThreadPoolExecutor(1) as thread:
        stalled = thread.submit(decoded, children, ENDLESS)
        assert good(children)
        with pytest.raises(CodecEnded, match="too long"):
            stalled.result()
    assert endings == [("htj2k_decode", STALLED)]


def test_memory_is_bounded(children: CodecChildren, endings: list[tuple[str, str]]) -> None:
    """102 bytes of JPEG 2000 with precincts of a sample would take gigabytes; the codec gets an error instead."""
    stream = greedy(4096)
    assert len(stream) == 102
    good(children)
    before = children_peak()
    with pytest.raises((CodecRefused, CodecEnded)):
        children.decoded("jpeg2k_decode", stream, (4096, 4096), "u1", numthreads=1)
    assert good(children)
    assert children_peak() - before < 1 << 30


def children_peak() -> int:
    """Return the sum of the peaks of resident memory of the processes below this one that live, in bytes."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if b"storage.pixels.codec_process" in command and "VmHWM" in lines:
            found += int(lines["VmHWM"].split()[0]) * 1024
    return found


def test_a_child_that_somebody_kills_costs_nothing(children: CodecChildren, endings: list[tuple[str, str]]) -> None:
    """kill -9 in the middle: a new child decodes the frame, and nothing is held against it."""
    image = picture((1024, 1024), bits=12)
    stream = encoded(image, high_throughput=False)
    decoded = threading.Thread(target=lambda: found.append(pixels(children, stream, image)))
    found: list[NDArray[Any]] = []
    good(children)
    number = number_of(children)
    decoded.start()
    eventually(lambda: not children._idle)
    os.kill(number, signal.SIGSTOP)
    os.kill(number, signal.SIGKILL)
    decoded.join()
    assert np.array_equal(found[0], image)
    assert endings == [("jpeg2k_decode", KILLED)]


def pixels(children: CodecChildren, stream: bytes, image: NDArray[Any]) -> NDArray[Any]:
    """Decode JPEG 2000."""
    return children.decoded("jpeg2k_decode", stream, image.shape, image.dtype.str, numthreads=1)


def test_who_kills_all_children_is_told_to_come_again(children: CodecChildren, endings: list[tuple[str, str]]) -> None:
    """That says nothing of the image."""
    ended = threading.Event()

    def kill() -> None:
        killed: set[int] = set()
        while not ended.is_set():
            for number in set(forked(children)) - killed:
                killed.add(number)
                os.kill(number, signal.SIGKILL)
            time.sleep(0.001)

    good(children)
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(Unavailable):
            decoded(children, ENDLESS)
    finally:
        ended.set()
        killer.join()
    assert endings == [("htj2k_decode", KILLED)] * 2


def test_who_kills_the_one_that_forks_costs_nothing(children: CodecChildren, endings: list[tuple[str, str]]) -> None:
    """Its children end with it, those at work and those that wait; all frames come from the children of another one."""
    image = picture((512, 512), bits=12)
    stream = encoded(image, high_throughput=False)
    with ThreadPoolExecutor(6) as threads:
        assert all(np.array_equal(each.result(), image) for each in begun(threads, children, stream, image))
        lost = children._ancestor
        assert lost is not None and len(children._idle) > 1
        at_work = begun(threads, children, stream, image)
        os.kill(lost._process.pid, signal.SIGKILL)
        assert all(np.array_equal(each.result(), image) for each in at_work)
        assert all(np.array_equal(each.result(), image) for each in begun(threads, children, stream, image))
    assert children._ancestor is not None and children._ancestor is not lost
    assert {how for _, how in endings} <= {KILLED}


def begun(
    threads: ThreadPoolExecutor, children: CodecChildren, stream: bytes, image: NDArray[Any]
) -> list[Future[NDArray[Any]]]:
    """Begin to decode the same image six times."""
    return [threads.submit(pixels, children, stream, image) for _ in range(6)]


def forked(children: CodecChildren) -> list[int]:
    """Return the process ids of the children."""
    ancestor = children._ancestor
    assert ancestor is not None
    number = ancestor._process.pid
    return [int(each) for each in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def test_children_end_with_their_process() -> None:
    """kill -9 of who asked, in the middle: the children end, even one that never would."""
    program = (
        "import sys, threading\n"
        "from storage.pixels.codec_children import CHILDREN\n"
        "from tests.storage.pixels.test_codec_children import ENDLESS, decoded, forked, good\n"
        "good(CHILDREN)\n"
        "threading.Thread(target=decoded, args=(CHILDREN, ENDLESS)).start()\n"
        "print(CHILDREN._ancestor._process.pid, *forked(CHILDREN), flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        numbers = [int(each) for each in process.stdout.readline().split()]
        assert len(numbers) == 2 and all(map(is_alive, numbers))
        process.kill()
    eventually(lambda: not any(map(is_alive, numbers)))


def test_a_child_can_open_nothing(children: CodecChildren) -> None:
    """It has its connection and the shared memory, and room for no other descriptor, file, core dump or process."""
    good(children)
    number = number_of(children)
    limits = {line[:25].strip(): line[25:].split() for line in Path(f"/proc/{number}/limits").read_text().splitlines()}
    for name in ("Max open files", "Max core file size", "Max file size", "Max processes"):
        assert limits[name][:2] == ["0", "0"], name
    assert limits["Max address space"][0] != "unlimited"
    places = sorted(str(each.readlink()) for each in Path(f"/proc/{number}/fd").iterdir())
    kinds = {each.partition(":")[0] for each in places}
    assert kinds == {"/dev/null", "/memfd", "socket"} and sum(each.startswith("socket") for each in places) == 1
    assert b"DICOMWEB" not in Path(f"/proc/{number}/environ").read_bytes()


def test_shared_memory_cannot_be_made_smaller(children: CodecChildren) -> None:
    """Whoever reads behind the end of a mapped file is killed: a child must not be able to do that to us."""
    good(children)
    child = children._idle[-1]
    path = next(each for each in Path(f"/proc/{child.number}/fd").iterdir() if "memfd" in str(each.readlink()))
    with path.open("r+b") as file, pytest.raises(PermissionError):
        file.truncate(0)
    assert array_at(child._shared, (0, "|u1", (1,)))[0] >= 0


@pytest.mark.parametrize(
    "said", [b"no JSON\n", b'{"bytes": -1}\n', b'{"bytes": 1e3}\n', b"[]\n", b'{"bytes": 99999999999}\n']
)
def test_what_a_child_says_is_checked(children: CodecChildren, said: bytes) -> None:
    """A child that somebody took over may say anything; it is ended, and another one tries."""
    good(children)
    child = children._idle[-1]
    child._asked = lambda *_: said  # type: ignore[method-assign]
    assert children.encoded("png_encode", GRAY) == imagecodecs.png_encode(GRAY)
    assert children._idle[-1] is not child


def test_pixels_of_another_kind_are_refused(children: CodecChildren) -> None:
    """What comes back has the shape and the cells that were asked for, or it does not come."""
    stream = encoded(GRAY, high_throughput=True)
    for shape, dtype in (((96, 64), "u1"), (GRAY.shape, "u2")):
        with pytest.raises(CodecRefused):
            children.decoded("htj2k_decode", stream, shape, dtype, planar=False)
    assert good(children)


def test_each_thread_gets_its_own_pixels(children: CodecChildren) -> None:
    """Eight threads at once decode other frames, while one of them crashes again and again."""
    images = [picture((64, 64), bits=8) ^ np.uint8(seed) for seed in range(8)]
    streams = [encoded(image, high_throughput=True) for image in images]

    def work(seed: int) -> bool:
        for _ in range(20):
            found = children.decoded("htj2k_decode", streams[seed], (64, 64), "u1", planar=False)
            if not np.array_equal(found, images[seed]):
                return False
            if seed == 0:
                with pytest.raises(CodecEnded):
                    decoded(children, CRASHING)
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))


def test_no_codec_is_called_that_is_known_to_crash() -> None:
    """imagecodecs has others for some of it."""
    assert not {"ljpeg_decode", "jpegsof3_decode", "dicomrle_decode"} & set(FUNCTIONS)


def test_closed_children_are_not_started_again(children: CodecChildren) -> None:
    """A process that ends starts none."""
    good(children)
    number = number_of(children)
    children.close()
    eventually(lambda: not is_alive(number))
    with pytest.raises(Unavailable):
        good(children)
