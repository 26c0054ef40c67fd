"""An application behind a real HTTP server in the test's own event loop, on a free loopback port.

The in-process transport buffers whole bodies and never disconnects; streaming, HEAD and broken connections need this.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from tests.live_server import free_port


@asynccontextmanager
async def listening(app: ASGIApp, **config: Any) -> AsyncIterator[str]:
    """Serve `app` and yield its URL, without a slash at the end; `config` goes to uvicorn."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app, "127.0.0.1", port, log_config=None, access_log=False, proxy_headers=False, ws="none", **config
        )
    )
    server.capture_signals = _no_signals  # type: ignore[method-assign]
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
        assert not running.done()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await running


class _no_signals:  # noqa: N801
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
