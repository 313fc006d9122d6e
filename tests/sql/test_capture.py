"""What the trigger writes: every way in which a row can change, and nothing of what was rolled back."""

from typing import Any

import asyncpg
import pytest

from gateway.migrator import Plan, migrate
from streams.catalog import Catalog, load
from tests.sql.published import declare, publishing
from tests.support.servers import MAX_BYTES, Servers

THINGS = declare("public.things", "id owner body", owner="owner", name="things")
CREATE = "create table things (id bigint primary key, owner bigint, body text)"


def row(id: int, owner: int | None = 1, body: str = "x") -> dict[str, Any]:
    return {"id": id, "owner": owner, "body": body}


async def test_upsert(servers: Servers) -> None:
    """An upsert is the insert or the update that it was, and one that did nothing is nothing."""
    async with publishing(servers, CREATE, THINGS) as published:
        upsert = "insert into things values (1, 1, '{}') on conflict (id) do {}"
        for body, action in (("a", "nothing"), ("b", "nothing"), ("c", "update set body = excluded.body")):
            await published.execute(upsert.format(body, action))
        assert await published.records() == [("INSERT", row(1, body="a")), ("UPDATE", row(1, body="c"))]


async def test_merge(servers: Servers) -> None:
    """A MERGE is captured row by row: inserted, updated and deleted."""
    async with publishing(servers, CREATE, THINGS) as published:
        await published.execute("insert into things values (1, 1, 'a'), (2, 1, 'b')")
        await published.changes()
        await published.execute(
            "merge into things t using (values (1, 'new'), (2, null), (3, 'c')) s (id, body) on t.id = s.id"
            " when matched and s.body is null then delete"
            " when matched then update set body = s.body"
            " when not matched then insert values (s.id, 1, s.body)"
        )
        assert sorted(await published.records(), key=str) == [
            ("DELETE", None),
            ("INSERT", row(3, body="c")),
            ("UPDATE", row(1, body="new")),
        ]


async def test_foreign_key_cascade(servers: Servers) -> None:
    """What a foreign key deletes, or sets to null, is captured like any other change."""
    create = (
        CREATE
        + "; create table parents (id bigint primary key);"
        + (
            "alter table things add foreign key (owner) references parents on delete cascade;"
            "create table pets (id bigint primary key, owner bigint references parents on delete set null)"
        )
    )
    pets = declare("public.pets", "id", owner="owner", name="pets")
    async with publishing(servers, create, THINGS, pets) as published:
        await published.execute(
            "insert into parents values (1)", "insert into things values (1, 1, 'a'), (2, 1, 'b')", "insert into pets values (7, 1)"
        )
        await published.changes()
        await published.execute("delete from parents")
        sent = await published.sent()
        assert [(channel, data["type"], data["old_record"]["id"]) for channel, data in sent if channel.startswith("things")] == [
            ("things-changes-1", "DELETE", 1),
            ("things-changes-1", "DELETE", 2),
        ]
        ((_, left),) = [each for each in sent if each[0].startswith("pets")]
        assert (left["left"], left["old_record"]) == (True, {"id": 7})


async def test_truncate(servers: Servers) -> None:
    """A TRUNCATE is one entry, whatever the number of rows and streams, and a reset for each stream."""
    other = declare("public.things", "id", name="others")
    async with publishing(servers, CREATE, THINGS, other) as published:
        await published.execute("insert into things select n, n, 'x' from generate_series(1, 5) n")
        await published.changes()
        await published.execute("truncate things")
        (change,) = await published.changes()
        assert (change.op, change.key, change.new, change.old) == ("T", None, None, None)
        assert change.new_channels == ["changes", "others-changes", "things-changes"]
        await published.execute("truncate things")
        assert await published.sent() == [("others-changes", "truncated"), ("things-changes", "truncated")]


async def test_truncate_cascade(servers: Servers) -> None:
    """A TRUNCATE that cascades is an entry for each published table that it reaches."""
    create = CREATE + "; create table parts (id bigint primary key, thing bigint references things)"
    async with publishing(servers, create, THINGS, declare("public.parts", "id", name="parts")) as published:
        await published.execute("truncate things cascade")
        assert sorted(await published.sent()) == [("parts-changes", "truncated"), ("things-changes", "truncated")]


async def test_rollback_leaves_nothing(servers: Servers) -> None:
    """What was rolled back, to a savepoint or as a whole, leaves no entry; what stands around it does."""
    async with publishing(servers, CREATE, THINGS) as published:
        await published.execute(
            "begin; insert into things values (1, 1, 'a'); savepoint s; insert into things values (2, 1, 'b');"
            " update things set body = 'z' where id = 1; truncate things; rollback to s; insert into things values (3, 1, 'c'); commit",
            "begin; insert into things values (4, 1, 'd'); rollback",
        )
        with pytest.raises(asyncpg.DivisionByZeroError):
            await published.execute("begin; insert into things values (5, 1, 'e'); select 1 / 0; commit")
        await published.execute("rollback")
        assert await published.records() == [("INSERT", row(1, body="a")), ("INSERT", row(3, body="c"))]


async def test_key_changes(servers: Servers) -> None:
    """A change carries the key that is, and where it was another, the one that was."""
    async with publishing(servers, CREATE, THINGS) as published:
        await published.execute(
            "insert into things values (1, 1, 'a')",
            "update things set body = 'b'",
            "update things set id = 2",
            "delete from things",
        )
        assert [(change.key, change.old_key) for change in await published.changes()] == [
            ('{"id":1}', None),
            ('{"id":1}', None),
            ('{"id":2}', '{"id":1}'),
            ('{"id":2}', None),
        ]


async def test_row_that_moves(servers: Servers) -> None:
    """A row that moves from one owner to another, to nobody and back carries to each only what was theirs."""
    async with publishing(servers, CREATE, THINGS) as published:
        await published.execute(
            "insert into things values (1, 1, 'canary of 1')",
            "update things set owner = 2, body = 'canary of 2'",
            "update things set owner = null, body = 'canary of nobody'",
            "update things set owner = 3, body = 'canary of 3'",
        )
        sent = await published.sent()
        assert [(channel, data["type"], data.get("left", False)) for channel, data in sent] == [
            ("things-changes-1", "INSERT", False),
            ("things-changes-1", "DELETE", True),
            ("things-changes-2", "INSERT", False),
            ("things-changes-2", "DELETE", True),
            ("things-changes-3", "INSERT", False),
        ]
        for channel, data in sent:
            assert "canary" not in str(data) or f"canary of {channel[-1]}" in str(data)
            assert "nobody" not in str(data)


async def test_other_triggers_come_after(servers: Servers) -> None:
    """Another AFTER trigger that changes the row again comes after ours: the versions of the row are in order."""
    create = (
        CREATE
        + """;
        create function again() returns trigger language plpgsql as $$ begin
            if new.body <> 'again' then update things set body = 'again' where id = new.id; end if; return null; end $$;
        create trigger "0_first_by_name" after insert or update on things for each row execute function again()"""
    )
    async with publishing(servers, create, THINGS) as published:
        await published.execute("insert into things values (1, 1, 'once')")
        records = await published.records()
        assert records == [("INSERT", row(1, body="once")), ("UPDATE", row(1, body="again"))]


async def test_only_listed_columns_are_read(servers: Servers) -> None:
    """A column that is not listed, or that was added later, is in no entry."""
    create = "create table things (id bigint primary key, owner bigint, body text, secret text default 'canary')"
    async with publishing(servers, create, THINGS) as published:
        await published.execute("alter table things add later text default 'canary'", "insert into things values (1, 1, 'x')")
        rows = await published.rows()
        assert len(rows) == 1
        assert "canary" not in str(rows)


async def test_transactions_are_whole(servers: Servers) -> None:
    """All changes of a statement and of a transaction are captured, each once, and stand together."""
    async with publishing(servers, CREATE, THINGS) as published:
        await published.execute(
            "begin; insert into things select n, n % 3, 'x' from generate_series(1, 500) n",
            "update things set body = 'y' where id <= 9; commit",
        )
        changes = await published.changes()
        assert [change.op for change in changes] == ["I"] * 500 + ["U"] * 9
        assert len({change.txid for change in changes}) == 1
        assert [change.position for change in changes] == list(range(1, 510))


PARTITIONED = """
    create table things (id bigint, owner bigint, body text, primary key (id, owner)) partition by list (owner);
    create table things_1 partition of things for values in (1);
    create table things_2 (body text, dropped int, owner bigint not null, id bigint not null);
    alter table things_2 drop column dropped; alter table things attach partition things_2 for values in (2)
"""
PARTITIONED_THINGS = declare("public.things", "id owner body", owner="owner", name="things", key=("id", "owner"))


async def test_partitions(servers: Servers) -> None:
    """A partitioned table is captured whichever way it is written, also in partitions of another layout or made later."""
    async with publishing(servers, PARTITIONED, PARTITIONED_THINGS) as published:
        await published.execute(
            "create table things_3 partition of things for values in (3)",
            "insert into things values (1, 1, 'a')",
            "insert into things_2 (id, owner, body) values (2, 2, 'b')",
            "insert into things_3 values (3, 3, 'c')",
            "update things set body = 'd' where id = 2",
            "delete from things where id = 3",
            "truncate things",
        )
        records = await published.records()
        # The table and each of its partitions say that they were emptied.
        assert set(records[5:]) == {"truncated"}
        assert records[:5] == [
            ("INSERT", row(1, 1, "a")),
            ("INSERT", row(2, 2, "b")),
            ("INSERT", row(3, 3, "c")),
            ("UPDATE", row(2, 2, "d")),
            ("DELETE", None),
        ]


async def test_row_that_moves_between_partitions(servers: Servers) -> None:
    """A row that an update moves to another partition leaves the one owner and comes to the other, and neither sees the other's values."""
    async with publishing(servers, PARTITIONED, PARTITIONED_THINGS) as published:
        await published.execute("insert into things values (1, 1, 'canary of 1')")
        await published.sent()
        await published.execute("update things set owner = 2, body = 'canary of 2'")
        first, second = await published.sent()
        assert (first[0], first[1]["type"], second[0], second[1]["type"]) == ("things-changes-1", "DELETE", "things-changes-2", "INSERT")
        assert "canary of 2" not in str(first)
        assert "canary of 1" not in str(second)


async def test_partitions_under_replication(servers: Servers) -> None:
    """The triggers of partitions fire always too, of those that were there and of those that came later."""
    async with publishing(servers, PARTITIONED, PARTITIONED_THINGS) as published:
        await published.execute(
            "create table things_3 partition of things for values in (3)",
            "set session_replication_role = replica",
            "insert into things values (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
        )
        assert len(await published.changes()) == 3


async def test_truncated_partitions(servers: Servers) -> None:
    """Truncating a partition is a reset, as truncating the table is: its rows would be gone without a word."""
    async with publishing(servers, PARTITIONED, PARTITIONED_THINGS) as published:
        for table in ("things_1", "things_2", "things"):
            await published.execute(f"truncate {table}")
            assert set(map(str, await published.sent())) == {"('things-changes', 'truncated')"}


async def test_partition_that_comes_later(servers: Servers) -> None:
    """A partition that was added since is given by the next migration what the others have, and by another one nothing.

    Somebody may have truncated it meanwhile.
    """
    async with publishing(servers, PARTITIONED, PARTITIONED_THINGS) as published:
        await published.execute("create table things_3 partition of things for values in (3)")
        plan = Plan(Catalog([*load("streams").values(), PARTITIONED_THINGS]), "armed", MAX_BYTES)
        assert len(await migrate(published.connection, plan)) == 1
        await published.execute("truncate things_3")
        assert await published.sent() == [("things-changes", "capture-failed"), ("things-changes", "truncated")]
        assert await migrate(published.connection, plan) == []
        await migrate(published.connection, Plan(load("streams"), "armed", MAX_BYTES))
        left = "select count(*) from pg_trigger where tgname like '00_rowcast%' and tgrelid::regclass::text like 'things%'"
        assert await published.connection.fetchval(left) == 0
