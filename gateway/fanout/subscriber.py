"""⑧ One connection's end: what it listens to, how far it has come, and when it ends.

- `position` is how far the subscriber is complete: everything at or below it was written or is not for it. `through` is how
  far a page of the log, which has all channels, has brought it.
- Catching up: pages of the log at the reader's pace, while what is live waits in a bounded buffer; then live, without a
  moment between. A reader that is too slow is a reader that resumes: nothing is queued for it but its position.
- Rights are those of now: the channels were computed from the principal that asked.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Protocol

from auth.principal import Principal
from gateway.fanout import frame
from gateway.fanout.admission import Place
from gateway.fanout.frame import Cursor
from gateway.fanout.look import Look, of_stream
from gateway.fanout.page import Page, in_order
from gateway.fanout.sink import Sink
from gateway.fanout.snapshot import Seen
from gateway.wire import Entry
from streams.payload import RESET
from streams.stream import Stream

_BUFFER_ENTRIES = 512
_WRITE_BYTES = 65_536
"""Of live events that are joined for one subscriber: then it is looked whether its connection takes them."""


class Run(Protocol):
    """Consecutive entries of one channel, from the first position to the last.

    `shared` if one may come on a later stream too, `resets` if one says that history cannot be completed.
    """

    @property
    def entries(self) -> Sequence[Entry]: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def shared(self) -> bool: ...
    @property
    def resets(self) -> bool: ...
    @property
    def stream(self) -> str: ...
    @property
    def encoded(self) -> Mapping[Look, bytes]: ...
    def encode(self, look: Look) -> bytes: ...


class State(Enum):
    """Where a subscriber is on its way to live."""

    CATCHING_UP = "catching up"
    LIVE = "live"
    BEHIND = "behind"
    ENDED = "ended"


class Subscriber:
    """A sink with a position. Created by the route, fed by the hub."""

    __slots__ = (
        "_buffer",
        "_overflown",
        "_skip",
        "address",
        "channels",
        "checkpoint_at",
        "connected_at",
        "connection",
        "ends_at",
        "epoch",
        "full_since",
        "greeted",
        "guarded",
        "look",
        "looks",
        "place",
        "position",
        "principal",
        "reason",
        "seen",
        "sent_at",
        "sink",
        "snapshot_due",
        "snapshots",
        "state",
        "through",
        "told_down",
        "warned",
    )

    def __init__(self, connection: str, principal: Principal, looks: Sequence[Look], sink: Sink, snapshots: bool = False) -> None:
        self.connection = connection
        self.principal = principal
        self.looks = looks
        self.look = looks[0] if len(looks) == 1 else None
        streams = self.streams
        self.channels = tuple(channel for stream in streams for channel in stream.channels(principal))
        # Whether what it gets must be judged first: then all of it is read from the log, and nothing written as it comes.
        self.guarded = any(look.stream.rls for look in looks)
        self.sink = sink
        # Whether it wants its rows where its history begins, whether it is to get them yet, and what has seen them.
        self.snapshots = snapshots
        self.snapshot_due = False
        self.seen: Seen | None = None
        self.place: Place | None = None
        self.address = ""
        self.reason = "gone"
        self.state = State.CATCHING_UP
        self.epoch = "none"
        self.position = 0
        self.through = 0
        self.greeted = False
        self.connected_at = self.sent_at = time.monotonic()
        self.ends_at = math.inf
        self.full_since = 0.0
        self.checkpoint_at = self.connected_at
        self.warned = False
        self.told_down: frozenset[str] = frozenset()
        self._skip: Cursor | None = None
        self._buffer: list[Entry] = []
        self._overflown = False

    @property
    def streams(self) -> Sequence[Stream]:
        return [look.form.stream for look in self.looks]

    @property
    def cursor(self) -> Cursor:
        """The id that stands for all that was written. Nothing does before a snapshot is whole: who is cut then begins anew."""
        if self.snapshot_due:
            return frame.NOWHERE
        if self._skip is not None and self._skip.position == self.position + 1:
            return self._skip
        return Cursor(self.epoch, self.position)

    def start(self, cursor: Cursor) -> None:
        """Sets where to go on from: behind this id."""
        self.epoch = cursor.epoch
        self.position = self.through = cursor.position - (1 if cursor.stream else 0)
        self._skip = cursor if cursor.stream else None

    def renew(self, principal: Principal) -> bool:
        """Goes on with a newer token of the same user; False if that does not give the same rights."""
        streams = self.streams
        if not all(stream.open_to(principal) and stream.limit_of(principal) == stream.limit_of(self.principal) for stream in streams):
            return False
        if tuple(channel for stream in streams for channel in stream.channels(principal)) != self.channels:
            return False
        if not (self.guarded or self.snapshots):
            # Only row-level security asks for them.
            principal = replace(principal, claims="")
        self.principal = principal
        self.warned = False
        return True

    def take(self, run: Run, now: float) -> bool:
        """Takes what one channel brought at once: in one write where nothing else is to be looked at. True if it is behind then."""
        if (
            self.state is State.LIVE
            and not self.guarded
            and self.position < run.first
            and self._skip is None
            and self.seen is None
            and not (run.shared and self.look is None)
            and not (run.resets and self.snapshots)
        ):
            sink = self.sink
            look = self.look or of_stream(self.looks, run.stream)
            data = run.encoded.get(look)
            if data is None:
                data = run.encode(look)
            if data:
                sink.write(data)
                self.sent_at = now
            self.position = run.last
            if sink.full:
                self._fall_behind()
            return sink.full
        self.offer(run.entries)
        return self.state is State.BEHIND

    def offer(self, entries: Sequence[Entry]) -> None:
        """Takes live entries, in order: writes them, keeps them for the end of catching up, or leaves them to the log."""
        if self.guarded:
            self.leave_to_log()
        elif self.state is State.LIVE:
            for some in _slices(entries):
                self._deliver(some)
                if self.sink.full:
                    self._fall_behind()
                if self.snapshot_due:
                    self.leave_to_log()
                if self.state is not State.LIVE:
                    return
        elif self.state is State.CATCHING_UP and not self._overflown:
            self._buffer += entries
            if len(self._buffer) > _BUFFER_ENTRIES:
                self.leave_to_log()

    def leave_to_log(self) -> None:
        """Leaves what is live now to the log: a later page has it."""
        if self.state is State.LIVE:
            self.state = State.BEHIND
        elif self.state is State.CATCHING_UP:
            self._buffer.clear()
            self._overflown = True

    def write(self, data: bytes) -> None:
        """Writes a frame, or a comment, that carries no entry; nothing once the stream has ended."""
        if self.state is State.ENDED:
            return
        self.sent_at = time.monotonic()
        self.sink.write(frame.wrap(data, self.sink.chunked))

    def begin_page(self) -> None:
        """Keeps live entries from here on: the page that is read next ends before them, or they come again in it."""
        if self.state is not State.ENDED:
            self.state = State.CATCHING_UP
        self._buffer.clear()
        self._overflown = False

    def take_page(self, page: Page, first: bytes = b"") -> bool:
        """Writes a frame, if it is given, and a page's entries; True if with it, and what was kept meanwhile, the subscriber is live."""
        live = not page.more and not self._overflown
        # What is live meanwhile comes in a later page, or here; a repair may have brought earlier ones of another channel later.
        kept = sorted((entry for entry in self._buffer if entry.position > page.through), key=in_order) if live else []
        self._buffer.clear()
        if not self.snapshot_due:
            self._deliver(page.entries, frame.wrap(first, self.sink.chunked) if first else b"")
        if self.snapshot_due:
            self.state = State.BEHIND
            return False
        self.position = self.through = max(self.position, page.through)
        self._deliver(kept)
        live = live and not self.snapshot_due
        self.state = State.LIVE if live else State.BEHIND
        if live and self.sink.full:
            self._fall_behind()
        return live

    def _fall_behind(self) -> None:
        self.state = State.BEHIND
        self.full_since = self.full_since or time.monotonic()

    def end(self, event: str, data: dict[str, object], retry_ms: int) -> None:
        """Says why, and closes; `retry` stands in it only where it is the first event."""
        if self.state is not State.ENDED:
            self.write(frame.control(event, self.cursor, data, None if self.greeted else retry_ms))
            self.state = State.ENDED
            self.sink.close()

    def _deliver(self, entries: Iterable[Entry], first: bytes = b"") -> None:
        """Writes what the client does not have of some entries, in one go: the transport writes at once, with a system call each time.

        Nothing has happened if that fails.
        """
        position, skip = self.position, self._skip
        frames = [first] if first else []
        for entry in entries:
            if entry.position <= position:
                continue
            if skip is not None:
                if entry.position == skip.position and entry.stream <= (skip.stream or ""):
                    continue
                if entry.position > skip.position:
                    skip = None
            if self.seen is not None and self.seen.has(entry.txid):
                # In the rows of its snapshot already.
                position = entry.position
                continue
            if entry.kind == RESET and self.snapshots:
                self.snapshot_due = True
                frames.append(frame.wrap(frame.reset(entry.data), self.sink.chunked))
                break
            more = self._comes_again(entry)
            look = self.look or of_stream(self.looks, entry.stream)
            seen = look.see(entry)
            if seen is not None:
                frames.append(frame.encode(seen, look.form, more))
            if more:
                # Complete only up to the position before: whoever reads on from there skips what this connection has.
                position, skip = entry.position - 1, Cursor(entry.epoch, entry.position, entry.stream)
            else:
                position = entry.position
        if frames:
            self.sent_at = time.monotonic()
            self.sink.write(b"".join(frames))
        self.position, self._skip = position, skip

    def _comes_again(self, entry: Entry) -> bool:
        """Whether this connection may get the entry's position on a later stream too."""
        return self.look is None and any(channel in self.channels for channel in entry.later)


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cuts entries into lots that may be joined."""
    first = size = 0
    for number, entry in enumerate(entries):
        size += len(entry.data)
        if size >= _WRITE_BYTES:
            yield entries[first : number + 1]
            first, size = number + 1, 0
    if first < len(entries):
        yield entries[first:]
