"""⑧ Cold replay: reads the Postgres log by channel, for cursors that Redis no longer covers.

- A small pool and a bounded wait: a storm of old cursors waits here, not in Postgres.
- The bounds come from the snapshot of the entries, so a segment that is dropped meanwhile is noticed and never a hole.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

import sql
from gateway.fanout.pool import Pool
from gateway.wire import Entry
from streams.payload import Change, Shape, deliveries

_BYTES = 256_000
_TIMEOUT_SECONDS = 10.0
_PING_SECONDS = 2.0


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


class Archive:
    """Reads the log. Opened lazily: a web process that never needs it never connects."""

    def __init__(self, database_url: str) -> None:
        self._pool = Pool(database_url, "rowcast archive", _TIMEOUT_SECONDS)
        self._shapes: dict[int, Shape] = {}
        self._ping: asyncio.Task[list[asyncpg.Record]] | None = None

    async def close(self) -> None:
        if self._ping is not None:
            self._ping.cancel()
        await self._pool.close()

    async def alive(self) -> bool:
        """Says whether Postgres answers."""
        if self._ping is None:
            self._ping = asyncio.create_task(self._fetch("ping"))
            self._ping.add_done_callback(self._pinged)
        # Not cancelled: asyncpg would take its own time to give the connection back.
        done, _ = await asyncio.wait({self._ping}, timeout=_PING_SECONDS)
        return bool(done) and all(each.exception() is None for each in done)

    def _pinged(self, ping: asyncio.Task[list[asyncpg.Record]]) -> None:
        self._ping = None
        if not ping.cancelled():
            # Looked at, whoever waits for it.
            ping.exception()

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

    async def _shape(self, number: int) -> Shape:
        row = (await self._fetch("shape", number))[0]
        shape = self._shapes[number] = Shape.decode(row["relation"], row["streams"])
        return shape

    async def _fetch(self, name: str, *args: Any) -> list[asyncpg.Record]:
        try:
            async with self._pool.acquire() as connection:
                rows: list[asyncpg.Record] = await connection.fetch(sql.statement(name), *args, timeout=_TIMEOUT_SECONDS)
                return rows
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
            raise ArchiveUnavailable from error
