"""① Installs and updates what runs inside Postgres: migrations, functions, triggers.

- One migrator at a time. The schema is one transaction, and each table's triggers are another: what was done before an error, or
  before a `kill -9`, is whole, stays, and is not done again.
- What has not changed is not touched: a trigger is replaced only when its declaration, or itself, is not as it should be.
- What is wrong with a declaration is said before anything is done.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

import sql
from gateway import difference, schema, trigger
from gateway.bridge.listener import Connection
from gateway.capture import Capture, needed
from gateway.column import Column, quoted
from gateway.difference import in_place
from gateway.settings import Settings
from gateway.trigger import IN_USE
from streams.catalog import Catalog
from streams.filter import KINDS
from streams.stream import EVERY_TABLE, Stream, Via

__all__ = ["MigrateError", "Plan", "captures", "in_place", "installed", "migrate", "next_shape"]

_ATTEMPTS = 20
_PAUSES_SECONDS = (0.25, 0.5, 1.0, 2.0)
"""Between attempts at a table that is in use, the last again and again: those who waited behind us pass."""
_TURN_SECONDS = 120.0
_SILENT_SECONDS = 10

log = structlog.get_logger()


class MigrateError(Exception):
    """Postgres is not as the declarations say."""


@dataclass(frozen=True)
class Plan:
    """Whatever `migrate` needs to know: the declared streams, how to ring, how large a row may be."""

    catalog: Catalog
    notify: str
    max_bytes: int

    @staticmethod
    def of(settings: Settings, catalog: Catalog) -> "Plan":
        return Plan(catalog, settings.notify, settings.max_event_bytes)


async def migrate(connection: Connection, plan: Plan, *, examples: bool = False, dry_run: bool = False) -> list[str]:
    """Brings the database to what `plan` says and returns a line for each thing changed; with `dry_run` nothing stays.

    Raises MigrateError, naming it, for a table or column that does not exist, for one that is in use for too long, and for a
    database of a newer release.
    """
    async with _alone(connection):
        for attempt in range(_ATTEMPTS):
            try:
                changed, changes = await _prepare(connection, plan, examples, dry_run)
                break
            except IN_USE as error:
                if attempt == _ATTEMPTS - 1:
                    raise MigrateError("the tables of Rowcast are in use by another transaction: run it again when it has ended") from error
                await _pause(attempt)
        if dry_run:
            return [*changed, *(line for change in changes for line in change.lines())]
        return [*changed, *await _make(connection, changes)]


async def _make(connection: Connection, changes: Sequence[trigger.Change]) -> list[str]:
    """Makes changes, those first whose tables are to be had."""
    lines: dict[str, list[str]] = {}
    waiting = changes
    for attempt in range(_ATTEMPTS):
        left = []
        for change in waiting:
            try:
                lines[change.relation] = await change.make(connection)
            except IN_USE:
                left.append(change)
        waiting = left
        if not waiting:
            return [line for change in changes for line in lines[change.relation]]
        if attempt in (0, _ATTEMPTS // 2):
            for change in waiting:
                log.warning(
                    "a table is in use: waiting for its turn", table=change.relation, by=await trigger.in_the_way(connection, change.tables)
                )
        if attempt < _ATTEMPTS - 1:
            await _pause(attempt)
    names = ", ".join(change.relation for change in waiting)
    raise MigrateError(
        f"{names} is in use by {await trigger.in_the_way(connection, waiting[0].tables)}: run it again when that has ended;"
        f" {len(lines)} of {len(changes)} tables are done, and stay so"
    )


async def _pause(attempt: int) -> None:
    await asyncio.sleep(_PAUSES_SECONDS[min(attempt, len(_PAUSES_SECONDS) - 1)])


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[None]:
    """Waits until no other migrator is at work. Raises MigrateError for one that does not end."""
    lock = f"{sql.LOCK_CLASS}, {sql.MIGRATE_LOCK}"
    started, told = time.monotonic(), False
    while not await connection.fetchval(f"select pg_try_advisory_lock({lock})"):
        if time.monotonic() - started > _TURN_SECONDS:
            raise MigrateError("another `rowcast migrate` is at work and does not end: look for it in pg_stat_activity")
        if not told:
            told = True
            log.info("another migration is at work: waiting for it")
        await asyncio.sleep(0.1)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(f"select pg_advisory_unlock({lock})")


async def _prepare(connection: Connection, plan: Plan, examples: bool, dry_run: bool) -> tuple[list[str], list[trigger.Change]]:
    """Brings the schema up to date, and returns what that changed, and what is to be changed of the triggers."""
    transaction = connection.transaction(isolation="read_committed")
    await transaction.start()
    try:
        await connection.execute(
            "set local synchronous_commit = on; set local lock_timeout = '200ms';"
            f" set local idle_in_transaction_session_timeout = '{_SILENT_SECONDS}s'"
        )
        changed = [
            *await _number(connection),
            *await _functions(connection),
            *(await _examples(connection) if examples else []),
        ]
        changes = await difference.changes(connection, await captures(connection, plan))
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if dry_run else transaction.commit())
    return changed, changes


async def installed(connection: Connection) -> bool:
    """Says whether a migration has ever run here."""
    return bool(await connection.fetchval("select to_regclass('rowcast.migration') is not null"))


async def next_shape(connection: Connection) -> int:
    """Returns the number that the next new shape will have."""
    if not await installed(connection):
        return 1
    return int(await connection.fetchval("select coalesce(max(shape), 0) + 1 from rowcast.shape"))


async def captures(connection: Connection, plan: Plan) -> list[Capture]:
    """Returns what each declared table needs. Raises MigrateError for tables and columns that are not there."""
    found = []
    for relation, streams in plan.catalog.by_table().items():
        columns = await _columns(connection, relation)
        # A stream of every table has the columns of the others: what is wrong is wrong with those.
        own = [s for s in streams if plan.catalog[s.name].table != EVERY_TABLE]
        names = ", ".join(s.name for s in own)
        if not columns:
            raise MigrateError(
                f"table {relation} (stream {names}) does not exist: create it first, or set ROWCAST_STREAMS to your own declarations,"
                " or install the example tables with `rowcast migrate --examples`"
            )
        kind = await connection.fetchval("select relkind::text from pg_class where oid = to_regclass($1)", quoted(relation))
        if kind not in ("r", "p", "f"):
            raise MigrateError(f"{relation} (stream {names}) is no table: what changes in a view cannot be captured")
        if children := await _children(connection, relation):
            raise MigrateError(
                f"{', '.join(children)} inherit from {relation} (stream {names}): their rows are read with its own, and its triggers are"
                " not theirs; make it a partitioned table, or declare them apart"
            )
        for stream in own:
            wanted = needed(stream)
            if missing := [c for c in wanted if c not in columns]:
                raise MigrateError(f"stream {stream.name}: table {relation} has no column {', '.join(missing)}")
            if virtual := [c for c in wanted if columns[c].virtual]:
                raise MigrateError(
                    f"stream {stream.name}: column {', '.join(virtual)} of {relation} is generated when it is read: make it STORED"
                )
            _check_filters(stream, columns)
        beside = {s.owner.table: await _beside(connection, s.name, s.owner) for s in streams if isinstance(s.owner, Via)}
        found.append(Capture(relation, tuple(streams), columns, plan.notify, plan.max_bytes, beside))
    return found


async def _children(connection: Connection, relation: str) -> Sequence[str]:
    """Returns the tables that inherit from one and are no partitions of it."""
    rows = await connection.fetch(
        "select i.inhrelid::regclass::text as child from pg_inherits i join pg_class c on c.oid = i.inhparent"
        " where c.oid = to_regclass($1) and c.relkind <> 'p' order by 1",
        quoted(relation),
    )
    return [row["child"] for row in rows]


async def _beside(connection: Connection, stream: str, owner: Via) -> Mapping[str, Column]:
    columns = await _columns(connection, owner.table)
    for name in (owner.key, owner.owner):
        if name not in columns:
            raise MigrateError(f"stream {stream}: its owner is in {owner.table}, and there is no column {name}")
    if children := await _children(connection, owner.table):
        raise MigrateError(
            f"stream {stream}: its owner is in {owner.table}, and {', '.join(children)} inherit from it: nobody hears of their changes"
        )
    return columns


def _check_filters(stream: Stream, columns: Mapping[str, Column]) -> None:
    for name, kind in stream.filters.items():
        column = columns[name]
        if not (column.type in KINDS[kind].types if column.builtin else kind == "enum"):
            raise MigrateError(f"stream {stream.name}: column {name} is {column.type}, and cannot be filtered as {kind}")


async def _number(connection: Connection) -> list[str]:
    await connection.execute("create schema if not exists rowcast")
    await connection.execute(
        "create table if not exists rowcast.migration"
        " (number integer primary key, name text not null, applied_at timestamptz not null default now());"
        "create table if not exists rowcast.installed (name text primary key, definition text not null)"
    )
    applied = {row["number"] for row in await connection.fetch("select number from rowcast.migration")}
    if max(applied, default=0) > schema.newest():
        raise MigrateError(
            f"a newer Rowcast has brought the database to migration {max(applied)}, and this one knows {schema.newest()}:"
            " run `rowcast migrate` of the newer one"
        )
    changed = []
    for number, name, text in sql.migrations():
        if number not in applied:
            await connection.execute(text)
            await connection.execute("insert into rowcast.migration (number, name) values ($1, $2)", number, name)
            changed.append(f"migration {name}")
    return changed


async def _functions(connection: Connection) -> list[str]:
    text = sql.functions()
    if text == await connection.fetchval("select definition from rowcast.installed where name = 'functions'"):
        return []
    await connection.execute(text)
    await connection.execute(
        "insert into rowcast.installed values ('functions', $1) on conflict (name) do update set definition = excluded.definition", text
    )
    changed = ["functions"]
    if not await connection.fetchval("select exists (select from rowcast.head)"):
        # Before there is a trigger: nobody waits for these.
        await connection.execute("select rowcast.identify('rowcast.outbox_0'), rowcast.identify('rowcast.outbox_1')")
        epoch = await connection.fetchval("select rowcast.begin_epoch('installed', 0)")
        await connection.execute("select rowcast.open_segment()")
        changed.append(f"log, epoch {epoch}")
    else:
        # A log of before has none that is made ahead.
        await connection.execute("select rowcast.attach_segment(max(segment) + 1) from rowcast.segment having count(*) > 0")
    return changed


_EXAMPLES = (
    ("to_regclass('public.bookings')", "example/homeser.sql", "example tables: users, services, bookings"),
    (
        "to_regclass('public.payments')",
        "example/homeser_besides.sql",
        "example tables: payments, availability, notifications, system_notices",
    ),
    ("to_regclass('public.properties')", "example/acquire.sql", "example tables: properties, saved_searches, property_alerts"),
    ("to_regnamespace('rls')", "rls.sql", "row-level security of the example tables"),
)
"""What is there where a part is installed, its file, its line. A database of an earlier version gets the parts that it lacks."""


async def _examples(connection: Connection) -> list[str]:
    changed = []
    for there, name, line in _EXAMPLES:
        if not await connection.fetchval(f"select {there} is not null"):
            await connection.execute(sql.text(name))
            changed.append(line)
    return changed


async def _columns(connection: Connection, relation: str) -> Mapping[str, Column]:
    rows = await connection.fetch(
        "select a.attname, t.typname, t.typnamespace = 'pg_catalog'::regnamespace as builtin, a.attgenerated = 'v' as virtual,"
        " (select n.nspname from pg_namespace n where n.oid = t.typnamespace) as schema"
        " from pg_attribute a join pg_type t on t.oid = a.atttypid"
        " where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum",
        quoted(relation),
    )
    return {row["attname"]: Column(row["typname"], row["builtin"], row["virtual"], row["schema"]) for row in rows}
