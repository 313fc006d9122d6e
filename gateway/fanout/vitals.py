"""⑨ How the whole is: bridge, Redis and Postgres as this process sees them, what waits in the outbox, what is open in all processes.

- `/readyz` and `/metrics` tell a part of it, and make it of the same numbers.
- Told while something is away too: what cannot be known then is null.
"""

import asyncio
import time
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.fanout.archive import Archive
from gateway.fanout.census import Count
from gateway.fanout.hub import Hub

_BRIDGE_SILENT_SECONDS = 5.0


def silence_of(hub: Hub) -> float | None:
    """Returns for how many seconds nothing was heard of the bridge; None if nothing ever was."""
    return time.monotonic() - hub.last_beat_at if hub.last_beat is not None else None


def lag_of(hub: Hub) -> tuple[int, float] | None:
    """Returns how many positions Redis is behind Postgres, and how old the oldest of them is, or the bridge's silence."""
    silence = silence_of(hub)
    if hub.last_beat is None or silence is None:
        return None
    return hub.last_beat.head - hub.last_beat.position, max(hub.last_beat.lag_seconds, silence - 1.0, 0.0)


def components_of(hub: Hub) -> dict[str, str]:
    """Returns the state of each component."""
    silence = silence_of(hub)
    return {
        "web": "draining" if hub.draining else "up",
        "redis": "up" if hub.tail.connected else "down",
        "bridge": "up" if silence is not None and silence < _BRIDGE_SILENT_SECONDS else "silent",
        "postgres": "down" if "postgres" in hub.components.down else "up",
    }


class Vitals:
    """Asks for what a process does not know by itself, all at once."""

    def __init__(self, hub: Hub, archive: Archive, redis: "Redis") -> None:
        self._hub = hub
        self._archive = archive
        self._redis = redis

    async def look(self) -> dict[str, Any]:
        """Returns the state of the whole, as JSON has it."""
        count, memory, outbox = await asyncio.gather(self._count(), self._memory(), self._archive.outbox())
        components = components_of(self._hub)
        return {
            "components": components,
            "bridge": self._bridge(),
            "outbox": {"depth": outbox.depth, "oldest_seconds": outbox.oldest_seconds} if outbox is not None else None,
            "redis": {"up": components["redis"] == "up", "memory_bytes": memory},
            "postgres": {"up": components["postgres"] == "up"},
            "connections": count.total,
            "streams": count.streams,
            "processes": count.processes,
            "complete": count.complete,
        }

    def _bridge(self) -> dict[str, Any]:
        beat, lag, silence = self._hub.last_beat, lag_of(self._hub), silence_of(self._hub)
        return {
            "epoch": beat.epoch if beat is not None else None,
            "position": beat.position if beat is not None else None,
            "head": beat.head if beat is not None else None,
            "lag_positions": lag[0] if lag is not None else None,
            "lag_seconds": round(lag[1], 3) if lag is not None else None,
            "silent_seconds": round(silence, 3) if silence is not None else None,
        }

    async def _count(self) -> Count:
        census = self._hub.controls.census
        # A Redis that is known to be away is not waited for.
        if self._hub.tail.connected:
            try:
                return await census.ask(most=0)
            except (RedisError, OSError):
                pass
        return await census.ask_here(most=0)

    async def _memory(self) -> int | None:
        if not self._hub.tail.connected:
            return None
        try:
            return int((await self._redis.info("memory"))["used_memory"])
        except (RedisError, OSError, LookupError):
            # Away, or one that does not tell.
            return None
