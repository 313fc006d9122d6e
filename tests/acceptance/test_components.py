"""Postgres, Redis or the bridge goes away: streams stay open, `system` says so to those who may know, and what was missed comes."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.fanout import components
from streams.catalog import Catalog, load
from tests.support import sse
from tests.support.gateway import Web, bridge, until, web
from tests.support.proxy import Proxy, proxied
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out", "hasty")]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for seconds of patience."""
    monkeypatch.setattr(components, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(components, "_PATIENCE_SECONDS", {"bridge": 2.5, "redis": 0.1, "postgres": 0.1})
    monkeypatch.setattr(components, "_SUSPICIOUS_SECONDS", 2.0)


@asynccontextmanager
async def well(servers: Servers) -> AsyncIterator[Web]:
    """A web process that has found everything, however long that took."""
    async with web(servers) as each:
        await until(lambda: each.hub.tail.connected and each.hub.last_beat is not None and not each.hub.components.down)
        yield each


def _away(proxy: Proxy) -> None:
    proxy.refuse = True
    proxy.cut()


async def _statuses(stream: sse.Stream, count: int) -> set[tuple[str, str]]:
    """Returns the next so many statuses; the id of each is one to resume from."""
    told = await stream.events(count)
    for event in told:
        assert event.name == "system"
        assert event.data["type"] == "STATUS"
        assert event.data["version"] == 1
        assert event.data["since"].startswith("20")
    return {(event.data["component"], event.data["status"]) for event in told}


async def _change(servers: Servers, notes: str) -> None:
    connection = await servers.connect()
    await connection.execute("update bookings set notes = $1 where id = 1", notes)
    await connection.close()


def _notes(events: Iterable[sse.Event]) -> list[Any]:
    return [event.data["record"]["notes"] for event in events]


async def test_postgres_goes_and_comes(servers: Servers) -> None:
    """Streams stay; an admin hears of Postgres, and of the bridge that cannot work; a resume is served from Redis; nothing is lost."""
    async with proxied(servers.database_url) as postgres:
        behind = replace(servers, database_url=postgres.url(servers.database_url))
        async with bridge(behind), well(behind) as gateway, gateway.stream("system", 13, "admin") as admin, gateway.stream() as customer:
            ready = await customer.until("ready")
            await admin.until("ready")
            await _change(servers, "before")
            assert _notes(await customer.events(1)) == ["before"]
            _away(postgres)
            assert await _statuses(admin, 2) == {("postgres", "down"), ("bridge", "down")}
            async with gateway.stream(since=ready.id) as again, gateway.stream("system", 13, "admin") as newcomer:
                assert (await again.next()).data["status"] == "resumed"
                assert _notes(await again.events(1)) == ["before"]
                assert (await newcomer.next()).name == "ready"
                assert await _statuses(newcomer, 2) == {("postgres", "down"), ("bridge", "down")}
                answer = await gateway.request("/readyz")
                assert b'"postgres":"down"' in answer.body, answer.body
                await _change(servers, "meanwhile")
                postgres.heal()
                for stream in (admin, newcomer):
                    assert await _statuses(stream, 2) == {("postgres", "up"), ("bridge", "up")}
                for stream in (customer, again):
                    assert _notes(await stream.events(1)) == ["meanwhile"]


async def test_redis_goes_and_comes(servers: Servers) -> None:
    """Streams stay and catch up; of the bridge, which cannot be heard meanwhile, nothing is said."""
    async with proxied(servers.redis_url) as redis:
        behind = replace(servers, redis_url=redis.url(servers.redis_url))
        async with bridge(servers), well(behind) as gateway, gateway.stream("system", 13, "admin") as admin, gateway.stream() as customer:
            await customer.until("ready")
            await admin.until("ready")
            _away(redis)
            assert await _statuses(admin, 1) == {("redis", "down")}
            await _change(servers, "meanwhile")
            # It is not heard for longer than the patience with it.
            await until(lambda: time.monotonic() - gateway.hub.last_beat_at > 3)
            redis.heal()
            assert await _statuses(admin, 1) == {("redis", "up")}
            assert _notes(await customer.events(1)) == ["meanwhile"]


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is down is the test's matter."""

    async def look(_: components.Components) -> None:
        """Nothing is found out."""

    monkeypatch.setattr(components.Components, "look", look)


@pytest.mark.usefixtures("by_hand")
async def test_who_is_told(servers: Servers) -> None:
    """Admins hear of all components; others of what the declaration marks as public, and with nothing marked of none."""
    declared = dict(load("streams"))
    declared["system"] = replace(declared["system"], components={"postgres": True, "bridge": False})
    async with (
        bridge(servers),
        web(servers) as gateway,
        web(servers, Catalog(declared.values())) as other,
        gateway.stream("system", 1) as customer,
        other.stream("system", 1) as knowing,
        gateway.stream("system,bookings?format=cloudevents", 13, None, roles=["admin", "customer"]) as admin,
    ):
        for stream in (customer, knowing, admin):
            await stream.until("ready")
        for each in (gateway, other):
            state = each.hub.components
            state.down, state._all_told = frozenset({"postgres", "bridge"}), False
        told = await admin.events(2)
        assert [event.data["type"] for event in told] == ["rowcast.system.status"] * 2
        assert len({event.data["id"] for event in told}) == 2
        assert {event.data["data"]["component"] for event in told} == {"postgres", "bridge"}
        assert await _statuses(knowing, 1) == {("postgres", "down")}
        await _notice(servers)
        for stream in (customer, knowing):
            assert (await stream.events(1))[0].data["record"]["title"] == "for all"


async def _notice(servers: Servers) -> None:
    connection = await servers.connect()
    await connection.execute("insert into system_notices (title, body, severity, public) values ('for all', '', 'info', true)")
    await connection.close()


@pytest.mark.usefixtures("by_hand")
async def test_slow_reader_hears_the_end_of_it(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot take a word is told what is so when they can, and not all that was so meanwhile."""
    async with bridge(servers), web(servers) as gateway, gateway.stream("system", 13, "admin") as admin:
        await admin.until("ready")
        state = gateway.hub.components
        (subscriber,) = gateway.hub.roster.subscribers
        full = type(subscriber.sink).full
        with monkeypatch.context() as patch:
            patch.setattr(type(subscriber.sink), "full", property(lambda _: True))
            for down in ({"postgres"}, {"postgres", "bridge"}, {"bridge"}):
                state.down, state._all_told = frozenset(down), False
                state.tell()
                assert subscriber.told_down == frozenset()
        assert type(subscriber.sink).full is full
        await until(lambda: subscriber.told_down == {"bridge"})
        assert await _statuses(admin, 1) == {("bridge", "down")}
        state.down = frozenset()
        assert await _statuses(admin, 1) == {("bridge", "up")}
