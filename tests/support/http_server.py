"""The HTTP servers that tests run the application under, in their own event loop, on a free port."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

import hypercorn
import hypercorn.asyncio
import uvicorn
from hypercorn.typing import Framework
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette

from gateway.http.protocol import Protocol

DRAIN_SECONDS = 3


@asynccontextmanager
async def by_uvicorn(app: Starlette) -> AsyncIterator[int]:
    """Serves as `rowcast web` does, and yields the port."""
    AppStatus.enable_automatic_graceful_drain = False
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=Protocol,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_SECONDS,
        lifespan="on",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    # Signals belong to pytest.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
    task = asyncio.create_task(server.serve())
    while not (server.started or task.done()):  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    if task.done():
        task.result()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def by_hypercorn(app: Starlette) -> AsyncIterator[int]:
    """Serves with a server that knows nothing of us, and yields the port."""
    AppStatus.enable_automatic_graceful_drain = False
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    config = hypercorn.Config()
    # The socket is Hypercorn's from here on.
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = config.shutdown_timeout = DRAIN_SECONDS
    config.errorlog = config.accesslog = None
    ending = asyncio.Event()
    task = asyncio.create_task(hypercorn.asyncio.serve(cast("Framework", app), config, shutdown_trigger=ending.wait))
    try:
        yield port
    finally:
        ending.set()
        await task


serve: Callable[[Starlette], AbstractAsyncContextManager[int]] = by_uvicorn
"""The one in use; `way_out` sets it."""
