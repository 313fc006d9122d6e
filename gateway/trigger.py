"""① Replaces the triggers of one table, in one transaction that its writers hardly notice.

- Who waits for a table's lock stops all who would write behind it. So first comes a lock that stops no writer, and for which
  autovacuum makes room; under it the writers of that moment are waited for, shortly, and then those behind us are let pass.
- One table at a time: who holds one and waits for another stands in the way of a writer who does it the other way round.
- A migrator that says nothing any more, frozen or cut off, loses its session, and its locks with it.
- What the old triggers wrote gets its positions before they go, where another epoch is to begin behind it, or where only the old
  functions know whose it is.
- What was changed while triggers were not in place nobody knows: who listens is told to fetch anew.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import orjson

import sql
from gateway.bridge.listener import Connection
from gateway.capture import Capture, drop_shape, function
from gateway.column import quoted
from streams.stream import Via

IN_USE = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError)
"""What is raised when a table was not to be had in time: nothing has happened, and it may be tried again."""
_WRITERS_WAIT_MS = 200
"""For how long writers wait for us while we wait for those before them. Less than Postgres' deadlock_timeout, after which it
would be one of them that fails."""
_SILENT_SECONDS = 5


@dataclass(frozen=True)
class Installed:
    """What is there for a table: the number of its shape and its streams, as `rowcast.shape` has them."""

    shape: int
    streams: str


@dataclass(frozen=True)
class Change:
    """What is to be done for one table: `capture` is to take the place of `before`; None is nothing.

    `narrows` if somebody is to see less than they did, `missed` says why changes may have been missed, and `missing` on which streams;
    `strays` are other tables that have the table's triggers.
    """

    relation: str
    capture: Capture | None
    before: Installed | None
    narrows: bool = False
    missed: str = ""
    missing: frozenset[str] = frozenset()
    strays: tuple[str, ...] = ()

    @property
    def tables(self) -> Sequence[str]:
        """Returns the tables whose triggers change, quoted."""
        owners = [s.owner.table for s in self.capture.streams if isinstance(s.owner, Via)] if self.capture is not None else []
        return sorted({quoted(table) for table in (self.relation, *owners, *self._owners_before)} | set(self.strays))

    @property
    def _owners_before(self) -> Sequence[str]:
        feeds = orjson.loads(self.before.streams) if self.before is not None else []
        return [each["owner"]["table"] for each in feeds if isinstance(each["owner"], dict)]

    def lines(self, epoch: str = "…") -> list[str]:
        """Returns what it changes, in words."""
        if self.capture is None:
            return [f"trigger on {self.relation} removed: no stream publishes it"]
        less = f"log, epoch {epoch}: {self.relation} publishes less than before, and what was published is not replayed"
        streams = ", ".join(s.name for s in self.capture.streams)
        line = f"trigger on {self.relation} ({streams}; bell: {self.capture.notify}){' again' if self.before is not None else ''}"
        return [less, line] if self.narrows else [line]

    async def make(self, connection: Connection) -> list[str]:
        """Makes the change, and returns its lines. Raises one of IN_USE where a table is not to be had now."""
        settles = self.narrows or bool(self._owners_before)
        if settles:
            # Most of what waits gets its positions here, while nobody waits for us.
            await connection.execute("set synchronous_commit = on")
            await connection.fetch(sql.statement("advance"), None, None)
        async with _held(connection, self.tables, sequencer=settles):
            if settles:
                await connection.fetch(sql.statement("advance"), None, None)
            epoch = await self._put(connection)
        return self.lines(epoch)

    async def _put(self, connection: Connection) -> str:
        """Exchanges the triggers, and returns the epoch that begins with it, if one does."""
        before, statements = self.before, []
        if self.capture is None:
            statements.append(f"drop function if exists rowcast.{function(self.relation)}() cascade;")
        if before is not None:
            await connection.execute("update rowcast.shape set retired_at = now() where shape = $1", before.shape)
        if self.capture is not None:
            capture = self.capture
            shape = await connection.fetchval(
                "insert into rowcast.shape (relation, streams, definition) values ($1, $2, $3) returning shape",
                capture.relation,
                capture.shape,
                capture.definition,
            )
            statements.append(capture.statements(shape))
            statements.extend(f'drop trigger if exists "{name}" on {stray};' for stray in self.strays for name in _TRIGGERS)
            if self.missing and not self.narrows:
                statements.append(_tell(shape, capture, self.missed, self.missing))
        if before is not None:
            statements.append(drop_shape(before.shape, before.streams))
        await connection.execute("\n".join(statements))
        if not self.narrows:
            return ""
        return str(await connection.fetchval("select rowcast.begin_epoch('narrowed', 0)"))


_TRIGGERS = ("00_rowcast_capture", "00_rowcast_truncate")


def _tell(shape: int, capture: Capture, why: str, names: Collection[str]) -> str:
    """Returns the SQL that sends a reset to who listens to some of the table's streams."""
    broadcasts = ", ".join(f"{sql.literal(s.broadcast) if s.name in names else 'null'}::text" for s in capture.streams)
    values = f"v_id, pg_current_xact_id(), {shape}, 'F', null, null, null, null, array[{broadcasts}], null, {sql.literal(why)}, 0"
    return (
        "do $tell$ declare v_id bigint := nextval('rowcast.outbox_id'); begin"
        f" if (v_id >> {sql.LANE_BITS}) & 1 = 0 then insert into rowcast.outbox_0 values ({values}, clock_timestamp());"
        f" else insert into rowcast.outbox_1 values ({values}, clock_timestamp()); end if; end $tell$;"
    )


@asynccontextmanager
async def _held(connection: Connection, tables: Sequence[str], *, sequencer: bool) -> AsyncIterator[None]:
    """A transaction in which nobody else writes the tables, or waits for more than a moment to do so."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"set local synchronous_commit = on; set local idle_in_transaction_session_timeout = '{_SILENT_SECONDS}s'")
        await connection.execute(_GENTLY)
        held = ", ".join([row["name"] for row in await connection.fetch(_LOCKABLE, tables)])
        if held:
            await connection.execute(f"lock table {held} in share update exclusive mode")
        if sequencer:
            await connection.execute(f"select pg_advisory_xact_lock({sql.LOCK_CLASS}, {sql.SEQUENCER_LOCK})")
        await connection.execute(f"set local lock_timeout = {_WRITERS_WAIT_MS}")
        if held:
            # However many tables and partitions they are: together they may take no longer.
            await connection.execute(f"set local statement_timeout = {_WRITERS_WAIT_MS}")
            await connection.execute(f"lock table {held} in share row exclusive mode")
            await connection.execute("set local statement_timeout = 0")
        yield


_GENTLY = """
    select set_config('lock_timeout', least(5000, 1000 + s.setting::bigint)::text, true)
    from pg_settings s where s.name = 'deadlock_timeout'
"""
"""Postgres asks autovacuum to make room when its deadlock_timeout is over, and not before."""
_LOCKABLE = """
    select c.oid::regclass::text as name from unnest($1::text[]) n join pg_class c on c.oid = to_regclass(n)
    where c.relkind in ('r', 'p') order by n
"""


async def in_the_way(connection: Connection, tables: Sequence[str]) -> str:
    """Returns who has used some tables for longest, in words."""
    row = await connection.fetchrow(
        "select l.pid, coalesce(nullif(a.application_name, ''), a.backend_type) as name,"
        " extract(epoch from clock_timestamp() - a.xact_start)::int as seconds"
        " from pg_locks l left join pg_stat_activity a on a.pid = l.pid"
        " where l.granted and l.locktype = 'relation' and l.relation in (select to_regclass(n) from unnest($1::text[]) n)"
        " and l.database = (select d.oid from pg_database d where d.datname = current_database())"
        " and l.pid is distinct from pg_backend_pid() order by a.xact_start nulls first limit 1",
        tables,
    )
    if row is None:
        return "many short transactions"
    if row["pid"] is None:
        return "a prepared transaction"
    return f"process {row['pid']} ({row['name'] or 'unknown'}), whose transaction has been open for {row['seconds'] or 0} s"
