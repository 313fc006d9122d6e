"""A bridge that is told to end ends, whatever it is doing at that moment."""

import asyncio

import pytest

import sql
from gateway.bridge.bridge import run_until
from gateway.bridge.listener import connect
from gateway.bridge.publisher import Publisher, redis_client
from tests.support.gateway import bridge_of, until
from tests.support.servers import Servers
from tests.support.writers import connected


async def ends(task: "asyncio.Task[None]") -> bool:
    """Says whether a task that has been cancelled ends; cancels it again if it does not."""
    done, _ = await asyncio.wait({task}, timeout=10)
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
    return bool(done)


async def test_publisher_ends_as_a_command_is_written(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that is cancelled at the very moment at which a command has been written to Redis ends."""
    drain = asyncio.StreamWriter.drain
    publishing: list[asyncio.Task[None]] = []

    async def drain_and_cancel(self: asyncio.StreamWriter) -> None:
        await drain(self)
        for task in publishing:
            task.cancel()
        publishing.clear()

    monkeypatch.setattr(asyncio.StreamWriter, "drain", drain_and_cancel)
    connection = await connect(servers.database_url, "publisher")
    redis = redis_client(servers.redis_url)
    try:
        await redis.ping()
        task = asyncio.create_task(Publisher(connection, redis, 1000).run())
        publishing.append(task)
        await until(lambda: not publishing)
        assert await ends(task)
    finally:
        connection.terminate()
        await redis.aclose()


async def test_bridge_ends_while_it_breaks(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that is told to end while it tidies up after a lost connection ends, and does not just start again."""
    stop = asyncio.Event()
    published: list[bool] = []

    async def run(self: Publisher) -> None:
        published.append(True)
        try:
            await asyncio.Event().wait()
        finally:
            stop.set()
            await asyncio.sleep(0.05)  # as closing a connection may take

    monkeypatch.setattr(Publisher, "run", run)
    async with connected(servers) as admin:
        task = asyncio.create_task(run_until(bridge_of(servers), stop))
        await until(lambda: published)
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objid::bigint = $1", sql.LEASE_LOCK
        )
        await stop.wait()
        assert await ends(task)
