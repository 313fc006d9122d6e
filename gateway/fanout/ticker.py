"""⑦ What time demands of connections: heartbeats, checkpoints, expiry, age, patience with slow readers. One loop for all."""

import asyncio
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Protocol

from gateway.fanout import frame
from gateway.fanout.subscriber import State, Subscriber

CHECKPOINT_SECONDS = 120.0
SLOW_SECONDS = 30.0
"""How long a reader may leave its connection full."""
_WARN_SECONDS = 60.0


class Hub(Protocol):
    """What the ticker needs of the hub."""

    heartbeat_seconds: float

    @property
    def subscribers(self) -> Collection[Subscriber]: ...
    def complete(self, subscriber: Subscriber) -> int: ...
    def end(self, subscriber: Subscriber, reason: str) -> None: ...
    def release(self) -> None: ...


class Ticker:
    """Looks at every subscriber about once a second."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def run(self) -> None:
        """Ticks until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._hub.heartbeat_seconds / 4))
            now, today = time.monotonic(), time.time()
            for subscriber in list(self._hub.subscribers):
                self.attend(subscriber, now, today)
            self._hub.release()

    def attend(self, subscriber: Subscriber, now: float, today: float) -> None:
        """Does what is due for one subscriber; `now` is monotonic, `today` in seconds since 1970."""
        expires_at = subscriber.principal.expires_at
        if not subscriber.sink.full:
            subscriber.full_since = 0.0
        if today >= expires_at:
            self._hub.end(subscriber, "expired")
        elif now >= subscriber.ends_at:
            self._hub.end(subscriber, "max-age")
        elif subscriber.sink.full:
            subscriber.full_since = subscriber.full_since or now
            if now - subscriber.full_since >= SLOW_SECONDS:
                self._hub.end(subscriber, "slow")
        elif subscriber.state is State.LIVE:
            if not subscriber.warned and today >= expires_at - _WARN_SECONDS:
                subscriber.warned = True
                subscriber.write(frame.control("auth-expiring", subscriber.cursor, {"expires_at": iso(expires_at)}))
            elif now - subscriber.sent_at >= self._hub.heartbeat_seconds:
                self._idle(subscriber, now)

    def _idle(self, subscriber: Subscriber, now: float) -> None:
        position = self._hub.complete(subscriber)
        if position > subscriber.position and now - subscriber.checkpoint_at >= CHECKPOINT_SECONDS:
            subscriber.checkpoint_at = now
            subscriber.position = position
            subscriber.write(frame.control("checkpoint", subscriber.cursor, {"position": position}))
        else:
            subscriber.write(frame.HEARTBEAT)


def iso(seconds: float) -> str:
    """Writes seconds since 1970 as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
