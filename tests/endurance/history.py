"""What the log says, in a form that hundreds of thousands of entries fit in: for each channel the places and digests of its events.

- The laws are those of tests/support/ledger.py, which holds every entry in full.
- A place orders events as a client must get them: by position, and within one by the name of the stream.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

from gateway import wire
from streams.catalog import load
from tests.support.ledger import Line, told_by
from tests.support.servers import Servers

_STREAMS = {name: number for number, name in enumerate(sorted(load("streams")))}
_PLACES = 2 * len(_STREAMS)
"""For each position; an odd one is that of an event behind which others of its position come."""
_PAGE = 2_000


class Event(NamedTuple):
    """One event, as far as it is remembered."""

    place: int
    digest: int

    @property
    def position(self) -> int:
        return self.place // _PLACES

    @staticmethod
    def of(line: Line) -> "Event":
        """Makes it of what a client has received. Raises ValueError for an id that cannot be."""
        _, position, *mark = line.id.split("-", 2)
        if mark not in ([], [line.stream]):
            raise ValueError(line.id)
        return Event(place(int(position), line.stream, bool(mark)), digest(line.data.encode()))


def place(position: int, stream: str, marked: bool = False) -> int:
    return position * _PLACES + 2 * _STREAMS[stream] + marked


def digest(data: bytes) -> int:
    """Returns 64 bits that stand for an event's data."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)


@dataclass
class Events:
    """Many events, in the order in which they came."""

    places: "array[int]" = field(default_factory=lambda: array("q"))
    digests: "array[int]" = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.places)

    def add(self, event: Event) -> None:
        self.places.append(event.place)
        self.digests.append(event.digest)

    def all(self) -> list[Event]:
        return [Event(*each) for each in zip(self.places, self.digests, strict=True)]


@dataclass
class History:
    """The Postgres log. `gaps` are positions that are missing from it, `odd` entries that are told to others than they concern."""

    epoch: str
    head: int
    channels: dict[str, Events] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    odd: list[str] = field(default_factory=list)

    @staticmethod
    async def read(servers: Servers) -> "History":
        """Reads the whole log, page by page, as it was at one moment."""
        connection = await servers.connect()
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                head = await connection.fetchrow("select epoch, position from rowcast.head order by from_position desc limit 1")
                assert head is not None
                history = History(head["epoch"], head["position"])
                shapes = {row["shape"]: row for row in await connection.fetch("select shape, relation, streams from rowcast.shape")}
                position = 0
                while rows := await connection.fetch(
                    "select *, txid::text::bigint as txid from rowcast.log where position > $1 order by position limit $2", position, _PAGE
                ):
                    for row in rows:
                        history.gaps += row["position"] - position - 1
                        position = row["position"]
                        history.add(row, shapes)
                history.gaps += history.head - position
        finally:
            await connection.close()
        return history

    def add(self, row: Any, shapes: Mapping[int, Any]) -> None:
        """Adds one row of the log."""
        try:
            sent = told_by(row, shapes)
        except AssertionError as error:
            self.odd.append(str(error))
            return
        for (channel, stream), data in sent.items():
            self.channels.setdefault(channel, Events()).add(Event(place(row["position"], stream), digest(data.encode())))
        if row["new"]:
            record = orjson.loads(row["new"][0])
            note = record.get("notes") or record.get("description") or ""
            self.notes[note.partition(" for ")[0]] += 1

    def events(self, channels: Collection[str]) -> list[Event]:
        """Returns what a connection with these channels gets, from the beginning of the log."""
        found = sorted(event for channel in channels if channel in self.channels for event in self.channels[channel].all())
        for index, (event, following) in enumerate(pairwise(found)):
            if event.position == following.position:
                found[index] = event._replace(place=event.place + 1)
        return found

    def last(self, channels: Collection[str]) -> Event:
        """Returns the last event that a connection with these channels gets; one before all others if there is none."""
        own = [self.channels[channel] for channel in channels if channel in self.channels]
        return max((Event(each.places[-1], each.digests[-1]) for each in own), default=Event(-1, 0))

    async def unlike_redis(self, redis_url: str) -> list[str]:
        """Says which channels' logs in Redis are not the end of ours, each position once; an empty list is right."""
        redis: Any = Redis.from_url(redis_url)
        async with redis:
            life = (await redis.hget(wire.META, "life")).decode()
            prefix = wire.log_prefix(self.epoch, life)
            found, checked = [], 0
            async for key in redis.scan_iter(match=f"{prefix}*", count=500):
                channel = key.decode().removeprefix(prefix)
                there = [(int(id.split(b"-")[0]), digest(fields[b"d"].split(b"\n", 1)[1])) for id, fields in await redis.xrange(key)]
                ours = self.channels.get(channel, Events())
                end = slice(len(ours) - len(there), None)
                positions = [each // _PLACES for each in ours.places[end]]
                if len(there) > len(ours) or there != list(zip(positions, ours.digests[end], strict=True)):
                    found.append(f"{channel}: {len(there)} in Redis, {len(ours)} in the log")
                checked += 1
            return found if checked else ["Redis has no log"]
