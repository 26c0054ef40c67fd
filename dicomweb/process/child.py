"""What every child of the supervisor does around its own work: orders, log, archive, and an orderly end.

Until the archive is open SIGTERM ends a child at once, as there is nothing to finish yet; a database that does not
answer holds nobody up. What a child serves then handles the signal itself.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

import uvloop

from dicomweb.process.lifeline import Orders, receive_orders
from dicomweb.settings import SettingsError
from dicomweb.telemetry import logs
from dicomweb.telemetry.metrics import count_codec_endings
from storage.archive import Archive
from storage.errors import ArchiveError
from storage.pixels.threads import PixelThreads

logger = logging.getLogger(__name__)

LAST_COMMITS = 5.0
"""Seconds in which what is being written may be finished."""
DATABASE_PATIENCE = 30.0
"""Seconds in which the database may start again."""


def be_child(serve: Callable[[Orders, Archive], Awaitable[None]]) -> None:
    """Be the child that the orders on standard input describe: open the archive, serve, close it."""
    orders = receive_orders()
    logs.configure(orders.settings, orders.name)
    count_codec_endings()
    try:
        uvloop.run(_with_archive(serve, orders))
    except (ArchiveError, SettingsError) as error:
        logger.error("%s", error)
        sys.exit(1)


async def _with_archive(serve: Callable[[Orders, Archive], Awaitable[None]], orders: Orders) -> None:
    asyncio.get_running_loop().set_exception_handler(logs.report_loop_error)
    settings = orders.settings
    assert settings.database_url is not None
    archive = await Archive.open(
        settings.database_url,
        settings.data_dir,
        settings.policy(),
        connections=settings.database_connections,
        patience=DATABASE_PATIENCE,
        passcode_key=settings.passcode_key,
        pixel_threads=PixelThreads(settings.render_threads, settings.render_queue),
    )
    try:
        await serve(orders, archive)
    finally:
        try:
            async with asyncio.timeout(LAST_COMMITS):
                await archive.close()
        except TimeoutError:
            archive.pool.terminate()
