"""The bridge does not reach Redis, or Redis takes no writes: web processes go on from Postgres, and nothing comes twice."""

import math

import pytest

from auth.revocation import Revocations
from gateway import wire
from gateway.bridge import bridge as bridges
from gateway.bridge import lease
from gateway.bridge import publisher as publishers
from gateway.embedded import ValkeyServer
from gateway.fanout import tail as tails
from tests.gateway.fanout.traffic import go_on, written
from tests.reliability.edge.load import Load, believe_redis, check, loaded, redis_at, staying
from tests.support.gateway import bridge, until, web
from tests.support.proxy import Proxy, proxied
from tests.support.servers import Servers

Pair = tuple[ValkeyServer, ValkeyServer]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for seconds of patience."""
    monkeypatch.setattr(tails, "SILENCE_SECONDS", 0.6)
    monkeypatch.setattr(publishers, "BEAT_SECONDS", 0.1)


def _away(proxy: Proxy, silently: bool) -> None:
    if silently:
        proxy.blackhole()
    else:
        proxy.refuse = True
        proxy.cut()


@pytest.mark.parametrize("silently", [False, True])
async def test_bridge_does_not_reach_redis(servers: Servers, silently: bool) -> None:
    """Web processes go on from Postgres meanwhile, and nothing comes twice when the bridge is back."""
    async with proxied(servers.redis_url) as proxy:
        cut_off = Servers(servers.database_url, proxy.url(servers.redis_url))
        async with bridge(cut_off), web(servers) as gateway, loaded(servers, staying(gateway)) as load:
            _away(proxy, silently)
            for _ in range(3):
                await written(servers)
                await go_on(load.readers)
            proxy.heal()
            await until(lambda: gateway.hub.last_beat and gateway.hub.last_beat.position > load.readers[-1].lines[-1].position)
    assert load.faults == []
    assert load.statuses == {("fresh",)}
    assert load.resets == []
    await check(servers, servers.redis_url)


async def test_control_postgres_is_not_asked(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were only Redis asked where the log is, clients would get nothing for as long as the bridge does not reach it."""
    believe_redis(monkeypatch)
    async with proxied(servers.redis_url) as proxy:
        cut_off = Servers(servers.database_url, proxy.url(servers.redis_url))
        async with bridge(cut_off), web(servers) as gateway, loaded(servers, staying(gateway)) as load:
            _away(proxy, False)
            await written(servers)
            before = len(load.readers[-1].lines)
            await written(servers, 100)
            with pytest.raises(TimeoutError):
                await until(lambda: len(load.readers[-1].lines) > before, within=2)
            proxy.heal()


async def _one_of_two_is_cut_off(servers: Servers, monkeypatch: pytest.MonkeyPatch, within: float = 20) -> bool:
    """Cuts the active one of two bridges from Redis; returns whether Redis is brought up to date before that heals."""
    monkeypatch.setattr(lease, "_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(bridges, "_GIVE_WAY_SECONDS", 0.5)
    async with proxied(servers.redis_url) as proxy, redis_at(servers.redis_url) as redis:
        cut_off = Servers(servers.database_url, proxy.url(servers.redis_url))
        async with bridge(cut_off), web(servers) as gateway, loaded(servers, staying(gateway)) as load, bridge(servers):
            _away(proxy, False)
            await written(servers)
            target = int(await redis.hget(wire.META, "position")) + 30

            async def published() -> bool:
                return int(await redis.hget(wire.META, "position")) >= target

            try:
                await until(published, within)
            except TimeoutError:
                return False
            finally:
                proxy.heal()
                await go_on(load.readers)
    assert load.faults == []
    return True


async def test_another_bridge_reaches_redis(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that does not reach Redis for a while lets the one that stands by try."""
    monkeypatch.setattr(publishers, "GIVE_WAY_SECONDS", 0.3)
    assert await _one_of_two_is_cut_off(servers, monkeypatch)


async def test_control_the_lease_is_kept(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Did it keep the lease, nobody would publish, though somebody could."""
    monkeypatch.setattr(publishers, "GIVE_WAY_SECONDS", math.inf)
    assert not await _one_of_two_is_cut_off(servers, monkeypatch, within=5)


async def _without_writes(servers: Servers, old_and_new: Pair, within: float = 20) -> Load:
    """Redis answers, and takes no writes; those who listen have to connect again meanwhile."""
    own = Servers(servers.database_url, old_and_new[0].url)
    async with bridge(own), web(own) as gateway, redis_at(own.redis_url) as redis, loaded(servers, staying(gateway)) as load:
        await redis.config_set("min-replicas-to-write", 1)
        before = len(load.readers[-1].lines)
        try:
            await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: not gateway.hub.tail.connected)
            await written(servers)
            await until(lambda: len(load.readers[-1].lines) > before + 5, within)
        except TimeoutError:
            load.starved = True
        finally:
            await redis.config_set("min-replicas-to-write", 0)
        await go_on(load.readers)
    return load


async def test_redis_takes_no_writes(servers: Servers, old_and_new: Pair) -> None:
    """A Redis that is full, or a replica by now, is good for hearing of revocations; what is new comes from Postgres."""
    load = await _without_writes(servers, old_and_new)
    assert not load.starved
    assert load.faults == []
    assert load.statuses == {("fresh",)}


async def test_control_revocations_must_be_written(servers: Servers, old_and_new: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Did a web process insist on writing there, it would not be connected again before that is possible."""

    async def insist(self: Revocations) -> bool:
        await self._redis.zremrangebyscore("rowcast:{0}:revocations", "-inf", 0)
        return False

    monkeypatch.setattr(Revocations, "refresh", insist)
    assert (await _without_writes(servers, old_and_new, within=3)).starved
