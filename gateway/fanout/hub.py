"""⑦ This process's subscribers: offers each entry to those of its channel, once, in order.

- Positions decide: what is not above a channel's position was seen, what does not continue its chain has a hole before it,
  and a hole is repaired here, once for all.
- What time demands of connections is the ticker's; no timer per connection.
- Endings are a closed list; each is announced, and counted.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial

import structlog

from gateway.fanout import frame
from gateway.fanout.backlog import Backlog, BacklogUnavailable
from gateway.fanout.channel import Channel
from gateway.fanout.frame import Cursor
from gateway.fanout.meter import Meter
from gateway.fanout.page import Page, in_order
from gateway.fanout.subscriber import State, Subscriber
from gateway.fanout.tail import Tail
from gateway.fanout.ticker import Ticker, iso
from gateway.wire import Beat, Entry

_REPAIR_CHANNELS = 200
_REPAIR_ENTRIES = 5_000
_JOIN_SECONDS = 10.0
_LINGER_SECONDS = 5.0
"""How long a channel that nobody listens to stays subscribed: people come back."""

log = structlog.get_logger()


class Unavailable(Exception):
    """Redis or the log does not answer."""


class Hub:
    """Subscribers by channel, fed by the tail."""

    def __init__(self, redis_url: str, backlog: Backlog, meter: Meter, *, heartbeat_seconds: float, max_age_seconds: float) -> None:
        self.tail = Tail(redis_url, self)
        self.heartbeat_seconds = heartbeat_seconds
        self._ticker = Ticker(self)
        self.last_beat: Beat | None = None
        self.last_beat_at = 0.0
        self.epoch = ""
        self.life = ""
        self.position = 0
        self.draining = False
        self._backlog = backlog
        self._meter = meter
        self._max_age_seconds = max_age_seconds
        self._channels: dict[str, Channel] = {}
        self._subscribers: set[Subscriber] = set()
        self._pending: list[Channel] = []
        self._catching_up: dict[Subscriber, asyncio.Task[None]] = {}

    @property
    def channels(self) -> Collection[str]:
        return self._channels.keys()

    @property
    def subscribers(self) -> Collection[Subscriber]:
        return self._subscribers

    async def run(self) -> None:
        """Feeds and ticks until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.tail.run())
            group.create_task(self._ticker.run())

    # Joining

    def enter(self, subscriber: Subscriber, wanted: Cursor | None, fault: str | None = None) -> None:
        """Lets a subscriber join in the background, and leave when it ends; who cannot be served now is told when to come back.

        `wanted` None is a fresh start, or, with `fault`, an id that is none of ours.
        """
        self._subscribers.add(subscriber)
        if wanted is not None:
            # Whatever becomes of this connection, it never takes the client's id away.
            subscriber.start(wanted)
        subscriber.ends_at = time.monotonic() + self._max_age_seconds * random.uniform(0.9, 1.1)
        self._meter.connected(subscriber)
        self._ticker.add(subscriber)
        if self.draining:
            self.end(subscriber, "shutdown")
        elif wanted is None and fault is None and self._hears(subscriber.channels):
            # Nothing to ask and nothing to wait for.
            self._attach(subscriber)
            self._begin_fresh(subscriber, Cursor(self.epoch, self.position))
            subscriber.state = State.LIVE
        else:
            self._work(subscriber, partial(self._join, subscriber, wanted, fault))

    def _hears(self, channels: Iterable[str]) -> bool:
        """Whether whatever these channels had up to now has come, on the tail's one connection, and what follows will."""
        return self.tail.connected and all(name in self._channels and self._channels[name].chained for name in channels)

    def _attach(self, subscriber: Subscriber) -> None:
        for name in subscriber.channels:
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = Channel(self.position)
            channel.subscribers.add(subscriber)

    async def _join(self, subscriber: Subscriber, wanted: Cursor | None, fault: str | None) -> None:
        """Subscribes, says `ready`, replays what lies after `wanted`, and goes on until the subscriber is live."""
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                self._attach(subscriber)
                await self.tail.listen(subscriber.channels)
                for name in subscriber.channels:
                    self._channels[name].confirmed = True
                page, ready = await self._first_page(subscriber, wanted, fault)
        except (TimeoutError, BacklogUnavailable):
            self.end(subscriber, "unavailable", retry_ms=random.randint(2000, 8000))
            return
        self._take(subscriber, page, ready)
        await self._bring_up(subscriber)

    async def _first_page(self, subscriber: Subscriber, wanted: Cursor | None, fault: str | None) -> tuple[Page, bytes]:
        """Returns what a subscriber begins with, and a `ready` that is to be written before it, if that is not written yet."""
        subscriber.begin_page()
        if wanted is not None:
            subscriber.start(wanted)
            page = await self._page(subscriber)
            if page.lost is None:
                self._meter.resumed(page.source)
                return page, self._ready(subscriber, "resumed", wanted)
            fault = page.lost
        start = await self._now(subscriber)
        if fault:
            subscriber.write(self._ready(subscriber, "reset", start))
            self._reset(subscriber, start, fault)
        else:
            self._begin_fresh(subscriber, start)
        return Page(start.epoch, (), start.position, False, "redis"), b""

    def _begin_fresh(self, subscriber: Subscriber, start: Cursor) -> None:
        subscriber.write(self._ready(subscriber, "fresh", start))
        subscriber.start(start)
        self._meter.resumed("fresh")

    async def _now(self, subscriber: Subscriber) -> Cursor:
        """Returns a position from which a subscriber can go on: nothing after it has been missed on any of its channels."""
        if self._hears(subscriber.channels):
            return Cursor(self.epoch, self.position)
        known = self.position
        head = await self._backlog.head()
        return Cursor(head.epoch, max(head.position, known) if head.epoch == self.epoch else head.position)

    async def _page(self, subscriber: Subscriber) -> Page:
        """Returns what a subscriber's channels have after its position, from a log that reaches to where this process is at least."""
        return await self._backlog.read(subscriber.channels, subscriber.epoch, subscriber.position, known=self.position)

    def _take(self, subscriber: Subscriber, page: Page, ready: bytes = b"") -> None:
        """Writes a page, and what came live meanwhile; who has read the end of an epoch that is over is told so."""
        if subscriber.state is not State.ENDED and subscriber.take_page(page, ready) and subscriber.epoch != self.epoch:
            self._reset(subscriber, Cursor(self.epoch, self.position), "epoch")

    async def earliest(self) -> Cursor:
        """Returns the cursor before the oldest event that is kept. Raises Unavailable."""
        try:
            head = await self._backlog.earliest()
        except BacklogUnavailable as error:
            raise Unavailable from error
        return Cursor(head.epoch, head.position)

    def leave(self, subscriber: Subscriber) -> None:
        """Forgets a subscriber whose connection has ended."""
        if subscriber not in self._subscribers:
            return
        self._subscribers.discard(subscriber)
        if subscriber.state is not State.ENDED:
            subscriber.state = State.ENDED
            self._meter.ended("gone")
        self._meter.disconnected(subscriber)
        task = self._catching_up.pop(subscriber, None)
        if task is not None:
            task.cancel()
        log.info(
            "stream ended",
            connection=subscriber.connection,
            streams=[stream.name for stream in subscriber.streams],
            reason=subscriber.reason,
            seconds=round(time.monotonic() - subscriber.connected_at, 3),
        )
        for name in subscriber.channels:
            channel = self._channels.get(name)
            if channel is not None:
                channel.subscribers.discard(subscriber)
                channel.empty_since = time.monotonic()

    def _ready(self, subscriber: Subscriber, status: str, cursor: Cursor) -> bytes:
        subscriber.greeted = True
        data = {
            "status": status,
            "streams": [stream.name for stream in subscriber.streams],
            "connection": subscriber.connection,
            "from": str(cursor),
            "expires_at": iso(subscriber.principal.expires_at),
            "heartbeat": self.heartbeat_seconds,
        }
        # Spread, so that those who lose a process together do not come back together.
        return frame.control("ready", cursor, data, retry_ms=random.randint(1000, 3000))

    # The live edge

    def dispatch(self, entry: Entry) -> bool:
        """Offers an entry to its channel's subscribers; False, and nothing offered, if something before it is missing."""
        channel = self._channels.get(entry.channel)
        if channel is None or (entry.position <= channel.position and channel.chained):
            return True
        if entry.epoch != self.epoch or (channel.chained and entry.previous > channel.position):
            return False
        first = not self._pending
        self._accept(channel, entry)
        if first:
            # After all that is read already, and before the loop waits for anything: what came together leaves together.
            asyncio.get_running_loop().call_soon(self.flush)
        return True

    def _accept(self, channel: Channel, entry: Entry) -> None:
        if channel.accept(entry):
            self._pending.append(channel)
        self.position = max(self.position, entry.position)

    def flush(self) -> None:
        """Offers what was accepted to its subscribers; a subscriber of several channels gets it in order of position."""
        channels, self._pending = self._pending, []
        runs = {channel: channel.take() for channel in channels}
        several = _of_several(channels) if len(channels) > 1 else {}
        now = time.monotonic()
        for channel, run in runs.items():
            for subscriber in channel.subscribers:
                # Of the 10 µs that a lone event costs each subscriber, the kernel's send takes 8.
                try:
                    if (not several or subscriber not in several) and subscriber.take(run, now):
                        self._catch_up(subscriber)
                except Exception:
                    self._retry(subscriber)
            self._meter.delivered(run.entries[0].stream, len(run.entries), len(channel.subscribers))
        for subscriber, theirs in several.items():
            try:
                subscriber.offer(sorted((entry for channel in theirs for entry in runs[channel].entries), key=in_order))
            except Exception:
                self._retry(subscriber)
            if subscriber.state is State.BEHIND:
                self._catch_up(subscriber)

    def _retry(self, subscriber: Subscriber) -> None:
        """One subscriber's failure is not the others': it reads the log again, and is ended if that fails too."""
        log.exception("offering has failed", connection=subscriber.connection)
        subscriber.leave_to_log()
        self._catch_up(subscriber)

    def beat(self, beat: Beat) -> bool:
        """Takes the bridge's word: all up to its position has come, for it came on the same connection."""
        self.last_beat, self.last_beat_at = beat, time.monotonic()
        if beat.epoch != self.epoch or beat.life != self.life:
            # Redis was filled anew, and what lay too far back was not published: the log has it.
            return False
        if beat.position > self.position:
            self.position = beat.position
        for channel in self._channels.values():
            if channel.confirmed:
                channel.reach(beat.position)
        return True

    async def behind(self) -> bool:
        """Asks whether the log has gone on without us."""
        try:
            head = await self._backlog.head()
        except BacklogUnavailable:
            return False
        return head.epoch != self.epoch or head.position > self.position

    async def repair(self) -> None:
        """Brings every channel to the head of the log, in order of position. Tries until it is done."""
        self.flush()
        failures = 0
        while True:
            try:
                await self._repair()
                return
            except BacklogUnavailable:
                failures += 1
                await asyncio.sleep(random.uniform(0, min(2.0, 0.05 * 2**failures)))

    async def _repair(self) -> None:
        head = await self._backlog.head()
        if not self.epoch:
            self._begin(Cursor(head.epoch, head.position), head.life)
            return
        if head.epoch != self.epoch:
            self._start_over(Cursor(head.epoch, head.position), head.life, "epoch")
            return
        self._meter.repaired()
        start = self.position
        channels = {name: channel for name, channel in self._channels.items() if channel.subscribers}
        names = sorted(channels)
        if not names:
            self._begin(Cursor(head.epoch, head.position), head.life)
            return
        entries: list[Entry] = []
        through = head.position
        for first in range(0, len(names), _REPAIR_CHANNELS):
            some = names[first : first + _REPAIR_CHANNELS]
            after = min(start, *(channels[name].position for name in some))
            while True:
                page = await self._backlog.read(some, self.epoch, after, known=through)
                if page.lost:
                    self._start_over(Cursor(page.epoch, page.through), head.life, page.lost)
                    return
                entries += page.entries
                if len(entries) > _REPAIR_ENTRIES:
                    self._fall_behind(channels.values(), through)
                    self.life = head.life
                    return
                after = page.through
                if not page.more or after >= through:
                    break
        entries.sort(key=in_order)
        for entry in entries:
            channel = channels[entry.channel]
            if channel.position < entry.position <= through:
                self._reset_who_went_past(channel, entry)
                self._accept(channel, entry)
        self.flush()
        self._arrive(channels.values(), through)
        self.life = head.life

    def _arrive(self, channels: Iterable[Channel], through: int) -> None:
        for channel in channels:
            channel.reach(through)
        self.position = max(self.position, through)

    def _reset_who_went_past(self, channel: Channel, entry: Entry) -> None:
        """An entry was missing on one channel, and a connection has had later ones on another: in order it can no longer come."""
        for subscriber in channel.subscribers:
            if subscriber.state is State.LIVE and subscriber.through < entry.position <= subscriber.position:
                self._reset(subscriber, Cursor(self.epoch, subscriber.position), "gap")

    def _fall_behind(self, channels: Iterable[Channel], through: int) -> None:
        """Too much was missed to be held here: each subscriber reads it for itself, page by page."""
        self._arrive(channels, through)
        for subscriber in self._subscribers:
            subscriber.leave_to_log()
            if subscriber.state is State.BEHIND:
                self._catch_up(subscriber)

    def _start_over(self, cursor: Cursor, life: str, reason: str) -> None:
        """Tells every subscriber that its history cannot be completed, and goes on from here."""
        self._begin(cursor, life)
        for subscriber in self._subscribers:
            if subscriber.state is State.LIVE:
                self._reset(subscriber, cursor, reason)
            else:
                # The page that it is reading may end before here: the next one says what has become of its cursor.
                subscriber.leave_to_log()

    def _begin(self, cursor: Cursor, life: str) -> None:
        self.epoch, self.position, self.life = cursor.epoch, cursor.position, life
        for channel in self._channels.values():
            channel.position = cursor.position
            channel.chained = False

    # Those who are behind

    def _catch_up(self, subscriber: Subscriber) -> None:
        if subscriber not in self._catching_up:
            self._meter.fell_behind()
            self._work(subscriber, partial(self._bring_up, subscriber))

    def _work(self, subscriber: Subscriber, work: Callable[[], Awaitable[None]]) -> None:
        """Does something for one subscriber that takes its time, until it leaves."""
        self._catching_up[subscriber] = asyncio.create_task(self._until_live(subscriber, work))

    async def _until_live(self, subscriber: Subscriber, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except BacklogUnavailable:
            self.end(subscriber, "unavailable")
        except Exception:
            log.exception("catching up has failed", connection=subscriber.connection)
            self.end(subscriber, "unavailable")
        finally:
            self._catching_up.pop(subscriber, None)

    async def _bring_up(self, subscriber: Subscriber) -> None:
        while True:
            await subscriber.sink.drained()
            if subscriber.state not in (State.BEHIND, State.CATCHING_UP):
                return
            subscriber.begin_page()
            page = await self._page(subscriber)
            if page.lost:
                self._reset(subscriber, await self._now(subscriber), page.lost)
            else:
                self._take(subscriber, page)

    def _reset(self, subscriber: Subscriber, cursor: Cursor, reason: str) -> None:
        if subscriber.state is State.ENDED:
            return
        subscriber.start(cursor)
        subscriber.write(frame.control("reset", cursor, {"reason": reason, "streams": [s.name for s in subscriber.streams]}))
        self._meter.resumed("reset")

    # Endings

    def end(self, subscriber: Subscriber, reason: str, retry_ms: int | None = None) -> None:
        """Ends a subscriber's stream for one of the known reasons."""
        if subscriber.state is State.ENDED:
            return
        self._meter.ended(reason)
        subscriber.reason = reason
        retry_ms = retry_ms if retry_ms is not None else random.randint(500, 3000)
        if reason == "expired":
            subscriber.end("closed", {"reason": reason}, retry_ms)
        else:
            subscriber.end("reconnect", {"reason": reason, "retry": retry_ms}, retry_ms)

    async def drain(self, window_seconds: float) -> None:
        """Ends every stream, spread over a window, so that those who come back do not come back at once."""
        self.draining = True
        leaving = list(self._subscribers)
        random.shuffle(leaving)
        started = time.monotonic()
        for index, subscriber in enumerate(leaving):
            pause = started + window_seconds * index / len(leaving) - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            self.end(subscriber, "shutdown")

    def complete(self, subscriber: Subscriber) -> int:
        """Returns up to which position everything for a live subscriber was offered to it."""
        return min(self._channels[name].position for name in subscriber.channels)

    def release(self) -> None:
        """Gives up the channels that nobody has listened to for a while."""
        now = time.monotonic()
        for name, channel in list(self._channels.items()):
            if not channel.subscribers and not channel.pending and now - channel.empty_since >= _LINGER_SECONDS and self.tail.forget(name):
                del self._channels[name]


def _of_several(channels: Iterable[Channel]) -> dict[Subscriber, list[Channel]]:
    """Returns who listens to more than one of the channels, and to which."""
    first: dict[Subscriber, Channel] = {}
    several: dict[Subscriber, list[Channel]] = {}
    for channel in channels:
        for subscriber in channel.subscribers:
            other = first.setdefault(subscriber, channel)
            if other is not channel:
                several.setdefault(subscriber, [other]).append(channel)
    return several
