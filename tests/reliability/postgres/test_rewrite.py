"""A table is written anew (ALTER TABLE) while somebody waits to read it: to a snapshot that is older it looks empty, and nothing says so.

Postgres: "Caveats" of its chapter on concurrency control. Whoever reads tables has to look.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

import sql
from gateway.fanout import snapshot
from gateway.fanout.judge import Judge
from streams.catalog import Catalog, load
from tests.gateway.fanout.manual import manual
from tests.sql.published import BILLS, Published, publishing
from tests.support import sse
from tests.support.gateway import Web, token, until, web
from tests.support.servers import Servers

REWRITE = "alter table {0} add column stamped timestamptz default clock_timestamp()"
GUARDED = Catalog([replace(each, rls=each.name == "services") for each in load("streams").values()])
FORBIDDING = """
create table taken (id bigint primary key);
insert into taken values (1);
grant select on taken to authenticated;
create function is_taken(bigint) returns boolean language plpgsql stable as
    'begin return exists (select from public.taken where id = $1); end';
create policy untaken on services as restrictive for select to authenticated using (not public.is_taken(id));
"""
KNOWING = """
create table known (id bigint primary key);
insert into known select id from services;
grant select on known to authenticated;
create function is_known(bigint) returns boolean language plpgsql stable as
    'declare v bigint; begin select id into strict v from public.known where id = $1; return true; end';
create policy known on services as restrictive for select to authenticated using (public.is_known(id));
"""
"""A function that raises where it finds nothing."""
TABLES = """
create table public.job (id bigint primary key, customer text){0};
create table public.bill (id bigint primary key, job_id bigint references public.job, note text){0};
insert into public.job values (1, 'a'), (2, 'b');
"""
PARTITIONED = " partition by hash (id)"
PARTITIONS = """
create table public.{0}_0 partition of public.{0} for values with (modulus 2, remainder 0);
create table public.{0}_1 partition of public.{0} for values with (modulus 2, remainder 1);
"""


@asynccontextmanager
async def _rewritten(servers: Servers, table: str) -> AsyncIterator[None]:
    """Begins to write a table anew, lets the block begin to read it, and commits when somebody waits for that."""
    writer, watcher = await servers.connect(server_settings={"search_path": "public"}), await servers.connect()
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    try:
        await writer.execute("begin")
        await writer.execute(REWRITE.format(table))
        yield

        async def waits() -> bool:
            return bool(await watcher.fetchval(waiting))

        await until(waits)
        await writer.execute("commit")
    finally:
        writer.terminate()
        watcher.terminate()


def _nobody_looks(patch: pytest.MonkeyPatch) -> None:
    """Switches the protection off."""
    statement = sql.statement
    patch.setattr(sql, "statement", lambda name: "select false" if name == "rewritten" else statement(name))


async def _open(gateway: Web, path: str, since: str | None = None) -> sse.Stream:
    headers = {"Authorization": f"Bearer {token()}"} | ({"Last-Event-ID": since} if since else {})
    stream = await gateway.request(f"/streams/{path}", headers)
    assert stream.status == 200, stream.body
    return stream


async def _first(gateway: Web, path: str, since: str | None = None) -> sse.Event:
    """Returns what comes behind `ready`."""
    stream = await _open(gateway, path, since)
    assert (await stream.next()).name == "ready"
    event = await stream.next()
    await stream.close()
    return event


@pytest.mark.parametrize("careful", [True, False])
@pytest.mark.parametrize("table", ["payments", "bookings"])
async def test_snapshot(servers: Servers, monkeypatch: pytest.MonkeyPatch, table: str, careful: bool) -> None:
    """A client whose rows, or whose right to them, are in such a table comes back and has them then; else they seem to be none."""
    if not careful:
        _nobody_looks(monkeypatch)
    async with manual(servers) as by_hand, web(servers) as gateway:
        await by_hand.change()
        async with _rewritten(servers, table):
            stream = await _open(gateway, "payments?snapshot=1")
        assert (await stream.next()).name == "ready"
        told = await stream.next()
        await stream.close()
        if not careful:
            assert (told.name, told.data["rows"], told.data["done"]) == ("snapshot", [], True)
            return
        assert (told.name, told.data["reason"]) == ("reconnect", "unavailable")
        page = await _first(gateway, "payments?snapshot=1")
        assert page.data["rows"] != []


async def _judged(servers: Servers, table: str, policy: str = FORBIDDING) -> str:
    """Returns what is told of changes of row 1, which the table `taken` forbids, and of row 2, while a table is written anew."""
    async with manual(servers) as by_hand, web(servers, GUARDED) as gateway:
        await by_hand.connection.execute(policy)
        await by_hand.change()
        stream = await _open(gateway, "services")
        await stream.next()
        await by_hand.connection.execute("update services set price = price + 1 where id in (1, 2)")
        await by_hand.sequencer.step()
        async with _rewritten(servers, table):
            await by_hand.publish()
        told = await stream.events(2)
        await stream.close()
        return " ".join(event.data["type"] for event in told)


@pytest.mark.parametrize("table", ["services", "taken"])
async def test_judge(servers: Servers, table: str) -> None:
    """Be such a table that of the rows, or one in which a policy's function reads what is forbidden: the answer is that of after."""
    assert await _judged(servers, table) == "DELETE UPDATE"


async def test_judge_whose_policy_fails(servers: Servers) -> None:
    """A policy's function that raises where it finds nothing is asked again: it was the table that seemed to be empty."""
    assert await _judged(servers, "known", KNOWING) == "UPDATE UPDATE"


async def test_control_judge_that_asks_once(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer forbids nothing: to the function that waited its table was empty."""

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Judge, "_lock", nothing)
    assert await _judged(servers, "taken") == "UPDATE UPDATE"


@pytest.mark.parametrize("careful", [True, False])
async def test_pages_before_the_last(servers: Servers, monkeypatch: pytest.MonkeyPatch, careful: bool) -> None:
    """No page of rows leaves that such a table would have forbidden; was it looked for at the end only, the others had left by then."""
    monkeypatch.setattr(snapshot, "PAGE_ROWS", 1)
    if not careful:
        _nobody_looks(monkeypatch)
    async with manual(servers) as by_hand, web(servers) as gateway:
        await by_hand.connection.execute(FORBIDDING)
        await by_hand.change()
        async with _rewritten(servers, "taken"):
            stream = await _open(gateway, "services?snapshot=1")
        await stream.next()
        told = await stream.next()
        await stream.close()
        if careful:
            assert (told.name, told.data["reason"]) == ("reconnect", "unavailable")
        else:
            assert (told.name, [row["id"] for row in told.data["rows"]]) == ("snapshot", [1])


async def _sequenced(published: Published, servers: Servers, table: str) -> list[tuple[str, Any]]:
    """Returns what is sent of changes that get their positions while a table is written anew."""
    async with _rewritten(servers, table):
        task = asyncio.create_task(published.sent())
    return [(channel, data["type"] if isinstance(data, dict) else data) for channel, data in await task]


@pytest.mark.parametrize("partitioned", [False, True])
@pytest.mark.parametrize("careful", [True, False])
@pytest.mark.parametrize(
    ("table", "change", "whole"),
    [
        ("job", "update bill set note = 'y'", [("bills-changes-a", "UPDATE")]),
        ("bill", "update job set customer = 'b' where id = 1", [("bills-changes-a", "DELETE"), ("bills-changes-b", "INSERT")]),
    ],
)
async def test_whose_it_is(
    servers: Servers, table: str, change: str, whole: list[tuple[str, str]], careful: bool, partitioned: bool
) -> None:
    """Where such a table would say whose a row is, or which rows are somebody's, that cannot be found out; else nobody would be told."""
    tables = TABLES.format(PARTITIONED if partitioned else "")
    if partitioned:
        first, job, bill = tables.partition("create table public.bill")
        before, insert, after = bill.partition("insert")
        tables = first + PARTITIONS.format("job") + job + before + PARTITIONS.format("bill") + insert + after
    async with publishing(servers, tables, BILLS) as published:
        for name in ("look_up", "look_up_dependents"):
            # As long as it takes here.
            await published.execute(f"alter function rowcast.{name}(integer, integer, text[]) set lock_timeout = '60s'")
        if not careful:
            text = await published.connection.fetchval("select pg_get_functiondef('rowcast.rewritten(regclass)'::regprocedure)")
            await published.execute(text.replace("select exists (", "select false and exists ("))
        await published.execute("insert into bill values (1, 1, 'x')")
        await published.sent()
        await published.execute(change)
        found = await _sequenced(published, servers, table)
        if careful:
            assert ("bills-changes", "capture-failed") in found
        else:
            assert found == []
        await published.execute("update job set customer = 'a' where id = 1")
        await published.sent()
        await published.execute(change)
        assert sorted((channel, data["type"]) for channel, data in await published.sent()) == whole
