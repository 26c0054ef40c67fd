"""What counts as the effect of an attack is noticed."""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.fuzz.campaign import Campaign
from tests.fuzz.codecs import Sieve, in_file, streams
from tests.fuzz.generators import GENERATORS, Generator
from tests.fuzz.target import Fault, Target, troubles_in
from tests.fuzz.wire import exchange, request
from tests.kills.victims import child
from tests.live_server import runs
from tests.waiting import until


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ({"level": "error", "message": "unforeseen error", "error": "KeyError"}, True),
        ({"level": "error", "message": "worker-1 ended (signal 8); another one starts"}, True),
        ({"level": "warning", "message": "association of X from 127.0.0.1 aborted (a PDU of type 47)"}, False),
        ({"level": "warning", "message": "GET /dicom-web/studies 503: busy"}, False),
        ("Traceback (most recent call last):", True),
        (
            "Exception ignored in: 'imagecodecs._htj2k'\nTraceback (most recent call last):\n  File\nRuntimeError: x",
            False,
        ),
        ("Fatal Python error: Segmentation fault", True),
        ("free(): invalid pointer", True),
        ("dicomweb 0.1.0 is ready.", False),
    ],
)
def test_lines_of_the_log_are_judged(line: object, trouble: bool) -> None:
    """An error is one that nobody foresaw; bad input is none."""
    written = line if isinstance(line, str) else json.dumps(line)
    assert troubles_in(f"{written}\n") == ([written.partition("\n")[0]] if trouble else [])


def test_a_process_that_ends_is_noticed(target: Target) -> None:
    """And told once; the attack that did it is kept, and its successor is waited for."""

    def end(attacked: Target, _: bytes) -> str:
        (pid,) = child(attacked.server, "jobs")
        os.kill(pid, signal.SIGKILL)
        asyncio.run(until(lambda: not runs(pid)))
        return "sent"

    deaths = target.deaths
    campaign = Campaign(Generator("end", GENERATORS["pdus"].make, end), target, seed=1)
    campaign.attack("x", b"")
    (failure,) = campaign.failures
    assert any("jobs ended" in why for why in failure.why)
    assert target.deaths == deaths + 1
    assert list(target.troubles()) == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "broke off"),
        (b"", "broke off"),
    ],
)
def test_answers_that_must_not_be_are_faults(target: Target, said: bytes, why: str) -> None:
    """A status that nobody foresaw, half an answer, none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Fault, match=why):
            exchange(_AtPort(port), request("GET", "/", {}, port=port))  # type: ignore[arg-type]
        thread.join()


class _AtPort:
    def __init__(self, port: int) -> None:
        self.port = port


def test_failures_are_kept_with_their_input(tmp_path: Path, target: Target) -> None:
    """So that they can be sent again, alone."""

    def fail(_: Target, data: bytes) -> str:
        raise Fault("always")

    campaign = Campaign(Generator("pdus", GENERATORS["pdus"].make, fail), target, seed=7, keep_in=tmp_path)
    campaign.run(inputs=1)
    (failure,) = campaign.failures
    assert failure.kept == tmp_path / "pdus-7-0.bin"
    assert failure.kept.read_bytes() == GENERATORS["pdus"].input(7, 0)


def test_the_sieve_notices_its_end() -> None:
    """A process that is killed has ended, and another one decodes the next frame."""
    others = multiprocessing.active_children()
    sieve = Sieve()
    file = in_file(random.Random(1), streams()[0])
    try:
        assert sieve.decode(file) == "decoded"
        (process,) = (each for each in multiprocessing.active_children() if each not in others)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert [sieve.decode(file), sieve.decode(file)] == ["ended", "decoded"]
    finally:
        sieve.stop()
