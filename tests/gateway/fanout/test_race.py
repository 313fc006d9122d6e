"""Moments in which something else happens: each is held open by the test, and nobody may lose or repeat an event in it."""

import asyncio
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from gateway.fanout import hub as hubs
from gateway.fanout import repair, roster
from gateway.fanout.backlog import Backlog
from gateway.fanout.subscriber import State
from gateway.fanout.tail import Tail
from tests.gateway.fanout.manual import Manual, manual
from tests.gateway.fanout.meanwhile import meanwhile
from tests.support import sinks
from tests.support.gateway import until, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.proxy import proxied
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]


async def _thirty_behind(bridge: Manual, veteran: Reader) -> None:
    """Thirty events have arrived, and Redis has lost all but the first ten."""
    await bridge.change(30)
    await until(lambda: len(veteran.lines) == 30)
    await bridge.redis.flushall()
    await bridge.publish_some(10)


@pytest.mark.parametrize("since", [5, None])
async def test_join_while_redis_is_seeded_again(servers: Servers, since: int | None) -> None:
    """Who joins while a Redis that was emptied gets its log back misses nothing of what others on the channel had already."""
    async with manual(servers) as bridge, web(servers) as gateway:
        veteran = Reader(gateway, "bookings", 1)
        async with reading([veteran]):
            await _thirty_behind(bridge, veteran)
            newcomer = Reader(gateway, "bookings", 1, since=veteran.lines[since - 1].id if since else None)
            async with reading([newcomer]):
                await bridge.publish()
                await bridge.change()
                _, faults = await agreed(servers, [veteran, newcomer])
    assert faults == []


async def test_join_after_failover_to_a_replica_that_was_behind(servers: Servers) -> None:
    """Who joins before the bridge has brought a promoted replica up to date misses nothing."""
    async with manual(servers) as bridge, web(servers) as gateway:
        veteran = Reader(gateway, "bookings", 1)
        async with reading([veteran]):
            await bridge.change(3)
            behind = await bridge.keys()
            await bridge.change(5)
            await until(lambda: len(veteran.lines) == 8)
            await bridge.fail_over(behind)
            newcomer = Reader(gateway, "bookings", 1, since=veteran.lines[0].id)
            async with reading([newcomer]):
                await bridge.change()
                await bridge.change()
                _, faults = await agreed(servers, [veteran, newcomer])
    assert faults == []


async def test_slow_reader_returns_while_redis_is_seeded_again(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that catches up from Redis in that moment misses nothing either."""
    async with manual(servers) as bridge, web(servers) as gateway:
        veteran = Reader(gateway, "bookings", 1)
        async with reading([veteran]):
            await bridge.change(5)
            await until(lambda: len(veteran.lines) == 5)
            (slow,) = gateway.hub.roster.subscribers
            drained = asyncio.Event()
            sinks.replace_drained(monkeypatch, lambda _: drained.wait())
            slow.state = State.BEHIND
            await bridge.change(25)
            await until(lambda: gateway.hub.roster.position == 30)
            await bridge.redis.flushall()
            await bridge.publish_some(10)
            drained.set()
            await until(lambda: slow.state is State.LIVE)
            await bridge.publish()
            await bridge.change()
            _, faults = await agreed(servers, [veteran])
    assert faults == []


async def test_redis_is_emptied_within_a_repair(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair that saw the head of one life of Redis' log, and pages of the next, takes nothing for read that it has not read."""
    async with manual(servers) as bridge, web(servers) as gateway:
        veteran = Reader(gateway, "bookings", 1)
        async with reading([veteran]):
            await bridge.change(5)
            await until(lambda: len(veteran.lines) == 5)
            await bridge.write(25)
            repaired = asyncio.Event()

            async def emptied(_: object) -> None:
                await bridge.redis.flushall()
                await bridge.publish_some(10)
                repaired.set()

            await bridge.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await bridge.publish()
            meanwhile(monkeypatch, Backlog, "head", emptied)
            await repaired.wait()
            await until(lambda: gateway.hub.tail.connected)
            await bridge.publish()
            await bridge.change()
            _, faults = await agreed(servers, [veteran])
    assert faults == []


async def test_repair_is_left_to_the_readers_within_a_join(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more was missed than a repair holds, who is just joining misses none of it either."""
    monkeypatch.setattr(repair, "_ENTRIES", 5)
    async with manual(servers) as bridge, proxied(servers.redis_url) as proxy:
        monkeypatch.setattr(hubs, "Tail", lambda url, hub: Tail(proxy.url(url), hub))
        async with web(servers) as gateway, reading([veteran := Reader(gateway, "bookings", 1)]):
            await bridge.change(3)
            await until(lambda: len(veteran.lines) == 3 and gateway.hub.roster.life == bridge.place.life)

            async def missed(_: object) -> None:
                proxy.refuse = True
                proxy.cut()
                await until(lambda: not gateway.hub.tail.connected)
                await bridge.change(20)
                proxy.heal()
                await until(lambda: gateway.hub.roster.position == 23)

            meanwhile(monkeypatch, Backlog, "read", missed)
            newcomer = Reader(gateway, "bookings", 1, since=veteran.lines[0].id)
            async with reading([newcomer]):
                await bridge.change()
                _, faults = await agreed(servers, [veteran, newcomer])
    assert faults == []


async def test_epoch_begins_within_a_join(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has read the end of one epoch when the next begins is told so."""
    async with manual(servers) as bridge, web(servers) as gateway:
        veteran = Reader(gateway, "bookings", 1)
        async with reading([veteran]):
            await bridge.change(3)
            await until(lambda: len(veteran.lines) == 3)
            await until(lambda: gateway.hub.roster.life == bridge.place.life)

            async def begins(_: object) -> None:
                epoch = gateway.hub.roster.epoch
                await bridge.connection.execute("select rowcast.begin_epoch('test', 3)")
                bridge.sequencer._seen = bridge.publisher._place = None
                await bridge.publish()
                await until(lambda: gateway.hub.roster.epoch != epoch)

            meanwhile(monkeypatch, Backlog, "read", begins)
            newcomer = Reader(gateway, "bookings", 1, since=veteran.lines[0].id)
            async with reading([newcomer]):
                await bridge.change()
                await until(lambda: newcomer.last_id == f"{gateway.hub.roster.epoch}-4")
    assert veteran.resets == ["epoch"]
    assert newcomer.resets == ["epoch"]


async def test_channel_is_wanted_again_while_redis_is_away(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that was given up and wanted again while Redis was away is not given up afterwards."""
    monkeypatch.setattr(roster, "_LINGER_SECONDS", 0.0)
    mine = "bookings-changes-1"
    async with manual(servers) as bridge, proxied(servers.redis_url) as proxy:
        monkeypatch.setattr(hubs, "Tail", lambda url, hub: Tail(proxy.url(url), hub))
        async with web(servers, heartbeat="2s") as gateway, reading([Reader(gateway, "bookings", 2)]):
            hub, newcomer = gateway.hub, Reader(gateway, "bookings", 1)
            async with reading([Reader(gateway, "bookings", 1)]):
                await bridge.change()
            proxy.refuse = True
            proxy.cut()
            await until(lambda: not hub.tail.connected)
            await until(lambda: mine not in hub.channels)
            _lose_an_event_after_unsubscribing(monkeypatch, bridge, newcomer)
            task = asyncio.create_task(newcomer.run())
            await until(lambda: mine in hub.channels)
            proxy.heal()
            await until(lambda: newcomer.statuses)
            await until(lambda: all(each.state is State.LIVE for each in hub.roster.subscribers))
            await bridge.change()
            await bridge.change()
            _, faults = await agreed(servers, [newcomer])
            newcomer.stop()
            await asyncio.gather(task, return_exceptions=True)
    assert faults == []


def _lose_an_event_after_unsubscribing(patch: pytest.MonkeyPatch, bridge: Manual, newcomer: Reader) -> None:
    """If the tail unsubscribes from anything, an event comes right after that, when the newcomer is live."""
    original = AbstractConnection.send_command

    async def send_command(self: AbstractConnection, *args: Any, **options: Any) -> None:
        await original(self, *args, **options)
        if args[0] == "UNSUBSCRIBE":
            await until(lambda: newcomer.statuses)
            await bridge.change()

    patch.setattr(AbstractConnection, "send_command", send_command)


async def test_join_within_a_repair(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a repair has read says nothing of a channel that is not subscribed yet: who joins meanwhile misses nothing."""
    async with manual(servers) as bridge, proxied(servers.redis_url) as proxy:
        monkeypatch.setattr(hubs, "Tail", lambda url, hub: Tail(proxy.url(url), hub))
        async with web(servers) as gateway, reading([Reader(gateway, "bookings", 2)]):
            await bridge.change(3)
            await until(lambda: gateway.hub.roster.life == bridge.place.life)
            newcomer = Reader(gateway, "bookings", 1)
            task: list[asyncio.Task[None]] = []

            async def joins(_: object) -> None:
                task.append(asyncio.create_task(newcomer.run()))
                await until(lambda: "bookings-changes-1" in gateway.hub.channels)
                await bridge.write()
                await bridge.publisher.drain()

            proxy.refuse = True
            proxy.cut()
            await until(lambda: not gateway.hub.tail.connected)
            meanwhile(monkeypatch, Backlog, "head", joins)
            proxy.heal()
            await until(lambda: newcomer.statuses)
            await bridge.publisher.beat()
            await bridge.change()
            _, faults = await agreed(servers, [newcomer])
            newcomer.stop()
            await asyncio.gather(*task, return_exceptions=True)
    assert faults == []


async def test_one_failure_is_not_the_others(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be written to costs nobody else an event."""
    async with manual(servers) as bridge, web(servers) as gateway:
        readers = [Reader(gateway, "bookings", 1) for _ in range(5)]
        async with reading(readers):
            await bridge.change()
            await until(lambda: all(len(reader.lines) == 1 for reader in readers))
            broken = list(gateway.hub.roster.subscribers)[2].sink
            write = type(broken).write

            def fail(self: object, data: bytes) -> None:
                if self is broken:
                    raise RuntimeError("no way out")
                write(self, data)  # type: ignore[arg-type]  # the class that it was found in

            monkeypatch.setattr(type(broken), "write", fail)
            await bridge.change(3)
            await until(lambda: sum(len(reader.lines) == 4 for reader in readers) >= 4)
            monkeypatch.setattr(type(broken), "write", write)
            whole = [reader for reader in readers if len(reader.lines) == 4]
            _, faults = await agreed(servers, whole)
    assert faults == []
