"""The gateway process: one event loop that serves the inherited sockets.

Run by the supervisor with `python -m dicomweb.gateway.process`; see `dicomweb/process/lifeline.py` for what they tell
each other. When it dies, HTTP goes on, nothing that was acknowledged is lost, and the next one takes the sockets over.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from dicomweb.gateway.commitment_delivery import Delivery
from dicomweb.gateway.gateway import Gateway
from dicomweb.gateway.server import Server
from dicomweb.gateway.watchdog import watch
from dicomweb.process.child import be_child
from dicomweb.process.garbage import tune_garbage_collector
from dicomweb.process.lifeline import Orders, show_life
from dicomweb.process.listener import DIMSE_TLS
from dicomweb.tls import client_context, server_context
from storage.archive import Archive

logger = logging.getLogger("dicomweb.gateway")  # run as __main__


async def serve(orders: Orders, archive: Archive) -> None:
    """Serve until SIGTERM; a second one shortens the end."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked_to_stop() -> None:
        (hurry if stop.is_set() else stop).set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_stop)
    settings = orders.settings
    gateway = Gateway(archive, settings, archive.peers, tls=client_context(settings))
    delivery = Delivery(gateway)
    server = Server(gateway, delivery.opened)
    listeners = {name: socket.socket(fileno=descriptor) for name, descriptor in orders.listeners.items()}
    await server.start(listeners, server_context(settings) if DIMSE_TLS in listeners else None)
    tune_garbage_collector()
    async with beside(watch(gateway), delivery.run(), show_life(orders.life)):
        await stop.wait()
        await server.stop(settings.shutdown_grace_seconds, hurry)


@contextlib.asynccontextmanager
async def beside(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines for as long as the block runs; one that fails is logged, and costs only itself."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    for task in tasks:
        task.add_done_callback(_report)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a task of the gateway ended", exc_info=error)


if __name__ == "__main__":
    be_child(serve)
