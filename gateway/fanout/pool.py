"""⑧ A small pool of connections to Postgres, opened when it is first needed: a web process that never needs it never connects."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from gateway import primary

_CONNECTIONS = 4
_connect: Any = primary.connect


class Pool:
    """Connections by a name of their own; each wait is bounded by `seconds`. Raises what asyncpg raises, and TimeoutError."""

    def __init__(self, database_url: str, name: str, seconds: float) -> None:
        self._url = database_url
        self._name = name
        self._seconds = seconds
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """Lends a connection."""
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    connect=_connect,
                    min_size=0,
                    max_size=_CONNECTIONS,
                    timeout=self._seconds,
                    command_timeout=self._seconds,
                    # Works behind a transaction pooler too.
                    statement_cache_size=0,
                    server_settings={"application_name": self._name},
                )
        async with self._pool.acquire(timeout=self._seconds) as connection:
            yield connection
