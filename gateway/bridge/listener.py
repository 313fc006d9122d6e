"""② Hears the bell: one dedicated connection that listens, and that holds the locks of the active bridge.

- The bell is a wake-up, never data: whoever wakes drains, whatever the reason.
- A dead LISTEN is silent, so the connection is probed, and its end is an error that ends everything that leans on it.
- Postgres ends it when it does not probe: a process that stands still would keep the locks for as long as its kernel answers.
- It never opens a transaction that lasts: a listener inside one would stop Postgres from emptying its notification queue.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

import sql
from gateway import primary

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

INDEXED = {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}
"""Settings for statements that must always go by an index: planned once, whatever the statistics say meanwhile."""
_TCP_OPTIONS = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))
    if hasattr(socket, name)
}
_PROBE_SECONDS = 2.0
_FROZEN_SECONDS = 8.0
"""A session that has not probed for so long is ended by Postgres: its process stands still, and holds the lease."""
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
    except (OSError, ValueError, asyncpg.ClientConfigurationError, asyncpg.TargetServerAttributeNotMatched) as error:
        raise PostgresUnreachable from error


async def _connect(url: str, name: str, command_timeout: float | None, server_settings: Mapping[str, str]) -> Connection:
    connection: Connection = await primary.connect(
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
    _probe(connection)
    return connection


def _probe(connection: Any) -> None:
    """Lets the kernel find out in ten seconds or so that a peer has gone, as Postgres' does: also while a statement takes minutes."""
    opened = connection._transport.get_extra_info("socket")
    if opened.family != socket.AF_UNIX:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _TCP_OPTIONS.items():
            opened.setsockopt(socket.IPPROTO_TCP, option, value)


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

    async def history(self) -> str:
        """Returns which cluster this is, and which of its timelines."""
        return str(await self.fetchval(sql.statement("history")))

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
    async with connected(url, "listener", idle_session_timeout=f"{_FROZEN_SECONDS}s") as connection:
        listener = Listener(connection)
        connection.add_termination_listener(listener._end)
        await connection.add_listener(sql.BELL, listener._ring)
        yield listener
