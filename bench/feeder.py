"""④ Feeds Redis as the bridge does, with its own scripts and bytes, and with no Postgres behind it: what is measured is the web process."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from gateway import wire
from streams.payload import Change, Delivery

_LOG_ENTRIES = 1000


class Feeder:
    """Positions follow those that Redis has."""

    def __init__(self, redis: "Redis") -> None:
        self._redis: Any = redis
        self._append: Any = redis.register_script(files("gateway.bridge").joinpath("append.lua").read_text(encoding="utf-8"))
        self._epoch = self._life = ""
        self._position = 0

    async def begin(self) -> None:
        """Goes on from where Redis stands."""
        epoch, life, position = await self._redis.hmget(wire.META, "epoch", "life", "position")
        self._epoch, self._life, self._position = epoch.decode(), life.decode(), int(position)

    async def feed(self, stream: str, channels: Sequence[str], padding: int) -> None:
        """Publishes one event for each of the channels, in one go, each with the time at which it is."""
        keys: dict[str, int] = {}
        first = self._position + 1
        args: list[Any] = []
        for channel in channels:
            self._position += 1
            data = b'{"at":%.6f,"padding":"%b"}' % (time.monotonic(), b"x" * padding)
            change = Change(self._position, 1, "U", None, None, None, None, None, None, None, datetime.now(UTC))
            key = keys.setdefault(wire.log_prefix(self._epoch, self._life) + channel, len(keys) + 1)
            payload = wire.encode(self._epoch, change, Delivery(channel, stream, "change", data), (channel,))
            args += (key, self._position, channel, payload)
        head = [self._epoch, self._life, first, self._position, _LOG_ENTRIES, wire.LOG_TTL_SECONDS]
        answer = await self._append(keys=[wire.META, *keys], args=[*head, *args])
        assert answer[0] == b"OK", answer
