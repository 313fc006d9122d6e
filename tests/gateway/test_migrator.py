"""Installing: all of it or nothing, once, and mended where it is not as it should be."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

import sql
from gateway import migrator
from gateway.bridge.listener import Connection
from gateway.capture import function
from gateway.migrator import MigrateError, Plan, installed, migrate
from streams.catalog import Catalog, load
from streams.stream import Stream, Via
from tests.sql.published import Published, declare
from tests.support.servers import MAX_BYTES, Servers, fresh

STREAMS = load("streams")
PLAN = Plan(STREAMS, "armed", MAX_BYTES)
TABLES = list(STREAMS.by_table())
NOTES = declare("public.notes", "id owner body", owner="owner", name="notes")
STATE = """
    select json_build_object(
        'triggers', (select json_agg((tgrelid::regclass, tgname, tgenabled, pg_get_functiondef(tgfoid)) order by tgrelid, tgname)
                     from pg_trigger where not tgisinternal),
        'functions', (select json_agg(pg_get_functiondef(oid) order by proname, oid) from pg_proc
                      where pronamespace = 'rowcast'::regnamespace),
        'relations', (select json_agg((relname, relkind) order by relname) from pg_class where relnamespace = to_regnamespace('rowcast')),
        'shapes', (select json_agg(s order by shape) from rowcast.shape s),
        'epochs', (select json_agg(e order by number) from rowcast.epoch e))::text
"""


@pytest.fixture
async def connection(servers: Servers) -> AsyncIterator[Connection]:
    """A connection to a database that was migrated with the streams of the examples."""
    each = await servers.connect(server_settings={"search_path": "public"})
    yield each
    each.terminate()


@pytest.fixture
def empty(run_servers: Servers) -> Iterator[Servers]:
    """A database in which nothing was ever installed."""
    with fresh(run_servers, "template0") as each:
        yield each


@pytest.fixture
async def blank(empty: Servers) -> AsyncIterator[Connection]:
    """A connection to it."""
    each = await empty.connect()
    yield each
    each.terminate()


def plan(*streams: Stream, notify: str = "armed", max_bytes: int = MAX_BYTES) -> Plan:
    return Plan(Catalog([*STREAMS.values(), *streams]), notify, max_bytes)


async def state(connection: Connection) -> str:
    """Returns everything that a migration could have changed, as text."""
    text: str = await connection.fetchval(STATE)
    return text


async def test_second_time_nothing(connection: Connection) -> None:
    """A second migration finds nothing to change, and changes nothing."""
    before = await state(connection)
    assert await migrate(connection, PLAN) == []
    assert await state(connection) == before


async def test_from_nothing(blank: Connection) -> None:
    """A first migration installs migrations, functions, log, examples and triggers, says each, and a second finds nothing."""
    assert not await installed(blank)
    text = "\n".join(await migrate(blank, PLAN, examples=True))
    for what in (
        "migration 0001",
        "functions",
        "log, epoch ",
        "example tables",
        "trigger on public.bookings",
        "trigger on public.services",
    ):
        assert what in text
    assert await installed(blank)
    assert await migrate(blank, PLAN, examples=True) == []


async def test_dry_run_from_nothing(blank: Connection) -> None:
    """A dry run says what a first migration would install, and installs nothing."""
    would = await migrate(blank, PLAN, examples=True, dry_run=True)
    assert not await installed(blank)
    assert await blank.fetchval("select to_regclass('public.bookings') is null and to_regnamespace('rowcast') is null")
    assert [line.split(",")[0] for line in would] == [line.split(",")[0] for line in await migrate(blank, PLAN, examples=True)]


async def test_dry_run(connection: Connection) -> None:
    """A dry run says what a later migration would change, and changes nothing."""
    before = await state(connection)
    assert len(await migrate(connection, plan(notify="never"), dry_run=True)) == len(TABLES)
    assert await state(connection) == before
    await migrate(connection, plan(notify="never"))
    assert await state(connection) != before


async def test_another_table_by_one_declaration(servers: Servers, connection: Connection) -> None:
    """One more declaration is one more trigger, and the tables that were published are not touched."""
    await connection.execute("create table notes (id bigint primary key, owner text, body text)")
    await connection.execute("begin; update bookings set notes = 'held' where id = 1")
    other = await servers.connect()
    (line,) = await migrate(other, plan(NOTES))
    assert line.startswith("trigger on public.notes (changes, notes")
    await other.close()
    await connection.execute("commit; insert into notes values (1, 'a', 'x')")
    assert [channel for channel, _ in await Published(servers, connection).sent()][-1] == "notes-changes-a"


async def test_changed_declaration(servers: Servers, connection: Connection) -> None:
    """A changed declaration is rendered and installed again, says so, and is what is captured from then on."""
    published = Published(servers, connection)
    await connection.execute("update services set price = 1 where id = 1")
    fewer = replace(STREAMS["services"], columns=("id", "price"), filters={})
    changed = Plan(Catalog([*(stream for stream in STREAMS.values() if stream.name != "services"), fewer]), "armed", MAX_BYTES)
    epoch, line = await migrate(connection, changed)
    assert "publishes less than before" in epoch
    assert line.startswith("trigger on public.services (changes, services")
    assert line.endswith(" again")
    await connection.execute("update services set price = 2 where id = 1")
    (_, before), (_, after) = await published.sent()
    assert len(before["record"]) == len(STREAMS["services"].columns)
    assert (after["record"], after["columns"]) == (
        {"id": 1, "price": 2.0},
        [{"name": "id", "type": "int8"}, {"name": "price", "type": "numeric"}],
    )
    assert await migrate(connection, changed) == []


async def test_changed_column_type(connection: Connection) -> None:
    """A column whose type has changed makes the trigger anew, though the declaration is the same."""
    await connection.execute("alter table services alter duration_minutes type bigint")
    (line,) = await migrate(connection, PLAN)
    assert line.startswith("trigger on public.services")
    assert await migrate(connection, PLAN) == []


@pytest.mark.parametrize("settings", [{"notify": "never"}, {"max_bytes": 2048}])
async def test_changed_setting(connection: Connection, settings: dict[str, Any]) -> None:
    """Another bell, or another bound on a row, makes the triggers anew."""
    changed = plan(**settings)
    assert [line.split(" (")[0] for line in await migrate(connection, changed)] == [f"trigger on {table}" for table in TABLES]
    assert await migrate(connection, changed) == []


async def test_removed_stream(servers: Servers, connection: Connection) -> None:
    """A table that no stream publishes any more loses its triggers, and is captured no more; what was captured stays readable."""
    published = Published(servers, connection)
    await connection.execute("update services set price = 1 where id = 1")
    without = Plan(Catalog([stream for stream in STREAMS.values() if stream.name != "services"]), "armed", MAX_BYTES)
    assert await migrate(connection, without) == ["trigger on public.services removed: no stream publishes it"]
    await connection.execute("update services set price = 2 where id = 1")
    ((channel, data),) = await published.sent()
    assert (channel, data["record"]["price"]) == ("services-changes", 1)
    assert await migrate(connection, without) == []
    left = "select count(*) from pg_trigger where tgrelid = 'services'::regclass and tgname like '00_rowcast%'"
    assert await connection.fetchval(left) == 0
    assert [line.split(" (")[0] for line in await migrate(connection, PLAN)] == ["trigger on public.services"]


async def test_removed_table(connection: Connection) -> None:
    """A stream that is removed together with its table leaves nothing behind."""
    await connection.execute("create table notes (id bigint primary key, owner text, body text)")
    await migrate(connection, plan(NOTES))
    await connection.execute("drop table notes")
    assert await migrate(connection, PLAN) == ["trigger on public.notes removed: no stream publishes it"]
    assert await connection.fetchval("select count(*) from pg_proc where proname like '%notes%'") == 0
    assert await migrate(connection, PLAN) == []


@pytest.mark.parametrize(
    "damage",
    [
        'alter table bookings disable trigger "00_rowcast_capture"',
        'alter table bookings enable trigger "00_rowcast_capture"',
        'alter table bookings enable replica trigger "00_rowcast_truncate"',
        'drop trigger "00_rowcast_truncate" on bookings',
        f"drop function rowcast.{function('public.bookings')} cascade",
        "alter table bookings disable trigger all",
    ],
)
async def test_damage_is_repaired(servers: Servers, connection: Connection, damage: str) -> None:
    """A trigger that was disabled, demoted or dropped is repaired by the next migration, which tells all who may have missed something."""
    await connection.execute(damage)
    line, *others = await migrate(connection, PLAN)
    assert line.startswith("trigger on public.bookings")
    # Payments have theirs on bookings too.
    assert [other.split(" (")[0] for other in others] == ["trigger on public.payments"] * ("all" in damage)
    await connection.execute("update bookings set notes = 'again' where id = 1")
    told: list[str] = []
    events: list[str] = []
    for channel, data in await Published(servers, connection).sent():
        (told if data == "capture-failed" else events).append(channel)
    assert set(told) == {"bookings-changes", "provider-bookings-changes"} | ({"payments-changes"} if "all" in damage else set())
    assert len(events) == 2
    assert await migrate(connection, PLAN) == []


@pytest.mark.parametrize(
    ("stream", "named"),
    [
        (declare("public.nonesuch", "id", name="lost"), ["public.nonesuch", "stream lost"]),
        (declare("nonesuch.notes", "id", name="lost"), ["nonesuch.notes", "stream lost"]),
        (replace(NOTES, columns=("id", "bodies", "colour")), ["stream notes", "public.notes", "bodies, colour"]),
        (replace(NOTES, owner="nobody"), ["stream notes", "public.notes", "nobody"]),
        (replace(NOTES, columns=("ID",), key=("ID",)), ["stream notes", "public.notes", "ID"]),
    ],
)
async def test_missing_table_or_column(connection: Connection, stream: Stream, named: list[str]) -> None:
    """A table or column that is not there is an error that names it and its stream, and nothing is half done."""
    await connection.execute("create table notes (id bigint primary key, owner text, body text)")
    await connection.execute('alter table bookings disable trigger "00_rowcast_capture"')
    before = await state(connection)
    with pytest.raises(MigrateError) as refused:
        await migrate(connection, plan(stream, notify="never"))
    assert [name for name in named if name not in str(refused.value)] == []
    assert await state(connection) == before


async def test_virtual_columns(connection: Connection) -> None:
    """A column that is generated when it is read, which no trigger sees, is refused by name; one that is stored is not."""
    if await connection.fetchval("show server_version_num") < "180000":
        pytest.skip("needs Postgres 18")
    table = "create table notes (id bigint primary key, owner text, body text generated always as (upper(owner)) {})"
    await connection.execute(table.format("virtual"))
    with pytest.raises(MigrateError, match="stream notes: column body"):
        await migrate(connection, plan(NOTES))
    await connection.execute("drop table notes; " + table.format("stored"))
    assert len(await migrate(connection, plan(NOTES))) == 1


@pytest.mark.parametrize("kind", ["view", "materialized view"])
async def test_what_cannot_be_published(connection: Connection, kind: str) -> None:
    """What cannot have row triggers is refused by name, and nothing is half done."""
    await connection.execute(f"create {kind} notes as select 1::bigint as id, 'a'::text as owner, 'x'::text as body")
    before = await state(connection)
    with pytest.raises((MigrateError, asyncpg.WrongObjectTypeError), match="notes"):
        await migrate(connection, plan(NOTES, notify="never"))
    assert await state(connection) == before


async def test_two_migrators_at_once(empty: Servers) -> None:
    """Of several migrators that start together one does everything, and the others find nothing to change."""
    connections = [await empty.connect() for _ in range(4)]
    outcomes = await asyncio.gather(*(migrate(each, PLAN, examples=True) for each in connections))
    assert sorted(len(changed) > 0 for changed in outcomes) == [False, False, False, True]
    for each in connections:
        await each.close()


async def test_two_migrators_negative_control(empty: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrators that do not take the same lock get into each other's way."""
    numbers = itertools.count(1000)
    monkeypatch.setattr(sql, "MIGRATE_LOCK", type("Another", (), {"__format__": lambda *_: str(next(numbers))})())
    monkeypatch.setattr(migrator, "_ATTEMPTS", 1)
    connections = [await empty.connect() for _ in range(4)]
    outcomes = await asyncio.gather(*(migrate(each, PLAN, examples=True) for each in connections), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, asyncpg.PostgresError | MigrateError)]
    for each in connections:
        each.terminate()


async def test_failure_half_way(blank: Connection) -> None:
    """A migration that fails half way leaves nothing, and the connection can be used again."""
    await blank.execute("create schema rowcast; create table rowcast.log (mine text)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(blank, PLAN, examples=True)
    assert await blank.fetchval("select count(*) from pg_class where relnamespace = 'rowcast'::regnamespace and relkind = 'r'") == 1
    await blank.execute("drop schema rowcast cascade")
    assert await migrate(blank, PLAN, examples=True)


async def test_unqualified_tables_are_public(empty: Servers, blank: Connection) -> None:
    """A table that is created without naming a schema lands in `public`, also when the user is called like our schema."""
    await migrate(blank, PLAN, examples=True)
    session = await empty.connect()
    await session.execute("create table mine (id bigint)")
    assert await blank.fetchval("select to_regclass('public.mine') is not null and to_regclass('rowcast.mine') is null")
    await session.close()


@pytest.mark.parametrize("parent", ["notes", "people"])
async def test_tables_that_inherit(blank: Connection, parent: str) -> None:
    """Nobody would hear of the rows of a table that inherits from one that is published, or that names owners: it is refused."""
    await blank.execute("create table people (id bigint primary key, who text); create table notes (id bigint primary key, person bigint)")
    notes = Stream(
        name="notes",
        table="public.notes",
        columns=("id",),
        channel="notes-changes-{user_id}",
        owner=Via("person", table="public.people", owner="who"),
    )
    plan = Plan(Catalog([notes]), "armed", MAX_BYTES)
    await migrate(blank, plan)
    await blank.execute(f"create table heir () inherits ({parent})")
    with pytest.raises(MigrateError, match="heir inherit"):
        await migrate(blank, plan)


@pytest.mark.parametrize("careful", [True, False])
async def test_publication_of_all_tables(blank: Connection, careful: bool) -> None:
    """An epoch begins where a publication has all tables too; Postgres would refuse to delete from the outbox, if nothing told its rows."""
    await migrate(blank, Plan(Catalog([]), "armed", MAX_BYTES))
    if not careful:
        await blank.execute("alter table rowcast.outbox_0 replica identity default")
    await blank.execute("create publication everything for all tables")
    if not careful:
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await blank.execute("select rowcast.begin_epoch('test', 0)")
        # As an installation of before is mended, lane by lane, when nobody writes there.
        await blank.execute("select setval('rowcast.outbox_id', 65536 * 3)")
        await blank.execute("insert into rowcast.outbox_0 (id, txid, shape, op, size, captured_at) values (1, '0', 1, 'F', 0, now())")
        assert await blank.fetchval("select rowcast.reclaim()")
    await blank.execute("select rowcast.begin_epoch('test', 0)")
