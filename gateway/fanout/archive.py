"""⑧ Cold replay: reads the Postgres log by channel, for cursors that Redis no longer covers.

- A small pool and a bounded wait: a storm of old cursors waits here, not in Postgres.
- The bounds come from the snapshot of the entries, so a segment that is dropped meanwhile is noticed and never a hole.
- What admins ask besides is asked the same way: what is at a position, and how much waits for one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg

import sql
from gateway.fanout.pool import Pool
from gateway.wire import Entry
from streams.payload import Change, Shape, deliveries

_BYTES = 256_000
_TIMEOUT_SECONDS = 10.0
_SOON_SECONDS = 2.0


class ArchiveUnavailable(Exception):
    """Postgres does not answer."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The oldest position kept, the newest, the epoch, and the last position of the epoch before."""

    earliest: int
    head: int
    epoch: str
    after_position: int


@dataclass(frozen=True, slots=True)
class ArchivePage:
    """Entries in order of position, complete up to `through`."""

    bounds: Bounds
    entries: Sequence[Entry]
    through: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the log has at a position, and what its arrays mean; None where there is nothing."""

    bounds: Bounds
    change: Change | None
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class Outbox:
    """Committed changes that have no position yet, and for how long the oldest has waited."""

    depth: int
    oldest_seconds: float


class Archive:
    """Reads the log. Opened lazily: a web process that never needs it never connects."""

    def __init__(self, database_url: str) -> None:
        self._pool = Pool(database_url, "rowcast archive", _TIMEOUT_SECONDS)
        self._shapes: dict[int, Shape] = {}
        self._asking: dict[str, asyncio.Task[list[asyncpg.Record]]] = {}

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await self._pool.close()

    async def alive(self) -> bool:
        """Says whether Postgres answers."""
        return await self._soon("ping", partial(self._fetch, "ping")) is not None

    async def outbox(self) -> Outbox | None:
        """Says how much waits for a position; None while Postgres does not answer, or cannot count it in time."""
        rows = await self._soon("outbox", self._count_outbox)
        return Outbox(rows[0]["depth"], round(rows[0]["oldest_seconds"], 3)) if rows else None

    async def _soon(self, name: str, ask: Callable[[], Coroutine[Any, Any, list[asyncpg.Record]]]) -> list[asyncpg.Record] | None:
        """Returns an answer, or None if there is none soon; those who ask for the same meanwhile share it."""
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(ask())
            task.add_done_callback(partial(self._answered, name))
        # Not cancelled: asyncpg would take its own time to give the connection back.
        done, _ = await asyncio.wait({task}, timeout=_SOON_SECONDS)
        return task.result() if done and task.exception() is None else None

    def _answered(self, name: str, task: asyncio.Task[list[asyncpg.Record]]) -> None:
        del self._asking[name]
        if not task.cancelled():
            # Looked at, whoever waits for it.
            task.exception()

    async def bounds(self) -> Bounds:
        """Raises ArchiveUnavailable."""
        row = (await self._fetch("bounds"))[0]
        return Bounds(row["earliest"], row["position"], row["epoch"], row["after_position"])

    async def read(self, channels: Sequence[str], after: int, limit: int) -> ArchivePage:
        """Returns what the channels had after a position, `limit` positions at most. Raises ArchiveUnavailable."""
        rows = await self._fetch("read_channels", list(channels), after, limit, _BYTES)
        first = rows[0]
        bounds = Bounds(first["earliest"], first["head"], first["epoch"], first["after_position"])
        wanted = frozenset(channels)
        entries: list[Entry] = []
        rows = [row for row in rows if row["position"] is not None]
        for row in rows:
            shape = self._shapes.get(row["shape"]) or await self._shape(row["shape"])
            entries += (
                Entry(d.channel, row["position"], 0, bounds.epoch, d.stream, d.kind, row["txid"], d.later, d.data)
                for d in deliveries(Change.read(row), shape, wanted)
                if d.channel in wanted
            )
        cut = first["found"] == limit or len(rows) < first["found"]
        return ArchivePage(bounds, entries, rows[-1]["position"] if cut and rows else bounds.head)

    async def find(self, position: int) -> Found:
        """Returns what the log has at a position. Raises ArchiveUnavailable."""
        row = (await self._fetch("read_position", position))[0]
        bounds = Bounds(row["earliest"], row["head"], row["epoch"], row["after_position"])
        if row["position"] is None:
            return Found(bounds, None, None)
        return Found(bounds, Change.read(row), self._shapes.get(row["shape"]) or await self._shape(row["shape"]))

    async def _shape(self, number: int) -> Shape:
        row = (await self._fetch("shape", number))[0]
        shape = self._shapes[number] = Shape.decode(row["relation"], row["streams"])
        return shape

    async def _fetch(self, name: str, *args: Any) -> list[asyncpg.Record]:
        async with self._connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(sql.statement(name), *args, timeout=_TIMEOUT_SECONDS)
            return rows

    async def _count_outbox(self) -> list[asyncpg.Record]:
        async with self._connection() as connection, connection.transaction(readonly=True):
            await connection.execute(sql.statement("hurry"), str(round(_SOON_SECONDS * 1000)))
            rows: list[asyncpg.Record] = await connection.fetch(sql.statement("outbox"))
            return rows

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        try:
            async with self._pool.acquire() as connection:
                yield connection
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
            raise ArchiveUnavailable from error
