"""③ Gives every committed change a position: the step is one statement in Postgres, this is what calls it.

- A change is new if it is visible now and was not in the snapshot of the head. That is exact: no cursor over ids, no horizon.
- An idle look is one read-only statement; its snapshot, in which there was nothing, is where the next look begins.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

import sql
from gateway.bridge.listener import INDEXED, Connection, connected

_TIMEOUTS_SECONDS = {"head_snapshot": 10.0, "waiting": 10.0, "advance": 900.0}
"""A look is short, so a connection that has gone silent is noticed; a step may have millions of changes to move."""


class Sequencer:
    """Moves what is visible in the outbox to the log. One connection; harmless if two run at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._position: int | None = None
        self._seen: str | None = None
        self._busy = False

    @staticmethod
    @asynccontextmanager
    async def open(url: str) -> AsyncIterator["Sequencer"]:
        """Connects, and disconnects at the end."""
        async with connected(url, "sequencer", **INDEXED) as connection:
            yield Sequencer(connection)

    async def step(self) -> int:
        """Sequences all that is visible, and returns how many changes that were."""
        if self._seen is None:
            self._position, self._seen = await self._row("head_snapshot")
        if not self._busy:
            waiting, seen = await self._row("waiting", self._seen)
            if not waiting:
                self._seen = seen
                return 0
        _, self._position, moved, self._seen = await self._row("advance", self._position, self._seen)
        # Where one step found something the next is likely to: it saves the look.
        self._busy = moved > 0
        return int(moved)

    async def history(self) -> str:
        """Returns whose log this is: which cluster, and which of its timelines."""
        return str(await self._connection.fetchval(sql.statement("history")))

    async def reclaim(self) -> bool:
        """Empties the lane of the outbox that is not being filled, if it can be done without waiting for anybody."""
        return bool(await self._connection.fetchval("select rowcast.reclaim()"))

    async def _row(self, name: str, *args: object) -> asyncpg.Record:
        row = await self._connection.fetchrow(sql.statement(name), *args, timeout=_TIMEOUTS_SECONDS[name])
        assert row is not None
        return row
