"""What a change means to whom: one log entry → the events of each channel, as JSON.

- A channel gets only what its listener may see: a row that moves from A to B is a DELETE of the key for A (`left`) and
  an INSERT without the old row for B.
- A row may have several owners: then a place in the channel arrays names several channels, with a separator between.
- The row's JSON is the text that Postgres rendered, never parsed here: a number keeps its digits.
- Data is one line: JSON text carries no raw line break inside a string, so those of a `json` column's layout may go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Protocol

import orjson

from sql import SEPARATOR
from streams.stream import Stream

RESET = "reset"

_TYPES = {"I": "INSERT", "U": "UPDATE", "D": "DELETE"}
_RESET_REASONS = {"T": "truncated", "F": "capture-failed"}


@dataclass(frozen=True)
class Feed:
    """One stream of a shape: which view of the row it publishes, the columns of that view as JSON, whether a row has `several` owners."""

    stream: str
    broadcast: str
    view: int
    columns: bytes
    several: bool = False


@dataclass(frozen=True)
class Shape:
    """What a captured row's arrays mean: the table, and one feed for each place in the channel arrays."""

    schema: str
    table: str
    feeds: tuple[Feed, ...]

    @cached_property
    def name(self) -> bytes:
        """The table as two fields of JSON."""
        return b'"schema":%s,"table":%s' % (orjson.dumps(self.schema), orjson.dumps(self.table))

    @staticmethod
    def decode(relation: str, streams: str) -> "Shape":
        """Reads what the migrator wrote to `rowcast.shape`, also that of a release before: what it captured may still be in the log."""
        schema, _, table = relation.partition(".")
        feeds = (
            Feed(each["stream"], each["broadcast"], each["view"], orjson.dumps(each["columns"]), each.get("several", False))
            for each in orjson.loads(streams)
        )
        return Shape(schema, table, tuple(feeds))

    @staticmethod
    def encode(streams: Sequence[tuple[Stream, int, list[dict[str, str]], bool, dict[str, str]]]) -> str:
        """Writes what `decode` reads, and queries by name.

        Given streams with the number of their view, its columns, whether a row has several owners, and those queries.
        """
        return orjson.dumps(
            [
                {
                    "stream": s.name,
                    "broadcast": s.broadcast,
                    "owner": s.owner,
                    "several": several,
                    "view": view,
                    "columns": columns,
                    "queries": queries,
                }
                for s, view, columns, several, queries in streams
            ]
        ).decode()


class Row(Protocol):
    """A row of the Postgres log, read by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(slots=True)
class Change:
    """One log entry. Rows are JSON text, one per view; None where the row was too large or there is none.

    Not frozen: to make one takes 0.5 µs instead of 1.9.
    """

    position: int
    txid: int
    op: str
    key: str | None
    old_key: str | None
    new: Sequence[str | None] | None
    old: Sequence[str | None] | None
    new_channels: Sequence[str | None] | None
    old_channels: Sequence[str | None] | None
    fault: str | None
    committed_at: datetime

    @staticmethod
    def read(row: Row) -> "Change":
        """Makes a change of a row of the Postgres log."""
        return Change(
            row["position"],
            row["txid"],
            row["op"].decode(),
            row["key"],
            row["old_key"],
            row["new"],
            row["old"],
            row["new_channels"],
            row["old_channels"],
            row["fault"],
            row["committed_at"],
        )


@dataclass(slots=True)
class Delivery:
    """What one channel gets of one change: `kind` is INSERT, UPDATE, DELETE or RESET, `data` the JSON of the event.

    `later` are channels by which the same position may come on streams that are later in the alphabet; where a row has several
    owners, the one that all of its stream's listeners have stands for theirs.
    """

    channel: str
    stream: str
    kind: str
    data: bytes
    later: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lot:
    """What some of a row's several owners get alike; `channels` are theirs."""

    channels: frozenset[str]
    kind: str
    data: bytes


@dataclass(slots=True)
class Joint:
    """What all owners of a row with several get of one change, each by one lot; it goes by the channel that they share."""

    channel: str
    stream: str
    lots: Sequence[Lot]
    later: tuple[str, ...] = ()


def published(change: Change, shape: Shape) -> Sequence[Delivery | Joint]:
    """Returns what goes out of a change, in the order of the streams' names."""
    of_feeds = [_of_feed(change, shape, index, feed) for index, feed in enumerate(shape.feeds)]
    if len(of_feeds) > 1:
        later: tuple[str, ...] = ()
        for some in reversed(of_feeds):
            for each in some:
                each.later = later
            later += tuple(each.channel for each in some)
    return [each for some in of_feeds for each in some]


def deliveries(change: Change, shape: Shape, wanted: frozenset[str] | None = None) -> Iterator[Delivery]:
    """Yields what each channel gets, in the order of the streams' names; where a row has several owners, only of those wanted."""
    for each in published(change, shape):
        if isinstance(each, Delivery):
            yield each
            continue
        of_several = [
            Delivery(channel, each.stream, lot.kind, lot.data, each.later)
            for lot in each.lots
            for channel in (lot.channels if wanted is None else lot.channels & wanted)
        ]
        yield from sorted(of_several, key=lambda delivery: delivery.channel)


def _of_feed(change: Change, shape: Shape, index: int, feed: Feed) -> Sequence[Delivery | Joint]:
    op = change.op
    if op in _RESET_REASONS:
        if change.new_channels and change.new_channels[index] is None:
            # Others may have missed something.
            return []
        data = orjson.dumps({"reason": _RESET_REASONS[op], "stream": feed.stream, "table": f"{shape.schema}.{shape.table}"})
        return [Delivery(feed.broadcast, feed.stream, RESET, data)]
    new = change.new_channels[index] if change.new_channels else None
    old = change.old_channels[index] if change.old_channels else None
    if feed.several:
        lots = [
            Lot(channels, _TYPES[kind], _raw(change, shape, feed, kind, left)) for channels, kind, left in _lots(op, new, old) if channels
        ]
        return [Joint(feed.broadcast, feed.stream, lots)] if lots else []
    if op == "U" and new != old:
        found = []
        if old is not None:
            found.append(Delivery(old, feed.stream, "DELETE", _raw(change, shape, feed, "D", left=True)))
        if new is not None:
            found.append(Delivery(new, feed.stream, "INSERT", _raw(change, shape, feed, "I")))
        return found
    channel = old if op == "D" else new
    return [Delivery(channel, feed.stream, _TYPES[op], _raw(change, shape, feed, op))] if channel is not None else []


def _lots(op: str, new: str | None, old: str | None) -> Sequence[tuple[frozenset[str], str, bool]]:
    """Returns the channels of a row's owners, what the change is to them, and whether the row has left them."""
    now, before = (frozenset(channels.split(SEPARATOR)) if channels else frozenset[str]() for channels in (new, old))
    if op != "U":
        return [(now | before, op, False)]
    return [(before - now, "D", True), (now - before, "I", False), (now & before, "U", False)]


def _raw(change: Change, shape: Shape, feed: Feed, op: str, left: bool = False) -> bytes:
    new = change.new[feed.view] if change.new else None
    old = change.old[feed.view] if change.old else None
    old_key = change.old_key or change.key
    truncated = False
    record = old_record = b"null"
    if op != "D":
        truncated = new is None
        record = _line(new or change.key)
    if left:
        old_record = _line(old_key)
    elif op != "I":
        truncated = truncated or old is None
        old_record = _line(old or old_key)
    flags = (b',"left":true' if left else b"") + (b',"truncated":true' if truncated else b"")
    return b'{"version":1,"type":"%s",%s,"commit_timestamp":"%s","record":%s,"old_record":%s,"columns":%s%s}' % (
        _TYPES[op].encode(),
        shape.name,
        _timestamp(change.committed_at),
        record,
        old_record,
        feed.columns,
        flags,
    )


@lru_cache(maxsize=64)
def _timestamp(moment: datetime) -> bytes:
    """Kept, as the rows of a transaction share theirs: a microsecond of five."""
    return moment.isoformat().replace("+00:00", "Z").encode()


def _line(text: str | None) -> bytes:
    data = (text or "null").encode()
    return data.translate(_BREAKS) if b"\n" in data or b"\r" in data else data


_BREAKS = bytes.maketrans(b"\r\n", b"  ")
