"""⑦ Who listens to which channel in this process, and how far it has the log."""

import time
from collections.abc import Callable, Iterable, Iterator

from gateway.fanout.channel import Channel
from gateway.fanout.frame import Cursor
from gateway.fanout.subscriber import State, Subscriber
from gateway.wire import Entry

_SETTLED_SECONDS = 30.0
_LINGER_SECONDS = 5.0
"""How long a channel that nobody listens to stays subscribed: people come back."""


class Roster:
    """Channels by name, and all subscribers. `position` is the newest that this process has heard of, in `epoch`; `life` is Redis's."""

    def __init__(self) -> None:
        self.epoch = ""
        self.life = ""
        self.position = 0
        self.channels: dict[str, Channel] = {}
        self.subscribers: set[Subscriber] = set()
        self.joined: dict[Subscriber, float] = {}
        """Since when those have their snapshot who may still be sent what it has already."""

    @property
    def cursor(self) -> Cursor:
        """The id of whoever has everything up to here."""
        return Cursor(self.epoch, self.position)

    def begin(self, cursor: Cursor, life: str) -> None:
        """Goes on from a cursor, with no channel chained to what it had before."""
        self.epoch, self.position, self.life = cursor.epoch, cursor.position, life
        for channel in self.channels.values():
            channel.position = cursor.position
            channel.chained = False

    def attach(self, subscriber: Subscriber) -> None:
        """Lets a subscriber hear its channels."""
        for name in subscriber.channels:
            channel = self.channels.get(name)
            if channel is None:
                channel = self.channels[name] = Channel(self.position)
            channel.subscribers.add(subscriber)

    def detach(self, subscriber: Subscriber) -> None:
        """Lets it hear nothing more; for one that never heard anything too."""
        self.joined.pop(subscriber, None)
        for name in subscriber.channels:
            channel = self.channels.get(name)
            if channel is not None:
                channel.subscribers.discard(subscriber)
                channel.empty_since = time.monotonic()

    def chained(self, names: Iterable[str]) -> bool:
        """Whether all that these channels had up to `position` has come, as long as the tail is connected."""
        return all(name in self.channels and self.channels[name].chained for name in names)

    def confirm(self, names: Iterable[str]) -> None:
        """Takes note that whatever these channels get from now on comes."""
        for name in names:
            # One that has been given up meanwhile is nobody's.
            if name in self.channels:
                self.channels[name].confirmed = True

    def arrive(self, channels: Iterable[Channel], through: int) -> None:
        """Takes note that nothing is missing on these channels up to a position."""
        for channel in channels:
            channel.reach(through)
        self.position = max(self.position, through)

    def settle(self, lag_seconds: float) -> None:
        """Forgets what snapshots have seen, where nothing that waits for its position is old enough to be in one.

        `lag_seconds` is what the bridge says now, or has said a while ago: so half the time that has passed is not relied on. Who still
        reads the log may find there what was published long after: not yet.
        """
        now = time.monotonic()
        for subscriber, since in list(self.joined.items()):
            if subscriber.state is State.LIVE and now - since > _SETTLED_SECONDS and lag_seconds < (now - since) / 2:
                del self.joined[subscriber]
                subscriber.seen = None

    def owners(self, entry: Entry) -> Iterator[tuple[Channel, Entry]]:
        """Yields those channels of this process whose owners get something of an entry with lots, and what they get."""
        prefix = f"{entry.channel}-"
        for owners, part in entry.lots:
            for owner in owners:
                channel = self.channels.get(prefix + owner)
                if channel is not None:
                    yield channel, part

    def complete(self, subscriber: Subscriber) -> int:
        """Returns up to which position everything for a live subscriber was offered to it."""
        return min(self.channels[name].position for name in subscriber.channels)

    def release(self, forget: Callable[[str], bool]) -> None:
        """Gives up the channels that nobody has listened to for a while, where `forget` ends their subscription."""
        now = time.monotonic()
        for name, channel in list(self.channels.items()):
            if not channel.subscribers and not channel.pending and now - channel.empty_since >= _LINGER_SECONDS and forget(name):
                del self.channels[name]
