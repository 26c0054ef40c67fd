"""What the supervisor and its children tell each other: orders, signs of life, and that the other is gone.

Facts this module keeps:

- A child reads its orders, one line of JSON, from standard input; that pipe then stays open and silent. When it
  closes, the supervisor is gone, however it went, and the child ends at once: a child that outlives its supervisor
  would write beside the next one, which holds the data folder by then. On Linux the kernel kills it, too.
- A child writes "ready" and then now and then "alive" to a pipe. A child that falls silent hangs and is replaced.
"""

import asyncio
import json
import os
import sys
import threading
from dataclasses import dataclass
from signal import SIGKILL

from dicomweb.settings import Settings
from storage.system.launch import die_with_parent

READY = b"ready\n"
ALIVE = b"alive\n"
SIGN_OF_LIFE_EVERY = 5.0
"""Seconds between signs of life."""
SILENT_FOR = 60.0
"""Seconds after which a silent child is taken for hung."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a child is told when it starts.

    Attributes
    ----------
    name : str
        What it is called in logs and metrics, such as "worker-1".
    settings : Settings
        All of them, `database_url` that of the embedded PostgreSQL if that is used.
    supervisor : int
        Process id.
    life : int
        File descriptor for its signs of life.
    listeners : dict of str to int
        File descriptors of the listening sockets it serves, by their names.
    run : str
        Names the life of the supervisor; the same for a child and its successors.
    """

    name: str
    settings: Settings
    supervisor: int
    life: int
    listeners: dict[str, int]
    run: str = ""

    def to_line(self) -> bytes:
        """Write the orders as one line."""
        values = {name: getattr(self, name) for name in ("name", "supervisor", "life", "listeners", "run")}
        return json.dumps(values | {"settings": self.settings.model_dump(mode="json")}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Orders":
        """Read what `to_line` wrote."""
        values = json.loads(line)
        return cls(**values | {"settings": Settings(**values["settings"])})


def receive_orders() -> Orders:
    """Read the orders from standard input and from now on die with the supervisor."""
    line = sys.stdin.buffer.readline()
    if not line:  # the supervisor ended before it gave any
        sys.exit(1)
    orders = Orders.from_line(line)
    die_with_parent(orders.supervisor, SIGKILL)
    threading.Thread(target=_die_with_pipe, name="lifeline", daemon=True).start()
    return orders


def _die_with_pipe() -> None:
    # A descriptor, not sys.stdin: the interpreter locks that while it ends.
    while os.read(0, 1024):
        pass
    os._exit(1)


async def show_life(descriptor: int) -> None:
    """Say that this child is ready, then give signs of life for ever."""
    os.write(descriptor, READY)
    while True:
        await asyncio.sleep(SIGN_OF_LIFE_EVERY)
        os.write(descriptor, ALIVE)
