"""⑧ Row-level security judges each delivery of a stream that asks for it: does this user see the row, now?

- Asked as the user's role with their claims, for all rows of a page at once. An error of a policy is a no, if it says so again.
- A row is told only as it is now: what it was before cannot be judged any more, and of that there is the key alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import structlog

import sql
from gateway.fanout.page import Page
from gateway.fanout.pool import Pool
from gateway.fanout.snapshot import BREAKS, SnapshotUnavailable, postgres, stream_queries
from gateway.fanout.subscriber import Subscriber
from gateway.wire import Entry
from streams import format as formats
from streams.payload import RESET
from streams.stream import Stream

_SECONDS = 10.0
_PASSING = ("08", "40", "53", "55", "57", "58")
"""Classes of errors that are not a policy's: connection, deadlock, resources, object not ready, intervention, system."""

log = structlog.get_logger()


class Judge:
    """Asks Postgres as `role`. Opened lazily: without such a stream it never connects."""

    def __init__(self, database_url: str, role: str) -> None:
        self._role = role
        self._pool = Pool(database_url, "rowcast judge", _SECONDS)

    async def close(self) -> None:
        await self._pool.close()

    async def judged(self, subscriber: Subscriber, page: Page) -> Page:
        """Returns a page as its reader may see it. Raises SnapshotUnavailable."""
        entries: list[Entry | None] = list(page.entries)
        for look in subscriber.looks:
            if look.stream.rls:
                mine = [number for number, entry in enumerate(page.entries) if entry.stream == look.stream.name and entry.kind != RESET]
                rows = {number: formats.members(page.entries[number].data.decode()) for number in mine}
                asked = [number for number in mine if page.entries[number].kind != "DELETE"]
                keys = [formats.key_of(rows[number]["record"], look.stream.key) for number in asked]
                seen = await self._visible(look.stream, keys, subscriber.principal.claims) if keys else {}
                visible = {number: seen.get(index) for index, number in enumerate(asked, 1)}
                for number in mine:
                    entries[number] = _shown(page.entries[number], rows[number], look.stream, visible.get(number))
        return replace(page, entries=[entry for entry in entries if entry is not None])

    async def _visible(self, stream: Stream, keys: Sequence[str], claims: str) -> dict[int, str]:
        with postgres():
            async with self._pool.acquire() as connection:
                return await self._ask(connection, stream, keys, claims)

    async def _ask(self, connection: Any, stream: Stream, keys: Sequence[str], claims: str) -> dict[int, str]:
        query = (await stream_queries(connection, stream.table, "visible")).get(stream.name)
        if query is None:
            raise SnapshotUnavailable("the stream is not installed")
        for last in (False, True):
            # Whatever the server's default is: the second question is to have a snapshot of its own.
            async with connection.transaction(isolation="read_committed", readonly=True):
                await connection.execute(sql.statement("become"), self._role, claims)
                try:
                    await self._lock(connection, query, keys)
                    return {row["number"]: row["row"] for row in await connection.fetch(query, list(keys))}
                except asyncpg.PostgresError as error:
                    if (error.sqlstate or "").startswith(_PASSING):
                        raise
                    # The first may be that of a function which found such a table empty as `_lock` tells of.
                    if last:
                        log.warning("a policy has failed, and that means no", stream=stream.name, error=str(error))
        return {}

    async def _lock(self, connection: Any, query: str, keys: Sequence[str]) -> None:
        """Locks what is read, to the end of the transaction.

        A table that a policy's function reads, and that is written anew (ALTER TABLE) while the function waits for it, looks empty to the
        waiting statement, be it a table of those to whom something is forbidden. The next statement's snapshot is younger than any such.
        """
        await connection.fetch(query, list(keys))


def _shown(entry: Entry, raw: formats.Members, stream: Stream, now: str | None) -> Entry | None:
    """Returns what is told of a change, where `now` is the row as its reader sees it, if they do.

    Of a row that they do not see, only that it has left; of one that has changed since, only its key, for what it is comes later.
    """
    if entry.kind == "DELETE":
        return _as(entry, "DELETE", formats.before_unknown(raw, stream.key))
    if now is None:
        return _as(entry, "DELETE", formats.gone(raw, stream.key)) if entry.kind == "UPDATE" else None
    if formats.members(now.translate(BREAKS)) != formats.members(raw["record"]):
        return _as(entry, entry.kind, formats.key_alone(raw, stream.key))
    return entry if entry.kind == "INSERT" else _as(entry, "UPDATE", formats.before_unknown(raw, stream.key))


def _as(entry: Entry, kind: str, data: bytes) -> Entry:
    return replace(entry, kind=kind, data=data, frames={}, seen=None, apart=None)
