"""⑧ Brings subscribers up to what is live: those who join, and those who could not take what came.

- What is live is kept from before the log is read, so nothing lies between the last page and the first live entry.
- Whatever becomes of one subscriber here, it is nobody else's matter.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import structlog

from gateway import backoff
from gateway.fanout import frame
from gateway.fanout.backlog import Backlog, BacklogUnavailable
from gateway.fanout.frame import Cursor
from gateway.fanout.judge import Judge
from gateway.fanout.meter import Meter
from gateway.fanout.page import Page
from gateway.fanout.roster import Roster
from gateway.fanout.rows import send_rows
from gateway.fanout.snapshot import Snapshots, SnapshotUnavailable
from gateway.fanout.subscriber import State, Subscriber
from gateway.fanout.ticker import iso

_JOIN_SECONDS = 10.0
_AGAIN_SECONDS = 0.1
_AGAIN_MOST_SECONDS = 5.0
"""Before the rows are read once more for one who was not live in between."""

log = structlog.get_logger()


class Tail(Protocol):
    """What is needed of the tail."""

    connected: bool

    async def listen(self, channels: Iterable[str]) -> None: ...


class End(Protocol):
    """Ends a subscriber's stream, for one of the known reasons."""

    def __call__(self, subscriber: Subscriber, reason: str, retry_ms: int | None = None) -> None: ...


class CatchUp:
    """A task for each subscriber that has something to read, one for all who begin now, and none for those who are live."""

    def __init__(
        self,
        roster: Roster,
        tail: Tail,
        backlog: Backlog,
        snapshots: Snapshots,
        judge: Judge,
        meter: Meter,
        end: End,
        heartbeat_seconds: float,
    ) -> None:
        self._roster = roster
        self._tail = tail
        self._backlog = backlog
        self._snapshots = snapshots
        self._judge = judge
        self._meter = meter
        self._end = end
        self._heartbeat_seconds = heartbeat_seconds
        self.tasks: dict[Subscriber, asyncio.Task[None]] = {}
        # In order of arrival, until they have been told where they begin.
        self.newcomers: dict[Subscriber, None] = {}
        self._welcoming: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether anybody is still being brought up."""
        return bool(self.tasks or self.newcomers)

    def join(self, subscriber: Subscriber, wanted: Cursor | None, fault: str | None) -> None:
        """Lets a subscriber join, behind an id, or, where `wanted` is None, from now on, perhaps because of a fault of its id."""
        self._roster.attach(subscriber)
        if wanted is not None or fault is not None:
            self._work(subscriber, partial(self._join, subscriber, wanted, fault or ""))
        elif subscriber.snapshots:
            self._work(subscriber, partial(self._join_with_snapshot, subscriber))
        elif self._hears(subscriber.channels):
            # Nothing to ask and nothing to wait for.
            self._begin_fresh(subscriber, self._roster.cursor)
            subscriber.state = State.LIVE
        else:
            # A task, a timeout and three questions for each were a fifth of what a connect costs.
            self.newcomers[subscriber] = None
            if self._welcoming is None:
                self._welcoming = asyncio.create_task(self._welcome())

    def go_on(self, subscriber: Subscriber) -> None:
        """Lets one who has left what is live to the log read it there."""
        if subscriber not in self.tasks and subscriber not in self.newcomers:
            self._meter.fell_behind()
            self._work(subscriber, partial(self._bring_up, subscriber))

    def reset(self, subscriber: Subscriber, cursor: Cursor, reason: str) -> None:
        """Tells a subscriber that its history cannot be completed, and that it goes on from a cursor."""
        if subscriber.state is State.ENDED:
            return
        subscriber.start(cursor)
        subscriber.snapshot_due = subscriber.snapshots
        subscriber.write(frame.control("reset", subscriber.cursor, {"reason": reason, "streams": [s.name for s in subscriber.streams]}))
        self._meter.resumed("reset")
        if subscriber.snapshot_due:
            subscriber.leave_to_log()
            self.go_on(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Stops what is being done for a subscriber that has left."""
        self.newcomers.pop(subscriber, None)
        task = self.tasks.pop(subscriber, None)
        if task is not None:
            task.cancel()

    def _hears(self, channels: Iterable[str]) -> bool:
        """Whether whatever these channels had up to now has come, on the tail's one connection, and what follows will."""
        return self._tail.connected and self._roster.chained(channels)

    def _work(self, subscriber: Subscriber, work: Callable[[], Awaitable[None]]) -> None:
        self.tasks[subscriber] = asyncio.create_task(self._until_live(subscriber, work))

    async def _until_live(self, subscriber: Subscriber, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (BacklogUnavailable, SnapshotUnavailable) as error:
            log.warning("catching up is not possible now", connection=subscriber.connection, error=str(error))
            self._end(subscriber, "unavailable")
        except Exception:
            log.exception("catching up has failed", connection=subscriber.connection)
            self._end(subscriber, "unavailable")
        finally:
            self.tasks.pop(subscriber, None)

    async def _welcome(self) -> None:
        """Lets all who have come without an id begin, those together who have come while those before them were being served."""
        try:
            while self.newcomers:
                some = list(self.newcomers)
                try:
                    start = await self._begin_together(some)
                except Exception as error:
                    if not isinstance(error, TimeoutError | BacklogUnavailable):
                        log.exception("joining has failed")
                    start = None
                for subscriber in some:
                    # Who is no longer there has left.
                    if subscriber in self.newcomers:
                        del self.newcomers[subscriber]
                        self._begin_one(subscriber, start)
        finally:
            self._welcoming = None

    async def _begin_together(self, some: Sequence[Subscriber]) -> Cursor:
        """Subscribes to the channels of several, and returns from where on they have everything."""
        channels = dict.fromkeys(channel for subscriber in some for channel in subscriber.channels)
        # Those who come last wait no longer than those who came first: it is the same Redis that they wait for.
        async with asyncio.timeout(some[0].connected_at + _JOIN_SECONDS - time.monotonic()):
            await self._listen(channels)
            return await self._now(channels)

    def _begin_one(self, subscriber: Subscriber, start: Cursor | None) -> None:
        if subscriber.state is State.ENDED:
            return
        if start is None:
            self._end_for_now(subscriber)
            return
        try:
            self._begin_fresh(subscriber, start)
            self._take(subscriber, _nothing(start))
        except Exception:
            log.exception("joining has failed", connection=subscriber.connection)
            self._end_for_now(subscriber)
        if subscriber.state is State.BEHIND:
            self.go_on(subscriber)

    def _end_for_now(self, subscriber: Subscriber) -> None:
        self._end(subscriber, "unavailable", retry_ms=random.randint(2000, 8000))

    async def _listen(self, channels: Iterable[str]) -> None:
        await self._tail.listen(channels)
        self._roster.confirm(channels)

    async def _join(self, subscriber: Subscriber, wanted: Cursor | None, fault: str) -> None:
        """Subscribes, says `ready`, replays what lies after `wanted`, and goes on until the subscriber is live."""
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                await self._listen(subscriber.channels)
                page, ready = await self._first_page(subscriber, wanted, fault)
        except (TimeoutError, BacklogUnavailable, SnapshotUnavailable):
            self._end_for_now(subscriber)
            return
        if subscriber.snapshot_due:
            subscriber.leave_to_log()
        else:
            self._take(subscriber, page, ready)
        await self._bring_up(subscriber)

    async def _join_with_snapshot(self, subscriber: Subscriber) -> None:
        """As `_join` without an id: `ready`, then the rows, then what comes after them."""
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                await self._listen(subscriber.channels)
        except TimeoutError:
            self._end_for_now(subscriber)
            return
        subscriber.snapshot_due = True
        subscriber.write(self._ready(subscriber, "fresh", frame.NOWHERE))
        self._meter.resumed("fresh")
        subscriber.leave_to_log()
        await self._bring_up(subscriber)

    async def _first_page(self, subscriber: Subscriber, wanted: Cursor | None, fault: str) -> tuple[Page, bytes]:
        """Returns what a subscriber begins with, and a `ready` that is to be written before it, if that is not written yet."""
        subscriber.begin_page()
        if wanted is not None:
            subscriber.start(wanted)
            page = await self._page(subscriber)
            if page.lost is None:
                self._meter.resumed(page.source)
                return page, self._ready(subscriber, "resumed", wanted)
            fault = page.lost
        start = await self._now(subscriber.channels)
        subscriber.snapshot_due = subscriber.snapshots
        subscriber.write(self._ready(subscriber, "reset", start))
        self.reset(subscriber, start, fault)
        return _nothing(start), b""

    def _begin_fresh(self, subscriber: Subscriber, start: Cursor) -> None:
        subscriber.write(self._ready(subscriber, "fresh", start))
        subscriber.start(start)
        self._meter.resumed("fresh")

    def _ready(self, subscriber: Subscriber, status: str, cursor: Cursor) -> bytes:
        subscriber.greeted = True
        data = {
            "status": status,
            "streams": [stream.name for stream in subscriber.streams],
            "connection": subscriber.connection,
            "from": str(cursor),
            "expires_at": iso(subscriber.principal.expires_at),
            "heartbeat": self._heartbeat_seconds,
        }
        # Who is cut between it and the `reset` has to be told again.
        id = frame.NOWHERE if subscriber.snapshot_due or status == "reset" else cursor
        # Spread, so that those who lose a process together do not come back together.
        return frame.control("ready", id, data, retry_ms=random.randint(1000, 3000))

    async def _now(self, channels: Iterable[str]) -> Cursor:
        """Returns a position from which one can go on who hears these channels: nothing after it has been missed on any of them."""
        roster = self._roster
        if self._hears(channels):
            return roster.cursor
        known = roster.position
        head = await self._backlog.head()
        return Cursor(head.epoch, max(head.position, known) if head.epoch == roster.epoch else head.position)

    async def _page(self, subscriber: Subscriber) -> Page:
        """Returns what a subscriber's channels have after its position, from a log that reaches to where this process is at least."""
        page = await self._backlog.read(subscriber.channels, subscriber.epoch, subscriber.position, known=self._roster.position)
        if any(entry.lots for entry in page.entries):
            page = replace(page, entries=[part for entry in page.entries for part in entry.for_channels(subscriber.channels)])
        return await self._judge.judged(subscriber, page) if subscriber.guarded and page.entries else page

    def _take(self, subscriber: Subscriber, page: Page, ready: bytes = b"") -> None:
        """Writes a page, and what came live meanwhile; who has read the end of an epoch that is over is told so."""
        if subscriber.state is not State.ENDED and subscriber.take_page(page, ready) and subscriber.epoch != self._roster.epoch:
            self.reset(subscriber, self._roster.cursor, "epoch")

    async def _heard(self, subscriber: Subscriber) -> None:
        """Returns when what is said on a subscriber's channels is heard, and who is revoked. Raises BacklogUnavailable."""
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                await self._tail.listen(subscriber.channels)
        except TimeoutError:
            raise BacklogUnavailable from None

    async def _bring_up(self, subscriber: Subscriber) -> None:
        snapshots = 0
        while True:
            if snapshots and subscriber.snapshot_due:
                # Such as while Postgres has an epoch that no bridge has told of yet: again and again, but not without a pause.
                if snapshots == 1:
                    log.warning("a snapshot was not the last word", connection=subscriber.connection)
                await asyncio.sleep(backoff.pause(snapshots, _AGAIN_SECONDS, _AGAIN_MOST_SECONDS))
            await subscriber.sink.drained()
            if subscriber.state not in (State.BEHIND, State.CATCHING_UP):
                return
            await self._heard(subscriber)
            if subscriber.snapshot_due:
                snapshots += 1
                try:
                    await send_rows(subscriber, self._snapshots, partial(self._heard, subscriber))
                except TimeoutError:
                    self._end(subscriber, "slow")
                    return
                if not subscriber.snapshot_due:
                    self._roster.joined[subscriber] = time.monotonic()
                    self._meter.snapshot()
                continue
            subscriber.begin_page()
            page = await self._page(subscriber)
            if page.lost:
                self.reset(subscriber, await self._now(subscriber.channels), page.lost)
            else:
                self._take(subscriber, page)
                if not subscriber.snapshot_due:
                    snapshots = 0


def _nothing(start: Cursor) -> Page:
    return Page(start.epoch, (), start.position, False, "redis")
