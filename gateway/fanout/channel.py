"""⑦ One channel of this process: who listens, how far it is, and what has come since the last flush."""

from gateway.fanout import frame
from gateway.fanout.fold import fold
from gateway.fanout.look import Look
from gateway.fanout.subscriber import State, Subscriber
from gateway.wire import Entry
from streams.payload import RESET


class Channel:
    """Who listens, and up to which position all of it was accepted.

    `confirmed` once Redis has confirmed the subscription, `chained` once there is a position from which to continue: never before
    it is confirmed, for what is published until then does not come.
    `pending` has what was accepted and is still to be offered, in order.
    """

    __slots__ = ("chained", "confirmed", "empty_since", "pending", "position", "subscribers")

    def __init__(self, position: int) -> None:
        self.subscribers: set[Subscriber] = set()
        self.pending: list[Entry] = []
        self.position = position
        self.confirmed = False
        self.chained = False
        self.empty_since = 0.0

    def accept(self, entry: Entry) -> bool:
        """Keeps an entry for the next flush; True if it is the first."""
        self.reach(entry.position)
        self.pending.append(entry)
        return len(self.pending) == 1

    def reach(self, position: int) -> None:
        """Takes note that nothing is missing up to a position."""
        self.position = max(self.position, position)
        self.chained = self.confirmed

    def begins(self, previous: int) -> bool:
        """Whether an entry may be the first one here, though the one before it lies beyond this channel's position.

        A channel that is not chained has nothing to continue; but whoever is live on it had all of it up to somewhere, and who is reading
        a page may not find the one before in it.
        """
        if self.chained or any(each.state is State.LIVE and each.through < previous for each in self.subscribers):
            return False
        for each in self.subscribers:
            if each.state is State.CATCHING_UP:
                each.leave_to_log()
        return True

    def take(self) -> "Run":
        """Hands out what is pending."""
        run, self.pending = Run(self.pending), []
        return run


class Run:
    """Consecutive entries of one channel. Their bytes are joined once, whatever the number of subscribers: `encoded`, by look.

    `shared` says that a connection with several streams may get a position on a later one too.
    """

    __slots__ = ("encoded", "entries", "first", "last", "resets", "shared", "stream")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.first = entries[0].position
        self.last = entries[-1].position
        self.stream = entries[0].stream
        self.shared = any(entry.later for entry in entries)
        self.resets = any(entry.kind == RESET for entry in entries)
        self.encoded: dict[Look, bytes] = {}

    def encode(self, look: Look) -> bytes:
        """Joins the frames of all entries that are seen, and keeps them; nothing if none is."""
        seen = [each for each in map(look.see, self.entries) if each is not None]
        if look.stream.latest_only and len(seen) > 1:
            seen = list(fold(seen, look.stream.key))
        data = self.encoded[look] = b"".join([frame.encode(each, look.form) for each in seen])
        return data
