"""The process of the job worker, run by the supervisor with `python -m dicomweb.jobs.process`.

It listens to nobody: it learns of jobs from the database. See `dicomweb/lifeline.py` for its talk with the supervisor.
"""

import asyncio
import logging
import signal
import sys

import uvloop

from dicomweb import logs
from dicomweb.garbage import tune_garbage_collector
from dicomweb.jobs.worker import JobWorker
from dicomweb.lifeline import Orders, receive_orders, show_life
from storage.archive import Archive
from storage.errors import ArchiveError
from storage.jobs import listen
from storage.pixel_threads import PixelThreads

logger = logging.getLogger("dicomweb.jobs")  # run as __main__

LAST_COMMITS = 5.0
DATABASE_PATIENCE = 30.0


async def serve(orders: Orders) -> None:
    """Do jobs until SIGTERM; what is under way then is given back, to be taken up by the next worker."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.report_loop_error)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
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
    worker = JobWorker(archive, settings)
    tasks = [
        asyncio.create_task(each)
        for each in (worker.run(), listen(settings.database_url, worker.wake), show_life(orders.life))
    ]
    tune_garbage_collector()
    stopped = asyncio.create_task(stop.wait())
    try:
        # None of the tasks ends by itself: when one has failed the supervisor is to start another worker.
        done, _ = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await asyncio.wait_for(archive.close(), LAST_COMMITS)
        except TimeoutError:
            archive.pool.terminate()


def main() -> None:
    """Be the job worker that the orders on standard input describe."""
    orders = receive_orders()
    logs.configure(orders.settings, orders.name)
    try:
        uvloop.run(serve(orders))
    except ArchiveError as error:
        logger.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
