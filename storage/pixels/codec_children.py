"""Codecs, called in child processes: one that crashes, stalls or takes too much memory takes nobody with it.

Facts kept here:

- Whoever calls has a child for himself as long as the call takes, and waits without the interpreter lock. There are as
  many children as threads that call at once; those that nobody needs end by themselves (`codec_process`).
- Streams and pixels lie in memory that both sides share. A decoder writes its pixels there, at the place, in the shape
  and in the cells that were asked for: nothing that a child says decides how its bytes are read. They are copied once,
  since a child that somebody took over could change them later.
- That memory cannot be made smaller by a child, which would kill who reads it.
- A child that ended is no proof against what it worked on: the system may have killed it, or what came before may have
  damaged it. Unless it was new, a new one tries again.
- One pool a process, as there is one interpreter: `CHILDREN`.
"""

import atexit
import contextlib
import fcntl
import json
import logging
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import CodecEnded, Unavailable
from storage.pixels.codec_memory import NO_CHILD, NUMBER, SHARED_BYTES, Place, array_at, place_after, time_limit
from storage.system.errors import in_words
from storage.system.kept_memory import KEEP_MEMORY
from storage.system.waking import woken_here

logger = logging.getLogger(__name__)

_KEPT_BYTES: Final = 1 << 26
"""Of memory that stays with a child between two calls."""
_SECONDS, _BYTES_A_SECOND = 3.0, 1e6
"""Processor time for any call, and what each second more must at least have done."""
_WALL_SECONDS, _WALL_FACTOR = 60.0, 20
"""How long a call may take by the clock, and for each second of processor time: a machine may stand still."""
_MEMORY, _MEMORY_FACTOR = 1 << 28, 24
"""Bytes of address space for any call, and for each byte of pixels and streams: OpenJPEG takes 15 to encode color."""
_MOST_ANSWER: Final = 1 << 12
_STARTED_WITHIN: Final = 60

CRASHED, STALLED, KILLED = "crashed", "stalled", "killed"
ENDINGS: Final = (CRASHED, STALLED, KILLED)
"""How children end that should not: by what they do, by taking too long, by somebody else."""
_IDLE: Final = ""
_BY_OTHERS: Final = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)


class CodecRefused(RuntimeError):
    """A codec cannot do what it was asked; the message is for the log."""


class _ChildEnded(Exception):
    """A child is gone, or no use any more.

    Parameters
    ----------
    ending : str, optional
        One of `ENDINGS`, where that is known.
    """

    def __init__(self, ending: str | None = None) -> None:
        super().__init__(ending)
        self.ending = ending


@dataclass(frozen=True)
class _Call:
    """What is asked of a child; `out` are dtype and shape of what comes back, None for bytes."""

    function: str
    arguments: Sequence[NDArray[Any]]
    options: Mapping[str, Any]
    out: tuple[str, tuple[int, ...]] | None = None

    @cached_property
    def bytes_in(self) -> int:
        """Bytes of the memory that its arguments take."""
        return sum(place_after(array.nbytes) for array in self.arguments)

    @cached_property
    def bytes_out(self) -> int:
        """Bytes of what comes back; 0 where that is not known."""
        return 0 if self.out is None else np.dtype(self.out[0]).itemsize * math.prod(self.out[1])

    @cached_property
    def seconds(self) -> float:
        """Processor time it may take."""
        return _SECONDS + (self.bytes_in + self.bytes_out) / _BYTES_A_SECOND

    @cached_property
    def memory(self) -> int:
        """Bytes of address space it may take."""
        return _MEMORY + _MEMORY_FACTOR * (self.bytes_in + self.bytes_out)


class _Ancestor:
    """The process that forks the children of this one, see `codec_process`."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time_limit(_STARTED_WITHIN))
        paths = filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")))
        # Nothing of our settings is in its environment; threads of a library would not survive a fork.
        environment = {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C", **KEEP_MEMORY}
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", "storage.pixels.codec_process", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
                process_group=0,
            )

    def ask(self, number: int, descriptors: Sequence[int] = ()) -> int | None:
        """Say a number (`codec_memory.NUMBER`); returns the answer, None when the process is gone."""
        try:
            socket.send_fds(self._control, [NUMBER.pack(number)], descriptors)
            answer = self._control.recv(NUMBER.size)
        except (ConnectionError, BlockingIOError):
            return None
        return NUMBER.unpack(answer)[0] if len(answer) == NUMBER.size else None

    def close(self) -> None:
        """End it, and all children with it."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class _Child:
    """A child, its connection and the memory that is shared with it."""

    def __init__(self, number: int, ancestor: _Ancestor, connection: socket.socket, memory: int) -> None:
        self.number = number
        self.ancestor = ancestor
        self.is_new = True
        self._connection = connection
        self._shared = mmap.mmap(memory, SHARED_BYTES)

    def answer(self, call: _Call) -> Any:
        """Have a call answered; raises CodecRefused, or _ChildEnded."""
        if call.bytes_in + call.bytes_out > SHARED_BYTES:
            raise CodecRefused("There is no room for so many bytes.")
        places: list[Place] = []
        end = 0
        for array in call.arguments:
            places.append((end, array.dtype.str, array.shape))
            array_at(self._shared, places[-1])[...] = array
            end += place_after(array.nbytes)
        out = None if call.out is None else (end, *call.out)
        request = {"function": call.function, "options": call.options, "arguments": places, "out": out, "room": end}
        limits = {"seconds": call.seconds, "memory": call.memory}
        line = json.dumps(request | limits).encode() + b"\n"
        written = _written(self._asked(line, _WALL_SECONDS + _WALL_FACTOR * call.seconds))
        if not 0 <= written <= SHARED_BYTES - end:
            raise _ChildEnded(CRASHED)
        result = array_at(self._shared, out or (end, "|u1", (written,)))
        try:
            return result.tobytes() if out is None else result.copy()
        finally:
            self._give_back(end + result.nbytes)

    def _asked(self, request: bytes, seconds: float) -> bytes:
        """Send a request and return the answer to it."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time_limit(seconds))
        answer = b""
        try:
            with woken_here(self.number):
                self._connection.sendall(request)
            while not answer.endswith(b"\n"):
                received = self._connection.recv(_MOST_ANSWER)
                if not received or len(answer) > _MOST_ANSWER:
                    raise _ChildEnded
                answer += received
        except BlockingIOError:
            raise _ChildEnded(STALLED) from None
        except ConnectionError:
            raise _ChildEnded from None
        self.is_new = False
        return answer

    def _give_back(self, used: int) -> None:
        if used > _KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            self._shared.madvise(mmap.MADV_REMOVE, _KEPT_BYTES, place_after(used) - _KEPT_BYTES)

    def end(self) -> None:
        """End it at once, if it has not ended by itself; by its number only its ancestor may know it."""
        self._connection.close()
        with contextlib.suppress(BufferError):  # somebody still looks at what it wrote
            self._shared.close()


def _written(answer: bytes) -> int:
    """Read the answer of a child, which may say anything."""
    try:
        said = json.loads(answer)
        error, count = said.get("error"), said.get("bytes")
    except (ValueError, AttributeError, RecursionError):
        raise _ChildEnded(CRASHED) from None
    if error is not None:
        raise CodecRefused(str(error))
    if type(count) is not int:
        raise _ChildEnded(CRASHED)
    return count


class CodecChildren:
    """The children of this process, and what they are asked."""

    def __init__(self) -> None:
        self.on_ending: Callable[[str, str], None] | None = None
        """Called with the function and one of `ENDINGS` when a child ended that should not, in any thread."""
        self._forget()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)  # a fork of this process must not speak with its children

    def _forget(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._ancestor: _Ancestor | None = None
        self._is_closed = False

    def decoded(
        self, function: str, stream: bytes, shape: tuple[int, ...], dtype: str, /, **options: Any
    ) -> NDArray[Any]:
        """Return what a decoder makes of a stream.

        Parameters
        ----------
        function : str
            Its name in `codec_process.FUNCTIONS`.
        stream : bytes
            What it is given.
        shape, dtype
            Of the pixels; a decoder that finds others refuses.
        **options
            Passed on to it.

        Raises
        ------
        CodecRefused
            The decoder raised an error.
        CodecEnded
            It crashed, or did not end.
        Unavailable
            Somebody ends all decoders, or none can be started.
        """
        call = _Call(function, [np.frombuffer(stream, np.uint8)], options, (np.dtype(dtype).str, shape))
        pixels: NDArray[Any] = self._answered(call)
        return pixels

    def encoded(self, function: str, pixels: NDArray[Any], /, **options: Any) -> bytes:
        """Return what an encoder makes of pixels; the parameters and errors are those of `decoded`."""
        return bytes(self._answered(_Call(function, [pixels], options)))

    def converted(self, function: str, pixels: NDArray[Any], /, *streams: bytes) -> NDArray[Any]:
        """Return pixels of the same kind that are made of others with the help of streams; errors as of `decoded`."""
        arguments = [pixels, *(np.frombuffer(stream, np.uint8) for stream in streams)]
        converted: NDArray[Any] = self._answered(_Call(function, arguments, {}, (pixels.dtype.str, pixels.shape)))
        return converted

    def close(self) -> None:
        """End all children; nothing can be asked any more."""
        with self._lock:
            self._is_closed = True
            if self._ancestor is not None:
                self._ancestor.close()
                self._ancestor = None
        while self._idle:
            self._idle.pop().end()

    def _answered(self, call: _Call) -> Any:
        child = self._any()
        was_killed = False
        while True:
            was_new = child.is_new
            try:
                result = child.answer(call)
            except _ChildEnded as end:
                ending = self._ending(child, end)
            except CodecRefused:
                self._idle.append(child)
                raise
            except BaseException:
                self._ending(child, _ChildEnded())  # what it still says would be taken for the answer to another call
                raise
            else:
                self._idle.append(child)
                return result
            if ending == _IDLE:
                child = self._any()
                continue
            logger.warning("a child that worked on %s has %s", call.function, _HOW[ending])
            if self.on_ending is not None:
                self.on_ending(call.function, ending)
            if ending == KILLED and was_killed:
                raise Unavailable("The decoders of the server were ended from outside; try again later.")
            if ending != KILLED and was_new:
                raise CodecEnded(_WHY[ending])
            was_killed = was_killed or ending == KILLED
            child = self._new()

    def _any(self) -> _Child:
        """Return the child that was used last, so that others become idle; a new one when there is none."""
        while True:
            try:
                child = self._idle.pop()
            except IndexError:
                return self._new()
            if child.ancestor is self._ancestor:
                return child
            child.end()  # it ended with its ancestor

    def _new(self) -> _Child:
        try:
            child = self._started()
        except OSError as error:  # no memory, process or descriptor left for now
            logger.error("no process can be started for codecs: %s", in_words(error))
            child = None
        if child is None:
            raise Unavailable("No process can be started that decodes or encodes images; try again later.")
        return child

    def _started(self) -> _Child | None:
        with contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            with contextlib.ExitStack() as on_failure:
                on_failure.callback(ours.close)
                memory = _shared_memory()
                stack.callback(os.close, memory)
                forked = self._forked((theirs.fileno(), memory))
                child = forked and _Child(*forked, ours, memory)
                if child is not None:
                    on_failure.pop_all()
                return child

    def _forked(self, descriptors: Sequence[int]) -> tuple[int, _Ancestor] | None:
        """Have a child forked; returns its number and who knows it by that, None when that cannot be done now."""
        with self._lock:
            for _ in range(2):
                if self._ancestor is None and not self._is_closed:
                    self._ancestor = _Ancestor()
                if self._ancestor is None:
                    break
                number = self._ancestor.ask(0, descriptors)
                if number is not None:
                    return None if number == NO_CHILD else (number, self._ancestor)
                self._lose_ancestor()
        return None

    def _ended(self, child: _Child) -> int | None:
        """End a child, if it has not ended by itself; returns how it ended, None when its ancestor is gone, too."""
        child.end()
        with self._lock:
            if child.ancestor is not self._ancestor:
                return None
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.number, signal.SIGKILL)
            status = child.ancestor.ask(child.number)
            if status is None:
                self._lose_ancestor()
            return status

    def _lose_ancestor(self) -> None:
        """Let go of an ancestor that does not answer; its children end with it, and nobody else is asked about them."""
        assert self._ancestor is not None
        self._ancestor.close()
        self._ancestor = None

    def _ending(self, child: _Child, end: _ChildEnded) -> str:
        """Make sure that a child has ended, and return how it did; `_IDLE` when it had nothing to do."""
        status = self._ended(child)
        if end.ending is not None:
            return end.ending
        if status is None or status in _BY_OTHERS:
            return KILLED
        if status == 0 and not child.is_new:
            return _IDLE
        return STALLED if status == -signal.SIGPROF else CRASHED


def _shared_memory() -> int:
    """Return the descriptor of a nameless file in memory, whose size nobody can change where the system has that."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.truncate(SHARED_BYTES)
            return os.dup(file.fileno())
    memory = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, SHARED_BYTES)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return memory


_HOW: Final = {CRASHED: "crashed", STALLED: "taken too long and was ended", KILLED: "been ended from outside"}
_WHY: Final = {
    CRASHED: "The image ends the process that decodes or encodes it; it is damaged, or made to do so.",
    STALLED: "The image takes far too long to be decoded or encoded; it is damaged, or made to do so.",
}

CHILDREN: Final = CodecChildren()
