"""Readers that come, go and come back at any moment see exactly the log: each event once, in order, nothing missing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from gateway.fanout.backlog import Backlog
from gateway.fanout.page import PAGE_BYTES
from gateway.fanout.recent import Recent
from gateway.fanout.sink import HIGH_WATER_BYTES
from gateway.fanout.subscriber import State, Subscriber
from gateway.wire import Entry
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import restless, writing
from tests.support import sinks, sse
from tests.support.gateway import Web, gateway, positions, token, until, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.two_ways]


async def _cut_and_resume(servers: Servers, seconds: float) -> tuple[Web, list[str], int]:
    async with gateway(servers) as web:
        await until(lambda: web.hub.last_beat)
        readers = restless(web)
        async with reading(readers):
            async with writing(servers) as traffic:
                await asyncio.sleep(seconds)
            ledger, faults = await agreed(servers, readers)
        assert traffic.faults(ledger) == []
        assert not any(reader.resets for reader in readers)
        assert sum(reader.statuses.count("resumed") for reader in readers) > 20 * seconds
        assert any(line.id.count("-") > 1 for reader in readers for line in reader.lines), "no position reached a reader twice"
        return web, faults, len(ledger.entries)


async def test_cut_and_resume(servers: Servers, pytestconfig: pytest.Config) -> None:
    """Under load, readers that are cut and resume at random moments, served from Redis, see exactly the log."""
    seconds = 20 if pytestconfig.getoption("--long") else 6
    web, faults, changes = await _cut_and_resume(servers, seconds)
    assert faults == []
    assert changes > 50 * seconds
    assert _resumes(web, "redis") > _resumes(web, "postgres") == 0


async def test_cut_and_resume_from_postgres(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with nothing but the Postgres log to read."""

    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(Recent, "read", nothing)
    web, faults, _ = await _cut_and_resume(servers, 4)
    assert faults == []
    assert _resumes(web, "postgres") > _resumes(web, "redis") == 0


async def test_control_nothing_kept_while_catching_up(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber that does not keep what comes live while it reads the log loses events, and the same check sees it."""
    offer, read = Subscriber.offer, Backlog.read

    def forgetful(self: Subscriber, entries: Sequence[Entry]) -> None:
        if self.state is not State.CATCHING_UP:
            offer(self, entries)

    async def slow(self: Backlog, *args: object, **options: object) -> object:
        page = await read(self, *args, **options)  # type: ignore[arg-type]  # a method's arguments, passed on
        await asyncio.sleep(0.02)
        return page

    monkeypatch.setattr(Subscriber, "offer", forgetful)
    monkeypatch.setattr(Backlog, "read", slow)
    _, faults, _ = await _cut_and_resume(servers, 2)
    assert any("missing" in fault for fault in faults)


def _resumes(web: Web, kind: str) -> float:
    return web.app.state.meter.registry.get_sample_value("rowcast_resumes_total", {"kind": kind}) or 0.0


async def test_many_more_than_the_buffer_holds(servers: Servers) -> None:
    """Who comes back after thousands of events, while more come, gets all of them."""
    async with manual(servers) as bridge, web(servers) as gateway:
        reader = Reader(gateway, "bookings", 1)
        async with reading([reader]):
            await bridge.change()
            await until(lambda: reader.lines)
        await bridge.connection.execute(
            "do $$ begin for n in 1..3000 loop update bookings set notes = 'n' || n where id = 1; end loop; end $$"
        )
        back = Reader(gateway, "bookings", 1, since=reader.last_id)
        async with writing(servers, pause=0), reading([back]):
            for _ in range(10):
                await bridge.sequencer.step()
                await bridge.publish()
                await asyncio.sleep(0.02)
        async with reading([back := Reader(gateway, "bookings", 1, since=back.last_id)]):
            await bridge.change()
            _, faults = await agreed(servers, [back])
    assert faults == []


async def test_slow_reader(servers: Servers) -> None:
    """A reader that does not read costs a bounded buffer, delays nobody, and has every event once, in order, when it reads again."""
    assert await _buffered_for_a_slow_reader(servers) < HIGH_WATER_BYTES + PAGE_BYTES


async def test_control_slow_reader_without_bound(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sink is never full, all that a slow reader does not take is kept in memory."""
    sinks.never_full(monkeypatch)
    assert await _buffered_for_a_slow_reader(servers) > 20 * HIGH_WATER_BYTES


async def _buffered_for_a_slow_reader(servers: Servers) -> int:
    async with manual(servers) as bridge, web(servers) as gateway:
        other = Reader(gateway, "bookings", 1)
        async with reading([other]), AsyncExitStack() as stack:
            slow = await stack.enter_async_context(_with_tiny_buffer(gateway, "bookings", 1))
            await until(lambda: len(gateway.hub.roster.subscribers) == 2)
            largest = 0

            async def watch() -> None:
                nonlocal largest
                while True:
                    largest = max(largest, *(sinks.waiting(each.sink) for each in gateway.hub.roster.subscribers))
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            for _ in range(30):
                await bridge.connection.execute(
                    "do $$ begin for n in 1..30 loop update bookings set notes = repeat('slow ', 800) || n where id = 1; end loop; end $$"
                )
                await bridge.sequencer.step()
                await bridge.publish()
            await until(lambda: len(other.lines) == 900)
            slow.raise_window()
            events = await slow.stream.events(900, within=30)
            watching.cancel()
        assert positions(events) == [line.position for line in other.lines] == list(range(1, 901))
        assert [event.raw for event in events] == [line.data for line in other.lines]
        return largest


@dataclass
class _Slow:
    stream: sse.Stream
    socket: socket.socket

    def raise_window(self) -> None:
        """From here on the receiver takes as much as others do."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)


@asynccontextmanager
async def _with_tiny_buffer(web: Web, streams: str, sub: int) -> AsyncIterator[_Slow]:
    """Opens a stream whose receiver takes next to nothing that it has not asked for."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (web.host, web.port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
        writer.write(f"GET /streams/{streams} HTTP/1.1\r\nHost: rowcast\r\nAuthorization: Bearer {token(sub)}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        stream = sse.Stream(200, {"transfer-encoding": "chunked"}, _reader=reader, _writer=writer)
        try:
            yield _Slow(stream, connection)
        finally:
            await stream.close()
