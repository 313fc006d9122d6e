"""Redis fails under load: clients stay connected and notice nothing."""

import asyncio
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway import wire
from gateway.bridge import publisher as publishers
from gateway.embedded import ValkeyServer
from gateway.fanout import hub as hubs
from gateway.fanout import tail as tails
from gateway.fanout.repair import Repair
from gateway.fanout.tail import Tail
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import go_on, under_load, written
from tests.support.gateway import until, web
from tests.support.ledger import Ledger, Reader, agreed, reading
from tests.support.proxy import proxied
from tests.support.servers import Servers

FAULTS = 3


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Redis of these tests' own, to be stopped."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


async def test_redis_is_emptied(servers: Servers) -> None:
    """FLUSHALL, again and again: the bridge fills it up, and clients notice nothing."""
    async with under_load(servers, servers) as readers, Redis.from_url(servers.redis_url) as redis:
        for _ in range(FAULTS):
            await redis.flushall()
            await go_on(readers)


async def test_subscriptions_are_killed(servers: Servers) -> None:
    """CLIENT KILL TYPE pubsub, again and again: what was published meanwhile is read from the log."""
    redis: Any = Redis.from_url(servers.redis_url)
    async with under_load(servers, servers) as readers, redis:
        for _ in range(3 * FAULTS):
            await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await go_on(readers)


@pytest.mark.parametrize("emptied", [False, True])
async def test_redis_restarts(servers: Servers, valkey: ValkeyServer, emptied: bool) -> None:
    """Redis crashes and comes back, with what it had or with nothing."""
    own = Servers(servers.database_url, valkey.url)
    async with Redis.from_url(valkey.url) as redis:
        await redis.flushall()
    async with under_load(own, own) as readers:
        await asyncio.to_thread(valkey.stop, immediate=True)
        if emptied:
            shutil.rmtree(valkey.directory / "appendonlydir")
        await written(own)
        await asyncio.to_thread(valkey.start)
        await go_on(readers)


async def test_tail_hears_nothing(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tail's connection swallows everything and says nothing: what is missing is read from the log, before it heals and after."""
    monkeypatch.setattr(tails, "SILENCE_SECONDS", 0.4)
    monkeypatch.setattr(publishers, "BEAT_SECONDS", 0.1)
    async with proxied(servers.redis_url) as proxy:
        monkeypatch.setattr(hubs, "Tail", lambda url, hub: Tail(proxy.url(url), hub))
        async with under_load(servers, servers) as readers:
            proxy.blackhole()
            await go_on(readers)
            proxy.heal()


@pytest.mark.parametrize("silently", [False, True])
async def test_web_is_cut_off(servers: Servers, monkeypatch: pytest.MonkeyPatch, silently: bool) -> None:
    """A web process that does not reach Redis for a while keeps its clients, and brings them up to date afterwards."""
    monkeypatch.setattr(tails, "SILENCE_SECONDS", 0.4)
    async with proxied(servers.redis_url) as proxy, under_load(servers, Servers(servers.database_url, proxy.url(servers.redis_url))):
        if silently:
            proxy.blackhole()
        else:
            proxy.refuse = True
            proxy.cut()
        await written(servers, 100)
        proxy.heal()


async def test_answers_are_lost(servers: Servers) -> None:
    """An append that was done and whose answer never came is not done again."""
    async with proxied(servers.redis_url) as proxy:
        async with under_load(Servers(servers.database_url, proxy.url(servers.redis_url)), servers) as readers:
            for _ in range(FAULTS):
                proxy.swallow_replies = True
                await written(servers)
                proxy.heal()
                await go_on(readers)
        await (await Ledger.read(servers)).check_redis(servers)


async def test_control_client_repeats(servers: Servers) -> None:
    """Appended plainly, by a client that repeats commands, an entry whose answer is lost is there twice, and the check sees it."""
    async with proxied(servers.redis_url) as proxy, manual(servers) as by_hand:
        await by_hand.change(3)
        plain: Any = Redis.from_url(proxy.url(servers.redis_url), retry=Retry(NoBackoff(), 2))

        async def append(keys: list[str], args: list[Any]) -> list[bytes]:
            for number, position, _, payload in zip(*(args[6 + n :: 4] for n in range(4)), strict=True):
                await plain.xadd(keys[number], {"p": 0, "d": payload}, id=f"{position}-*")
            await plain.hset(wire.META, "position", args[3])
            return [b"OK", str(args[3]).encode()]

        async with plain:
            await plain.ping()
            log = wire.log_prefix(by_hand.place.epoch, by_hand.place.life) + "bookings-changes-1"
            by_hand.publisher._append = append
            await by_hand.write()
            proxy.swallow_replies = True
            publishing = asyncio.create_task(by_hand.publisher.drain())

            async def appended() -> bool:
                return bool(await by_hand.redis.xlen(log) > 3)

            await until(appended)
            proxy.heal()
            await publishing
        with pytest.raises(AssertionError, match="Redis has"):
            await (await Ledger.read(servers)).check_redis(servers)


async def test_control_tail_without_repair(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail that subscribes again and goes on from the head loses what was published meanwhile, and the check sees it."""
    repair = Repair.run

    async def forgetful(self: Repair) -> None:
        if not self._roster.epoch:
            await repair(self)
        self._roster.arrive(self._roster.channels.values(), (await self._backlog.head()).position)

    monkeypatch.setattr(Repair, "run", forgetful)
    async with proxied(servers.redis_url) as proxy, manual(servers) as by_hand:
        monkeypatch.setattr(hubs, "Tail", lambda url, hub: Tail(proxy.url(url), hub))
        async with web(servers) as gateway, reading([reader := Reader(gateway, "bookings", 1)]):
            await by_hand.change()
            await until(lambda: reader.lines)
            proxy.refuse = True
            proxy.cut()
            await by_hand.change()
            await until(lambda: not gateway.hub.tail.connected)
            proxy.heal()
            await until(lambda: gateway.hub.tail.connected)
            await by_hand.change()
            _, (fault,) = await agreed(servers, [reader])
    assert "missing" in fault
