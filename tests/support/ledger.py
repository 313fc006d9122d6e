"""An independent checker: what the log says, what Redis has, and what each client received must be one and the same.

- It knows the log's rows and their channel arrays. Of cursors, pages, buffers and repairs it knows nothing.
- A reader lives from one `fresh` or `reset` to the next: within one life it must have received exactly what lies after the
  id that it began with, each event once, in order, with the data and the id that the log calls for.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import orjson
from redis.asyncio import Redis

from gateway import wire
from streams.payload import Change, Shape, deliveries
from tests.support import sse
from tests.support.gateway import until
from tests.support.servers import Servers

_CHANNELS = {
    "bookings": "bookings-changes-{sub}",
    "provider-bookings": "provider-bookings-changes-{sub}",
    "services": "services-changes",
}


class Line(NamedTuple):
    """One event as a client must get it."""

    id: str
    stream: str
    data: str

    @property
    def position(self) -> int:
        return int(self.id.split("-")[1])


@dataclass
class Ledger:
    """The Postgres log: epoch, head, who gets what at each position, and how many rows carry each note."""

    epoch: str
    head: int
    entries: dict[int, dict[tuple[str, str], str]]
    notes: Counter[str]

    @staticmethod
    async def read(servers: Servers, after: int = 0) -> "Ledger":
        """Reads the log, or what lies after a position, as of one moment. Fails if a position is missing, or if what is sent
        contradicts the rows' channel arrays.
        """
        connection = await servers.connect()
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                head_row = await connection.fetchrow("select epoch, position from rowcast.head order by from_position desc limit 1")
                shapes = {row["shape"]: row for row in await connection.fetch("select shape, relation, streams from rowcast.shape")}
                rows = await connection.fetch(
                    "select *, txid::text::bigint as txid from rowcast.log where position > $1 order by position", after
                )
        finally:
            await connection.close()
        epoch, head = head_row or ("", 0)
        assert [row["position"] for row in rows] == list(range(head - len(rows) + 1, head + 1)), "the log has a hole"
        assert not after or head - len(rows) == after, f"the log begins at {head - len(rows) + 1}, and is asked for what is after {after}"
        entries: dict[int, dict[tuple[str, str], str]] = {}
        notes: Counter[str] = Counter()
        for row in rows:
            told = told_by(row, shapes)
            entries[row["position"]] = told
            if row["new"]:
                record = orjson.loads(row["new"][0])
                notes[record.get("notes") or record.get("description") or ""] += 1
        return Ledger(epoch, head, entries, notes)

    def lines(self, channels: Collection[str], after: int = 0) -> list[Line]:
        """Returns what a connection with these channels gets after a position."""
        found = []
        for position, told in self.entries.items():
            mine = sorted((stream, data) for (channel, stream), data in told.items() if channel in channels)
            for index, (stream, data) in enumerate(mine):
                if position > after:
                    mark = "" if index == len(mine) - 1 else f"-{stream}"
                    found.append(Line(f"{self.epoch}-{position}{mark}", stream, data))
        return found

    async def check_redis(self, servers: Servers) -> None:
        """Waits until Redis is at the head, and fails unless each channel's log there is the end of what ours has, each position once."""
        redis: Any = Redis.from_url(servers.redis_url)
        async with redis:

            async def at_head() -> bool:
                epoch, position = await redis.hmget(wire.META, "epoch", "position")
                return epoch == self.epoch.encode() and int(position) == self.head

            await until(at_head)
            life = (await redis.hget(wire.META, "life")).decode()
            prefix = wire.log_prefix(self.epoch, life)
            checked = 0
            async for key in redis.scan_iter(match=f"{prefix}*"):
                channel = key.decode().removeprefix(prefix)
                there = [(int(id.split(b"-")[0]), fields[b"d"].split(b"\n", 1)[1].decode()) for id, fields in await redis.xrange(key)]
                ours = [(p, d) for p, told in self.entries.items() for (each, _), d in told.items() if each == channel]
                assert there == ours[-len(there) :], f"{channel}: Redis has {[p for p, _ in there]}, the log {[p for p, _ in ours]}"
                checked += 1
            assert checked


def told_by(row: Any, shapes: Mapping[int, Any]) -> dict[tuple[str, str], str]:
    """Returns what a row of the log is to each channel and stream. Fails if that contradicts the row's channel arrays."""
    shape, names = _decoded(shapes[row["shape"]]["relation"], shapes[row["shape"]]["streams"])
    arrays = [each for each in (row["new_channels"], row["old_channels"]) if each]
    concerned = {(channel, names[index]) for each in arrays for index, channel in enumerate(each) if channel}
    sent = deliveries(Change.read(dict(row) | {"txid": int(row["txid"])}), shape)
    told = {(each.channel, each.stream): each.data.decode() for each in sent}
    op = row["op"].decode()
    assert told.keys() == concerned, f"position {row['position']} ({op}) goes to {sorted(told)}, and concerns {sorted(concerned)}"
    return told


@lru_cache
def _decoded(relation: str, streams: str) -> tuple[Shape, list[str]]:
    """Returns a shape, and the streams at the places of its rows' channel arrays."""
    return Shape.decode(relation, streams), [feed["stream"] for feed in orjson.loads(streams)]


class Door(Protocol):
    """Where streams are opened: a web process, or several behind one address."""

    async def open(self, streams: str, sub: object, role: str | None, since: str | None, **claims: Any) -> sse.Stream:
        """Opens streams as a user, after an id. Raises OSError or EOFError for one that is to be asked for again."""


@dataclass
class Life:
    """What a reader received since it began afresh at a position."""

    after: int
    lines: list[Line] = field(default_factory=list)


class Reader:
    """A client that keeps its last id, comes back with it whenever it is cut, and writes down all that it receives.

    `patience` are the least and the most seconds until it cuts the connection itself; None holds on to it.
    """

    def __init__(self, web: Door, streams: str, sub: int, patience: tuple[float, float] | None = None, since: str | None = None) -> None:
        self.streams, self.sub = streams, sub
        self.channels = {_CHANNELS[name].format(sub=sub) for name in streams.split(",")}
        self.lives: list[Life] = []
        self.statuses: list[str] = []
        self.resets: list[str] = []
        self.last_id = since
        self._web = web
        self._patience = patience
        self._task: asyncio.Task[None] | None = None
        self._stream: sse.Stream | None = None
        self._stopped = False

    def __repr__(self) -> str:
        return f"reader of {self.streams} as {self.sub}"

    @property
    def lines(self) -> list[Line]:
        """What the present life has received."""
        return self.lives[-1].lines if self.lives else []

    async def run(self) -> None:
        """Reads until stopped."""
        self._task = asyncio.current_task()
        while not self._stopped:
            try:
                stream = await self._web.open(self.streams, self.sub, None, self.last_id, roles=["customer", "provider"])
            except (OSError, EOFError):
                await asyncio.sleep(0.05)
                continue
            self._stream = stream
            try:
                async with asyncio.timeout(random.uniform(*self._patience) if self._patience else None):
                    while not self._stopped:
                        self._take(await stream.next(3600))
            except (EOFError, OSError):
                pass
            finally:
                self._stream = None
                stream.abort()

    def stop(self) -> None:
        """Leaves, wherever the reader is: a connection that is just being opened is closed when it is open."""
        self._stopped = True
        if self._stream is not None and self._task is not None:
            self._task.cancel()

    def _take(self, event: sse.Event) -> None:
        if event.name == "reconnect" and not self.lives:
            return
        if event.name == "ready":
            self.statuses.append(event.data["status"])
            if event.data["status"] == "resumed" and self.lives:
                assert event.id == self.last_id, f"came back with {self.last_id} and goes on from {event.id}"
        if event.name == "reset":
            self.resets.append(event.data["reason"])
        if event.name == "reset" or not self.lives or (event.name == "ready" and event.data["status"] != "resumed"):
            self.lives.append(Life(event.position))
        if not event.control:
            self.lines.append(Line(event.id, event.name, event.raw))
        self.last_id = event.id

    def faults(self, ledger: Ledger) -> list[str]:
        """Says what is wrong with what was received; an empty list is right."""
        found = []
        for number, life in enumerate(self.lives):
            expected = ledger.lines(self.channels, life.after)
            if number < len(self.lives) - 1:
                expected = [line for line in expected if life.lines and line.position <= life.lines[-1].position]
            if life.lines != expected:
                found.append(f"{self}, after {life.after}: {_difference(life.lines, expected)}")
        return found


def _difference(received: list[Line], expected: list[Line]) -> str:
    missing = [line.id for line in expected if line not in set(received)]
    strange = [line.id for line in received if line not in set(expected)]
    doubled = [line.id for line, count in Counter(received).items() if count > 1]
    return f"{len(expected)} expected, {len(received)} received; missing {missing[:9]}, doubled {doubled[:9]}, strange {strange[:9]}"


@asynccontextmanager
async def reading(readers: Iterable[Reader]) -> AsyncIterator[None]:
    """Lets readers read, once each of them is joined; a reader that stumbles fails the test."""
    given = list(readers)
    async with asyncio.TaskGroup() as group:
        for reader in given:
            group.create_task(reader.run())
        await until(lambda: all(reader.statuses for reader in given))
        try:
            yield
        finally:
            for reader in given:
                reader.stop()


async def agreed(servers: Servers, readers: Collection[Reader], within: float = 20) -> tuple[Ledger, list[str]]:
    """Waits until all that is committed has a position and each reader has the last event meant for it; returns the faults."""
    connection = await servers.connect()
    try:
        await until(lambda: _sequenced(connection), within)
    finally:
        await connection.close()
    ledger = await Ledger.read(servers)
    last = {reader: [line.id for line in ledger.lines(reader.channels)[-1:]] for reader in readers}
    with contextlib.suppress(TimeoutError):
        await until(lambda: all([reader.last_id] == ids or not ids for reader, ids in last.items()), within)
    return ledger, [fault for reader in readers for fault in reader.faults(ledger)]


async def _sequenced(connection: Any) -> bool:
    """Whether no committed change is without a position."""
    statement = """select not exists (
        select id from rowcast.outbox_0 union all select id from rowcast.outbox_1 except select outbox_id from rowcast.log)"""
    return bool(await connection.fetchval(statement))
