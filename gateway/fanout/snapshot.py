"""⑧ The rows that a user may see now, and the position from which the log continues them: read in one REPEATABLE READ transaction.

- Read as the user's role with their claims, so row-level security decides; whose rows they are is asked for besides.
- What is visible in the transaction's snapshot is in the rows, also what gets its position later: `seen` says which that is.
- A table that is rewritten before the transaction reads it looks empty in it: then nothing of it counts.
- What a writer did not wait to have on the disk (synchronous_commit=off) is waited for before the last page.
- A few at a time, each page when the last has left: a storm of snapshots waits here, not in Postgres.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import asyncpg
import orjson

import sql
from auth.principal import Principal
from gateway import primary
from gateway.fanout.frame import Cursor
from gateway.fanout.look import Look
from streams.stream import Owner

PAGE_ROWS = 200
_PAGE_BYTES = 128_000
_AT_ONCE = 4
_CONNECT_SECONDS = 10.0
_PAGE_SECONDS = 30.0


class SnapshotUnavailable(Exception):
    """Postgres does not answer, or does not let the role read."""


@dataclass(frozen=True)
class Seen:
    """Which transactions a Postgres snapshot sees (pg_snapshot: xmin, xmax, and those between that were open)."""

    xmin: int
    xmax: int
    open: frozenset[int]

    @staticmethod
    def parse(text: str) -> "Seen":
        """Reads `xmin:xmax:xip,xip`."""
        xmin, xmax, running = text.split(":")
        return Seen(int(xmin), int(xmax), frozenset(int(each) for each in running.split(",") if each))

    def has(self, txid: int) -> bool:
        return txid < self.xmin or (txid < self.xmax and txid not in self.open)


class Reading:
    """An open transaction: where the log stood, what was seen, and the rows."""

    def __init__(self, connection: Any, head: Mapping[str, Any], queries: Mapping[str, str]) -> None:
        self.cursor = Cursor(head["epoch"], head["position"])
        self.seen = Seen.parse(head["seen"])
        self._written = head["written"]
        self._connection = connection
        self._queries = queries

    async def pages(self, look: Look, owner: Owner) -> AsyncIterator[Sequence[str]]:
        """Yields a stream's rows through a look, as JSON, page by page. Raises SnapshotUnavailable."""
        stream, filter = look.stream, look.filter
        whose = "" if stream.claim is None else str(getattr(owner, stream.claim))
        wanted = [None if filter is None else filter.equals(column) for column in stream.exact]
        page: list[str] = []
        size = 0
        with postgres():
            async for (text,) in self._connection.cursor(
                self._queries[stream.name], whose, *wanted, prefetch=PAGE_ROWS, timeout=_PAGE_SECONDS
            ):
                if look.admits(text):
                    page.append(text.translate(BREAKS))
                    size += len(text)
                if len(page) == PAGE_ROWS or size > _PAGE_BYTES:
                    await self._look()
                    yield page
                    page, size = [], 0
            # Also before it is said that there are none.
            await self._look()
        if page:
            yield page

    async def _look(self) -> None:
        """Raises SnapshotUnavailable if a table that was read, be it by a policy, looks empty because it was written anew."""
        if await self._connection.fetchval(sql.statement("rewritten")):
            raise SnapshotUnavailable("a table was written anew meanwhile")

    async def end(self) -> None:
        """Ends the transaction, and returns when no crash can take back what it saw. Raises SnapshotUnavailable.

        Else a client would have rows that never were. And as Postgres gives numbers of lost transactions out again, others' changes would
        pass for seen.
        """
        with postgres():
            await self._connection.execute(sql.statement("snapshot_end"), self._written)
            await self._connection.execute("commit")


class Snapshots:
    """Opens them, `_AT_ONCE` at a time, and of one user one at a time. `role` is whom row-level security judges."""

    def __init__(self, database_url: str, role: str) -> None:
        self._url = database_url
        self._role = role
        self._free = asyncio.Semaphore(_AT_ONCE)
        # Else one who reads slowly on several connections has all places.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def open(self, looks: Sequence[Look], principal: Principal) -> AsyncIterator[Reading]:
        """Begins a transaction for the streams of these looks, for somebody whose claims are kept. Raises SnapshotUnavailable."""
        async with self._turns.setdefault(principal.user_id, asyncio.Lock()), self._free:
            with postgres():
                connection = await primary.connect(
                    self._url,
                    timeout=_CONNECT_SECONDS,
                    command_timeout=_PAGE_SECONDS,
                    # Works behind a transaction pooler too.
                    statement_cache_size=0,
                    server_settings={"application_name": "rowcast snapshot"},
                )
            try:
                with postgres():
                    # Not by asyncpg's: connection and transaction hold each other while it is open, and with them a TLS context of 13 kB.
                    await connection.execute("begin isolation level repeatable read read only")
                    head = await connection.fetchrow(sql.statement("snapshot_head"))
                    queries: dict[str, str] = {}
                    for table in {look.stream.table for look in looks}:
                        queries |= await stream_queries(connection, table, "snapshot")
                    await connection.execute(sql.statement("become"), self._role, principal.claims)
                if head is None or any(look.stream.name not in queries for look in looks):
                    raise SnapshotUnavailable("the streams are not installed")
                yield Reading(connection, head, queries)
            finally:
                connection.terminate()


async def stream_queries(connection: Any, table: str, name: str) -> dict[str, str]:
    """Returns one of the queries of each of a table's streams."""
    streams = await connection.fetchval(sql.statement("stream_queries"), table)
    return {each["stream"]: each["queries"][name] for each in orjson.loads(streams or "[]")}


@contextmanager
def postgres() -> Iterator[None]:
    """Turns whatever Postgres may say into SnapshotUnavailable."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise SnapshotUnavailable(f"{type(error).__name__}: {error}") from error


BREAKS = {10: 32, 13: 32}
