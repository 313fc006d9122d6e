"""How streams end from the server's side, also for those who do not read."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from gateway.fanout import sink, ticker
from gateway.fanout.backlog import Backlog
from gateway.fanout.page import PAGE_BYTES
from gateway.fanout.subscriber import State
from gateway.http import response, server
from tests.gateway.http.raw import HANDED_OVER, arrive, burst, get, reading_nothing, serving
from tests.support import sinks, sse
from tests.support.gateway import positions, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.uvicorn]


@pytest.mark.parametrize(("reason", "event"), [("max-age", "reconnect"), ("expired", "closed")])
async def test_end(module_servers: Servers, reason: str, event: str) -> None:
    """A stream that the server ends says why, ends its body as HTTP/1.1 wants it, and then its connection."""
    async with serving(module_servers, timeout_keep_alive=0.1) as (bridge, web):
        client = await web.send(get())
        stream = await client.stream()
        await bridge.change()
        await stream.events(1)
        web.hub.end(next(iter(web.hub.roster.subscribers)), reason)
        size, _, rest = (await client.rest()).partition(b"\r\n")
        last, rest = rest[: int(size, 16)], rest[int(size, 16) :]
        assert rest == b"\r\n0\r\n\r\n"
        told = sse.parse(last.removesuffix(b"\n\n"), first=False)
        assert (told.name, told.data["reason"], told.position) == (event, reason, bridge.place.position)
        await until(lambda: web.nobody)
        assert web.sample("rowcast_endings_total", reason=reason) == 1
        assert web.sample("rowcast_endings_total", reason="gone") == 0


async def test_reader_that_stops(module_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that stops reading costs a bounded buffer, is ended as slow with its connection, and delays nobody."""
    for each in (ticker, response):
        monkeypatch.setattr(each, "SLOW_SECONDS", 0.5)
    monkeypatch.setattr(server, "_UNHEARD_SECONDS", 1.0)
    async with serving(module_servers, heartbeat="400ms") as (bridge, web):
        async with reading_nothing(web) as slow:
            largest = 0
            async with web.stream("bookings") as other:
                start = bridge.place.position
                events = asyncio.create_task(other.events(300))
                for _ in range(10):
                    await burst(bridge, 30)
                    await asyncio.sleep(0.01)
                    largest = max(largest, sinks.waiting(slow.sink))
                assert positions(await events) == list(range(start + 1, start + 301))
                await until(lambda: slow.state is State.ENDED)
                await until(lambda: slow not in web.hub.roster.subscribers and len(web.connections) == 1)
                assert web.sample("rowcast_endings_total", reason="slow") == 1
                assert web.sample("rowcast_endings_total", reason="gone") == 0
                await arrive(bridge, other)
            assert 0 < largest < sink.HIGH_WATER_BYTES + PAGE_BYTES
        await until(lambda: web.nobody)


async def test_shutdown(module_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that shuts down tells every client to come back, those too whose log has not answered, and ends their bodies."""
    async with AsyncExitStack() as stack:
        _, web = await stack.enter_async_context(serving(module_servers, timeout_keep_alive=0.1))
        clients = [await web.send(get()) for _ in range(10)]
        streams = [await client.stream() for client in clients]

        async def never(*_: object, **__: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(Backlog, "read", never)
        joining = await web.send(get(f"Last-Event-ID: {web.hub.roster.epoch}-0"))
        streams.append(await joining.answer())
        await until(lambda: len(web.hub.roster.subscribers) == 11)
        web.server.should_exit = True
        for stream in streams:
            told = await stream.next()
            assert (told.name, told.data["reason"]) == ("reconnect", "shutdown")
            with pytest.raises(EOFError):
                await stream.next()
        assert [await client.rest() for client in (*clients, joining)] == [b""] * 11
        await until(lambda: web.nobody)
        assert web.sample("rowcast_endings_total", reason="shutdown") == 11
        assert web.sample("rowcast_endings_total", reason="gone") == 0


async def test_joining_while_the_server_ends(module_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose request was taken just before the server began to drain is told to come back, as all others are."""
    asked, answered = asyncio.Event(), asyncio.Event()
    earliest = Backlog.earliest

    async def hold(self: Backlog) -> Any:
        asked.set()
        await answered.wait()
        return await earliest(self)

    monkeypatch.setattr(Backlog, "earliest", hold)
    async with serving(module_servers, timeout_keep_alive=0.1) as (_, web):
        client = await web.send(get("Last-Event-ID: earliest"))
        await asked.wait()
        web.server.should_exit = True
        await until(lambda: web.hub.draining)
        answered.set()
        stream = await client.answer()
        told = await stream.until("reconnect")
        assert told.data["reason"] == "shutdown"
        with pytest.raises(EOFError):
            await stream.next()
        await until(lambda: web.nobody)


@HANDED_OVER
async def test_shutdown_with_a_reader_that_does_not_read(module_servers: Servers) -> None:
    """A client that takes nothing is cut when the server drains, and does not use up what the server grants the others."""
    async with serving(module_servers, timeout_graceful_shutdown=30) as (bridge, web):
        client = await web.send(get())
        cast("asyncio.Transport", client.writer.transport).pause_reading()
        await until(lambda: [each.state for each in web.hub.roster.subscribers] == [State.LIVE])
        subscriber = next(iter(web.hub.roster.subscribers))
        while not subscriber.sink.full:
            await burst(bridge, 90)
            await asyncio.sleep(0.05)
        web.server.should_exit = True
        await until(lambda: web.nobody)
