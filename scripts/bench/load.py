"""Clients that cost less than the server they measure: one process each, a bare socket, no library in between."""

import math
import os
import pickle
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

LARGEST_READ = 1 << 20  # bytes
HOST = "127.0.0.1"


@dataclass(slots=True)
class Answer:
    """An HTTP response: `body` is empty unless it was asked to be kept."""

    status: int
    head: bytes
    length: int
    body: bytes = b""


class Connection:
    """A keep-alive HTTP/1.1 connection; enough of the protocol to talk to our own server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._memory = bytearray(LARGEST_READ)
        self._view = memoryview(self._memory)

    def get(self, path: str, accept: str = "*/*", *, keep: bool = False, headers: str = "") -> Answer:
        """Send a GET request and read the whole answer."""
        head = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nAccept: {accept}\r\n{headers}\r\n"
        self.socket.sendall(head.encode())
        return self._answer(keep)

    def post(self, path: str, content_type: str, body: Iterable[bytes], length: int, *, keep: bool = False) -> Answer:
        """Send a POST request whose body comes in chunks of `length` bytes together."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nAccept: application/dicom+json\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        for chunk in body:
            self.socket.sendall(chunk)
        return self._answer(keep)

    def _answer(self, keep: bool) -> Answer:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        head, rest = received[: end + 2].lower(), received[end + 4 :]
        status = int(head[9:12])
        start = head.find(b"\r\ncontent-length:")
        if start >= 0:
            length = int(head[start + 17 : head.index(b"\r\n", start + 2)])
            return Answer(status, head, length, self._sized(rest, length, keep))
        body_length, body = self._chunked(rest, keep)
        return Answer(status, head, body_length, body)

    def _sized(self, rest: bytes, length: int, keep: bool) -> bytes:
        kept, missing = [rest], length - len(rest)
        while missing > 0:
            count = self.socket.recv_into(self._view, min(missing, LARGEST_READ))
            if not count:
                raise ConnectionError("the server closed the connection inside an answer")
            missing -= count
            if keep:
                kept.append(bytes(self._view[:count]))
        return b"".join(kept) if keep else b""

    def _chunked(self, rest: bytes, keep: bool) -> tuple[int, bytes]:
        kept: list[bytes] = []
        total = 0
        while True:
            while (line := rest.find(b"\r\n")) < 0:
                rest += self._receive()
            size = int(rest[:line].partition(b";")[0], 16)
            rest = rest[line + 2 :]
            total += size
            needed = size + 2
            while len(rest) < needed:
                # what is not kept need not be joined either
                if not keep and rest:
                    needed -= len(rest)
                    rest = b""
                rest += self._receive()
            if keep:
                kept.append(rest[:size])
            rest = rest[needed:]
            if size == 0:
                return total, b"".join(kept)

    def _receive(self) -> bytes:
        count = self.socket.recv_into(self._view)
        if not count:
            raise ConnectionError("the server closed the connection inside an answer")
        return bytes(self._view[:count])


@dataclass(slots=True)
class Measured:
    """What a run of clients came to: seconds of each request, bytes moved, seconds of the whole run."""

    seconds: list[float]
    moved: int
    elapsed: float

    @property
    def p50(self) -> float:
        """Median of the requests, in milliseconds."""
        return statistics.median(self.seconds) * 1000

    @property
    def p95(self) -> float:
        """The time that nineteen of twenty requests kept, in milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000

    @property
    def per_second(self) -> float:
        """Requests a second of all clients together."""
        return len(self.seconds) / self.elapsed

    @property
    def megabytes_per_second(self) -> float:
        """Body bytes a second of all clients together, in 10**6 bytes."""
        return self.moved / self.elapsed / 1e6


Work = Callable[[int], Iterable[tuple[float, int]]]
"""What a client does, given its number: yields (seconds, bytes moved) for each request."""


def run_clients(clients: int, work: Work) -> Measured:
    """Run `work` in as many processes at once and bring together what they measured.

    The clock runs from the first request to the last answer, so what a client prepares before its first one is free.
    """
    pipes, pids = [], []
    for number in range(clients):
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(reader)
            _work_in_child(writer, work, number)
        os.close(writer)
        pipes.append(reader)
        pids.append(pid)
    results: list[tuple[float, int]] = []
    begun, ended = math.inf, 0.0
    for reader in pipes:
        with os.fdopen(reader, "rb") as pipe:
            first, last, measured = pickle.loads(pipe.read() or pickle.dumps((math.inf, 0.0, [])))  # noqa: S301
        results += measured
        begun, ended = min(begun, first), max(ended, last)
    failed = [status for pid in pids if (status := os.waitpid(pid, 0)[1])]
    if failed:
        raise SystemExit("a client failed, see above")
    return Measured([seconds for seconds, _ in results], sum(moved for _, moved in results), ended - begun)


def _work_in_child(writer: int, work: Work, number: int) -> None:
    status = 1
    try:
        results: list[tuple[float, int]] = []
        begun = math.inf
        for seconds, moved in work(number):
            begun = min(begun, time.perf_counter() - seconds)
            results.append((seconds, moved))
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(pickle.dumps((begun, time.perf_counter(), results)))
        status = 0
    except BaseException as error:
        print(f"client {number}: {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def timed(request: Callable[[], Answer], *, expect: int = 200, moved: int | None = None) -> tuple[float, int]:
    """Do one request; returns its seconds and the bytes of its answer, or of `moved`; another status is an error."""
    begin = time.perf_counter()
    answer = request()
    seconds = time.perf_counter() - begin
    if answer.status != expect:
        raise RuntimeError(f"status {answer.status}: {answer.head!r}")
    return seconds, answer.length if moved is None else moved


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, numbers to the right."""
    texts = [[f"{cell:,.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(heading), *texts]) for column in range(len(heading))]
    print("| " + " | ".join(name.ljust(width) for name, width in zip(heading, widths, strict=True)) + " |")
    print("|" + "|".join("-" * (width + 1) + (":" if place else "-") for place, width in enumerate(widths)) + "|")
    for row in texts:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("| " + " | ".join(cells) + " |", flush=True)
