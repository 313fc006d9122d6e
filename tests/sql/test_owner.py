"""Owners that another table names, and rows with several owners: whoever materialises what is sent has what is theirs, at every step."""

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

import sql
from streams.stream import DeclarationError, Stream, Via
from tests.sql.published import BILLS, Published, declare, publishing
from tests.support.servers import Servers

TABLES = """
create table public.job (id bigint primary key, customer text);
create table public.bill (id bigint primary key, job_id bigint, note text not null);
alter table public.bill add foreign key (job_id) references public.job on update cascade on delete cascade;
insert into public.job values (1, 'a'), (2, 'b'), (3, null);
"""
A, B = "bills-changes-a", "bills-changes-b"


class Views:
    """What each channel's listener has, from the events alone. Fails on a version that is not the one after theirs."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Any]] = defaultdict(dict)

    def take(self, channel: str, data: Any) -> None:
        rows = self.rows[channel]
        if data["type"] == "DELETE":
            assert rows.pop(data["old_record"]["id"], None) is not None, f"{channel} had no row {data['old_record']}"
        elif data["type"] == "INSERT":
            assert data["record"]["id"] not in rows, f"{channel} had row {data['record']} already"
            rows[data["record"]["id"]] = data["record"]
        else:
            assert rows.pop(data["old_record"]["id"], None) == data["old_record"], f"{channel} missed something of {data}"
            rows[data["record"]["id"]] = data["record"]

    @property
    def all(self) -> dict[str, dict[int, Any]]:
        return {channel: rows for channel, rows in self.rows.items() if rows}


async def _sent(published: Published) -> list[tuple[str, str, int, bool]]:
    return [
        (channel, data["type"], (data["record"] or data["old_record"])["id"], data.get("left", False))
        for channel, data in await published.sent()
    ]


async def test_the_row_itself(servers: Servers) -> None:
    """A row's changes reach whoever the other table names; one that is nobody's reaches nobody."""
    async with publishing(servers, TABLES, BILLS) as published:
        await published.execute("insert into bill values (1, 1, 'x'), (2, 3, 'x')", "update bill set note = 'y'", "delete from bill")
        assert await _sent(published) == [(A, "INSERT", 1, False), (A, "UPDATE", 1, False), (A, "DELETE", 1, False)]


async def test_the_row_refers_to_another(servers: Servers) -> None:
    """A row that is referred elsewhere leaves one and comes to the other."""
    async with publishing(servers, TABLES, BILLS) as published:
        await published.execute("insert into bill values (1, 1, 'x')", "update bill set job_id = 2", "update bill set job_id = null")
        assert (await _sent(published))[1:] == [(A, "DELETE", 1, True), (B, "INSERT", 1, False), (B, "DELETE", 1, True)]


async def test_what_it_refers_to_changes_hands(servers: Servers) -> None:
    """All rows that refer to it leave one and come to the other, as they are then; others stay."""
    async with publishing(servers, TABLES, BILLS) as published:
        await published.execute("insert into bill values (1, 1, 'x'), (2, 1, 'y'), (3, 2, 'z')")
        await _sent(published)
        await published.execute("update job set customer = 'b' where id = 1")
        sent = await published.sent()
        assert [(c, d["type"]) for c, d in sent] == [(A, "DELETE"), (B, "INSERT"), (A, "DELETE"), (B, "INSERT")]
        assert sent[0][1]["old_record"] == {"id": 1}
        assert sent[1][1]["record"] == {"id": 1, "job_id": 1, "note": "x"}
        assert sent[1][1]["old_record"] is None
        await published.execute("update job set customer = null where id = 1", "update job set customer = 'a' where id = 3")
        assert [each[:2] for each in await _sent(published)] == [(B, "DELETE"), (B, "DELETE")]


async def test_all_in_one_step(servers: Servers) -> None:
    """However much happens between two looks, each change goes to whose it was then."""
    async with publishing(servers, TABLES, BILLS) as published:
        await published.execute(
            "insert into bill values (1, 1, 'x'), (2, 1, 'x')",
            "update job set customer = 'b' where id = 1",
            "update bill set note = 'y' where id = 1",
            "delete from bill where id = 2",
            "update job set customer = 'c' where id = 1",
            "insert into bill values (3, 1, 'z')",
        )
        sent = [(c, d["type"], (d["record"] or d["old_record"])) for c, d in await published.sent()]
        x, y = ({"id": 1, "job_id": 1, "note": note} for note in "xy")
        two = {"id": 2, "job_id": 1, "note": "x"}
        assert sent == [
            (A, "INSERT", x),
            (A, "INSERT", two),
            (A, "DELETE", {"id": 1}),
            (B, "INSERT", x),
            (A, "DELETE", {"id": 2}),
            (B, "INSERT", two),
            (B, "UPDATE", y),
            (B, "DELETE", two),
            (B, "DELETE", {"id": 1}),
            ("bills-changes-c", "INSERT", y),
            ("bills-changes-c", "INSERT", {"id": 3, "job_id": 1, "note": "z"}),
        ]


async def test_what_it_refers_to_goes(servers: Servers) -> None:
    """Rows that are deleted with it reach their last owner whole; a key that changes takes them along."""
    async with publishing(servers, TABLES, BILLS) as published:
        await published.execute("insert into bill values (1, 1, 'x'), (2, 2, 'y')")
        await published.sent()
        await published.execute("update job set id = 7 where id = 2", "delete from job where id = 1")
        views = Views()
        views.rows[A][1], views.rows[B][2] = ({"id": n, "job_id": n, "note": note} for n, note in ((1, "x"), (2, "y")))
        sent = await published.sent()
        for channel, data in sent:
            views.take(channel, data)
        assert views.all == {B: {2: {"id": 2, "job_id": 7, "note": "y"}}}
        (deleted,) = [data for channel, data in sent if channel == A]
        assert deleted["old_record"] == {"id": 1, "job_id": 1, "note": "x"}


async def test_what_it_refers_to_is_emptied(servers: Servers) -> None:
    """TRUNCATE of the other table is a reset: whose the rows were cannot be told any more."""
    async with publishing(servers, TABLES, BILLS) as published:
        await published.execute("insert into bill values (1, 1, 'x')")
        await published.sent()
        await published.execute("truncate job cascade")
        assert set(await published.sent()) == {("bills-changes", "truncated")}


@pytest.mark.parametrize("broken", ["drop table job cascade", "alter table job drop column customer cascade"])
async def test_the_other_table_has_gone(servers: Servers, broken: str) -> None:
    """Whose it is cannot be found out: a reset, and neither the writer nor the log stops."""
    async with publishing(servers, TABLES, BILLS) as published:
        await published.execute("insert into bill values (1, 1, 'x')")
        await published.sent()
        await published.execute(broken, "update bill set note = 'y'")
        assert ("bills-changes", "capture-failed") in await published.sent()


async def test_several_owners(servers: Servers) -> None:
    """A row whose owner column is an array reaches each of them; who is added gets it, who is taken out is told that it left."""
    doc = declare("public.doc", "id body", "readers", name="docs")
    create = "create table public.doc (id bigint primary key, body text, readers bigint[]); "
    async with publishing(servers, create, doc) as published:
        await published.execute(
            "insert into doc values (1, 'x', '{1,2,2,null}')",
            "update doc set body = 'y', readers = '{2,3}'",
            "update doc set readers = '{}'",
            "insert into doc values (2, 'x', null)",
        )
        channels = [f"docs-changes-{n}" for n in range(4)]
        assert await _sent(published) == [
            (channels[1], "INSERT", 1, False),
            (channels[2], "INSERT", 1, False),
            (channels[1], "DELETE", 1, True),
            (channels[2], "UPDATE", 1, False),
            (channels[3], "INSERT", 1, False),
            (channels[2], "DELETE", 1, True),
            (channels[3], "DELETE", 1, True),
        ]
        found = await published.connection.fetch(
            "select channel, position from rowcast.log_channel where channel like 'docs%' order by 2, 1"
        )
        assert [tuple(row) for row in found] == [
            *((channels[n], 1) for n in (1, 2)),
            *((channels[n], 2) for n in (1, 2, 3)),
            *((channels[n], 3) for n in (2, 3)),
        ]


async def test_an_owner_that_would_reach_into_another_channel(servers: Servers) -> None:
    """A separator inside an owner's name opens nobody else's channel, and too many owners are a fault, not a crash."""
    doc = declare("public.doc", "id body", "readers", name="docs")
    create = "create table public.doc (id bigint primary key, body text, readers text[]); "
    async with publishing(servers, create, doc) as published:
        await published.connection.execute("insert into doc values (1, 'x', $1)", [f"a{sql.SEPARATOR}docs-changes-b", "c", "x" * 600])
        assert [each[0] for each in await _sent(published)] == ["docs-changes-c"]
        await published.connection.execute("insert into doc values (2, 'x', array(select n::text from generate_series(1, 10001) n))")
        assert ("docs-changes", "capture-failed") in await published.sent()


@pytest.mark.parametrize(("owner", "says"), [({"table": "job"}, "schema.table"), ({"column": ""}, "owner column")])
def test_declared_wrongly(owner: dict[str, str], says: str) -> None:
    """What is wrong about an owner in another table is named."""
    given = {"column": "job_id", "table": "public.job", "owner": "customer"} | owner
    with pytest.raises(DeclarationError, match=says):
        Stream(name="odd", table="a.b", columns=("id",), channel="odd" if not given["column"] else "odd-{user_id}", owner=Via(**given))


JOBS, BILL_IDS, PEOPLE = range(1, 5), range(1, 9), ["a", "b", "c", None]


async def _meddle(servers: Servers, stop: asyncio.Event, chance: random.Random) -> None:
    connection = await servers.connect(server_settings={"deadlock_timeout": "20ms"})
    try:
        while not stop.is_set():
            try:
                async with connection.transaction():
                    for _ in range(chance.randint(1, 4)):
                        await _something(connection, chance)
                        await asyncio.sleep(chance.choice((0, 0, 0.005)))
                    if chance.random() < 0.1:
                        raise asyncpg.DeadlockDetectedError
            except (asyncpg.DeadlockDetectedError, asyncpg.IntegrityConstraintViolationError):
                pass
    finally:
        connection.terminate()


async def _something(connection: Any, chance: random.Random) -> None:
    bill, job, person = chance.choice(BILL_IDS), chance.choice(JOBS), chance.choice(PEOPLE)
    match chance.randint(0, 6):
        case 0 | 1:
            await connection.execute("update job set customer = $2 where id = $1", job, person)
        case 2:
            await connection.execute(
                "insert into bill values ($1, $2, 'n') on conflict (id) do update set note = bill.note || 'n'", bill, job
            )
        case 3:
            await connection.execute("update bill set note = right(note || $2, 20) where id = $1", bill, chance.choice("xyz"))
        case 4:
            await connection.execute("update bill set job_id = $2 where id = $1", bill, job)
        case 5:
            await connection.execute("delete from bill where id = $1", bill)
        case 6:
            await connection.execute("delete from job where id = $1", job)
            await connection.execute("insert into job values ($1, $2) on conflict do nothing", job, person)


async def _contend(servers: Servers, seconds: float) -> tuple[int, int]:
    """Lets writers fight over jobs and bills, looks at whatever is visible meanwhile, and checks each owner's view at every step."""
    views, steps, events = Views(), 0, 0
    async with publishing(servers, TABLES, BILLS) as published, AsyncExitStack() as stack:
        await published.execute("insert into job values (4, 'c')")
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(_meddle(servers, stop, random.Random(number)))
            stack.callback(stop.set)
            end = asyncio.get_running_loop().time() + seconds
            try:
                while asyncio.get_running_loop().time() < end or events < 200:
                    await asyncio.sleep(random.choice((0, 0.001, 0.02)))
                    sent = await published.sent()
                    steps, events = steps + 1, events + len(sent)
                    for channel, data in sent:
                        views.take(channel, data)
            finally:
                stop.set()
        for channel, data in await published.sent():
            views.take(channel, data)
        expected: dict[str, dict[int, Any]] = defaultdict(dict)
        for row in await published.connection.fetch(
            "select b.*, j.customer from bill b join job j on j.id = b.job_id where customer is not null"
        ):
            expected[f"bills-changes-{row['customer']}"][row["id"]] = {name: row[name] for name in ("id", "job_id", "note")}
        assert views.all == dict(expected)
    return steps, events


async def test_writers_that_fight(servers: Servers, pytestconfig: pytest.Config) -> None:
    """Whatever concurrent transactions do to both tables, each owner's view follows without a step missing, and ends as the join says."""
    steps, events = await _contend(servers, 20 if pytestconfig.getoption("--long") else 4)
    assert steps > 20
    assert events > 200


async def test_control_owners_of_now(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were every change given to whose it is when it is sequenced, not to whose it was, the same check would see it."""
    functions = sql.functions()
    changed = functions.replace("when p.ahead > 0 then", "when false then")
    assert changed != functions
    monkeypatch.setattr(sql, "functions", lambda: changed)
    with pytest.raises((AssertionError, ExceptionGroup)):
        await _contend(servers, 10)


async def test_names_that_are_too_long(servers: Servers) -> None:
    """An owner, or a reference, longer than anybody's name is nobody's: it stops nothing, and is not taken for a shorter one."""
    create = (
        "create table public.job (id text primary key, customer text);"
        "create table public.bill (id bigint primary key, job_id text, note text);"
        "insert into job values (repeat('k', 512), 'a'), (repeat('k', 512) || 'x', 'b'), ('j', repeat('c', 9000)); "
    )
    async with publishing(servers, create, BILLS) as published:
        await published.connection.execute(
            "insert into bill values (1, repeat('k', 512), 'a'), (2, repeat('k', 512) || 'x', 'for b alone'), (3, 'j', 'nobody')"
        )
        assert await _sent(published) == [(A, "INSERT", 1, False)]
        await published.execute("update job set customer = repeat('d', 9000) where id = repeat('k', 512)", "delete from job")
        assert await _sent(published) == [(A, "DELETE", 1, True)]


async def test_the_other_table_can_be_altered(servers: Servers) -> None:
    """Whoever owns the other table may alter its columns as before: what comes of it is theirs to migrate, and never an error."""
    create = TABLES.replace("alter table public.bill add foreign key", "-- ")
    async with publishing(servers, create, BILLS) as published:
        await published.execute(
            "alter table job alter column customer type varchar(50)",
            "update job set customer = 'b' where id = 1",
            "alter table job drop column customer",
            "update job set id = 9 where id = 1",
        )


async def test_the_other_table_is_locked(servers: Servers) -> None:
    """While somebody keeps the other table locked, the log goes on: what cannot be found out is a reset."""
    async with publishing(servers, TABLES, BILLS) as published:
        locker = await servers.connect()
        async with locker.transaction():
            await published.execute("insert into bill values (1, 1, 'x')")
            await locker.execute("lock table job in access exclusive mode")
            await published.execute("update services set price = 1 where id = 1")
            assert [channel for channel, _ in await published.sent()] == ["bills-changes", "services-changes"]
        await locker.close()
