"""The processes in which codecs run; `codec_children` starts them and says what they are to do.

`python -m storage.pixels.codec_process DESCRIPTOR` loads the codecs once and then forks a child whenever it is asked
to, so that one is there at once and most of its memory is shared. It never sees a byte that somebody sent.

Facts kept here:

- A child has its connection and the memory it shares with who asks. It can open no file and no socket, start no
  process, write nowhere else, and dies with its parents.
- A request is one line of JSON: the function, where its arguments are in the memory, its options, and the seconds of
  processor time and bytes of memory it may take. The answer is one line: how many bytes were written, or an error.
  What comes back needs no trust: `codec_children` knows what it must look like.
- Processor time is what is bounded: a machine that stands still ends nobody. SIGPROF ends who takes more.
- Nothing is imported later: by then no file can be opened. imagecodecs loads a codec when its name is first used.
"""

import contextlib
import gc
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np

from storage.pixels import color_profiles, rle
from storage.pixels.codec_memory import NO_CHILD, NUMBER, array_at, time_limit
from storage.system.launch import die_with_parent

IDLE_SECONDS: Final = 60
"""After which a child that is not asked anything ends."""
_MOST_ERROR: Final = 400
_CONNECTION, _MEMORY = 3, 4
_NOTHING: Final = ("NOFILE", "CORE", "FSIZE", "NPROC")
"""Limits (setrlimit) of a child that are 0."""

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **{
        name: getattr(imagecodecs, name)
        for name in (
            *("jpeg8_decode", "jpegls_decode", "jpeg2k_decode", "htj2k_decode", "jpegxl_decode", "png_decode"),
            *("jpeg8_encode", "jpegls_encode", "jpeg2k_encode", "htj2k_encode", "png_encode"),
        )
    },
    "rle_decode": rle.decode,
    "rle_encode": rle.encode,
    "is_for_rgb": color_profiles.is_for_rgb,
    "convert": color_profiles.convert,
}
"""All that a child can be asked for. What decodes fills the array `out`; what encodes returns bytes."""


def fork_for(control: socket.socket) -> None:
    """Fork a child for each connection that comes, until the other side is gone; then all of them end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # meant for who uses them, and who may have work for them until it ends
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, *_ = socket.recv_fds(control, NUMBER.size, 2)
        if not message:
            os.killpg(0, signal.SIGKILL)
        (number,) = NUMBER.unpack(message)
        control.send(NUMBER.pack(_how_ended(number) if number else _forked(*descriptors)))


def _how_ended(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def _forked(connection: int, memory: int) -> int:
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:  # no memory or no process left for now
        child = NO_CHILD
    if child:
        os.close(connection)
        os.close(memory)
        return child
    try:
        _be_child(parent, connection, memory)
    finally:
        os._exit(1)


def _be_child(parent: int, connection: int, memory: int) -> None:
    """Keep nothing but the two descriptors, give up all else, and answer until nobody asks."""
    die_with_parent(parent, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)
    high = [os.dup2(old, 100 + at) for at, old in enumerate((nothing, nothing, nothing, connection, memory))]
    for new, old in enumerate(high):
        os.dup2(old, new)
    os.closerange(_MEMORY + 1, os.sysconf("SC_OPEN_MAX"))
    shared = mmap.mmap(_MEMORY, os.fstat(_MEMORY).st_size)
    begun = _address_space()
    for name in _NOTHING:
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (0, 0))
    with socket.socket(fileno=_CONNECTION) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time_limit(IDLE_SECONDS))
        _answer_all(asking, shared, begun)
    if hasattr(mmap, "MADV_REMOVE"):
        shared.madvise(mmap.MADV_REMOVE)  # the memory is given back now, not when somebody notices that nobody is here
    os._exit(0)


def _address_space() -> int | None:
    """Return the bytes of address space this process has, None where the system does not tell (not Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    except OSError:
        return None


def _answer_all(asking: socket.socket, shared: mmap.mmap, begun: int | None) -> None:
    while line := _line(asking):
        request = json.loads(line)
        if begun is not None:
            _, most = resource.getrlimit(resource.RLIMIT_AS)
            wanted = begun + request["memory"]
            if most != resource.RLIM_INFINITY:
                wanted = min(wanted, most)
            resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            answer: dict[str, Any] = {"bytes": _done(request, shared)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:_MOST_ERROR]}
        signal.setitimer(signal.ITIMER_PROF, 0)
        asking.sendall(json.dumps(answer).encode() + b"\n")


def _line(asking: socket.socket) -> bytes:
    """Return the next request; nothing when there will be none, or was none for long."""
    line = b""
    with contextlib.suppress(BlockingIOError):
        while not line.endswith(b"\n"):
            received = asking.recv(1 << 16)
            if not received:
                return b""
            line += received
    return line


def _done(request: Mapping[str, Any], shared: mmap.mmap) -> int:
    """Do what was asked; returns how many bytes of a result of unknown length were written."""
    arguments = [array_at(shared, place) for place in request["arguments"]]
    function = FUNCTIONS[request["function"]]
    if request["out"] is not None:
        function(*arguments, out=array_at(shared, request["out"]), **request["options"])
        return 0
    result = np.frombuffer(function(*arguments, **request["options"]), np.uint8)
    array_at(shared, (request["room"], "|u1", result.shape))[...] = result
    return int(result.size)


if __name__ == "__main__":
    fork_for(socket.socket(fileno=int(sys.argv[1])))
