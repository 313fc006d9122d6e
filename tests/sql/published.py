"""A published table of a test's own, and what was captured of it: sequenced, and read as the bridge reads it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

import sql
from gateway.bridge.listener import Connection
from gateway.migrator import Plan, migrate
from streams.catalog import Catalog, load
from streams.payload import RESET, Change, Shape, deliveries
from streams.stream import Stream, Via
from tests.support.servers import MAX_BYTES, Servers

BILLS = Stream(
    name="bills",
    table="public.bill",
    columns=("id", "job_id", "note"),
    channel="bills-changes-{user_id}",
    owner=Via("job_id", table="public.job", owner="customer"),
)
"""Whose a bill is the table of jobs says."""


@dataclass
class Published:
    """A database whose triggers are installed; `position` is how far it was read."""

    servers: Servers
    connection: Connection
    position: int = 0
    shapes: dict[int, Shape] = field(default_factory=dict)

    async def execute(self, *statements: str) -> None:
        """Runs statements, each in a transaction of its own."""
        for statement in statements:
            await self.connection.execute(statement)

    async def rows(self) -> list[asyncpg.Record]:
        """Gives positions, as the sequencer does, and returns the log's rows since the last time."""
        await self.connection.fetch(sql.statement("advance"), None, None)
        found = await self.connection.fetch(sql.statement("read_log"), self.position, 100_000, 2**30)
        self.position = found[-1]["position"] if found else self.position
        return found

    async def changes(self) -> list[Change]:
        """Returns the changes since the last time."""
        return [Change.read(row) for row in await self.rows()]

    async def sent(self) -> list[tuple[str, Any]]:
        """Returns channel and data of every delivery since the last time, but those of `changes`; a reset's data is its reason."""
        found = []
        for row in await self.rows():
            shape = await self._shape(row["shape"])
            for each in deliveries(Change.read(row), shape):
                data = json.loads(each.data)
                if each.stream != "changes":
                    found.append((each.channel, data["reason"] if each.kind == RESET else data))
        return found

    async def records(self) -> list[Any]:
        """Returns type and record of every delivery since the last time."""
        return [(data["type"], data["record"]) if isinstance(data, dict) else data for _, data in await self.sent()]

    async def _shape(self, number: int) -> Shape:
        if number not in self.shapes:
            row = await self.connection.fetchrow(sql.statement("shape"), number)
            assert row is not None
            self.shapes[number] = Shape.decode(row["relation"], row["streams"])
        return self.shapes[number]


def declare(table: str, columns: str, owner: str | None = None, name: str = "odd", **more: Any) -> Stream:
    """Declares a stream: columns as words, `owner` for one of users."""
    channel = f"{name}-changes-{{user_id}}" if owner else f"{name}-changes"
    return Stream(name=name, table=table, columns=tuple(columns.split()), channel=channel, owner=owner, **more)


@asynccontextmanager
async def publishing(
    servers: Servers, create: str, *streams: Stream, notify: str = "armed", max_bytes: int = MAX_BYTES
) -> AsyncIterator[Published]:
    """Creates tables and publishes them, beside the examples where these are."""
    connection = await servers.connect(server_settings={"search_path": "public"})
    try:
        examples = await connection.fetchval("select to_regclass('public.bookings') is not null")
        if create:
            await connection.execute(create)
        await migrate(connection, Plan(Catalog([*streams, *(load("streams").values() if examples else ())]), notify, max_bytes))
        yield Published(servers, connection)
    finally:
        connection.terminate()
