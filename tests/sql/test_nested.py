"""A statement in the middle of another: a row's versions come in their order, or a reset says that it is not known."""

import json
import random
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from streams.payload import Change
from tests.sql.published import BILLS, Published, declare, publishing
from tests.support.servers import Servers

ITEMS = declare("public.items", "id owner n chosen parent", name="items")
CREATE = """
    create table items (id bigint primary key, owner bigint, n int not null default 0, chosen boolean not null default false,
        parent bigint references items on update cascade on delete set null);
    create table script (number int primary key, at bigint not null, moment text not null, statement text not null);
    create function follow() returns trigger language plpgsql as $$
    declare
        v_statement text;
    begin
        delete from script where number = (
            select number from script where moment = TG_WHEN and at = case when TG_OP = 'DELETE' then old.id else new.id end
            order by number limit 1
        ) returning statement into v_statement;
        if v_statement is not null then
            execute v_statement;
        end if;
        return case when TG_OP = 'DELETE' then old else new end;
    end $$;
    create trigger before_all before insert or update or delete on items for each row execute function follow();
    create trigger after_all after insert or update or delete on items for each row execute function follow()"""
"""Each line of `script` runs once: before or after something is done with the row whose id is `at`."""

ONE_CHOSEN = """
    create function one_chosen() returns trigger language plpgsql as $$
    begin
        if new.chosen then
            update items set chosen = false where owner = new.owner and id <> new.id and chosen;
        end if;
        return new;
    end $$;
    create trigger one_chosen before insert or update on items for each row execute function one_chosen()"""


def _create(parts: str) -> str:
    """Returns the table's statements, for one in parts: by hash a row changes its part with any key, by range with a key beyond 10."""
    kind, _, _ = parts.removeprefix("partition by ").partition(" ")
    bounds = {
        "hash": ("with (modulus 2, remainder 0)", "with (modulus 2, remainder 1)"),
        "range": ("from (0) to (10)", "from (10) to (99999)"),
    }
    made = "".join(f"create table items_{n} partition of items for values {each};" for n, each in enumerate(bounds.get(kind, ())))
    head, between, rest = CREATE.partition(";")
    return f"{head} {parts}{between}{made}{rest}"


async def _table(published: Published) -> dict[str, Any]:
    found = await published.connection.fetch("select id, row_to_json(i)::text as row from items i")
    return {f'{{"id":{row["id"]}}}': json.loads(row["row"]) for row in found}


def _row(views: Sequence[str | None] | None) -> Any:
    assert views is not None
    (row,) = views
    return json.loads(str(row))


def _apply(rows: dict[str, Any], changes: list[Change]) -> bool:
    """Does to rows what the log says; says whether each change begins where its row is."""
    for change in changes:
        before = _row(change.old) if change.old else None
        if change.op == "I" and change.key in rows:
            return False
        if change.op != "I" and rows.pop(str(change.old_key or change.key), None) != before:
            return False
        if change.op != "D":
            if change.key in rows:
                return False
            rows[str(change.key)] = _row(change.new)
    return True


async def _run(published: Published, *statements: str) -> list[Change]:
    """Runs statements in one transaction, and returns what the log says of it."""
    async with published.connection.transaction():
        for statement in statements:
            await published.connection.execute(statement)
    return await published.changes()


async def _differences(published: Published, chance: random.Random, transactions: int) -> tuple[int, int]:
    """Runs transactions of statements inside statements; returns how many the log tells wrong, and how many it resets."""
    rows = await _table(published)
    wrong = resets = 0
    for _ in range(transactions):
        try:
            changes = await _run(
                published, "delete from script", *_scripts(chance), *(_statement(chance) for _ in range(chance.randint(1, 3)))
            )
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.TriggeredDataChangeViolationError, asyncpg.CardinalityViolationError):
            continue
        now = await _table(published)
        if any(change.op == "F" for change in changes):
            resets += 1
        elif not _apply(rows, changes) or rows != now:
            wrong += 1
        rows = now
    return wrong, resets


def _scripts(chance: random.Random) -> list[str]:
    return [
        f"insert into script values ({number}, {chance.randint(1, 9)}, '{chance.choice(('BEFORE', 'AFTER'))}', '{_statement(chance)}')"
        for number in range(chance.randint(0, 4))
    ]


def _statement(chance: random.Random) -> str:
    one, other, third = (chance.randint(1, 9) for _ in range(3))
    return chance.choice(
        (
            f"update items set n = n + {other} where id in ({one}, {other}, {third})",
            f"update items set chosen = not chosen where id in ({one}, {other}, {third})",
            f"update items set chosen = false where owner = {one % 2} and chosen",
            f"update items set parent = {one} where id in ({other}, {third}) and exists (select from items i where i.id = {one})",
            f"insert into items (id, owner, chosen) select id, id % 2, true from unnest(array[{one}, {other}]) id on conflict do nothing",
            f"insert into items (id, owner) values ({one}, 0) on conflict (id) do update set n = items.n + 1",
            # One row at a time: a key that comes back in the middle of the statement that deletes it is not known as such.
            f"delete from items where id = {one}",
            f"select 1 from items where id = {one} for update",
            f"update items set id = id + 10 where id = {one}",
        )
    )


@pytest.mark.parametrize("parts", ["", "partition by hash (id)", "partition by range (id)"])
async def test_versions_come_in_order(servers: Servers, chance: random.Random, parts: str) -> None:
    """Whatever triggers do in the middle of whatever: each change begins where its row is, and the log ends as the table."""
    async with publishing(servers, _create(parts), ITEMS) as published:
        wrong, resets = await _differences(published, chance, 400)
        assert wrong == 0
        assert resets < 100


async def test_control_nobody_looks(servers: Servers, chance: random.Random) -> None:
    """Where nobody looks whether something was done with a row since, the log misorders versions, and the check sees it."""
    async with publishing(servers, CREATE, ITEMS) as published:
        await published.execute(
            "create or replace function rowcast.superseded(p_table regclass, p_version tid) returns boolean language sql as 'select false'"
        )
        wrong, resets = await _differences(published, chance, 400)
        assert wrong > 0
        assert resets == 0


@pytest.mark.parametrize(
    "statement",
    [
        "insert into items (id, owner, chosen) values (1, 7, true), (2, 7, true), (3, 7, true)",
        "update items set chosen = true where id in (4, 5, 6)",
    ],
)
async def test_one_is_chosen(servers: Servers, statement: str) -> None:
    """A trigger that lets one row of an owner be chosen, and a statement that chooses three: the log ends with one."""
    async with publishing(servers, CREATE + ";" + ONE_CHOSEN, ITEMS) as published:
        await published.execute("insert into items (id, owner) values (4, 7), (5, 7), (6, 7)")
        await published.changes()
        rows = await _table(published)
        changes = await _run(published, statement)
        assert len(changes) == 5
        assert _apply(rows, changes)
        assert rows == await _table(published)
        assert sum(row["chosen"] for row in rows.values()) == 1


async def test_cascade_to_a_row_of_the_same_statement(servers: Servers) -> None:
    """A foreign key of a table to itself changes rows again whose keys the statement has changed: it is captured after that."""
    async with publishing(servers, CREATE, ITEMS) as published:
        await published.execute("insert into items (id, parent) values (1, null), (2, 1), (3, 2)")
        await published.changes()
        rows = await _table(published)
        changes = await _run(published, "update items set id = id + 10")
        assert [change.op for change in changes] == ["U"] * 5
        assert _apply(rows, changes)
        assert rows == await _table(published)


async def test_locked_row(servers: Servers) -> None:
    """A row that was locked, also for a foreign key, before or after it was written, is told as it is."""
    async with publishing(servers, CREATE, ITEMS) as published:
        await published.execute("insert into items (id) values (1)")
        await published.changes()
        changes = await _run(
            published,
            "select from items where id = 1 for update",
            "update items set n = 1 where id = 1",
            "insert into items (id, parent) values (2, 1)",
            "update items set n = 2 where id = 1",
            "insert into script values (1, 1, 'BEFORE', 'select from items where id = 2 for update')",
            "update items set n = 3 where id in (1, 2)",
        )
        assert [change.op for change in changes] == ["U", "I", "U", "U", "U"]


async def test_row_security_forced(servers: Servers) -> None:
    """Where row-level security would hide a table's rows from its owner too, a version is not taken for gone because it is not seen."""
    connection = await servers.connect()
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            "create role forced; create table hidden (id int); alter table hidden owner to forced;"
            "grant usage on schema rowcast to forced; grant usage on schema public to forced; set local role forced"
        )
        gone = "select rowcast.superseded('hidden', '(0,1)')"
        assert await connection.fetchval(gone)
        await connection.execute("alter table hidden enable row level security, force row level security")
        assert not await connection.fetchval(gone)
    finally:
        await transaction.rollback()
        await connection.close()


async def test_changed_again_and_again(servers: Servers) -> None:
    """Where the order cannot be known, because the transaction had changed the row before, listeners are reset."""
    async with publishing(servers, CREATE, ITEMS) as published:
        await published.execute("insert into items (id) values (1), (2)")
        await published.changes()
        changes = await _run(
            published,
            "update items set n = 1 where id = 2",
            "insert into script values (1, 1, 'AFTER', 'update items set n = 9 where id = 2')",
            "update items set n = n + 1 where id in (1, 2)",
        )
        assert [change.op for change in changes] == ["U", "U", "U", "F"]
        assert "a statement inside another" in str(changes[-1].fault)


async def test_long_transaction(servers: Servers) -> None:
    """In a transaction of many changes nobody searches for those of a statement inside another: a reset, and the writer goes on."""
    async with publishing(servers, CREATE + ";" + ONE_CHOSEN, ITEMS) as published:
        changes = await _run(
            published,
            "insert into items (id) select n from generate_series(1000, 2100) n",
            "insert into items (id, owner, chosen) values (1, 7, true), (2, 7, true)",
        )
        assert len(changes) == 1101 + 3
        assert [change.op for change in changes if change.op == "F"] == ["F"]


async def test_taken_back(servers: Servers) -> None:
    """What is taken back with a savepoint leaves the order of what was there before."""
    async with publishing(servers, CREATE + ";" + ONE_CHOSEN, ITEMS) as published:
        changes = await _run(
            published,
            "insert into items (id, owner, chosen) values (1, 7, true)",
            "savepoint here",
            "insert into items (id, owner, chosen) values (2, 7, true), (3, 7, true)",
            "rollback to savepoint here",
            "update items set n = 1 where id = 1",
        )
        rows: dict[str, Any] = {}
        assert [change.op for change in changes] == ["I", "U"]
        assert _apply(rows, changes)
        assert rows == await _table(published)


async def test_owner_that_moves_twice(servers: Servers) -> None:
    """A row that names owners, changed again in the middle of the statement that changes it: a reset."""
    create = (
        "create table job (id bigint primary key, customer bigint); create table bill (id bigint primary key, job_id bigint, note text);"
        "create function again() returns trigger language plpgsql as $$ begin"
        " if new.id = 1 then update job set customer = 9 where id = 2; end if; return new; end $$;"
        "create trigger again after update on job for each row execute function again()"
    )
    async with publishing(servers, create, BILLS) as published:
        await published.execute("insert into job values (1, 1), (2, 1)", "insert into bill values (5, 2, 'x')")
        await published.changes()
        changes = await _run(published, "update job set customer = 5")
        assert [change.op for change in changes if change.op == "F"] == ["F"]
