"""④ Each position is in each channel's log in Redis once, in order, whatever is repeated, skipped, lost or doubled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

import sql
from gateway import wire
from gateway.bridge import publisher as module
from gateway.bridge.publisher import EpochLost, Place
from tests.gateway.fanout.manual import Manual, manual
from tests.support.gateway import gateway, until
from tests.support.ledger import Ledger, Reader, reading
from tests.support.servers import Servers

MINE = "bookings-changes-1"


async def positions(bridge: Manual, channel: str = MINE) -> list[int]:
    """Returns what the channel's log in Redis has."""
    key = wire.log_prefix(bridge.place.epoch, bridge.place.life) + channel
    return [int(id.split(b"-")[0]) for id, _ in await bridge.redis.xrange(key)]


@asynccontextmanager
async def heard(servers: Servers, channel: str = MINE) -> AsyncIterator[list[int]]:
    """Collects the positions that are published on a channel."""
    redis: Any = Redis.from_url(servers.redis_url)
    found: list[int] = []
    async with redis, redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)

        async def listen() -> None:
            async for message in pubsub.listen():
                data = message["data"]
                found.append(wire.Beat.decode(data).position if channel == wire.HEAD else wire.decode_published(channel, data).position)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(listen())
            yield found
            task.cancel()


async def test_repeated_batch(servers: Servers) -> None:
    """A batch whose answer was lost and that is sent again is there once and was published once."""
    async with manual(servers) as bridge, heard(servers) as published:
        await bridge.write(5)
        place = await bridge.publisher.begin()
        for _ in range(3):
            await bridge.append(place, 0, 5)
            assert bridge.place.position == 5
        await bridge.change()
        await until(lambda: 6 in published)
        assert published == await positions(bridge) == [1, 2, 3, 4, 5, 6]


async def test_overlapping_batch(servers: Servers) -> None:
    """Of a batch that begins before what Redis has, only the rest is appended and published."""
    async with manual(servers) as bridge, heard(servers) as published:
        await bridge.write(6)
        place = await bridge.publisher.begin()
        await bridge.append(place, 0, 4)
        await bridge.append(place, 2, 4)
        await until(lambda: 6 in published)
        assert published == await positions(bridge) == [1, 2, 3, 4, 5, 6]


async def test_gap(servers: Servers) -> None:
    """A batch that does not continue what Redis has is refused whole, and the next round sends what was missing."""
    async with manual(servers) as bridge, heard(servers) as published:
        await bridge.change(2)
        await bridge.write(4)
        await bridge.append(bridge.place, 3, 3)
        assert bridge.publisher._place is None
        assert await bridge.redis.hget(wire.META, "position") == b"2"
        await bridge.publish()
        await until(lambda: 6 in published)
        assert published == await positions(bridge) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("field", "value"), [("epoch", "another1"), ("life", "another1")])
async def test_another_log(servers: Servers, field: str, value: str) -> None:
    """A batch for another epoch, or another life of Redis' log, is refused whole; so is its beat."""
    async with manual(servers) as bridge:
        await bridge.change(2)
        place = bridge.place
        await bridge.redis.hset(wire.META, field, value)
        await bridge.write(2)
        async with heard(servers, wire.HEAD) as beats, heard(servers) as published:
            await bridge.append(place, 2, 2)
            assert bridge.publisher._place is None
            bridge.publisher._place = place
            await bridge.publisher.beat()
            assert bridge.publisher._place is None
            assert await bridge.redis.hget(wire.META, "position") == b"2"
            await bridge.redis.hset(wire.META, field, getattr(place, field))
            await bridge.publish()
            await until(lambda: beats)
            assert (published, beats) == ([3, 4], [4])


@pytest.mark.parametrize("torn", ["ahead", "string"])
async def test_torn_log(servers: Servers, torn: str) -> None:
    """A Redis whose log can take nothing more, being ahead of its own position or no log at all, is given another life."""
    async with manual(servers) as bridge, heard(servers) as published:
        await bridge.change(3)
        life, key = bridge.place.life, wire.log_prefix(bridge.place.epoch, bridge.place.life) + MINE
        if torn == "ahead":
            await bridge.redis.xadd(key, {"p": 3, "d": b"nonsense"}, id="7-0")
        else:
            await bridge.redis.set(key, "nonsense")
        await bridge.change(2)
        await until(lambda: 5 in published)
        assert bridge.place.life != life
        assert await positions(bridge) == [1, 2, 3, 4, 5]


async def test_redis_is_emptied(servers: Servers) -> None:
    """A Redis that has forgotten everything gets the log again under another life, complete and in order."""
    async with manual(servers) as bridge:
        await bridge.change(30)
        life = bridge.place.life
        await bridge.redis.flushall()
        await bridge.write()
        await bridge.publish()
        await bridge.publish()
        assert bridge.place.life != life
        assert await positions(bridge) == list(range(1, 32))
        await (await Ledger.read(servers)).check_redis(servers)


async def test_redis_is_too_far_behind(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so much is brought back as Redis keeps anyway; what lies before is below the floor of a new life."""
    monkeypatch.setattr(module, "_SEED_ENTRIES", 10)
    async with manual(servers) as bridge:
        await bridge.change(5)
        life = bridge.place.life
        await bridge.write(30)
        bridge.publisher._place = None
        await bridge.publish()
        assert bridge.place.life != life
        assert await bridge.redis.hget(wire.META, "floor") == b"25"
        assert await positions(bridge) == list(range(26, 36))


async def test_bounded_batch(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one transaction wrote goes out in batches of so many bytes, each row once."""
    monkeypatch.setattr(module, "BATCH_BYTES", 2000)
    sizes = []
    async with manual(servers) as bridge:
        append = bridge.publisher._append

        async def count(keys: list[str], args: list[Any]) -> Any:
            sizes.append(sum(len(each) for each in args if isinstance(each, bytes)))
            return await append(keys=keys, args=args)

        bridge.publisher._append = count
        await bridge.connection.execute("update bookings set notes = repeat('x', 300)")
        await bridge.sequencer.step()
        await bridge.publish()
        assert len(sizes) > 3
        assert max(sizes) < 20_000
        await (await Ledger.read(servers)).check_redis(servers)


async def test_floor_follows(servers: Servers) -> None:
    """The floor rises to the last mark when the mark is old enough, so that it stays behind what has expired."""
    async with manual(servers) as bridge:
        await bridge.change(3)
        assert await bridge.redis.hmget(wire.META, "floor", "mark") == [b"0", b"3"]
        await bridge.change(2)
        assert await bridge.redis.hmget(wire.META, "floor", "mark") == [b"0", b"3"]
        await bridge.redis.hincrby(wire.META, "marked_at", -wire.MARK_SECONDS)
        await bridge.change(2)
        assert await bridge.redis.hmget(wire.META, "floor", "mark") == [b"3", b"7"]
        assert 0 < await bridge.redis.ttl(wire.META) <= wire.META_TTL_SECONDS


async def test_two_publishers(servers: Servers) -> None:
    """Two bridges that publish the same log at once are as good as one."""
    async with manual(servers) as one, manual(servers) as other, heard(servers) as published:
        for _ in range(10):
            await one.write(20)
            await asyncio.gather(one.publish(), other.publish())
        await until(lambda: 200 in published)
        assert published == await positions(one) == list(range(1, 201))
        assert one.place.life == other.place.life


async def test_postgres_has_lost_commits(servers: Servers) -> None:
    """A Redis that is ahead of Postgres is the witness of lost commits."""
    async with manual(servers) as bridge:
        await bridge.change(3)
        await bridge.redis.hset(wire.META, "position", 5)
        with pytest.raises(EpochLost) as lost:
            await bridge.publisher.begin()
        assert lost.value.position == 5


async def test_epoch_begins_while_a_publisher_does(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that stands still after it has looked for the epoch puts nothing under its name when another one has begun meanwhile."""
    async with manual(servers) as bridge:
        await bridge.change()
        history = bridge.publisher.history

        async def begins() -> str:
            monkeypatch.undo()
            await bridge.connection.execute("select rowcast.begin_epoch('test', 1)")
            return await history()

        monkeypatch.setattr(bridge.publisher, "history", begins)
        bridge.publisher.forget()
        place = await bridge.publisher.begin()
        head = await bridge.connection.fetchrow(sql.statement("head"))
        assert head is not None
        assert place.epoch == head["epoch"]
        assert await bridge.redis.hget(wire.META, "epoch") == head["epoch"].encode()


async def test_lost_commits_begin_an_epoch(servers: Servers) -> None:
    """After lost commits the bridge begins a new epoch above everything that was ever sent, and says so to the clients."""
    async with gateway(servers) as web:
        connection = await servers.connect()
        reader = Reader(web, "bookings", 1)
        async with reading([reader]), Redis.from_url(servers.redis_url) as redis:
            await connection.execute("update bookings set notes = 'before' where id = 1")
            await until(lambda: reader.lines)
            old = web.hub.roster.epoch
            life = await redis.hget(wire.META, "life")
            assert life is not None
            # Redis answers as if it had more, and the publisher is made to ask.
            await redis.hset(wire.META, mapping={"position": 7, "life": "another1"})
            await until(lambda: web.hub.roster.epoch != old)
            await connection.execute("update bookings set notes = 'after' where id = 1")
            await until(lambda: reader.lines)
        assert await connection.fetchval("select after_position from rowcast.epoch where epoch = $1", web.hub.roster.epoch) == 7
        assert (reader.resets, reader.statuses) == (["epoch"], ["fresh"])
        assert [line.id for line in reader.lines] == [f"{web.hub.roster.epoch}-8"]
        await connection.close()


async def test_nothing_is_lost_when_another_bridge_is_quicker(servers: Servers) -> None:
    """A publisher that looks at Postgres, and at Redis after another bridge has published more, does not take that for lost commits."""
    async with manual(servers) as one, manual(servers) as other:
        await other.change(3)
        connection = one.publisher._connection

        class Slow:
            """The connection; the other bridge goes on right after the look at Postgres."""

            async def fetchrow(self, statement: str, *args: object) -> Any:
                row = await connection.fetchrow(statement, *args)
                if statement == sql.statement("bounds"):
                    await other.change()
                return row

        slow: Any = Slow()
        one.publisher._connection = slow
        place = await one.publisher.begin()
        assert place.position == 4


class _Unchecked:
    """What the append script is without its look at the position: an entry and a message each time that it is asked for."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def __call__(self, keys: list[str], args: list[Any]) -> Any:
        for number, _, channel, payload in zip(*(args[6 + n :: 4] for n in range(4)), strict=True):
            await self._redis.xadd(keys[number], {"p": 0, "d": payload})
            await self._redis.publish(channel, b"0 " + payload)
        return [b"OK", str(args[3]).encode()]


async def test_control_unchecked_append(servers: Servers) -> None:
    """Without the script's look at the position, a batch that is sent again is there twice and published twice."""
    async with manual(servers) as bridge, heard(servers) as published:
        await bridge.write(3)
        place: Place = await bridge.publisher.begin()
        bridge.publisher._append = _Unchecked(bridge.redis)
        for _ in range(2):
            await bridge.append(place, 0, 3)
        await until(lambda: len(published) == 6)
        assert published == [1, 2, 3, 1, 2, 3]
        assert len(await positions(bridge)) == 6
