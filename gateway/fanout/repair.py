"""⑦ Mends what the tail may have missed: reads the log once for all channels of this process, in order of position."""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress

from gateway.fanout.backlog import Backlog, BacklogUnavailable
from gateway.fanout.catchup import CatchUp
from gateway.fanout.channel import Channel
from gateway.fanout.frame import Cursor
from gateway.fanout.meter import Meter
from gateway.fanout.page import Head, in_order
from gateway.fanout.roster import Roster
from gateway.fanout.subscriber import State
from gateway.wire import Entry

_CHANNELS = 200
"""Channels that are read at a time."""
_ENTRIES = 5_000
"""More than these are not held here: each subscriber reads them for itself, page by page."""


class Repair:
    """`accept` takes an entry for a channel's subscribers, `flush` offers what was accepted."""

    def __init__(
        self,
        roster: Roster,
        backlog: Backlog,
        meter: Meter,
        catch_up: CatchUp,
        accept: Callable[[Channel, Entry], None],
        flush: Callable[[], None],
    ) -> None:
        self._roster = roster
        self._backlog = backlog
        self._meter = meter
        self._catch_up = catch_up
        self._accept = accept
        self._flush = flush
        # Where the log is, if Redis was found behind it.
        self._beyond: Head | None = None

    async def needed(self) -> bool:
        """Asks whether the log has gone on without us: Redis, and then Postgres, for the bridge may not reach the Redis that we have."""
        roster = self._roster
        try:
            head = await self._backlog.head()
            another = head.epoch != roster.epoch
            if not another and head.position > roster.position:
                return True
        except BacklogUnavailable:
            return False
        try:
            latest = await self._backlog.latest()
        except BacklogUnavailable:
            return another
        # Of another epoch too: each begins above all that was ever sent.
        if latest.position > roster.position:
            self._beyond = latest
            return True
        return another and latest.epoch != roster.epoch

    async def run(self) -> None:
        """Brings every channel to the head of the log. Tries until it is done."""
        self._flush()
        failures = 0
        while True:
            try:
                await self._once()
                return
            except BacklogUnavailable:
                failures += 1
                await asyncio.sleep(random.uniform(0, min(2.0, 0.05 * 2**failures)))

    async def _once(self) -> None:
        roster = self._roster
        head = await self._head()
        if not roster.epoch:
            roster.begin(Cursor(head.epoch, head.position), head.life)
            return
        if head.epoch != roster.epoch:
            self._start_over(Cursor(head.epoch, head.position), head.life, "epoch")
            return
        self._meter.repaired()
        channels = {name: channel for name, channel in roster.channels.items() if channel.subscribers}
        for channel in roster.channels.values():
            # What it missed is not read, so whoever comes to it meanwhile has to ask.
            channel.chained = channel.chained and bool(channel.subscribers)
        if not channels:
            roster.begin(Cursor(head.epoch, head.position), head.life)
            return
        await self._read(channels, head)

    async def _head(self) -> Head:
        """Returns the end of the log: as Redis has it, or Postgres where Redis was found behind, or speaks of another epoch."""
        head, beyond = await self._backlog.head(), self._beyond
        self._beyond = None
        if self._roster.epoch not in ("", head.epoch):
            # It may be a replica that was behind, and the epoch long over; or this Postgres a primary that was left behind.
            # Each epoch begins above all that was ever sent, so the one that is further is the present one.
            with suppress(BacklogUnavailable):
                latest = await self._backlog.latest()
                return head if latest.epoch == head.epoch or head.position > latest.position else latest
        return beyond if beyond is not None and beyond.position > head.position else head

    async def _read(self, channels: dict[str, Channel], head: Head) -> None:
        roster = self._roster
        start, through = roster.position, head.position
        names = sorted(channels)
        entries: list[Entry] = []
        much = False
        for first in range(0, len(names), _CHANNELS):
            some = names[first : first + _CHANNELS]
            after = min(start, *(channels[name].position for name in some))
            while True:
                page = await self._backlog.read(some, roster.epoch, after, known=through, alone=True)
                if page.lost:
                    self._start_over(Cursor(page.epoch, page.through), head.life, page.lost)
                    return
                entries += page.entries
                after = page.through
                if len(entries) > _ENTRIES:
                    # Somebody may have gone past these; all the others are read by whom they are for.
                    much = True
                    entries = [entry for entry in entries if channels[entry.channel].position < entry.position <= start]
                if not page.more or after >= through or (much and after >= start):
                    break
        for entry in sorted(entries, key=in_order):
            channel = channels[entry.channel]
            if channel.position < entry.position <= through:
                for each in [own for own, _ in roster.owners(entry)] if entry.lots else [channel]:
                    self._reset_who_went_past(each, entry.position)
                if not much:
                    self._accept(channel, entry)
        if much:
            self._leave_to_readers(channels.values(), through)
        else:
            self._flush()
            roster.arrive(channels.values(), through)
        roster.life = head.life

    def _reset_who_went_past(self, channel: Channel, position: int) -> None:
        """An entry was missing on one channel, and a connection has had later ones on another: in order it can no longer come.

        Who is to get rows anew has what is missing in them.
        """
        for subscriber in channel.subscribers:
            told = subscriber.state is State.ENDED or subscriber.snapshot_due
            if not told and subscriber.through < position <= subscriber.position:
                self._catch_up.reset(subscriber, Cursor(self._roster.epoch, subscriber.position), "gap")

    def _leave_to_readers(self, channels: Iterable[Channel], through: int) -> None:
        """Too much was missed to be held here."""
        self._roster.arrive(channels, through)
        for subscriber in self._roster.subscribers:
            subscriber.leave_to_log()
            if subscriber.state is State.BEHIND:
                self._catch_up.go_on(subscriber)

    def _start_over(self, cursor: Cursor, life: str, reason: str) -> None:
        """Tells every subscriber that its history cannot be completed, and goes on from here."""
        self._roster.begin(cursor, life)
        for subscriber in self._roster.subscribers:
            if subscriber.state is State.LIVE:
                self._catch_up.reset(subscriber, cursor, reason)
            else:
                # The page that it is reading may end before here: the next one says what has become of its cursor.
                subscriber.leave_to_log()
