"""A crowd that holds on and does nothing, and how long a well-behaved client waits beside it.

python -m scripts.bench.crowd [--readers 2000] [--senders 2000] [--silent 2000] [--seconds 20] [--addresses] [--again]

Readers ask for a study of 40 MB and read nothing, senders post one byte in 20 seconds, of the silent half connect to
the DIMSE port and say nothing, and half open an association and say nothing more. All of them come from the address of
the well-behaved client, with `--addresses` from 200 others. With `--again` whoever is let go of comes back at once. The
well-behaved client searches, stores, reads a frame, echoes, stores over DIMSE and asks whether the server is ready,
again and again; everything has an association or a connection of its own.
"""

import argparse
import asyncio
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from dicomweb.dimse.associate import encode_request
from dicomweb.dimse.errors import AssociationError
from dicomweb.dimse.negotiation import VERIFICATION, Proposal, ProposedContext
from dicomweb.dimse.requestor import Address
from scripts.bench import soak
from scripts.bench.data import MULTIPART, ct_image, stow_body, uid
from scripts.bench.load import HOST, Connection, table
from scripts.bench.server import bench_server
from storage.dicom.transfer_syntax import IMPLICIT_LE

STUDY = 900
"""Number of the study that is read: none of those that the well-behaved client stores."""
IMAGES = 80
"""Of half a megabyte each, in the study that the readers ask for: more than the kernel buffers for a connection."""
ACCEPT_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ACCEPT_FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
PATIENCE = 60.0
"""Seconds after which the well-behaved client gives up."""
SETTLE = 3.0
"""Seconds between the last of the crowd and the first of the well-behaved."""

Attack = Callable[[asyncio.AbstractEventLoop, socket.socket], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many of each kind come, from where, and whether they come back."""

    readers: int
    senders: int
    silent: int
    addresses: bool = False
    again: bool = False


async def read_nothing(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Ask for a large study and read no byte of it."""
    head = f"GET /dicom-web/studies/{uid(1, STUDY)} HTTP/1.1\r\nHost: {HOST}\r\nAccept: {ACCEPT_FILES}\r\n\r\n"
    await loop.sock_sendall(connection, head.encode())
    await _until_cut(connection)


async def send_slowly(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Announce a megabyte and send a byte in 20 seconds."""
    head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/dicom\r\n"
    await loop.sock_sendall(connection, f"{head}Content-Length: 1000000\r\n\r\n".encode())
    while True:
        await loop.sock_sendall(connection, b"\0")
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await _until_cut(connection)
                return


async def say_nothing(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Connect."""
    await _until_cut(connection)


async def associate_and_say_nothing(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Open an association and ask for nothing."""
    proposal = Proposal("CROWD", "DICOMWEB", (ProposedContext(1, VERIFICATION, (IMPLICIT_LE,)),))
    await loop.sock_sendall(connection, encode_request(proposal))
    if (await loop.sock_recv(connection, 1000))[:1] == b"\2":
        await _until_cut(connection)


async def _until_cut(connection: socket.socket) -> None:
    """Return when the other side has ended it, whatever it sent before, without reading that."""
    while connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\1":  # noqa: ASYNC110 - TCP_ESTABLISHED
        await asyncio.sleep(1)


async def crowd_in(crowd: Crowd, http: int, dimse: int, arrived: int) -> None:
    """Be the crowd; write a byte when everybody was there once."""
    kinds: list[tuple[Attack, int]] = []
    kinds += [(read_nothing, http)] * crowd.readers + [(send_slowly, http)] * crowd.senders
    kinds += [(say_nothing, dimse)] * (crowd.silent // 2)
    kinds += [(associate_and_say_nothing, dimse)] * (crowd.silent - crowd.silent // 2)
    entering = asyncio.Semaphore(100)
    numbers = itertools.count()

    async def one(attack: Attack, port: int, here: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OSError), socket.socket() as connection:
                connection.setblocking(False)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                if crowd.addresses:
                    connection.bind((f"127.0.0.{2 + next(numbers) % 200}", 0))
                async with entering:
                    await loop.sock_connect(connection, (HOST, port))
                here.set()
                await attack(loop, connection)
            here.set()
            if not crowd.again:
                return
            await asyncio.sleep(0.05)

    events = [asyncio.Event() for _ in kinds]
    tasks = [asyncio.create_task(one(*kind, here)) for kind, here in zip(kinds, events, strict=True)]
    for here in events:
        await here.wait()
    os.write(arrived, b"x")
    await asyncio.gather(*tasks)
    await asyncio.Event().wait()


@contextmanager
def crowded(crowd: Crowd, http: int, dimse: int) -> Iterator[None]:
    """Have the crowd there, as a process of its own, until the end of the block."""
    reading, arrived = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        try:
            asyncio.run(crowd_in(crowd, http, dimse, arrived))
        finally:
            os._exit(0)
    os.close(arrived)
    try:
        os.read(reading, 1)
        time.sleep(SETTLE)
        yield
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@dataclass(slots=True)
class Waits:
    """How long one kind of request took, in seconds, and what went wrong instead."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def row(self, name: str) -> list[object]:
        """Return the row of the table."""
        longest = max(self.seconds, default=float("nan"))
        why = ", ".join(sorted(set(self.failures))[:3])
        return [name, len(self.seconds), len(self.failures), round(longest, 2), why or "-"]


class Client:
    """The well-behaved client."""

    def __init__(self, http: int, dimse: int) -> None:
        self._http = http
        self._dimse = Address(HOST, dimse, "DICOMWEB")
        self._number = 1000

    def asks(self) -> dict[str, Callable[[], None]]:
        """Return what it asks, by name; each raises when it does not get it."""
        frame = f"/dicom-web/studies/{uid(1, STUDY)}/series/{uid(2, STUDY)}/instances/{uid(3, STUDY)}/frames/1"
        return {
            "search": lambda: self._get("/dicom-web/studies?limit=1"),
            "frame": lambda: self._get(frame, ACCEPT_FRAME),
            "STOW": self._stow,
            "C-ECHO": lambda: self._associate(soak.echo),
            "C-STORE": lambda: self._associate(soak.store),
            "ready": lambda: self._get("/health/ready"),
        }

    def _open(self) -> Connection:
        connection = Connection(self._http)
        connection.socket.settimeout(PATIENCE)
        return connection

    def _get(self, path: str, accept: str = "*/*") -> None:
        connection = self._open()
        try:
            _expect_200(connection.get(path, accept).status)
        finally:
            connection.socket.close()

    def _stow(self) -> None:
        self._number += 1
        body = stow_body([ct_image(self._number, self._number, self._number)])
        connection = self._open()
        try:
            _expect_200(connection.post("/dicom-web/studies", MULTIPART, [body], len(body)).status)
        finally:
            connection.socket.close()

    def _associate(self, work: Callable[[Address, int], Any]) -> None:
        self._number += 1
        asyncio.run(asyncio.wait_for(work(self._dimse, self._number), PATIENCE))


def _expect_200(status: int) -> None:
    if status != 200:
        raise RuntimeError(f"status {status}")


def measure(client: Client, seconds: float) -> dict[str, Waits]:
    """Ask for everything in turn for so long."""
    waits = {name: Waits() for name in client.asks()}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, ask in client.asks().items():
            begin = time.monotonic()
            try:
                ask()
            except (OSError, AssociationError, RuntimeError, AssertionError) as error:
                waits[name].failures.append(str(error) or type(error).__name__)
            else:
                waits[name].seconds.append(time.monotonic() - begin)
    return waits


def main() -> None:
    """Measure what a well-behaved client meets beside the crowd."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=2000)
    parser.add_argument("--senders", type=int, default=2000)
    parser.add_argument("--silent", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--addresses", action="store_true", help="the crowd comes from 200 addresses of its own")
    parser.add_argument("--again", action="store_true", help="who is let go of comes back")
    options = parser.parse_args()
    crowd = Crowd(options.readers, options.senders, options.silent, options.addresses, options.again)
    with bench_server() as server:
        connection = Connection(server.port)
        for first in range(0, IMAGES, 20):
            body = stow_body([ct_image(STUDY, STUDY, STUDY + number) for number in range(first, first + 20)])
            _expect_200(connection.post("/dicom-web/studies", MULTIPART, [body], len(body)).status)
        connection.socket.close()
        client = Client(server.port, server.live.dimse_port)
        measure(client, 0.1)  # warm up
        server.reset_peaks()
        with crowded(crowd, server.port, server.live.dimse_port):
            waits = measure(client, options.seconds)
        table(["asked for", "answered", "failed", "longest s", "why"], [w.row(name) for name, w in waits.items()])
        server.print_peaks()


if __name__ == "__main__":
    main()
