"""⑦ This process's subscribers: offers each entry to those of its channel, once, in order.

- Positions decide: what is not above a channel's position was seen, what does not continue its chain has a hole before it,
  and a hole is repaired here, once for all.
- What time demands of connections is the ticker's; no timer per connection.
- Endings are a closed list; each is announced, and counted.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Collection, Iterable

import structlog

from gateway.fanout.backlog import Backlog, BacklogUnavailable
from gateway.fanout.catchup import CatchUp
from gateway.fanout.channel import Channel
from gateway.fanout.components import Components
from gateway.fanout.control import Control, End
from gateway.fanout.frame import Cursor
from gateway.fanout.judge import Judge
from gateway.fanout.meter import CLOSING, Meter
from gateway.fanout.page import in_order
from gateway.fanout.repair import Repair
from gateway.fanout.roster import Roster
from gateway.fanout.snapshot import Snapshots
from gateway.fanout.subscriber import State, Subscriber
from gateway.fanout.tail import Tail
from gateway.fanout.ticker import Ticker
from gateway.task import side_by_side
from gateway.wire import Beat, Entry

log = structlog.get_logger()


class Unavailable(Exception):
    """Redis or the log does not answer."""


class Hub:
    """Subscribers by channel, fed by the tail."""

    def __init__(
        self,
        redis_url: str,
        backlog: Backlog,
        snapshots: Snapshots,
        judge: Judge,
        meter: Meter,
        control: Callable[[Roster, End], Control],
        *,
        heartbeat_seconds: float,
        max_age_seconds: float,
    ) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self.last_beat: Beat | None = None
        self.last_beat_at = 0.0
        self.draining = False
        self.roster = Roster()
        self.tail = Tail(redis_url, self)
        self._backlog = backlog
        self._meter = meter
        self._max_age_seconds = max_age_seconds
        self._ticker = Ticker(self)
        self._catch_up = CatchUp(self.roster, self.tail, backlog, snapshots, judge, meter, self.end, heartbeat_seconds)
        self._repair = Repair(self.roster, backlog, meter, self._catch_up, self._accept, self.flush)
        self._pending: list[Channel] = []
        self.controls = control(self.roster, self.end)
        self._replies: set[asyncio.Task[None]] = set()
        self.components = Components(self.roster, meter, lambda: self.tail.connected, lambda: self.last_beat_at, backlog.archive_alive)

    @property
    def channels(self) -> Collection[str]:
        return self.roster.channels.keys()

    async def run(self) -> None:
        """Feeds and ticks until cancelled."""
        await side_by_side(self.tail.run(), self._ticker.run(), self.components.run(), self.controls.run())

    # Coming and going

    def enter(self, subscriber: Subscriber, wanted: Cursor | None, fault: str | None = None) -> None:
        """Lets a subscriber join in the background, and leave when it ends; who cannot be served now is told when to come back.

        `wanted` None is a fresh start, or, with `fault`, an id that is none of ours.
        """
        self.roster.subscribers.add(subscriber)
        if wanted is not None:
            # Whatever becomes of this connection, it never takes the client's id away.
            subscriber.start(wanted)
        subscriber.ends_at = time.monotonic() + self._max_age_seconds * random.uniform(0.9, 1.1)
        self._meter.connected(subscriber)
        self._ticker.add(subscriber)
        if self.draining:
            self.end(subscriber, "shutdown")
        elif self.controls.revocations.revoked(subscriber.principal):
            # While the head was sent.
            self.end(subscriber, "revoked")
        else:
            self._catch_up.join(subscriber, wanted, fault)

    def leave(self, subscriber: Subscriber) -> None:
        """Forgets a subscriber whose connection has ended."""
        if subscriber not in self.roster.subscribers:
            return
        self.roster.subscribers.discard(subscriber)
        if subscriber.state is not State.ENDED:
            subscriber.state = State.ENDED
            self._meter.ended("gone")
        self._meter.disconnected(subscriber)
        self._catch_up.leave(subscriber)
        if subscriber.place is not None:
            subscriber.place.give_up()
        log.info(
            "stream ended",
            connection=subscriber.connection,
            subject=subscriber.principal.subject,
            streams=[stream.name for stream in subscriber.streams],
            reason=subscriber.reason,
            seconds=round(time.monotonic() - subscriber.connected_at, 3),
        )
        self.roster.detach(subscriber)

    async def earliest(self) -> Cursor:
        """Returns the cursor before the oldest event that is kept. Raises Unavailable."""
        try:
            head = await self._backlog.earliest()
        except BacklogUnavailable as error:
            raise Unavailable from error
        return Cursor(head.epoch, head.position)

    # The live edge

    def dispatch(self, entry: Entry) -> bool:
        """Offers an entry to its channel's subscribers; False, and nothing offered, if something before it is missing."""
        roster = self.roster
        channel = roster.channels.get(entry.channel)
        if channel is None or (entry.position <= channel.position and channel.chained):
            return True
        if entry.epoch != roster.epoch or (entry.previous > channel.position and not channel.begins(entry.previous)):
            return False
        first = not self._pending
        self._accept(channel, entry)
        if first:
            # After all that is read already, and before the loop waits for anything: what came together leaves together.
            asyncio.get_running_loop().call_soon(self.flush)
        return True

    def _accept(self, channel: Channel, entry: Entry) -> None:
        self.roster.position = max(self.roster.position, entry.position)
        if entry.lots:
            channel.reach(entry.position)
            for own, part in self.roster.owners(entry):
                if own.position < entry.position or not own.chained:
                    self._keep(own, part)
        else:
            self._keep(channel, entry)

    def _keep(self, channel: Channel, entry: Entry) -> None:
        if channel.accept(entry):
            self._pending.append(channel)

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
                        self._catch_up.go_on(subscriber)
                except Exception:
                    self._retry(subscriber)
            self._meter.delivered(run.entries[0].stream, len(run.entries), len(channel.subscribers))
        for subscriber, theirs in several.items():
            try:
                subscriber.offer(sorted((entry for channel in theirs for entry in runs[channel].entries), key=in_order))
            except Exception:
                self._retry(subscriber)
            if subscriber.state is State.BEHIND:
                self._catch_up.go_on(subscriber)

    def _retry(self, subscriber: Subscriber) -> None:
        """One subscriber's failure is not the others': it reads the log again, and is ended if that fails too."""
        log.exception("offering has failed", connection=subscriber.connection)
        subscriber.leave_to_log()
        self._catch_up.go_on(subscriber)

    def beat(self, beat: Beat) -> bool:
        """Takes the bridge's word: all up to its position has come, for it came on the same connection."""
        roster = self.roster
        self.last_beat, self.last_beat_at = beat, time.monotonic()
        if beat.epoch != roster.epoch or beat.life != roster.life:
            # Redis was filled anew, and what lay too far back was not published: the log has it.
            return False
        roster.arrive((channel for channel in roster.channels.values() if channel.confirmed), beat.position)
        if roster.joined:
            # What came before the beat reaches them before what they have seen is forgotten.
            self.flush()
        roster.settle(beat.lag_seconds)
        return True

    async def behind(self) -> bool:
        """Asks whether the log has gone on without us."""
        return await self._repair.needed()

    def control(self, message: bytes) -> None:
        """Takes what another web process says. Raises ValueError for what is not ours."""
        reply = self.controls.take(message)
        if reply is not None:
            # The tail never waits for Redis.
            task = asyncio.ensure_future(reply())
            self._replies.add(task)
            task.add_done_callback(self._replied)

    def _replied(self, task: "asyncio.Task[None]") -> None:
        self._replies.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("another process cannot be answered", error=type(task.exception()).__name__)

    async def refresh(self) -> None:
        """Learns what was said while nobody listened. Raises RedisError."""
        await self.controls.refresh()

    async def repair(self) -> None:
        """Brings every channel to the head of the log, in order of position. Tries until it is done."""
        await self._repair.run()

    # Endings

    def end(self, subscriber: Subscriber, reason: str, retry_ms: int | None = None) -> None:
        """Ends a subscriber's stream for one of the known reasons."""
        if subscriber.state is State.ENDED:
            return
        self._meter.ended(reason)
        subscriber.reason = reason
        retry_ms = retry_ms if retry_ms is not None else random.randint(500, 3000)
        try:
            if reason in CLOSING:
                subscriber.end("closed", {"reason": reason}, retry_ms)
            else:
                subscriber.end("reconnect", {"reason": reason, "retry": retry_ms}, retry_ms)
        except Exception:
            # Nothing can be said any more.
            log.exception("a stream cannot be ended", connection=subscriber.connection)
            subscriber.state = State.ENDED
            with contextlib.suppress(Exception):
                subscriber.sink.close()

    async def drain(self, window_seconds: float) -> None:
        """Ends every stream, spread over a window, so that those who come back do not come back at once."""
        self.draining = True
        leaving = list(self.roster.subscribers)
        random.shuffle(leaving)
        started = time.monotonic()
        for index, subscriber in enumerate(leaving):
            pause = started + window_seconds * index / len(leaving) - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            self.end(subscriber, "shutdown")

    def complete(self, subscriber: Subscriber) -> int:
        """Returns up to which position everything for a live subscriber was offered to it."""
        return self.roster.complete(subscriber)

    def release(self) -> None:
        """Gives up the channels that nobody has listened to for a while."""
        self.roster.release(self.tail.forget)


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
