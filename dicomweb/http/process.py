"""One HTTP worker: a process with one event loop that serves the inherited socket.

Run by the supervisor with `python -m dicomweb.http.process`; see `dicomweb/process/lifeline.py` for what they tell each
other.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from dicomweb.http.app import create_app
from dicomweb.http.entrance.connections import Connections
from dicomweb.http.gateway_probe import GatewayProbe
from dicomweb.http.request_log import RequestLog
from dicomweb.process.child import be_child
from dicomweb.process.garbage import tune_garbage_collector
from dicomweb.process.lifeline import Orders, show_life
from dicomweb.process.listener import HTTP
from dicomweb.process.taking import Taker
from dicomweb.settings import Settings
from dicomweb.telemetry.metrics import Metrics
from storage.archive import Archive

KEEP_ALIVE = 75
"""Seconds an idle connection stays open: longer than the pauses of a person who pages through images, and than the
60 seconds after which reverse proxies let go, so that it is never us who close a connection just being used."""


def build(archive: Archive, settings: Settings) -> tuple[ASGIApp, Callable[[], None]]:
    """Put together what a worker serves, and what ends the answers that would not end by themselves."""
    app = create_app(archive, settings)
    metrics = app.state.metrics = Metrics(settings.data_dir / "run")
    if settings.dimse:
        app.state.gateway_probe = GatewayProbe(settings)
    proxies = settings.trusted_proxies
    log = RequestLog(app, begun=metrics.begun, ended=metrics.ended, trusted_proxies=proxies)
    return log, app.state.change_feed.close


class Server(uvicorn.Server):
    """uvicorn, stopped by our signals and telling the supervisor when it listens."""

    def __init__(
        self, config: uvicorn.Config, orders: Orders, connections: Connections, end_streams: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._orders = orders
        self._end_streams = end_streams
        self._opening: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Finish on SIGTERM, hurry on the second one; uvicorn would then kill itself by the same signal."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._asked_to_stop)
        yield

    def _asked_to_stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._end_streams()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        tune_garbage_collector()
        await super().startup([])
        self.servers = [Taker(listener, self._taken) for listener in sockets or ()]  # type: ignore[misc]
        self._tasks += [asyncio.create_task(each) for each in (self._connections.watch(), show_life(self._orders.life))]

    def _taken(self, connection: socket.socket, _: str) -> None:
        """Speak HTTP on a connection."""
        opening = asyncio.create_task(self._speak(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _speak(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        protocol = partial(
            self._connections.protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        with contextlib.suppress(OSError):  # it is gone already
            await loop.connect_accepted_socket(protocol, connection)


async def serve(orders: Orders, archive: Archive) -> None:
    """Serve until SIGTERM."""
    settings = orders.settings
    app, end_streams = build(archive, settings)
    connections = Connections(settings)
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=round(settings.shutdown_grace_seconds),
    )
    await Server(config, orders, connections, end_streams).serve(sockets=[socket.socket(fileno=orders.listeners[HTTP])])


if __name__ == "__main__":
    be_child(serve)
