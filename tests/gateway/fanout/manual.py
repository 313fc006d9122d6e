"""A bridge that is moved by hand, so that a test decides what has a position, what is in Redis, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sql
from gateway.bridge.listener import Connection, connected
from gateway.bridge.publisher import Place, Publisher, redis_client
from gateway.bridge.sequencer import Sequencer
from streams.payload import Change
from tests.support.servers import Servers


class Manual:
    """The parts of a bridge, and a writer."""

    def __init__(self, connection: Connection, sequencer: Sequencer, publisher: Publisher, redis: Any) -> None:
        self.connection, self.sequencer, self.publisher, self.redis = connection, sequencer, publisher, redis
        self._notes = 0
        self._turn = asyncio.Lock()

    @property
    def place(self) -> Place:
        """Where the publisher believes Redis to be."""
        assert self.publisher._place is not None
        return self.publisher._place

    async def write(self, count: int = 1, booking: int = 1) -> None:
        """Commits changes of a booking and gives them positions; Redis knows nothing of them yet. Booking 1 is customer 1's."""
        for _ in range(count):
            self._notes += 1
            await self.connection.execute("update bookings set notes = $1 where id = $2", f"by hand {self._notes}", booking)
        await self.sequencer.step()

    async def publish(self) -> None:
        """Publishes all that has a position, and beats."""
        await self.publisher.drain()
        await self.publisher.beat()

    async def change(self, count: int = 1, booking: int = 1) -> None:
        """Writes and publishes; callers take turns."""
        async with self._turn:
            await self.write(count, booking)
            await self.publish()

    async def append(self, place: Place, after: int, entries: int) -> None:
        """Sends what comes after a position, so many entries, as if Redis were at a place."""
        rows = await self.connection.fetch(sql.statement("read_log"), after, entries, 1_000_000_000)
        batch = await self.publisher.batch(place, [Change.read(row) for row in rows], [row["shape"] for row in rows])
        await self.publisher.send(place, batch)

    async def publish_some(self, entries: int) -> None:
        """Finds out where Redis stands, publishes so many entries, and stops there: a bridge in the middle of its work."""
        place = await self.publisher.begin()
        await self.append(place, place.position, entries)

    async def keys(self) -> dict[bytes, bytes]:
        """Returns all that Redis has, for `fail_over`."""
        return {key: await self.redis.dump(key) async for key in self.redis.scan_iter()}

    async def fail_over(self, keys: dict[bytes, bytes]) -> None:
        """Makes Redis one that has only this: a replica that was behind when it was promoted."""
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.flushall()
        for key, value in keys.items():
            pipeline.restore(key, 0, value)
        await pipeline.execute()


@asynccontextmanager
async def manual(servers: Servers, log_entries: int = 1000) -> AsyncIterator[Manual]:
    """Connects the parts, and disconnects them."""
    async with (
        connected(servers.database_url, "writer") as connection,
        connected(servers.database_url, "publisher") as reader,
        Sequencer.open(servers.database_url) as sequencer,
        redis_client(servers.redis_url) as redis,
    ):
        yield Manual(connection, sequencer, Publisher(reader, redis, log_entries), redis)
