"""Load on a way that a change takes, a fault in it, and what the checker says afterwards."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

import sql
from gateway.bridge import publisher as publishers
from gateway.bridge.publisher import Place, Publisher
from gateway.fanout.backlog import BacklogUnavailable
from gateway.fanout.repair import Repair
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import RESTLESS, go_on, writing, written
from tests.support.gateway import Address, bridge, web
from tests.support.ledger import Door, Ledger, Reader, agreed, reading
from tests.support.proxy import Proxy, proxied
from tests.support.servers import Servers

Strike = Callable[[Proxy, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Does something to a proxy, lets changes be made meanwhile, and heals it."""


@dataclass
class Load:
    """Who reads, and when it is over what is wrong with what they have got."""

    readers: list[Reader]
    faults: list[str] = field(default_factory=list)
    starved: bool = False
    """Nothing arrived while the fault lasted."""

    @property
    def resets(self) -> list[str]:
        return [reason for reader in self.readers for reason in reader.resets]

    @property
    def statuses(self) -> set[tuple[str, ...]]:
        """How the connections of each reader began."""
        return {tuple(reader.statuses) for reader in self.readers}


def staying(door: Door) -> list[Reader]:
    """Readers that hold on to their connection, of one stream and of several; the last one gets something all the time."""
    return [
        *(Reader(door, "bookings", user) for user in range(1, 4)),
        Reader(door, "provider-bookings", 9),
        Reader(door, "bookings,provider-bookings,services", 11),
        Reader(door, "services", 1),
    ]


def restless(door: Door) -> list[Reader]:
    """Readers that come and go, and the last of those that stay."""
    return [*(Reader(door, "bookings,services", user, RESTLESS) for user in range(1, 4)), *staying(door)]


@asynccontextmanager
async def loaded(servers: Servers, readers: Sequence[Reader], within: float = 20) -> AsyncIterator[Load]:
    """Reads and writes for as long as the block lasts, and then looks what has arrived, and what was committed."""
    load = Load(list(readers))
    async with reading(load.readers):
        async with writing(servers, writers=2) as traffic:
            await go_on(load.readers)
            yield load
        ledger, load.faults = await agreed(servers, load.readers, within)
    load.faults += traffic.faults(ledger)


async def struck(servers: Servers, pair: str, strike: Strike, rounds: int, within: float = 20) -> Load:
    """Lets a fault strike between two of the parts, again and again, under load."""
    async with AsyncExitStack() as stack:
        bridge_servers = web_servers = servers
        if pair == "bridge and Redis":
            proxy = await stack.enter_async_context(proxied(servers.redis_url))
            bridge_servers = replace(servers, redis_url=proxy.url(servers.redis_url))
        if pair == "web and Redis":
            proxy = await stack.enter_async_context(proxied(servers.redis_url))
            web_servers = replace(servers, redis_url=proxy.url(servers.redis_url))
        if pair == "web and Postgres":
            proxy = await stack.enter_async_context(proxied(servers.database_url))
            web_servers = replace(servers, database_url=proxy.url(servers.database_url))
        await stack.enter_async_context(bridge(bridge_servers))
        door: Address = await stack.enter_async_context(web(web_servers))
        if pair == "client and web":
            proxy = await stack.enter_async_context(proxied(f"http://{door.host}:{door.port}"))
            door = Address("127.0.0.1", proxy.port)
        async with loaded(servers, restless(door), within) as load:
            for _ in range(rounds):
                await strike(proxy, partial(written, servers))
                await go_on(load.readers)
        return load


def go_on_regardless(patch: pytest.MonkeyPatch) -> None:
    """Lets bridges go on where Postgres is, wherever Redis is: neither they nor the script look."""
    begin, script = Publisher.begin, publishers._script

    async def at_the_head(self: Publisher) -> Place:
        place = await begin(self)
        head = await self._connection.fetchrow(sql.statement("head"))
        assert head is not None
        place.position = head["position"]
        return place

    def unchecked(name: str) -> str:
        return script(name).replace("if first > position + 1 then return {'GAP', meta[3]} end", "")

    patch.setattr(Publisher, "begin", at_the_head)
    patch.setattr(publishers, "_script", unchecked)


def believe_redis(patch: pytest.MonkeyPatch) -> None:
    """Lets web processes ask Redis alone where the log is."""

    async def needed(self: Repair) -> bool:
        try:
            head = await self._backlog.head()
        except BacklogUnavailable:
            return False
        return head.epoch != self._roster.epoch or head.position > self._roster.position

    patch.setattr(Repair, "needed", needed)


@asynccontextmanager
async def redis_at(url: str) -> AsyncIterator[Any]:
    """Connects to a Redis."""
    async with Redis.from_url(url) as redis:
        yield redis


async def check(servers: Servers, redis_url: str) -> None:
    """Publishes what is still to be published, and holds all that Redis has against the log."""
    own = Servers(servers.database_url, redis_url)
    async with manual(own) as late:
        await late.publish()
    await (await Ledger.read(own)).check_redis(own)
