"""The gateway process: one event loop that serves the inherited sockets.

Run by the supervisor with `python -m dicomweb.gateway.process`; see `dicomweb/lifeline.py` for what they tell each
other. When it dies, HTTP goes on, nothing that was acknowledged is lost, and the next one takes the sockets over.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import uvloop

from dicomweb import logs
from dicomweb.garbage import tune_garbage_collector
from dicomweb.gateway.commitment_delivery import Delivery
from dicomweb.gateway.gateway import Gateway
from dicomweb.gateway.server import Server
from dicomweb.gateway.watchdog import watch
from dicomweb.lifeline import Orders, receive_orders, show_life
from dicomweb.listener import DIMSE_TLS
from dicomweb.settings import SettingsError
from dicomweb.tls import client_context, server_context
from storage.archive import Archive
from storage.errors import ArchiveError
from storage.peers import Peers
from storage.pixel_threads import PixelThreads

logger = logging.getLogger("dicomweb.gateway")  # run as __main__

LAST_COMMITS = 5.0
DATABASE_PATIENCE = 30.0


async def serve(orders: Orders) -> None:
    """Serve until SIGTERM; a second one shortens the end."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.report_loop_error)
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked_to_stop() -> None:
        (hurry if stop.is_set() else stop).set()

    loop.add_signal_handler(signal.SIGTERM, asked_to_stop)
    settings = orders.settings
    assert settings.database_url is not None
    archive = await Archive.open(
        settings.database_url,
        settings.data_dir,
        settings.policy(),
        connections=settings.database_connections,
        patience=DATABASE_PATIENCE,
        pixel_threads=PixelThreads(settings.render_threads, settings.render_queue),
    )
    gateway = Gateway(archive, settings, Peers(archive.pool), tls=client_context(settings))
    delivery = Delivery(gateway)
    server = Server(gateway, delivery.opened)
    listeners = {name: socket.socket(fileno=descriptor) for name, descriptor in orders.listeners.items()}
    try:
        await server.start(listeners, server_context(settings) if DIMSE_TLS in listeners else None)
        tune_garbage_collector()
        async with beside(watch(gateway), delivery.run(), show_life(orders.life)):
            await stop.wait()
            await server.stop(settings.shutdown_grace_seconds, hurry)
    finally:
        try:
            await asyncio.wait_for(archive.close(), LAST_COMMITS)
        except TimeoutError:
            archive.pool.terminate()


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


def main() -> None:
    """Be the gateway that the orders on standard input describe."""
    orders = receive_orders()
    logs.configure(orders.settings, orders.name)
    try:
        uvloop.run(serve(orders))
    except (ArchiveError, SettingsError) as error:
        logger.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
