"""Writers that do not wait for the disk, and a Postgres that crashes: what a client was told did happen, and stays."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from gateway.bridge import listener as listeners
from gateway.bridge.listener import Connection
from gateway.embedded import PostgresServer
from gateway.fanout.snapshot import Reading
from tests.gateway.fanout.manual import manual
from tests.gateway.http.test_snapshot import open_snapshot, read_snapshot
from tests.support.gateway import bridge, until, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.servers import Servers, prepare
from tests.support.writers import connected

HASTY = {"synchronous_commit": "off"}
LAZY = {"wal_writer_delay": "10s", "wal_writer_flush_after": "2GB", "fsync": "on", "autovacuum": "off"}
"""Nothing but a commit that waits for it brings the write-ahead log to the disk."""
NOTE = "update public.services set description = $1 where id = 1"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres of these tests' own, to crash."""
    server = PostgresServer(tmp_path_factory.mktemp("lazy"), LAZY)
    server.start()
    asyncio.run(prepare(server.url))
    yield server
    server.stop()


@pytest.fixture
async def own(postgres: PostgresServer, run_servers: Servers) -> Servers:
    """Its address, with an empty Redis."""
    async with Redis.from_url(run_servers.redis_url) as redis:
        await redis.flushall()
    return Servers(postgres.url, run_servers.redis_url)


async def _crash(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop, immediate=True)
    await asyncio.to_thread(postgres.start)


@asynccontextmanager
async def _hasty(servers: Servers) -> AsyncIterator[Connection]:
    async with connected(servers, **HASTY) as connection:
        yield connection


@asynccontextmanager
async def _told_then_crashed(postgres: PostgresServer, servers: Servers, name: str) -> AsyncIterator[Reader]:
    """Tells a client of twenty changes that nobody waited to be safe, crashes, and makes more than that; yields the client."""
    async with web(servers) as gateway, reading([reader := Reader(gateway, "services", 1)]), bridge(servers):
        async with _hasty(servers) as writer:
            for number in range(20):
                await writer.execute(NOTE, f"{name}, before {number}")
            await until(lambda: len(reader.lines) >= 20)
        await _crash(postgres)
        async with _hasty(servers) as writer:
            for number in range(25):
                await writer.execute(NOTE, f"{name}, after {number}")
        yield reader


async def test_what_was_told_stays(postgres: PostgresServer, own: Servers) -> None:
    """What clients were told of is in the log after the crash, though no writer waited for it: giving it a position made it safe."""
    async with _told_then_crashed(postgres, own, "safe") as reader:
        ledger, faults = await agreed(own, [reader])
    assert faults == []
    assert (reader.statuses, reader.resets) == (["fresh"], [])
    assert len(reader.lines) == 45
    assert ledger.notes["safe, before 19"] == ledger.notes["safe, after 24"] == 1


async def test_control_sequencer_that_does_not_wait(postgres: PostgresServer, own: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were positions given without waiting for the disk, what clients were told would be gone after the crash: it is found, and said."""
    connect = listeners._connect

    async def hasty(url: str, name: str, command_timeout: float | None, server_settings: dict[str, str]) -> Connection:
        return await connect(url, name, command_timeout, {**server_settings, **HASTY})

    monkeypatch.setattr(listeners, "_connect", hasty)
    async with _told_then_crashed(postgres, own, "unsafe") as reader, connected(own) as connection:
        await until(lambda: reader.resets == ["epoch"])
        assert await connection.fetchval("select count(*) from rowcast.log where new::text like '%unsafe, before 19%'") == 0


async def _seen_then_crashed(postgres: PostgresServer, servers: Servers) -> tuple[str, str, list[str]]:
    """Takes a snapshot of a change that nobody waited to be safe, crashes, and goes on; returns what was seen, what is, what came."""
    async with web(servers) as gateway:
        async with manual(servers) as by_hand:
            await by_hand.change()
            async with _hasty(servers) as writer:
                await writer.execute("checkpoint")
                for number in range(5):
                    await writer.execute(NOTE, f"seen {number}")
                stream = await open_snapshot(gateway, "services?snapshot=1")
                assert (await stream.next()).name == "ready"
                rows, _ = await read_snapshot(stream)
                (seen,) = [row["description"] for row in rows["services"] if row["id"] == 1]
                await _crash(postgres)
        came: list[str] = []
        async with manual(servers) as by_hand:
            now: str = await by_hand.connection.fetchval("select description from services where id = 1")
            for number in range(8):
                await by_hand.connection.execute(NOTE, f"later {number}")
            await by_hand.sequencer.step()
            await by_hand.publish()
            while "later 7" not in came:
                (event,) = await stream.events(1)
                came.append(event.data["record"]["description"])
        await stream.close()
        return seen, now, came


LATER = [f"later {number}" for number in range(8)]


async def test_what_a_snapshot_has_stays(postgres: PostgresServer, own: Servers) -> None:
    """The rows of a snapshot are there after the crash, and all that follows comes."""
    seen, now, came = await _seen_then_crashed(postgres, own)
    assert seen == now == "seen 4"
    assert came == LATER


async def test_control_snapshot_that_does_not_wait(postgres: PostgresServer, own: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of what is not safe shows what never was; transactions' numbers are given out again, so others' changes pass for seen."""

    async def trust(_: object) -> None:
        return None

    monkeypatch.setattr(Reading, "end", trust)
    seen, now, came = await _seen_then_crashed(postgres, own)
    assert seen == "seen 4" != now
    assert came != LATER
