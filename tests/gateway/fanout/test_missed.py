"""What a process has missed on a channel: nobody takes what comes after it for what comes next."""

import asyncio
from dataclasses import replace

import pytest

from gateway.bridge import publisher
from gateway.fanout import repair, roster
from gateway.fanout.backlog import Backlog
from gateway.fanout.channel import Channel
from gateway.fanout.subscriber import State
from tests.gateway.fanout.manual import Manual, manual
from tests.gateway.fanout.meanwhile import meanwhile
from tests.support import sinks
from tests.support.gateway import until, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]


async def _begin_further(bridge: Manual, patch: pytest.MonkeyPatch, entries: int) -> None:
    """Changes come while the bridge is away, which goes on with the last ones only, in a new life of the log in Redis."""
    patch.setattr(publisher, "_SEED_ENTRIES", 2)
    await bridge.write(entries)
    bridge.publisher._place = None
    await bridge.publisher.drain()


@pytest.mark.parametrize("careful", [True, False])
async def test_life_that_begins_further_on(servers: Servers, monkeypatch: pytest.MonkeyPatch, careful: bool) -> None:
    """Who is live on a channel on which nothing has come yet has what a new life of Redis' log leaves out; not if the first may be any."""
    if not careful:
        monkeypatch.setattr(Channel, "begins", lambda self, previous: not self.chained)
    async with manual(servers) as bridge:
        await bridge.change(10)
        async with web(servers) as gateway, reading([reader := Reader(gateway, "bookings", 1, since=f"{bridge.place.epoch}-8")]):
            await until(lambda: len(reader.lines) == 2 and all(each.state is State.LIVE for each in gateway.hub.roster.subscribers))
            assert not gateway.hub.roster.channels["bookings-changes-1"].chained
            await _begin_further(bridge, monkeypatch, 5)
            await until(lambda: reader.lines[-1].position == 15)
            _, faults = await agreed(servers, [reader])
    assert (faults == []) is careful


@pytest.mark.parametrize("careful", [True, False])
async def test_life_that_begins_further_on_within_a_join(servers: Servers, monkeypatch: pytest.MonkeyPatch, careful: bool) -> None:
    """Nor does who joins miss it, whose page was read before; would, were what came live taken for what continues the page."""
    if not careful:
        monkeypatch.setattr(Channel, "begins", lambda self, previous: not self.chained)
    async with manual(servers) as bridge:
        await bridge.change(10)
        async with web(servers) as gateway:
            await until(lambda: gateway.hub.roster.life == bridge.place.life)

            async def begins(_: object) -> None:
                await _begin_further(bridge, monkeypatch, 5)
                await until(lambda: gateway.hub.roster.position == 15)

            meanwhile(monkeypatch, Backlog, "read", begins)
            async with reading([reader := Reader(gateway, "bookings", 1, since=f"{bridge.place.epoch}-8")]):
                await until(lambda: reader.lines and reader.lines[-1].position == 15)
                _, faults = await agreed(servers, [reader])
    assert (faults == []) is careful


async def test_channel_that_lingers_within_a_repair(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair does not read what a channel missed that nobody listens to: who comes to it meanwhile asks, and misses nothing."""
    monkeypatch.setattr(roster, "_LINGER_SECONDS", 600.0)
    async with manual(servers) as bridge, web(servers) as gateway, reading([Reader(gateway, "bookings", 2)]):
        async with reading([first := Reader(gateway, "bookings", 1)]):
            await bridge.change()
            await until(lambda: first.lines and gateway.hub.roster.life == bridge.place.life)
        await until(lambda: not gateway.hub.roster.channels["bookings-changes-1"].subscribers)
        newcomer = Reader(gateway, "bookings", 1)
        task: list[asyncio.Task[None]] = []

        async def joins(_: object) -> None:
            task.append(asyncio.create_task(newcomer.run()))
            await until(lambda: newcomer.statuses)

        await bridge.write(5)
        meanwhile(monkeypatch, Backlog, "read", joins)
        # As after a life that left them out.
        monkeypatch.setattr(publisher, "_SEED_ENTRIES", 0)
        bridge.publisher._place = None
        await bridge.publish()
        await until(lambda: gateway.hub.roster.position == 6 and task)
        await bridge.publish()
        await bridge.change()
        _, faults = await agreed(servers, [newcomer])
        newcomer.stop()
        await asyncio.gather(*task, return_exceptions=True)
    assert faults == []


async def test_missed_before_rows_that_are_due(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is to get rows anew is not told of what it had gone past, which is in them; nor, once they are due, anything of a page."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        stream = await gateway.open("bookings?snapshot=1", 1)
        await stream.until("snapshot")
        (subscriber,) = gateway.hub.roster.subscribers
        await until(lambda: subscriber.state is State.LIVE)
        drained = asyncio.Event()
        sinks.replace_drained(monkeypatch, lambda _: drained.wait())
        subscriber.begin_page()
        page = await gateway.hub._catch_up._page(subscriber)
        subscriber.position += 5
        gateway.hub._repair._reset_who_went_past(gateway.hub.roster.channels["bookings-changes-1"], subscriber.through + 1)
        assert subscriber.snapshot_due
        gateway.hub._repair._reset_who_went_past(gateway.hub.roster.channels["bookings-changes-1"], subscriber.through + 1)
        await bridge.change()
        late = await gateway.hub._backlog.read(subscriber.channels, subscriber.epoch, 0, known=2)
        assert late.entries
        assert not subscriber.take_page(replace(page, entries=late.entries))
        drained.set()
        told = [(await stream.next()).name for _ in range(2)]
        assert told == ["reset", "snapshot"]
        await stream.close()


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("most", [0, 5000])
async def test_missed_before_what_was_sent(servers: Servers, monkeypatch: pytest.MonkeyPatch, most: int, behind: bool) -> None:
    """Who has had later entries of one channel than are missing on another is told so, also where a repair holds none, and behind too."""
    monkeypatch.setattr(repair, "_ENTRIES", most)
    async with manual(servers) as bridge, web(servers) as gateway, reading([reader := Reader(gateway, "bookings,services", 1)]):
        hub = gateway.hub
        await bridge.change()
        await until(lambda: reader.lines and hub.roster.life == bridge.place.life)
        (subscriber,) = hub.roster.subscribers
        dispatch = hub.dispatch
        monkeypatch.setattr(hub, "dispatch", lambda entry: entry.position == 2 or dispatch(entry))
        await bridge.write()
        await bridge.connection.execute("update services set description = 'later' where id = 1")
        await bridge.sequencer.step()
        await bridge.publisher.drain()
        await until(lambda: len(reader.lines) == 2)
        drained = asyncio.Event()
        if behind:
            sinks.replace_drained(monkeypatch, lambda _: drained.wait())
            subscriber.leave_to_log()
            hub._catch_up.go_on(subscriber)
        await bridge.write()
        await bridge.publisher.drain()
        await until(lambda: hub.roster.position == 4)
        drained.set()
        await until(lambda: reader.resets == ["gap"] and reader.lines and reader.lines[-1].position == 4)
        await bridge.change()
        await until(lambda: reader.lines[-1].position == 5)
    assert [[line.position for line in life.lines] for life in reader.lives] == [[1, 3], [4, 5]]
