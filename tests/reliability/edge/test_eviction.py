"""Redis evicts, though it must not: what it lacks is read from Postgres, and never passes for silence."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import wire
from gateway.embedded import ValkeyServer
from gateway.fanout.backlog import Backlog
from tests.gateway.fanout.manual import Manual, manual
from tests.gateway.fanout.test_backlog import backlog
from tests.gateway.fanout.traffic import go_on
from tests.reliability.edge.load import loaded, redis_at, restless
from tests.support.gateway import bridge, web
from tests.support.servers import Servers

MINE = ["bookings-changes-1", "bookings-changes"]


async def _evict(redis: Any, policy: str, share: float) -> None:
    """Lets Redis be short of memory for a moment, until something has had to go."""
    before = int((await redis.info("stats"))["evicted_keys"])
    await redis.config_set("maxmemory-policy", policy)
    try:
        await redis.config_set("maxmemory", int(int((await redis.info("memory"))["used_memory"]) * share))
        while int((await redis.info("stats"))["evicted_keys"]) == before:
            await redis.set("junk", "x", ex=1)
    finally:
        await redis.config_set("maxmemory", 0)
        await redis.config_set("maxmemory-policy", "noeviction")


async def _lose_a_log(by_hand: Manual) -> None:
    """Lets Redis evict a key that is nobody's, and takes a log as if that had been the one."""
    await by_hand.redis.set("junk", "x" * 5_000_000, ex=1)
    await _evict(by_hand.redis, "volatile-ttl", 0.9)
    await by_hand.redis.delete(wire.log_prefix(by_hand.place.epoch, by_hand.place.life) + MINE[0])


@pytest.fixture
async def by_hand(servers: Servers, old_and_new: tuple[ValkeyServer, ValkeyServer]) -> AsyncIterator[Manual]:
    async with manual(Servers(servers.database_url, old_and_new[0].url)) as each:
        yield each


@pytest.fixture
async def pages(servers: Servers, old_and_new: tuple[ValkeyServer, ValkeyServer]) -> AsyncIterator[Backlog]:
    async with backlog(Servers(servers.database_url, old_and_new[0].url)) as each:
        yield each


async def test_a_log_is_evicted(by_hand: Manual, pages: Backlog) -> None:
    """Nobody believes the life from then on; at its next beat the bridge begins another, at the end of the log."""
    await by_hand.change(5)
    await _lose_a_log(by_hand)
    epoch, life = by_hand.place.epoch, by_hand.place.life
    page = await pages.read(MINE, epoch, 2)
    assert (page.source, [entry.position for entry in page.entries]) == ("postgres", [3, 4, 5])
    await by_hand.publisher.beat()
    await by_hand.change()
    assert by_hand.place.life != life
    page = await pages.read(MINE, epoch, 2)
    assert (page.source, [entry.position for entry in page.entries]) == ("postgres", [3, 4, 5, 6])
    await by_hand.change()
    page = await pages.read(MINE, epoch, 6)
    assert (page.source, [entry.position for entry in page.entries]) == ("redis", [7])


async def test_control_nobody_looks_what_was_evicted(by_hand: Manual, pages: Backlog) -> None:
    """Did nobody look, a log that is gone would pass for one in which nothing has happened."""
    await by_hand.change(5)
    await _lose_a_log(by_hand)
    await by_hand.redis.hset(wire.META, "evicted", (await by_hand.redis.info("stats"))["evicted_keys"])
    page = await pages.read(MINE, by_hand.place.epoch, 2)
    assert (page.source, page.through, page.entries) == ("redis", 5, [])


async def test_redis_evicts_again_and_again(servers: Servers, old_and_new: tuple[ValkeyServer, ValkeyServer]) -> None:
    """Under load, whatever keys Redis drops, readers that come and go have exactly the log."""
    own = Servers(servers.database_url, old_and_new[0].url)
    async with redis_at(own.redis_url) as redis, bridge(own), web(own) as gateway, loaded(servers, restless(gateway)) as load:
        for _ in range(4):
            await _evict(redis, "allkeys-random", 0.98)
            await go_on(load.readers)
    assert load.faults == []
    assert load.resets == []
