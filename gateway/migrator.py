"""① Installs and updates what runs inside Postgres: migrations, functions, triggers.

- One transaction under an advisory lock: all of it or nothing, and a second migrator finds nothing left to do.
- What has not changed is not touched: a trigger is replaced only when its declaration, or itself, is not as it should be.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

import sql
from gateway.bridge.listener import Connection
from gateway.capture import Capture, drop_shape, function, needed
from gateway.column import Column, quoted
from gateway.settings import Settings
from streams.catalog import Catalog
from streams.filter import KINDS
from streams.stream import EVERY_TABLE, Stream, Via


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

    Raises MigrateError, naming it, for a table or column that does not exist, and for one that is locked for too long.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _attempt(connection, plan, examples, dry_run)
        except asyncpg.LockNotAvailableError:
            # Whoever waits for a table's lock stops all writers behind it: wait shortly, and let them pass.
            await asyncio.sleep(_PAUSE_SECONDS)
    try:
        return await _attempt(connection, plan, examples, dry_run)
    except asyncpg.LockNotAvailableError as error:
        raise MigrateError("another transaction keeps a published table locked: try again when it has ended") from error


_ATTEMPTS = 20
_PAUSE_SECONDS = 0.5


async def _attempt(connection: Connection, plan: Plan, examples: bool, dry_run: bool) -> list[str]:
    transaction = connection.transaction(isolation="read_committed")
    await transaction.start()
    try:
        await connection.execute("set local synchronous_commit = on")
        await connection.execute(f"select pg_advisory_xact_lock({sql.LOCK_CLASS}, {sql.MIGRATE_LOCK})")
        await connection.execute("set local lock_timeout = '200ms'")
        changed = [
            *await _number(connection),
            *await _functions(connection),
            *(await _examples(connection) if examples else []),
            *await _captures(connection, plan),
        ]
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if dry_run else transaction.commit())
    return changed


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


async def _beside(connection: Connection, stream: str, owner: Via) -> Mapping[str, Column]:
    columns = await _columns(connection, owner.table)
    for name in (owner.key, owner.owner):
        if name not in columns:
            raise MigrateError(f"stream {stream}: its owner is in {owner.table}, and there is no column {name}")
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
        epoch = await connection.fetchval("select rowcast.begin_epoch('installed', 0)")
        await connection.execute("select rowcast.open_segment()")
        changed.append(f"log, epoch {epoch}")
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


async def _captures(connection: Connection, plan: Plan) -> list[str]:
    changed = []
    for capture in await captures(connection, plan):
        row = await _installed_shape(connection, capture.relation)
        if row is not None and row["definition"] == capture.definition and await in_place(connection, capture.relation):
            continue
        if row is not None:
            await connection.execute(_RETIRE, row["shape"])
        shape = await connection.fetchval(
            "insert into rowcast.shape (relation, streams, definition) values ($1, $2, $3) returning shape",
            capture.relation,
            capture.shape,
            capture.definition,
        )
        await connection.execute(capture.statements(shape))
        if row is not None:
            await connection.execute(drop_shape(row["shape"], row["streams"]))
            if capture.narrows(row["streams"]):
                epoch = await connection.fetchval("select rowcast.begin_epoch('narrowed', 0)")
                changed.append(f"log, epoch {epoch}: {capture.relation} publishes less than before, and what was published is not replayed")
        streams = ", ".join(s.name for s in capture.streams)
        changed.append(f"trigger on {capture.relation} ({streams}; bell: {plan.notify}){' again' if row else ''}")
    for row in await connection.fetch("select relation from rowcast.shape where retired_at is null order by relation"):
        if row["relation"] not in plan.catalog.by_table():
            changed += [await _retire(connection, row["relation"])]
    return changed


_RETIRE = "update rowcast.shape set retired_at = now() where shape = $1"


async def _installed_shape(connection: Connection, relation: str) -> asyncpg.Record | None:
    return await connection.fetchrow(
        "select shape, streams, definition from rowcast.shape where relation = $1 and retired_at is null", relation
    )


async def _retire(connection: Connection, relation: str) -> str:
    row = await _installed_shape(connection, relation)
    assert row is not None
    await connection.execute(f"drop function if exists rowcast.{function(relation)}() cascade")
    await connection.execute(_RETIRE, row["shape"])
    await connection.execute(drop_shape(row["shape"], row["streams"]))
    return f"trigger on {relation} removed: no stream publishes it"


async def in_place(connection: Connection, relation: str) -> bool:
    """Says whether the triggers of a table, of its partitions, and of tables that name its owners are there and fire always."""
    placed = await connection.fetchval(
        "select bool_and((select count(*) = 2 from pg_trigger t where t.tgrelid = r.relid and t.tgenabled = 'A'"
        " and t.tgname in ('00_rowcast_capture', '00_rowcast_truncate')))"
        " from (select p.relid from pg_partition_tree(to_regclass($1)) p union select to_regclass($1)) r",
        quoted(relation),
    )
    if not placed or not await connection.fetchval("select to_regclass('rowcast.via') is not null"):
        return bool(placed)
    return not await connection.fetchval(
        "select exists (select from rowcast.via v join rowcast.shape s on s.shape = v.shape"
        " where s.relation = $1 and s.retired_at is null and 3 <> (select count(*) from pg_trigger t where t.tgenabled = 'A'"
        " and t.tgparentid = 0 and t.tgfoid = to_regprocedure(format('rowcast.moved_%s_%s()', v.shape, v.feed))))",
        relation,
    )


async def _columns(connection: Connection, relation: str) -> Mapping[str, Column]:
    rows = await connection.fetch(
        "select a.attname, t.typname, t.typnamespace = 'pg_catalog'::regnamespace as builtin, a.attgenerated = 'v' as virtual,"
        " (select n.nspname from pg_namespace n where n.oid = t.typnamespace) as schema"
        " from pg_attribute a join pg_type t on t.oid = a.atttypid"
        " where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum",
        quoted(relation),
    )
    return {row["attname"]: Column(row["typname"], row["builtin"], row["virtual"], row["schema"]) for row in rows}
