"""⑦ What time demands of connections: heartbeats, checkpoints, expiry, age, patience with slow readers. One timer for all.

- A wheel: each turn has the subscribers that are to be looked at then, so that a turn costs what is due, not what is open.
"""

import asyncio
import time
from typing import Protocol

import structlog

from gateway.fanout import frame
from gateway.fanout.subscriber import State, Subscriber

log = structlog.get_logger()
CHECKPOINT_SECONDS = 120.0
SLOW_SECONDS = 30.0
"""How long a reader may leave its connection full."""
_WARN_SECONDS = 60.0


class Hub(Protocol):
    """What the ticker needs of the hub."""

    heartbeat_seconds: float

    def flush(self) -> None: ...
    def complete(self, subscriber: Subscriber) -> int: ...
    def end(self, subscriber: Subscriber, reason: str) -> None: ...
    def release(self) -> None: ...


class Ticker:
    """Looks at each subscriber when something is due, and at least once in the time of a heartbeat."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._turn_seconds = min(1.0, hub.heartbeat_seconds / 4)
        self._wheel: dict[int, list[Subscriber]] = {}
        self._turn = self._turn_of(time.monotonic())

    def add(self, subscriber: Subscriber) -> None:
        """Looks at a subscriber from now on, until it has ended."""
        self._put(subscriber, time.monotonic())

    async def run(self) -> None:
        """Ticks until cancelled."""
        while True:
            await asyncio.sleep(self._turn_seconds)
            # What was accepted must not pass for sent.
            self._hub.flush()
            now, today = time.monotonic(), time.time()
            for turn in range(self._turn, self._turn_of(now)):
                for subscriber in self._wheel.pop(turn, ()):
                    try:
                        self.attend(subscriber, now, today)
                    except Exception:
                        # Its matter alone; it is looked at again.
                        log.exception("a connection cannot be attended to", connection=subscriber.connection)
                    if subscriber.state is not State.ENDED:
                        self._put(subscriber, self._due(subscriber, now, today))
            self._turn = self._turn_of(now)
            self._hub.release()

    def _turn_of(self, moment: float) -> int:
        return int(moment / self._turn_seconds)

    def _put(self, subscriber: Subscriber, moment: float) -> None:
        # Never into a turn that is over, or that is being served.
        self._wheel.setdefault(max(self._turn_of(moment), self._turn_of(time.monotonic())), []).append(subscriber)

    def _due(self, subscriber: Subscriber, now: float, today: float) -> float:
        """Returns when to look again: after each turn while there is something to be patient about."""
        if subscriber.state is not State.LIVE or subscriber.sink.full:
            return now
        expires_at = subscriber.principal.expires_at - (0 if subscriber.warned else _WARN_SECONDS)
        return min(subscriber.sent_at + self._hub.heartbeat_seconds, subscriber.ends_at, now + expires_at - today)

    def attend(self, subscriber: Subscriber, now: float, today: float) -> None:
        """Does what is due for one subscriber; `now` is monotonic, `today` in seconds since 1970."""
        expires_at = subscriber.principal.expires_at
        if not subscriber.sink.full:
            subscriber.full_since = 0.0
        if not subscriber.greeted:
            subscriber.sink.begin()
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
        elif subscriber.snapshot_due and now - subscriber.sent_at >= self._hub.heartbeat_seconds:
            # Snapshots wait for their turn.
            subscriber.write(frame.HEARTBEAT)

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
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
