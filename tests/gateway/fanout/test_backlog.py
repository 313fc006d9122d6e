"""⑧ A page has everything up to where it says that it goes, wherever it comes from, or there is no page."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway import wire
from gateway.fanout.archive import Archive
from gateway.fanout.backlog import Backlog
from gateway.fanout.page import PAGE_ENTRIES, Page
from tests.gateway.fanout.manual import Manual, manual
from tests.gateway.fanout.traffic import Traffic
from tests.support.gateway import web
from tests.support.ledger import Ledger, Line
from tests.support.servers import Servers

MINE = ["bookings-changes-1", "bookings-changes"]
MANY = ["bookings-changes-9", "bookings-changes", "provider-bookings-changes-9", "provider-bookings-changes", "services-changes"]


@asynccontextmanager
async def backlog(servers: Servers) -> AsyncIterator[Backlog]:
    archive = Archive(servers.database_url)
    redis: Any = Redis.from_url(servers.redis_url)
    async with redis:
        try:
            yield Backlog(redis, archive)
        finally:
            await archive.close()


async def _read(backlog: Backlog, channels: Sequence[str], epoch: str, after: int, limit: int = PAGE_ENTRIES) -> Page:
    return await backlog.read(channels, epoch, after, known=0, limit=limit)


def _log(bridge: Manual, channel: str = "bookings-changes-1") -> str:
    return wire.log_prefix(bridge.place.epoch, bridge.place.life) + channel


def _positions(page: Page) -> list[int]:
    return [entry.position for entry in page.entries]


async def _all(backlog: Backlog, channels: Sequence[str], epoch: str, limit: int) -> tuple[list[tuple[int, str, str]], set[str]]:
    """Reads everything page by page; returns the events, and where they came from."""
    found, sources, after = [], set(), 0
    while True:
        page = await _read(backlog, channels, epoch, after, limit)
        assert page.lost is None
        assert all(after < position <= page.through for position in _positions(page))
        found += [(entry.position, entry.stream, entry.data.decode()) for entry in page.entries]
        sources.add(page.source)
        after = page.through
        if not page.more:
            return found, sources


def _told(lines: Sequence[Line]) -> list[tuple[int, str, str]]:
    return [(line.position, line.stream, line.data) for line in lines]


@pytest.mark.parametrize("source", ["redis", "postgres"])
async def test_pages(servers: Servers, source: str) -> None:
    """Page after page of any size gives what the log has for the channels, from either source."""
    async with manual(servers) as bridge, backlog(servers) as pages:
        traffic = Traffic()
        for _ in range(60):
            await traffic.transaction(bridge.connection)
        await bridge.sequencer.step()
        await bridge.publish()
        ledger = await Ledger.read(servers)
        if source == "postgres":
            await bridge.redis.flushall()
        for channels in (MANY, MINE, MANY[:1], MANY[2:]):
            for limit in (1, 3, 200):
                found, sources = await _all(pages, channels, ledger.epoch, limit)
                assert (found, sources) == (_told(ledger.lines(channels)), {source})


async def test_trimmed_log(servers: Servers) -> None:
    """What was trimmed from Redis is read from Postgres, and what was not from Redis."""
    async with manual(servers, log_entries=10) as bridge, backlog(servers) as pages:
        await bridge.change(250)
        kept = await bridge.redis.xlen(_log(bridge))
        assert kept < 250
        old = await _read(pages, MINE, bridge.place.epoch, 250 - kept - 1)
        assert (old.source, _positions(old)) == ("postgres", list(range(250 - kept, 251))[:200])
        new = await _read(pages, MINE, bridge.place.epoch, 250 - kept)
        assert (new.source, _positions(new)) == ("redis", list(range(251 - kept, 251)))


async def test_expired_log(servers: Servers) -> None:
    """A channel whose log has expired has nothing above the floor; what lies below is read from Postgres."""
    async with manual(servers) as bridge, backlog(servers) as pages:
        await bridge.change(3)
        await bridge.change(2, booking=2)
        await bridge.redis.delete(_log(bridge))
        await bridge.redis.hset(wire.META, "floor", 4)
        below = await _read(pages, MINE, bridge.place.epoch, 2)
        assert (below.source, _positions(below), below.through) == ("postgres", [3], 5)
        above = await _read(pages, MINE, bridge.place.epoch, 4)
        assert (above.source, _positions(above), above.through) == ("redis", [], 5)
        # The channel's next entry closes the chain to the floor, and not to the beginning.
        await bridge.change()
        again = await _read(pages, MINE, bridge.place.epoch, 2)
        assert (again.source, _positions(again)) == ("postgres", [3, 6])
        after = await _read(pages, MINE, bridge.place.epoch, 4)
        assert (after.source, _positions(after)) == ("redis", [6])


async def test_hole(servers: Servers) -> None:
    """A hole in Redis is seen by the chain, and the page comes from Postgres."""
    async with manual(servers) as bridge, backlog(servers) as pages:
        await bridge.change(5)
        await bridge.redis.xdel(_log(bridge), "3-0")
        page = await _read(pages, MINE, bridge.place.epoch, 0)
        assert (page.source, _positions(page)) == ("postgres", [1, 2, 3, 4, 5])
        behind = await _read(pages, MINE, bridge.place.epoch, 3)
        assert (behind.source, _positions(behind)) == ("redis", [4, 5])


async def test_control_hole_without_chain(servers: Servers) -> None:
    """Without the chain nobody sees the hole."""
    async with manual(servers) as bridge, backlog(servers) as pages:
        await bridge.change(5)
        entries = await bridge.redis.xrange(_log(bridge))
        await bridge.redis.delete(_log(bridge))
        for id, fields in entries:
            if id != b"3-0":
                await bridge.redis.xadd(_log(bridge), {"p": 0, "d": fields[b"d"]}, id=id)
        page = await _read(pages, MINE, bridge.place.epoch, 0)
        assert (page.source, _positions(page)) == ("redis", [1, 2, 4, 5])


async def test_another_life(servers: Servers) -> None:
    """A Redis that was emptied, or holds another epoch, or is behind the cursor, is not asked."""
    async with manual(servers) as bridge, backlog(servers) as pages:
        await bridge.change(5)
        epoch = bridge.place.epoch
        assert (await _read(pages, MINE, epoch, 2)).source == "redis"
        await bridge.redis.flushall()
        assert (await _read(pages, MINE, epoch, 2)).source == "postgres"
        assert (await pages.head()).position == 5
        await bridge.publish_some(3)
        assert (await _read(pages, MINE, epoch, 2)).source == "redis"
        page = await _read(pages, MINE, epoch, 4)
        assert (page.source, _positions(page), page.through) == ("postgres", [5], 5)
        await bridge.redis.hset(wire.META, "epoch", "another1")
        page = await _read(pages, MINE, epoch, 2)
        assert (page.source, _positions(page), page.lost) == ("postgres", [3, 4, 5], None)


async def test_redis_does_not_answer(servers: Servers) -> None:
    """Without Redis the pages, and the head, are those of Postgres."""
    async with manual(servers) as bridge:
        await bridge.change(5)
        away = Servers(servers.database_url, "redis://127.0.0.1:1/0")
        async with backlog(away) as pages:
            page = await _read(pages, MINE, bridge.place.epoch, 2)
            assert (page.source, _positions(page), (await pages.head()).position) == ("postgres", [3, 4, 5], 5)


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("zzzz9999-3", "epoch"),
        ("{epoch}-4", "retention"),
        ("{epoch}-6", None),
        ("{epoch}-13", "future"),
        ("{epoch}-999999999999999999", "future"),
        ("{epoch}-12x", "unknown-id"),
    ],
)
@pytest.mark.parametrize("emptied", [False, True])
async def test_history_that_cannot_be_completed(servers: Servers, cursor: str, reason: str | None, emptied: bool) -> None:
    """A cursor of another epoch, from the future or older than what is kept is answered by a reset, and the stream goes on from there."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change(6)
        await bridge.connection.execute("select rowcast.open_segment()")
        await bridge.change(6)
        epoch = bridge.place.epoch
        await bridge.connection.execute("select rowcast.drop_segments('0 seconds')")
        await bridge.redis.flushall()
        if not emptied:
            await bridge.publish()
        async with gateway.stream("bookings", since=cursor.format(epoch=epoch)) as stream:
            ready = await stream.next()
            if reason is None:
                assert ready.data["status"] == "resumed"
                assert [event.position for event in await stream.events(6)] == list(range(7, 13))
            else:
                reset = await stream.next()
                assert (ready.data["status"], reset.name, reset.data["reason"]) == ("reset", "reset", reason)
                assert reset.id == f"{epoch}-12"
            bridge.publisher._place = None
            await bridge.change()
            assert [event.id for event in await stream.events(1)] == [f"{epoch}-13"]


async def test_epoch_before(servers: Servers) -> None:
    """A position that belongs to the epoch before is a reset even with the name of the present one."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change(3)
        epoch = await bridge.connection.fetchval("select rowcast.begin_epoch('test', 10)")
        bridge.sequencer._seen = bridge.publisher._place = None
        await bridge.change(2)
        async with gateway.stream("bookings", since=f"{epoch}-2") as stream:
            assert [(await stream.next()).name, (await stream.next()).data["reason"]] == ["ready", "epoch"]
        async with gateway.stream("bookings", since=f"{epoch}-10") as stream:
            assert (await stream.next()).data["status"] == "resumed"
            assert [event.position for event in await stream.events(2)] == [11, 12]


async def test_earliest(servers: Servers) -> None:
    """`earliest` begins with the oldest event that is kept."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change(3)
        await bridge.connection.execute("select rowcast.open_segment()")
        await bridge.change(3)
        for first in (1, 4):
            async with gateway.stream("bookings", since="earliest") as stream:
                ready = await stream.next()
                assert (ready.data["status"], ready.position) == ("resumed", first - 1)
                assert [event.position for event in await stream.events(7 - first)] == list(range(first, 7))
            await bridge.connection.execute("select rowcast.drop_segments('0 seconds')")
            await bridge.redis.flushall()
