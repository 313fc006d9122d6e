"""A whole gateway inside the test's event loop: a bridge, a web process, and clients that connect to it over a socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette

from auth.key import shared_secret
from auth.token import sign
from gateway.bridge.bridge import Bridge
from gateway.fanout.hub import Hub
from gateway.http.app import create
from gateway.settings import Settings, read
from gateway.task import ended
from streams.catalog import Catalog
from tests.support import http_server, sse
from tests.support.servers import Servers

SECRET = "a secret for tests that is long enough, and not one byte more"


def settings(servers: Servers, **changes: Any) -> Settings:
    """Returns the settings of a test's gateway, nothing read from outside."""
    given = {"database_url": servers.database_url, "redis_url": servers.redis_url, "jwt_secret": SECRET, "port": 0, "drain": "1s"} | changes
    return read(**given)


def token(sub: object = "1", role: str | None = "customer", ttl: float = 3600, **claims: Any) -> str:
    """Signs a token for a test."""
    given = {"sub": str(sub), "exp": int(time.time() + ttl)} | ({"role": role} if role else {}) | claims
    return sign(shared_secret(SECRET), given)


@dataclass
class Address:
    """Where a web process is."""

    host: str
    port: int

    async def request(self, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> sse.Stream:
        return await sse.request(self.host, self.port, path, headers, **options)

    async def open(
        self, streams: str = "bookings", sub: object = "1", role: str | None = "customer", since: str | None = None, **claims: Any
    ) -> sse.Stream:
        """Opens streams as a user; `since` is the Last-Event-ID. The caller closes."""
        headers = {"Authorization": f"Bearer {token(sub, role, **claims)}"} | ({"Last-Event-ID": since} if since else {})
        stream = await self.request(f"/streams/{streams}", headers)
        assert stream.status == 200, stream.body
        return stream

    @asynccontextmanager
    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[sse.Stream]:
        """Opens streams, and closes them afterwards."""
        stream = await self.open(*args, **options)
        try:
            yield stream
        finally:
            await stream.close()


@dataclass
class Web(Address):
    """A web process inside the test, and its insides."""

    app: Starlette

    @property
    def hub(self) -> Hub:
        hub: Hub = self.app.state.hub
        return hub


@asynccontextmanager
async def web(servers: Servers, catalog: Catalog | None = None, **changes: Any) -> AsyncIterator[Web]:
    """Serves the application on a free port."""
    app = create(settings(servers, **changes), catalog)
    async with http_server.serve(app) as port:
        yield Web("127.0.0.1", port, app)


def bridge_of(servers: Servers, **changes: Any) -> Bridge:
    """Makes a bridge with a test's settings."""
    given: dict[str, Any] = {"notify": "armed", "keep": timedelta(hours=24), "log_entries": 1000} | changes
    return Bridge(servers.database_url, servers.redis_url, **given)


@asynccontextmanager
async def bridge(servers: Servers, **changes: Any) -> AsyncIterator[Bridge]:
    """Runs a bridge."""
    each = bridge_of(servers, **changes)
    task = asyncio.create_task(each.run())
    try:
        yield each
    finally:
        await ended([task])
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def gateway(servers: Servers, **changes: Any) -> AsyncIterator[Web]:
    """Runs a bridge and a web process."""
    async with bridge(servers), web(servers, **changes) as each:
        yield each


async def until(condition: Any, within: float = 20) -> None:
    """Waits for a condition, a plain or an async callable. Raises TimeoutError.

    It looks at the clock besides: redis-py's default timeout of a write swallows a cancellation now and then (Python 3.11).
    """
    deadline = time.monotonic() + within
    async with asyncio.timeout(within):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(0.005)


def positions(events: Iterable[sse.Event]) -> list[int]:
    return [event.position for event in events if not event.control]
