"""Where a process wakes up that somebody waits for."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from storage.system.waking import woken_here

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system tells no cores")


@pytest.fixture
def asleep() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a line."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_it_wakes_beside_the_caller_and_is_free_again(asleep: subprocess.Popen[bytes]) -> None:
    """Within the block there is one core for it; afterwards all that we have."""
    ours = os.sched_getaffinity(0)
    with woken_here(asleep.pid):
        (core,) = os.sched_getaffinity(asleep.pid)
        assert core in ours
    assert os.sched_getaffinity(asleep.pid) == ours


def test_a_process_that_ended_is_no_error(asleep: subprocess.Popen[bytes]) -> None:
    """Who asks notices its end by other means."""
    asleep.kill()
    asleep.wait()
    ours, entered = os.sched_getaffinity(0), False
    with woken_here(asleep.pid):
        entered = True
    assert entered and os.sched_getaffinity(0) == ours
