"""Postgres fails over to a standby that lacks commits: no id has two contents, and of what happens on the new primary nobody misses any."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway import wire
from gateway.bridge import life
from gateway.bridge.listener import Connection
from gateway.bridge.publisher import Place, Publisher
from gateway.fanout.recent import Recent
from gateway.task import ended
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import Traffic, audience, writing, written
from tests.reliability.failover import verdict
from tests.reliability.failover.epoch import reasons
from tests.reliability.failover.pair import Pair, lose, write, writing_anew
from tests.support.gateway import bridge, bridge_of, until, web
from tests.support.ledger import Ledger, Reader, reading
from tests.support.proxy import proxied
from tests.support.servers import Servers


async def _judge(both: Pair, readers: list[Reader], traffic: Traffic, within: float = 30) -> list[str]:
    """Brings the old primary back to say what it had, and returns what is wrong with what clients have received."""
    new = await verdict.settled(both.new, readers, within)
    await asyncio.to_thread(both.primary.start)
    old = await Ledger.read(both.old)
    return [*verdict.faults(readers, old, new), *traffic.faults(new)]


@asynccontextmanager
async def _forgetful(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Bridges neither ask which timeline this is, nor how far Redis was."""
    begin = Publisher.begin

    async def no_check(*_: Any) -> None: ...

    async def behind(self: Publisher) -> Place:
        head = await self._connection.fetchval("select position from rowcast.head order by from_position desc limit 1")
        if int(await self._redis.hget(wire.META, "position") or 0) > head:
            await self._redis.hset(wire.META, "position", head)
        return await begin(self)

    with monkeypatch.context() as patch:
        patch.setattr(life, "check", no_check)
        patch.setattr(Publisher, "begin", behind)
        yield


async def _lost_commits(both: Pair, within: float = 30) -> tuple[list[Reader], list[str]]:
    """Fails over to a standby that lacks commits which clients have; everybody goes there, and writes go on."""
    async with bridge(both.servers), web(both.servers) as gateway, reading(readers := audience(gateway)):
        async with writing(both.servers, writers=2):
            await lose(both, readers)
            await both.kill()
        await both.promote()
        async with writing_anew(both.servers, 2) as traffic:
            await written(both.new)
        return readers, await _judge(both, readers, traffic, within)


async def test_standby_lacks_the_last_commits(both: Pair) -> None:
    """Clients have what the new primary has not: each is told `reset` once, and then gets all that happens there, under other ids."""
    readers, faults = await _lost_commits(both)
    assert faults == []
    assert [reader.resets for reader in readers] == [["epoch"]] * len(readers)
    assert [reader.statuses for reader in readers] == [["fresh"]] * len(readers)
    assert len(await reasons(both.new)) == len(await reasons(both.old)) + 1
    await (await verdict.present(both.new)).check_redis(both.new)


@pytest.mark.long
async def test_control_bridge_that_does_not_look(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that goes on where the new primary's log ends gives ids out twice, and clients take what is new for what they have."""
    async with _forgetful(monkeypatch):
        readers, faults = await _lost_commits(both, within=3)
    assert any("two contents" in fault or "missing" in fault for fault in faults)
    assert {reason for reader in readers for reason in reader.resets} <= {"future", "gap"}


@pytest.mark.long
@pytest.mark.parametrize("away", ["nobody", "the bridge", "Redis", "what Redis had"])
async def test_while_something_else_is_away(both: Pair, away: str) -> None:
    """Also where the bridge or Redis is not there while Postgres fails over, or Redis comes back empty."""
    async with proxied(both.redis_url) as redis_way:
        there = replace(both.servers, redis_url=redis_way.url(both.redis_url))
        leader = asyncio.create_task(bridge_of(there).run())
        async with web(there) as gateway, reading(readers := audience(gateway)):
            async with writing(both.servers, writers=2):
                await lose(both, readers)
                if away == "the bridge":
                    leader.cancel()
                if away == "Redis":
                    redis_way.refuse = True
                    redis_way.cut()
                    await written(both.old)
                await both.kill()
            if away == "what Redis had":
                async with Redis.from_url(both.redis_url) as redis:
                    await redis.flushall()
            await both.promote()
            async with writing_anew(both.servers, 2) as traffic:
                if away == "the bridge":
                    await asyncio.gather(leader, return_exceptions=True)
                    leader = asyncio.create_task(bridge_of(there).run())
                await written(both.new)
                redis_way.heal()
                await written(both.new)
            faults = await _judge(both, readers, traffic)
        await ended([leader])
    assert faults == []
    assert all(reader.resets[-1:] == ["epoch"] for reader in readers)


async def _ahead_of_redis(both: Pair, monkeypatch: pytest.MonkeyPatch) -> list[Reader]:
    """A client has had from Postgres what Redis never had, and the standby neither; Redis and the standby agree."""

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    async with manual(both.servers) as before, web(both.servers) as gateway:
        await before.change(5)
        await both.followed()
        both.link.blackhole()
        await before.write(3)
        with monkeypatch.context() as patch:
            patch.setattr(Recent, "read", nothing)
            async with reading([first := Reader(gateway, "bookings", 1, since="earliest")]):
                await until(lambda: len(first.lines) == 8)
        await both.fail_over()
    async with web(both.servers) as gateway, bridge(both.servers):
        again, other = Reader(gateway, "bookings", 1, since=first.last_id), Reader(gateway, "bookings", 1, since="earliest")
        async with reading([again, other]), manual(both.servers) as after:
            await until(lambda: _led(both.new))
            for number in range(6):
                await after.connection.execute("update bookings set notes = $1 where id = 1", f"after {number}")
            await until(lambda: any("after 5" in line.data for line in other.lines))
            with suppress(TimeoutError):
                await until(lambda: any("after 5" in line.data for line in again.lines), 5)
    return [first, again, other]


async def _led(servers: Servers) -> bool:
    connection = await servers.connect()
    try:
        return bool(await connection.fetchval("select exists (select from pg_stat_activity where application_name = 'rowcast sequencer')"))
    finally:
        await connection.close()


async def test_redis_is_no_witness(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients may have more than Redis ever had, so a failover is another epoch even where Redis and the new primary agree."""
    first, again, other = await _ahead_of_redis(both, monkeypatch)
    assert verdict.twice([first, again, other]) == []
    # Whoever came before the bridge was told that the log is not that far.
    assert again.resets in (["epoch"], ["future", "epoch"])
    notes = [json.loads(line.data)["record"]["notes"] for line in again.lines]
    assert notes == [f"after {number}" for number in range(6)][-len(notes) :] != []


@pytest.mark.long
async def test_control_redis_as_the_witness(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Went the epoch on where Redis and the new primary agree, ids would have two contents."""

    async def adopt(connection: Connection, publisher: Publisher, *_: Any) -> None:
        await publisher.begin()

    monkeypatch.setattr(life, "check", adopt)
    assert verdict.twice(await _ahead_of_redis(both, monkeypatch))


@pytest.mark.long
async def test_snapshots_are_the_new_primarys(both: Pair) -> None:
    """Who asked for a snapshot gets the rows of the new primary behind `reset`, without what it lacks, and then what happens there."""
    async with bridge(both.servers), web(both.servers) as gateway:
        stream = await gateway.open("services?snapshot=1")
        while (event := await stream.next()).name != "snapshot" or not event.data["done"]:
            pass
        both.link.blackhole()
        await write(both.old, "lost")
        (lost,) = await stream.events(1)
        await both.fail_over()
        reset = await stream.next(60)
        while reset.name != "reset":
            reset = await stream.next(60)
        rows = []
        while (event := await stream.next(60)).name == "snapshot":
            rows += event.data["rows"]
            if event.data["done"]:
                break
        await write(both.new, "found")
        (found,) = await stream.events(1, 60)
        await stream.close()
    assert '"lost"' in lost.raw
    assert '"found"' in found.raw
    assert len(rows) == 6
    assert "lost" not in str(rows)
    assert lost.epoch != found.epoch
