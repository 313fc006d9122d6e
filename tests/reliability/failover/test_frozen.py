"""A bridge that stands still, with its connections open, loses the lease to the one that stands by; neither does harm when it wakes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import sql
from gateway.bridge import lease
from gateway.bridge import listener as listeners
from gateway.bridge.bridge import Bridge
from gateway.bridge.lease import Wakefulness
from gateway.bridge.listener import Listener, listening
from gateway.bridge.publisher import Place, Publisher
from tests.gateway.bridge.test_lease import holders
from tests.gateway.fanout.traffic import go_on, writing
from tests.support.cluster import cluster
from tests.support.gateway import bridge, until
from tests.support.ledger import Reader, agreed, reading
from tests.support.servers import Servers

CHANGE = "update public.services set description = 'changed' where id = 1"
LOGGED = "select count(*) from rowcast.log"
PROBES = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")


@asynccontextmanager
async def _frozen(servers: Servers) -> AsyncIterator[Listener]:
    """A leader that has just said that it is awake, so that nobody rings, and does nothing any more."""
    async with listening(servers.database_url) as listener:
        await lease.acquire(listener)
        wakefulness = Wakefulness(listener)
        await wakefulness.wake()
        assert wakefulness.awake
        yield listener


async def test_frozen_leader_loses_the_lease(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres ends the session of a leader that shows nothing; who stands by leads, and changes arrive."""
    monkeypatch.setattr(listeners, "_FROZEN_SECONDS", 1.0)
    monkeypatch.setattr(listeners, "_PROBE_SECONDS", 0.2)
    connection = await servers.connect()
    async with _frozen(servers) as frozen, bridge(servers):
        await connection.execute(CHANGE)
        await until(lambda: connection.fetchval(LOGGED))
        await until(frozen.connection.is_closed)
    await connection.close()


async def test_control_lease_without_an_end(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Did Postgres wait for ever, so would who stands by, and nothing would arrive while the leader stands still."""
    looks = 0
    fetchval = Listener.fetchval

    async def counted(self: Listener, *args: Any) -> Any:
        nonlocal looks
        looks += 1
        return await fetchval(self, *args)

    monkeypatch.setattr(Listener, "fetchval", counted)
    monkeypatch.setattr(listeners, "_FROZEN_SECONDS", 0)
    monkeypatch.setattr(lease, "_RETRY_SECONDS", 0.05)
    connection = await servers.connect()
    async with _frozen(servers), bridge(servers):
        await connection.execute(CHANGE)
        await until(lambda: looks > 60)
        assert await connection.fetchval(LOGGED) == 0
    await connection.close()


async def test_leader_with_nothing_to_do_keeps_the_lease(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader shows that it lives, also before it has begun, while Redis does not answer."""
    monkeypatch.setattr(listeners, "_FROZEN_SECONDS", 2.0)
    monkeypatch.setattr(listeners, "_PROBE_SECONDS", 0.2)
    begin = Publisher.begin

    async def late(self: Publisher) -> Place:
        await asyncio.sleep(3)  # longer than a session may be silent
        return await begin(self)

    monkeypatch.setattr(Publisher, "begin", late)
    leads = 0
    lead = Bridge.lead

    async def counted(self: Bridge, *args: Any) -> None:
        nonlocal leads
        leads += 1
        await lead(self, *args)

    monkeypatch.setattr(Bridge, "lead", counted)
    connection = await servers.connect()
    async with bridge(servers):
        await until(lambda: holders(connection, sql.LEASE_LOCK))
        before = await holders(connection, sql.LEASE_LOCK)
        await connection.execute(CHANGE)
        await until(lambda: connection.fetchval(LOGGED))
        assert (await holders(connection, sql.LEASE_LOCK), leads) == (before, 1)
    await connection.close()


async def test_dead_machine_is_noticed(servers: Servers) -> None:
    """Where a bridge's machine has gone its kernel is silent too: Postgres asks it, and waits for no answer longer than some seconds."""
    async with listening(servers.database_url) as listener:
        idle, interval, count, unanswered = [
            int(await listener.fetchval("select setting from pg_settings where name = $1", name)) for name in PROBES
        ]
    assert 0 < idle + interval * count <= 15
    assert 0 < unanswered <= 15_000


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_leader_stands_still_for_half_a_minute(tmp_path: Path) -> None:
    """The active process is stopped, and goes on half a minute later: the other one leads meanwhile, and no client notices either."""
    async with cluster(tmp_path, bridges=2, webs=1) as whole:
        readers = [
            Reader(whole.doors, "bookings,services", 1),
            Reader(whole.doors, "provider-bookings", 9),
            Reader(whole.doors, "services", 2),
        ]
        async with reading(readers):
            async with writing(whole.servers, writers=2) as traffic:
                await go_on(readers)
                await until(lambda: whole.active_bridge() is not None)
                frozen = whole.active_bridge()
                assert frozen is not None
                (other,) = (each for each in whole.bridges if each is not frozen)
                frozen.pause()
                await until(lambda: "this bridge is active" in other.says, 60)
                await go_on(readers)
                await asyncio.sleep(20)  # the rest of the half minute
                frozen.resume()
                await until(lambda: "bridge starts again" in frozen.says, 60)
                await go_on(readers)
            ledger, faults = await agreed(whole.servers, readers, 60)
            assert faults == []
            assert [(reader.statuses, reader.resets) for reader in readers] == [(["fresh"], [])] * len(readers)
            assert traffic.faults(ledger) == []
            await ledger.check_redis(whole.servers)
