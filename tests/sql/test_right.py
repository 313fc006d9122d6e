"""Rights: who may write a published table can do nothing to ours, and is captured all the same."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from gateway.capture import function
from tests.sql.published import Published, declare, publishing
from tests.support.servers import Servers

NOTES = declare("public.notes", "id owner body", owner="owner", name="notes")
CREATE = "create table public.notes (id bigint primary key, owner text, body text)"
HOSTILE = [
    f"create function hostile.{signature} language plpgsql as $$ begin raise exception 'hijacked'; end $$"
    for signature in (
        "nextval(text) returns bigint",
        "nextval(regclass) returns bigint",
        "pg_notify(text, text) returns void",
        "octet_length(text) returns integer",
        "row_to_json(record) returns json",
        "to_json(anyelement) returns json",
        "pg_try_advisory_lock_shared(integer, integer) returns boolean",
        "pg_current_xact_id() returns xid8",
        "clock_timestamp() returns timestamptz",
        "concat(variadic text[]) returns text",
    )
]


@pytest.fixture
async def published(servers: Servers) -> AsyncIterator[Published]:
    """A published table, and a role `writer` that may write it and nothing else."""
    async with publishing(servers, CREATE, NOTES) as each:
        await each.execute("create role writer", "grant all on public.notes to writer")
        yield each
        await each.execute("reset role", "drop owned by writer cascade", "drop role writer")


async def as_writer(published: Published) -> "asyncpg.Connection[asyncpg.Record]":
    connection = await published.servers.connect()
    await connection.execute("set role writer")
    return connection


async def test_writer_can_do_nothing_to_ours(published: Published) -> None:
    """No table, sequence, function or type of ours can be used by a role that may write a published table."""
    connection = await as_writer(published)
    assert not await connection.fetchval("select has_schema_privilege('rowcast', 'usage') or has_schema_privilege('rowcast', 'create')")
    tables = await published.connection.fetch(
        "select relname from pg_class where relnamespace = 'rowcast'::regnamespace and relkind in ('r', 'p')"
    )
    assert len(tables) > 5
    attempts = [
        statement.format(table["relname"])
        for table in tables
        for statement in (
            "select from rowcast.{}",
            "insert into rowcast.{} default values",
            "delete from rowcast.{}",
            "truncate rowcast.{}",
            "drop table rowcast.{}",
        )
    ]
    functions = await published.connection.fetch(
        "select proname, pronargs from pg_proc where pronamespace = 'rowcast'::regnamespace and prorettype <> 'trigger'::regtype"
    )
    attempts += [f"select rowcast.{each['proname']}({', '.join(['null'] * each['pronargs'])})" for each in functions]
    attempts += [
        "select nextval('rowcast.outbox_id')",
        "select setval('rowcast.outbox_id', 1)",
        "create table rowcast.mine (id int)",
        f"create trigger mine after insert on public.notes execute function rowcast.{function(NOTES.table)}()",
        "alter table public.notes disable trigger all",
        'drop trigger "00_rowcast_capture" on public.notes',
        "set session_replication_role = replica",
    ]
    for attempt in attempts:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(attempt)
    await connection.close()


async def test_writer_is_captured(published: Published) -> None:
    """What such a role writes is captured, insert, update, delete and truncation."""
    connection = await as_writer(published)
    await connection.execute("insert into notes values (1, 'a', 'x')")
    await connection.execute("update notes set body = 'y'")
    await connection.execute("delete from notes")
    await connection.execute("truncate notes")
    await connection.close()
    assert [change.op for change in await published.changes()] == ["I", "U", "D", "T"]


async def test_hostile_search_path(published: Published) -> None:
    """A writer whose search path begins with functions of the names that we call is captured by ours."""
    await published.execute("create schema hostile", "grant usage on schema hostile to writer", *HOSTILE)
    connection = await as_writer(published)
    await connection.execute("set search_path = hostile, pg_catalog, public")
    await connection.execute("insert into public.notes values (1, 'a', 'x')")
    await connection.execute("update public.notes set body = 'y'")
    await connection.close()
    assert await published.records() == [("INSERT", {"id": 1, "owner": "a", "body": "x"}), ("UPDATE", {"id": 1, "owner": "a", "body": "y"})]


async def test_hostile_operators_and_temporary_tables(published: Published) -> None:
    """Operators of a writer's own, and temporary tables with the names of ours, are not ours."""
    await published.execute(
        "create schema hostile",
        "create function hostile.hijack(text, text) returns text language plpgsql as $$ begin raise exception 'hijacked'; end $$",
        "create operator hostile.|| (leftarg = text, rightarg = text, function = hostile.hijack)",
        "grant usage on schema hostile to writer",
    )
    connection = await as_writer(published)
    await connection.execute("set search_path = hostile, pg_temp, pg_catalog, public")
    await connection.execute(
        "create temporary table outbox_0 (id int); create temporary table outbox_1 (id int); create temporary table head (id int)"
    )
    await connection.execute("insert into public.notes values (1, 'a', 'x')")
    assert await connection.fetchval("select count(*) from pg_temp.outbox_0") == 0
    await connection.close()
    assert [channel for channel, _ in await published.sent()] == ["notes-changes-a"]


async def test_hostile_search_path_negative_control(published: Published) -> None:
    """Without its fixed search path the trigger runs the writer's function: the hostile functions above are such."""
    await published.execute(
        "create schema hostile",
        "grant usage on schema hostile to writer",
        *HOSTILE,
        f"alter function rowcast.{function(NOTES.table)}() reset search_path",
    )
    connection = await as_writer(published)
    await connection.execute("set search_path = hostile, pg_catalog, public")
    with pytest.raises(asyncpg.RaiseError, match="hijacked"):
        await connection.execute("insert into public.notes values (1, 'a', 'x')")
    await connection.close()


async def test_owner_of_the_table_gains_nothing(published: Published) -> None:
    """The owner of a published table, who may give its columns types and casts of their own, runs no code with our rights."""
    await published.execute(
        "create table public.seen (who text)", "alter table notes owner to writer", "grant create on schema public to writer"
    )
    connection = await as_writer(published)
    spring = "create function spring_{0}(trap) returns {0} language plpgsql as $$ begin {1}; return '1'; end $$"
    for statement in (
        "set search_path = public",
        "create type trap as enum ('x')",
        spring.format("text", "insert into public.seen values (current_user)"),
        spring.format("json", "insert into public.seen values (current_user)"),
        "create cast (trap as text) with function spring_text(trap) as implicit",
        "create cast (trap as json) with function spring_json(trap)",
        "alter table notes alter body type trap using 'x'::trap",
        "insert into notes values (1, 'a', 'x')",
    ):
        await connection.execute(statement)
    await connection.close()
    assert await published.connection.fetch("select who from seen") == []
    assert [change.op for change in await published.changes()] in (["I"], ["F"])


async def test_replicas_are_captured(published: Published) -> None:
    """What is written under session_replication_role = replica, as a subscription does, is captured."""
    await published.execute("set session_replication_role = replica", "insert into notes values (1, 'a', 'x')", "truncate notes")
    assert [change.op for change in await published.changes()] == ["I", "T"]


async def test_replicas_negative_control(published: Published) -> None:
    """A trigger that is enabled as usual, and not always, does not see a replica's writes."""
    await published.execute(
        'alter table notes enable trigger "00_rowcast_capture"',
        "set session_replication_role = replica",
        "insert into notes values (1, 'a', 'x')",
    )
    assert await published.changes() == []
