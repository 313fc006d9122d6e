"""Those who come at the same time begin together, and nobody waits for another's trouble."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.fanout import catchup
from gateway.fanout.catchup import CatchUp
from gateway.fanout.frame import Cursor
from gateway.fanout.page import Head
from gateway.fanout.recent import Recent
from gateway.fanout.subscriber import Subscriber
from tests.gateway.fanout.manual import manual
from tests.support.gateway import until, web
from tests.support.servers import Servers


async def test_newcomers_begin_together(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while somebody is being answered is answered with all who did; one who leaves, or cannot be written to, harms none."""
    begin, write, lots, held = CatchUp._begin_together, Subscriber.write, [], asyncio.Event()

    async def slow(self: CatchUp, some: Sequence[Subscriber]) -> Cursor:
        lots.append([subscriber.principal.subject for subscriber in some])
        await held.wait()
        return await begin(self, some)

    def failing(self: Subscriber, data: bytes) -> None:
        if self.principal.subject == "3":
            raise RuntimeError("no way out")
        write(self, data)

    monkeypatch.setattr(CatchUp, "_begin_together", slow)
    monkeypatch.setattr(Subscriber, "write", failing)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        await until(lambda: gateway.hub.tail.connected)
        # What is chained is not asked for.
        gateway.hub.roster.begin(Cursor("none", 0), "none")
        streams = [await gateway.open("bookings", 9)]
        await until(lambda: lots)
        streams += [await gateway.open("bookings", user) for user in (1, 2, 3, 4, 1)]
        await until(lambda: len(gateway.hub._catch_up.newcomers) == 6)
        await streams.pop(2).close()
        await until(lambda: len(gateway.hub._catch_up.newcomers) == 5)
        held.set()
        for stream in (streams[0], streams[1], streams[3], streams[4]):
            assert (await stream.next()).data["status"] == "fresh"
        assert lots == [["9"], ["1", "3", "4", "1"]]
        await until(lambda: len(gateway.hub.roster.subscribers) == 4)
        await bridge.change()
        for stream in (streams[1], streams[4]):
            assert (await stream.next()).name == "bookings"
        assert not gateway.hub._catch_up.busy
        for stream in streams:
            await stream.close()


async def test_newcomers_that_nobody_answers(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Redis does not answer in time, all are told to come back; and who comes when it does again is served."""
    head, there = Recent.head, asyncio.Event()
    there.set()

    async def hang(self: Recent) -> Head | None:
        await there.wait()
        return await head(self)

    monkeypatch.setattr(Recent, "head", hang)
    monkeypatch.setattr(catchup, "_JOIN_SECONDS", 1.0)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        await until(lambda: gateway.hub.tail.connected)
        gateway.hub.roster.begin(Cursor("none", 0), "none")
        there.clear()
        for stream in [await gateway.open("bookings", user) for user in (1, 2, 3)]:
            told = await stream.next()
            assert (told.name, told.data["reason"]) == ("reconnect", "unavailable")
            await stream.close()
        there.set()
        async with gateway.stream("bookings", 1) as stream:
            assert (await stream.next()).data["status"] == "fresh"
