"""Postgres fails under load: what was acknowledged arrives, once, in order, and nobody has to be started again."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.embedded import PostgresServer
from gateway.fanout.backlog import Backlog
from gateway.fanout.recent import Recent
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import go_on, under_load
from tests.support.gateway import until, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.servers import FAST, Servers, prepare


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres of these tests' own, to be stopped."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), FAST)
    server.start()
    yield server
    server.stop()


async def test_postgres_restarts(run_servers: Servers, postgres: PostgresServer) -> None:
    """Postgres crashes and comes back: what was acknowledged arrives, and of the rest whole transactions or nothing."""
    await prepare(postgres.url)
    own = Servers(postgres.url, run_servers.redis_url)
    async with Redis.from_url(own.redis_url) as redis:
        await redis.flushall()
    async with under_load(own, own) as readers:
        await asyncio.to_thread(postgres.stop, immediate=True)
        await asyncio.to_thread(postgres.start)
        await go_on(readers)


async def test_sessions_are_ended(servers: Servers) -> None:
    """An administrator ends the bridge's sessions, again and again: it opens others and goes on."""
    connection = await servers.connect()
    async with under_load(servers, servers) as readers:
        for name in ("publisher", "sequencer", "listener", "%", "publisher", "sequencer"):
            await until(lambda name=name: _end_sessions(connection, f"rowcast {name}"))
            await go_on(readers)
    await connection.close()


async def test_sessions_of_a_replay_are_ended(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays whose sessions are ended are done again, or the client is told to come back; none stands still."""
    read = Backlog.read

    async def two_at_a_time(self: Backlog, *args: Any, **options: Any) -> Any:
        return await read(self, *args, **options | {"limit": 2})

    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(Backlog, "read", two_at_a_time)
    monkeypatch.setattr(Recent, "read", nothing)
    connection = await servers.connect()
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change(200)
        async with reading(readers := [Reader(gateway, "bookings", 1, since="earliest") for _ in range(5)]):
            ended = 0
            while any(len(reader.lines) < 200 for reader in readers) and ended < 100:
                ended += await _end_sessions(connection, "rowcast archive")
                await asyncio.sleep(0.01)
            await until(lambda: ended and all(len(reader.lines) == 200 for reader in readers))
            _, faults = await agreed(servers, readers)
    await connection.close()
    assert faults == []


async def _end_sessions(connection: Any, name: str) -> int:
    """Ends the sessions of this database that have such a name, and returns how many these were."""
    ended = await connection.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1 and datname = current_database()", name
    )
    return len(ended)
