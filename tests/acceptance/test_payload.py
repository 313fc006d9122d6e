"""Nothing fails a writer: whatever a row holds, and whatever becomes of its table, the write stands and the client is told."""

import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from gateway.bridge.listener import Connection
from gateway.capture import function
from gateway.migrator import Plan, captures, migrate
from streams.catalog import Catalog
from streams.stream import Stream
from tests.sql.published import Published, declare, publishing
from tests.support import sse
from tests.support.gateway import gateway
from tests.support.servers import MAX_BYTES, Servers

CREATE = """
    create table public.odd
        (id bigint primary key, owner bigint not null, n int not null default 0, body text, doc json, price float8, amount numeric)
"""
ODD = declare("public.odd", "id n body doc price amount", owner="owner")


@asynccontextmanager
async def listening(published: Published) -> AsyncIterator[sse.Stream]:
    """Runs a gateway for the published table, with its owner connected."""
    async with gateway(published.servers, catalog=Catalog([ODD])) as web, web.stream("odd", sub=1, role=None) as stream:
        assert (await stream.next()).data["status"] == "fresh"
        yield stream


def plan(*streams: Stream) -> Plan:
    return Plan(Catalog(streams), "armed", MAX_BYTES)


async def test_odd_values_arrive(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """NUL and half a surrogate as escapes in a json column, and numbers that are none, fail no writer and arrive as they are written."""
    monkeypatch.setattr(sse, "orjson", json)  # orjson takes no half of a surrogate
    async with publishing(servers, CREATE, ODD) as published, listening(published) as stream:
        doc = r'{"nul": "\u0000", "half": "\ud800", "lines": ' + "[\n  1\r\n]}"
        await published.connection.execute("insert into odd values (1, 1, 0, 'a', $1, 'NaN', 'NaN')", doc)
        await published.execute("update odd set price = '-Infinity', amount = 'Infinity'", "delete from odd")
        inserted, updated, deleted = await stream.events(3)
        assert inserted.raw.count(r'{"nul": "\u0000", "half": "\ud800", "lines": [   1  ]}') == 1
        assert (inserted.data["record"]["price"], inserted.data["record"]["amount"]) == ("NaN", "NaN")
        assert (updated.data["record"]["price"], updated.data["record"]["amount"]) == ("-Infinity", "Infinity")
        assert (deleted.data["record"], deleted.data["old_record"]["doc"]["half"]) == (None, "\ud800")


async def test_megabyte(servers: Servers) -> None:
    """A text of 1 MB arrives as the key of its row, and says so; the next small value is whole again."""
    async with publishing(servers, CREATE, ODD) as published, listening(published) as stream:
        await published.execute(
            "insert into odd values (1, 1, 0, repeat('x', 1000000))", "update odd set n = 1", "update odd set body = 'small'"
        )
        inserted, updated, small = [event.data for event in await stream.events(3)]
        assert (inserted["record"], inserted["old_record"], inserted["truncated"]) == ({"id": 1}, None, True)
        assert (updated["record"], updated["old_record"], updated["truncated"]) == ({"id": 1}, {"id": 1}, True)
        assert (small["record"]["body"], small["old_record"], small["truncated"]) == ("small", {"id": 1}, True)


async def lookups(connection: Connection, table: str, body: str) -> tuple[dict[str, int], dict[str, int]]:
    """Writes and removes a text, and returns for each statement how often packed values were looked up, and the milliseconds it took."""
    found, took = {}, {}
    for name, statement, arguments in (
        ("insert", f"insert into {table} values (1, 1, 0, $1)", (body,)),
        ("update of another column", f"update {table} set n = n + 1", ()),
        ("update", f"update {table} set body = $1", (body.swapcase(),)),
        ("delete", f"delete from {table}", ()),
    ):
        before, started = await scans(connection, table), time.perf_counter()
        await connection.execute(statement, *arguments)
        took[name] = round((time.perf_counter() - started) * 1000)
        found[name] = await scans(connection, table) - before
    return found, took


async def scans(connection: Connection, table: str) -> int:
    await connection.execute("select pg_stat_force_next_flush()")
    number: int = await connection.fetchval(
        "select coalesce(sum(s.idx_scan), 0)::int from pg_class c join pg_stat_all_tables s on s.relid = c.reltoastrelid"
        " where c.oid = to_regclass($1)",
        table,
    )
    return number


UNPACKED = "; alter table public.odd alter body set storage external; create table public.twin (like public.odd including all)"


@pytest.mark.parametrize("megabytes", [16, 64])
async def test_large_row(servers: Servers, record_property: Any, megabytes: int) -> None:
    """A text of 16 or 64 MB costs the trigger nothing: it is not unpacked, its entry is small, and its key arrives as `truncated`."""
    async with publishing(servers, CREATE + UNPACKED, ODD) as published, listening(published) as stream:
        bare, _ = await lookups(published.connection, "twin", "0123456789abcdef" * 1000)
        found, took = await lookups(published.connection, "odd", "0123456789abcdef" * (megabytes * 2**20 // 16))
        assert found == bare
        record_property("milliseconds", took)
        sys.stdout.write(f"{megabytes} MB, in ms: {took}\n")
        events = [event.data for event in await stream.events(4)]
        assert [(event["type"], event["truncated"], event["record"], event["old_record"]) for event in events] == [
            ("INSERT", True, {"id": 1}, None),
            ("UPDATE", True, {"id": 1}, {"id": 1}),
            ("UPDATE", True, {"id": 1}, {"id": 1}),
            ("DELETE", True, None, {"id": 1}),
        ]
        rows = await published.connection.fetch("select *, pg_column_size(l.*) as bytes from rowcast.log l order by position")
        views = [([None], None), ([None], [None]), ([None], [None]), (None, [None])]
        assert [(row["new"], row["old"], row["size"]) for row in rows] == [(new, old, 0) for new, old in views]
        assert max(row["bytes"] for row in rows) < 1000


async def test_unpacking_negative_control(servers: Servers) -> None:
    """Where the bound lets a large value pass it is unpacked, and that is seen."""
    async with publishing(servers, CREATE + UNPACKED, ODD, max_bytes=8 * 2**20) as published:
        bare, _ = await lookups(published.connection, "twin", "0123456789abcdef" * 1000)
        found, _ = await lookups(published.connection, "odd", "0123456789abcdef" * 1000)
        assert all(found[name] > bare[name] for name in bare)


@pytest.mark.parametrize("damage", ["alter table odd drop column body", "alter table odd rename column body to text"])
async def test_column_goes_away(servers: Servers, damage: str) -> None:
    """A dropped or renamed column fails no writer; clients are reset; and once declaration and trigger are adapted all is well."""
    after = "id n doc price amount" if "drop" in damage else "id n text doc price amount"
    async with publishing(servers, CREATE, ODD) as published, listening(published) as stream:
        await published.execute("insert into odd values (1, 1, 0, 'x')", damage, "update odd set n = 1")
        await stream.events(1)
        reset = await stream.next()
        assert (reset.name, reset.data) == ("reset", {"reason": "capture-failed", "stream": "odd", "table": "public.odd"})
        await published.execute("insert into odd (id, owner) values (2, 1)", "delete from odd where id = 2")
        assert [(await stream.next()).name for _ in range(2)] == ["reset", "reset"]
        await migrate(published.connection, plan(declare("public.odd", after, owner="owner")))
        await published.execute("update odd set n = 2")
        (event,) = await stream.events(1)
        assert (event.data["record"]["n"], list(event.data["record"])) == (2, after.split())
        assert [column["name"] for column in event.data["columns"]] == after.split()


async def test_owner_column_goes_away(servers: Servers) -> None:
    """A renamed owner column resets everybody, for nobody knows whose the row is, and its values go to nobody."""
    async with publishing(servers, CREATE, ODD) as published, listening(published) as stream:
        await published.execute("alter table odd rename column owner to customer", "insert into odd values (1, 1, 0, 'canary')")
        reset = await stream.next()
        assert (reset.name, reset.data["reason"]) == ("reset", "capture-failed")
        assert "canary" not in str(await published.connection.fetch("select * from rowcast.log"))


async def test_column_changes_its_type(servers: Servers) -> None:
    """A column whose type changes under an open session fails no writer: the value arrives, or a reset."""
    async with publishing(servers, CREATE, ODD) as published, listening(published) as stream:
        await published.execute(
            "insert into odd values (1, 1, 0, 'x')",
            "alter table odd alter n type text using n::text || ' pieces'",
            "update odd set body = 'y'",
        )
        await stream.events(1)
        event = await stream.next()
        assert event.name == "reset" or event.data["record"]["n"] == "0 pieces"
        await migrate(published.connection, plan(ODD))
        await published.execute("update odd set body = 'z'")
        (event,) = await stream.events(1)
        assert (event.data["record"]["n"], event.data["record"]["body"]) == ("0 pieces", "z")


SWALLOW = "create or replace function public.swallow(poison) returns json language plpgsql as $$ begin {}; end $$"
POISON = f"""
    set search_path = public; create type poison as enum ('sweet'); {SWALLOW.format("return null")};
    create cast (poison as json) with function swallow(poison);
    create table odd (id bigint primary key, owner bigint, n int, body text, doc json, price float8, amount poison)
"""
EFFECTS = {
    "raises": "raise exception 'poison'",
    "divides": "return 1 / 0",
    "reads nothing": "perform from nonesuch",
    "no memory": "raise exception using errcode = 'out_of_memory'",
    "serialization": "raise exception using errcode = 'serialization_failure'",
    "no end": "return swallow($1)",
    "asserts": "assert false, 'poison'",
}


async def test_poison_type(servers: Servers) -> None:
    """A type of which no JSON can be made, however it fails, fails no writer, and is an entry that says so."""
    async with publishing(servers, POISON, ODD) as published:
        failed = []
        for number, (name, effect) in enumerate(EFFECTS.items()):
            await published.execute(SWALLOW.format(effect))
            try:
                await published.execute(f"insert into odd values ({number}, 1, 0, 'x', null, null, 'sweet')")
            except asyncpg.PostgresError:
                failed.append(name)
            else:
                assert await published.sent() == [("odd-changes", "capture-failed")]
        assert failed == []


async def test_the_guard_negative_control(servers: Servers) -> None:
    """Without the block that catches errors, a renamed column fails its writer."""
    async with publishing(servers, CREATE, ODD) as published:
        shape = await published.connection.fetchval("select shape from rowcast.shape where relation = 'public.odd' and retired_at is null")
        (capture,) = await captures(published.connection, plan(ODD))
        text = capture.statements(shape)
        unguarded, found = re.subn(
            r"(?s)    exception when others.*?\n    end;\n", "    end;\n", text[text.index("create or replace function") :], count=1
        )
        assert found == 1
        await published.execute(unguarded[: unguarded.index("create or replace trigger")], "alter table odd rename column body to text")
        assert function("public.odd") in unguarded
        with pytest.raises(asyncpg.PostgresError):
            await published.execute("insert into odd values (1, 1, 0, 'x')")
