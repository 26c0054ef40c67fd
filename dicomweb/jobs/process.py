"""The process of the job worker, run by the supervisor with `python -m dicomweb.jobs.process`.

It listens to nobody: it learns of jobs from the database. See `dicomweb/process/lifeline.py` for its talk with the
supervisor.
"""

import asyncio
import signal

from dicomweb.jobs.scrub import keep_healing, keep_scrubbing
from dicomweb.jobs.stock import keep_stock
from dicomweb.jobs.worker import JobWorker
from dicomweb.process.child import be_child
from dicomweb.process.garbage import tune_garbage_collector
from dicomweb.process.lifeline import Orders, show_life
from storage.archive import Archive
from storage.work.jobs import listen


async def serve(orders: Orders, archive: Archive) -> None:
    """Do jobs until SIGTERM; what is under way then is given back, to be taken up by the next worker."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = orders.settings
    assert settings.database_url is not None
    worker = JobWorker(archive, settings, run=orders.run)
    tasks = [
        asyncio.create_task(each)
        for each in (
            worker.run(),
            listen(settings.database_url, worker.wake),
            keep_stock(archive),
            keep_scrubbing(archive, settings),
            keep_healing(archive, settings),
            show_life(orders.life),
        )
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


if __name__ == "__main__":
    be_child(serve)
