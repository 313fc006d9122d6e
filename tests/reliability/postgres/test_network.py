"""The network between bridge and Postgres fails under load: all is delivered when it heals, and a connection that is dead is given up."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

import sql
from gateway.bridge.listener import Listener
from gateway.migrator import Plan, migrate
from streams.catalog import load
from tests.gateway.fanout.traffic import under_load
from tests.reliability.postgres.network import CONNECTIONS, beyond, captured, hurry, lead_through, no_recovery
from tests.support.gateway import bridge, until
from tests.support.proxy import Proxy, proxied
from tests.support.servers import MAX_BYTES, Servers
from tests.support.writers import connected


def _refuse(proxy: Proxy) -> None:
    proxy.refuse = True
    proxy.cut()


def _slow(proxy: Proxy) -> None:
    proxy.delay_seconds = 0.05


def _lose_replies(proxy: Proxy) -> None:
    proxy.swallow_replies = True


def _lose_requests(proxy: Proxy) -> None:
    proxy.swallow_requests = True


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "cut": Proxy.cut,
    "refused": _refuse,
    "blackhole": Proxy.blackhole,
    "slow": _slow,
    "replies lost": _lose_replies,
    "requests lost": _lose_requests,
}


def _some(*names: str, quick: Sequence[str]) -> list[Any]:
    """Returns what to run each time, and the others for the long run."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.mark.parametrize("fault", _some(*FAULTS, quick=("cut", "blackhole")))
async def test_network_fails(servers: Servers, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Whatever the network does to all connections of the bridge, twice, clients have everything afterwards, and notice nothing."""
    hurry(monkeypatch)
    async with proxied(servers.database_url) as proxy:
        lead_through(monkeypatch, proxy)
        async with under_load(servers, servers) as readers:
            for _ in range(2):
                FAULTS[fault](proxy)
                await captured(servers)
                proxy.heal()
                await beyond(servers, readers)


async def test_control_bridge_that_does_not_begin_again(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge for which a connection that has been cut is the end is seen by the same check."""
    no_recovery(monkeypatch)

    async def cut() -> None:
        async with proxied(servers.database_url) as proxy:
            lead_through(monkeypatch, proxy)
            async with under_load(servers, servers):
                proxy.cut()
                await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup):
        await cut()


@pytest.mark.parametrize("name", _some(*CONNECTIONS, quick=("listener",)))
async def test_one_connection_dies_silently(servers: Servers, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One connection of the bridge is forgotten by the network, and the others work: it is noticed, given up, and all goes on."""
    hurry(monkeypatch)
    async with proxied(servers.database_url) as proxy:
        lead_through(monkeypatch, proxy, name)
        async with under_load(servers, servers) as readers:
            for _ in range(2):
                proxy.silence()
                assert proxy.silent
                await until(lambda: not proxy.silent)
                await beyond(servers, readers)


@pytest.mark.parametrize("watches", [True, False])
async def test_dead_lease_of_an_idle_bridge(servers: Servers, monkeypatch: pytest.MonkeyPatch, watches: bool) -> None:
    """An idle bridge whose listening connection is dead gives it up, and without its probe does not; changes come by the tick."""
    hurry(monkeypatch)
    if not watches:

        async def trust(_: Listener) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(Listener, "watch", trust)
    async with proxied(servers.database_url) as proxy, connected(servers) as admin:
        # A bridge that need not say that it is awake has no other use for the connection.
        await migrate(admin, Plan(load("streams"), "always", MAX_BYTES))
        lead_through(monkeypatch, proxy, "listener")

        async def changed() -> None:
            before = await admin.fetchval("select max(position) from rowcast.head")
            await admin.execute("update services set price = price + 1 where id = 1")
            await until(lambda: admin.fetchval("select max(position) > $1 from rowcast.head", before))

        async with bridge(servers, notify="always"):
            await changed()
            proxy.silence()
            if watches:
                await until(lambda: not proxy.silent)
            for _ in range(3):
                await changed()
            assert proxy.silent == (0 if watches else 1)


async def test_another_bridge_takes_over(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The active bridge is cut off from Postgres and nobody says so: it lets go, another takes over; when it comes back it stands by."""
    hurry(monkeypatch)
    async with proxied(servers.database_url) as proxy, connected(servers) as admin:
        behind = Servers(proxy.url(servers.database_url), servers.redis_url)

        async def holder() -> int:
            pid: int | None = await admin.fetchval(
                "select pid from pg_locks where locktype = 'advisory' and granted and classid::bigint = $1 and objid::bigint = $2"
                " and database = (select oid from pg_database where datname = current_database())",
                sql.LOCK_CLASS,
                sql.LEASE_LOCK,
            )
            return pid or 0

        async with under_load(behind, servers) as readers:
            cut_off = await holder()
            async with bridge(servers):
                proxy.blackhole()
                await until(lambda: _changed(holder, cut_off))
                leader = await holder()
                await beyond(servers, readers)
                proxy.heal()
                await beyond(servers, readers)
                assert await holder() == leader
                # And back: who leads now loses its session.
                await admin.execute("select pg_terminate_backend($1)", leader)
                await until(lambda: _changed(holder, leader))
                await beyond(servers, readers)


async def _changed(holder: Callable[[], Awaitable[int]], before: int) -> bool:
    return await holder() not in (0, before)
