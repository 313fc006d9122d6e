"""A connection's place: between the events of one position, at an ending, and where it could not be served at all."""

import asyncio
from typing import Any

import pytest

from gateway.fanout import catchup
from gateway.fanout import subscriber as subscribers
from gateway.fanout.backlog import Backlog
from gateway.fanout.meter import ENDINGS
from gateway.fanout.subscriber import State
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sinks
from tests.support.gateway import until, web
from tests.support.ledger import Ledger, Reader, agreed, reading
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]

BOTH = "bookings,provider-bookings"
MINE = {"bookings-changes-9", "provider-bookings-changes-9"}


async def _serve_oneself(bridge: Manual) -> None:
    """Makes booking 1 one whose customer is its provider: user 9. Its payment changes hands too, so this takes three positions."""
    await bridge.connection.execute("update bookings set customer_id = 9, provider_id = 9 where id = 1")
    await bridge.sequencer.step()
    await bridge.publish()


async def test_cut_between_two_events_of_one_position(servers: Servers) -> None:
    """A client that has the first of two events of one position resumes with the second, from Redis as from Postgres."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await _serve_oneself(bridge)
        await bridge.change(3)
        lines = (await Ledger.read(servers)).lines(MINE)
        assert [line.id.partition("-")[2] for line in lines[-4:]] == ["5-bookings", "5", "6-bookings", "6"]
        for source in ("redis", "postgres"):
            if source == "postgres":
                await bridge.redis.flushall()
            for index, line in enumerate(lines):
                reader = Reader(gateway, BOTH, 9, since=line.id)
                async with reading([reader]):
                    await until(lambda reader=reader: reader.last_id == lines[-1].id)
                assert (reader.lines, reader.statuses) == (lines[index + 1 :], ["resumed"])


async def test_full_between_two_events_of_one_position(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is full after the first of two events of one position gets the second when it has drained, and the first once."""
    sinks.full_after_each_write(monkeypatch)
    async with manual(servers) as bridge, web(servers) as gateway, reading([reader := Reader(gateway, BOTH, 9)]):
        await _serve_oneself(bridge)
        for _ in range(5):
            await bridge.change(2)
        _, faults = await agreed(servers, [reader])
    assert faults == []


async def test_repair_between_two_events_of_one_position(servers: Servers) -> None:
    """A tail that has heard the first of two events of one position, and not the second, repairs with the second."""
    async with manual(servers) as bridge, web(servers) as gateway, reading([reader := Reader(gateway, BOTH, 9)]):
        await _serve_oneself(bridge)
        await until(lambda: len(reader.lines) == 2)
        missed = gateway.hub.dispatch
        gateway.hub.dispatch = lambda entry: entry.stream != "bookings" or missed(entry)  # type: ignore[method-assign]  # a hole, made by hand
        await bridge.write()
        await bridge.publisher.drain()
        await until(lambda: reader.last_id == f"{gateway.hub.roster.epoch}-4-bookings")
        gateway.hub.dispatch = missed  # type: ignore[method-assign]  # as above
        await bridge.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await bridge.change()
        _, faults = await agreed(servers, [reader])
    assert faults == []


async def test_buffer_overflows_while_catching_up(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the buffer while a page is read is read again, and nothing comes twice."""
    monkeypatch.setattr(subscribers, "_BUFFER_ENTRIES", 3)
    read = Backlog.read
    async with manual(servers) as bridge, web(servers) as gateway, reading([Reader(gateway, "bookings", 1)]):
        await bridge.change(2)
        await until(lambda: gateway.hub.roster.life == bridge.place.life)
        more = [4, 5, 6]

        async def meanwhile(self: Backlog, *args: Any, **options: Any) -> Any:
            page = await read(self, *args, **options)
            if more:
                await bridge.change(more[0])
                await until(lambda: gateway.hub.roster.position == bridge.place.position)
                more.pop(0)
            return page

        monkeypatch.setattr(Backlog, "read", meanwhile)
        reader = Reader(gateway, "bookings", 1, since=f"{bridge.place.epoch}-1")
        async with reading([reader]):
            await until(lambda: not more)
            _, faults = await agreed(servers, [reader])
    assert faults == []


@pytest.mark.parametrize("moment", ["reading", "draining"])
async def test_ended_while_catching_up(servers: Servers, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """A stream that is ended while it reads the log, or waits to, stays ended, and is counted once."""
    read, held, free = Backlog.read, asyncio.Event(), asyncio.Event()

    async def hold(self: Any, *args: Any, **options: Any) -> Any:
        page = await read(self, *args, **options) if moment == "reading" else None
        held.set()
        await free.wait()
        return page

    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change(2)
        async with gateway.stream("bookings") as stream:
            await stream.next()
            (subscriber,) = gateway.hub.roster.subscribers
            if moment == "reading":
                monkeypatch.setattr(Backlog, "read", hold)
            else:
                sinks.replace_drained(monkeypatch, hold)
            subscriber.state = State.BEHIND
            await bridge.change()
            await held.wait()
            free.set()
            gateway.hub.end(subscriber, "max-age")
            assert (await stream.until("reconnect")).data["reason"] == "max-age"
            with pytest.raises(EOFError):
                await stream.next()
        await until(lambda: not gateway.hub.roster.subscribers)
        assert subscriber.state is State.ENDED
        registry = gateway.app.state.meter.registry
        endings = {reason: registry.get_sample_value("rowcast_endings_total", {"reason": reason}) for reason in ENDINGS}
        assert {reason: count for reason, count in endings.items() if count} == {"max-age": 1.0}


async def test_place_outlives_an_outage(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that comes while Redis is away is told to come again, and keeps its place."""
    monkeypatch.setattr(catchup, "_JOIN_SECONDS", 0.2)
    async with manual(servers) as bridge:
        await bridge.change(3)
        since = f"{bridge.place.epoch}-2"
        async with web(servers, redis_url="redis://127.0.0.1:1/0") as gateway, gateway.stream("bookings", since=since) as stream:
            event = await stream.next()
            assert (event.name, event.data["reason"]) == ("reconnect", "unavailable")
        async with web(servers) as gateway, gateway.stream("bookings", since=event.id) as stream:
            assert (await stream.next()).data["status"] == "resumed"
            assert [event.position for event in await stream.events(1)] == [3]
