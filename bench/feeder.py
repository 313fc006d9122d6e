"""④ Feeds Redis as the bridge does, with its own scripts and bytes, and with no Postgres behind it: what is measured is the web process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from gateway import wire
from streams.payload import Change, Delivery

_LOG_ENTRIES = 1000
_BEAT_SECONDS = 1.0


class Feeder:
    """Positions follow those that Redis has."""

    def __init__(self, redis: "Redis") -> None:
        self._redis: Any = redis
        self._append: Any = redis.register_script(files("gateway.bridge").joinpath("append.lua").read_text(encoding="utf-8"))
        self._epoch = self._life = ""
        self._position = 0

    @staticmethod
    @asynccontextmanager
    async def running(redis: "Redis") -> AsyncIterator["Feeder"]:
        """Goes on from where Redis stands, and beats as a bridge does."""
        feeder = Feeder(redis)
        epoch, life, position = await feeder._redis.hmget(wire.META, "epoch", "life", "position")
        feeder._epoch, feeder._life, feeder._position = epoch.decode(), life.decode(), int(position)
        beating = asyncio.create_task(feeder._beat())
        try:
            yield feeder
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating

    async def feed(self, events: Sequence[tuple[str, str, bytes]]) -> None:
        """Publishes events, each of a stream, for a channel, with its data, in one go."""
        keys: dict[str, int] = {}
        first = self._position + 1
        args: list[Any] = []
        for stream, channel, data in events:
            self._position += 1
            change = Change(self._position, 1, "U", None, None, None, None, None, None, None, datetime.now(UTC))
            key = keys.setdefault(wire.log_prefix(self._epoch, self._life) + channel, len(keys) + 1)
            payload = wire.encode(self._epoch, change, Delivery(channel, stream, "UPDATE", data))
            args += (key, self._position, channel, payload)
        head = [self._epoch, self._life, first, self._position, _LOG_ENTRIES, wire.LOG_TTL_SECONDS]
        answer = await self._append(keys=[wire.META, *keys], args=[*head, *args])
        assert answer[0] == b"OK", answer

    async def _beat(self) -> None:
        while True:
            position = int(await self._redis.hget(wire.META, "position"))
            beat = wire.Beat(self._epoch, self._life, position, position, 0.0)
            await self._redis.publish(wire.HEAD, beat.encode())
            await asyncio.sleep(_BEAT_SECONDS)
