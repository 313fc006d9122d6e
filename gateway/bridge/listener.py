"""② Hears the bell: one dedicated connection that listens, and that holds the locks of the active bridge.

- The bell is a wake-up, never data: whoever wakes drains, whatever the reason.
- A dead LISTEN is silent, so the connection is probed, and its end is an error that ends everything that leans on it.
- It never opens a transaction that lasts: a listener inside one would stop Postgres from emptying its notification queue.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

import sql

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

INDEXED = {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}
"""Settings for statements that must always go by an index: planned once, whatever the statistics say meanwhile."""
_PROBE_SECONDS = 5.0
_PROBE_TIMEOUT_SECONDS = 5.0


class PostgresUnreachable(OSError):
    """Nobody answers at the database's address, or the address makes no sense; the cause says which."""


class ListenerLost(Exception):
    """The listening connection has gone away."""


async def connect(url: str, name: str, *, command_timeout: float | None = None, **server_settings: str) -> Connection:
    """Opens a connection for the bridge: durable commits, a fresh snapshot per statement, dead peers noticed by Postgres.

    A statement that takes longer than `command_timeout` seconds raises TimeoutError: a flow that the network has forgotten
    says nothing. Raises PostgresUnreachable.
    """
    try:
        return await _connect(url, name, command_timeout, server_settings)
    except (OSError, ValueError, asyncpg.ClientConfigurationError) as error:
        raise PostgresUnreachable from error


async def _connect(url: str, name: str, command_timeout: float | None, server_settings: Mapping[str, str]) -> Connection:
    return await asyncpg.connect(
        url,
        timeout=10,
        command_timeout=command_timeout,
        server_settings={
            "application_name": f"rowcast {name}",
            "default_transaction_isolation": "read committed",
            "synchronous_commit": "on",
            "statement_timeout": "0",
            "idle_session_timeout": "0",
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "10000",
            "jit": "off",
            **server_settings,
        },
    )


@asynccontextmanager
async def connected(url: str, name: str, **options: Any) -> AsyncIterator[Connection]:
    """Opens a connection as `connect` does, and drops it at the end, whatever it is doing."""
    connection = await connect(url, name, **options)
    try:
        yield connection
    finally:
        connection.terminate()


class Listener:
    """The bell, as an event. `connection` also carries the session's advisory locks."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rung = asyncio.Event()
        self._lost = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def fetchval(self, query: str, *args: object) -> Any:
        """Runs one statement on the listening connection; callers take turns."""
        async with self._one_at_a_time:
            return await self.connection.fetchval(query, *args, timeout=_PROBE_TIMEOUT_SECONDS)

    async def watch(self) -> None:
        """Returns never; raises ListenerLost when the connection has ended or does not answer."""
        while True:
            try:
                async with asyncio.timeout(_PROBE_SECONDS):
                    await self._lost.wait()
                raise ListenerLost
            except TimeoutError:
                pass
            try:
                await self.fetchval("select 1")
            except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                raise ListenerLost from error

    def _ring(self, *_: object) -> None:
        self.rung.set()

    def _end(self, *_: object) -> None:
        self._lost.set()
        self.rung.set()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Listener]:
    """Opens the connection, listens, and only then yields: what is committed from here on rings."""
    async with connected(url, "listener") as connection:
        listener = Listener(connection)
        connection.add_termination_listener(listener._end)
        await connection.add_listener(sql.BELL, listener._ring)
        yield listener
