"""What others leave open costs the bridge nothing: an old snapshot, a long write transaction, a dump that locks the outbox.

Work is counted in blocks that Postgres looks at, because time is not to be trusted.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

import sql
from gateway.bridge.listener import INDEXED, Connection
from gateway.bridge.listener import connected as bridge_connected
from tests.support.gateway import until
from tests.support.judge import Change, History, judge
from tests.support.servers import Servers
from tests.support.writers import INSERT, UPDATE, commit, connected, prepare, read_log, sequencer_of

CHANGES = 200_000
ROWS = 1000
SLACK = 10
"""Blocks that a higher index may cost, whatever the number of changes."""


@dataclass(frozen=True)
class Work:
    """What one statement cost."""

    blocks: int
    milliseconds: float


async def work(connection: Connection, statement: str, *args: object) -> Work:
    """Runs a statement, with whatever it calls, and counts the blocks it looks at."""
    (explained,) = json.loads(await connection.fetchval(f"explain (analyze, buffers, format json)\n{statement}", *args))
    plan = explained["Plan"]
    return Work(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], explained["Execution Time"])


@asynccontextmanager
async def looking(servers: Servers) -> AsyncIterator[Connection]:
    """Opens a connection with a sequencer's settings."""
    async with bridge_connected(servers.database_url, "sequencer", **INDEXED) as connection:
        yield connection


async def seen(connection: Connection, since: str) -> str:
    """Looks once, finds nothing, and returns where to begin the next time."""
    row = await connection.fetchrow(sql.statement("waiting"), since)
    assert row is not None
    assert not row["waiting"]
    return str(row["seen"])


async def head(connection: Connection) -> str:
    row = await connection.fetchrow(sql.statement("head_snapshot"))
    assert row is not None
    return str(row["snapshot"])


async def idle_look(connection: Connection, since: str) -> Work:
    """Returns what a look that finds nothing costs; the least of three, the first may plan."""
    return min([await work(connection, sql.statement("waiting"), since) for _ in range(3)], key=lambda each: each.blocks)


async def step(connection: Connection, writer: Connection) -> Work:
    """Returns what it costs to give one change its position; the least of three."""
    costs = []
    for _ in range(3):
        await writer.execute(UPDATE, [1])
        costs.append(await work(connection, sql.statement("advance"), None, None))
    return min(costs, key=lambda each: each.blocks)


async def test_old_snapshot_costs_nothing(servers: Servers) -> None:
    """After 200,000 changes under one old snapshot a look and a step cost what they did; a queue that rows are deleted from does not."""
    await prepare(servers, writers=0)
    queue = "select id from public.queue order by id limit 100"
    async with AsyncExitStack() as stack:
        old, dump, writer = [await stack.enter_async_context(connected(servers)) for _ in range(3)]
        bridge = await stack.enter_async_context(looking(servers))
        sequencer = await stack.enter_async_context(sequencer_of(servers))

        async def measure() -> list[Work]:
            return [await idle_look(bridge, await head(bridge)), await step(bridge, writer), await work(bridge, queue)]

        await writer.execute("create table public.queue (id bigint primary key)")
        await writer.fetch(INSERT, ROWS)
        assert (await work(bridge, sql.statement("advance"), None, None)).blocks > ROWS  # what happens inside is counted
        await old.execute("begin isolation level repeatable read")
        rows = await old.fetchval("select count(*) from public.ledger")
        before = await measure()

        await dump.execute("begin; lock table rowcast.outbox_0, rowcast.outbox_1 in access share mode")
        for _ in range(CHANGES // ROWS):
            await asyncio.gather(writer.fetch(INSERT, ROWS), sequencer.step())
        await sequencer.step()
        await writer.execute("insert into public.queue select generate_series(1, $1::integer)", CHANGES)
        await writer.execute("delete from public.queue")
        full = await measure()
        await dump.execute("commit")
        assert await sequencer.reclaim()
        truncated = await measure()

        assert await old.fetchval("select count(*) from public.ledger") == rows
        assert await bridge.fetchval("select max(position) from rowcast.log") == ROWS + CHANGES + 9
    for name, *measured in zip(("idle look", "step", "delete queue"), before, full, truncated, strict=True):
        sys.stdout.write(f"{name}, before, with full lanes, with a truncated one: {measured}\n")
    for one, *others in list(zip(before, full, truncated, strict=True))[:2]:
        assert all(other.blocks <= 2 * one.blocks + SLACK for other in others)
    assert full[2].blocks > 2 * before[2].blocks + SLACK


async def test_open_writer_delays_nobody(servers: Servers) -> None:
    """Changes get their positions while another write transaction is open, where a reader with a horizon would wait; its own follow."""
    await prepare(servers, writers=0)
    horizon = "select count(*) from rowcast.outbox_0 where txid < pg_snapshot_xmin(pg_current_snapshot())"
    async with connected(servers) as slow, connected(servers) as quick, sequencer_of(servers) as sequencer:
        history = History()
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(UPDATE, [1])
        for row in (2, 3, 2):
            await commit(quick, history, row)
        assert await quick.fetchval(horizon) == 0
        await sequencer.step()
        assert judge(history, await read_log(quick)).right
        assert await sequencer.step() == 0
        await transaction.commit()
        assert await sequencer.step() == 1
        assert [change.row for _, change in sorted(await read_log(quick))] == [2, 3, 2, 1]


async def test_open_changes_are_not_read_again(servers: Servers) -> None:
    """20,000 changes of an open transaction are looked at once; a look that did not remember who was open would read them every time."""
    await prepare(servers, writers=0)
    async with connected(servers) as big, connected(servers) as other, looking(servers) as bridge, sequencer_of(servers) as sequencer:
        await commit(other, History(), 1)
        await sequencer.step()
        before = await seen(bridge, await head(bridge))
        quiet = await idle_look(bridge, before)
        transaction = big.transaction()
        await transaction.start()
        await big.fetch(INSERT, 20_000)
        await other.execute("select pg_current_xact_id()")
        now = await seen(bridge, before)
        looks = [await idle_look(bridge, now)]
        for _ in range(3):
            now = await seen(bridge, now)
            looks.append(await idle_look(bridge, now))
        forgetful = await idle_look(bridge, before)
        sys.stdout.write(f"quiet {quiet}, beside 20,000 open changes {looks}, without memory {forgetful}\n")
        assert all(look.blocks <= 2 * quiet.blocks + SLACK for look in looks)
        assert forgetful.blocks > 2 * quiet.blocks + SLACK

        await transaction.commit()
        assert await sequencer.step() == 20_000


async def changes(writer: Connection, number: int) -> list[Change]:
    return [Change(row["txid"], "I", row["id"], row["version"]) for row in await writer.fetch(INSERT, number)]


async def test_dump_holds_up_nothing(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a dump has the lanes locked changes are sequenced and truncation gives up at once; afterwards it is done."""
    monkeypatch.setattr(sql, "LANE_BITS", 2)
    await prepare(servers, writers=0)
    async with connected(servers) as dump, connected(servers) as writer, sequencer_of(servers) as sequencer:
        await dump.execute("begin isolation level repeatable read")
        await dump.execute("lock table rowcast.outbox_0, rowcast.outbox_1 in access share mode")
        written = await changes(writer, 10)
        assert await sequencer.step() == 10
        assert not await sequencer.reclaim()
        written += await changes(writer, 10)
        assert await sequencer.step() == 10
        assert not await sequencer.reclaim()
        await dump.execute("commit")
        assert await sequencer.reclaim()
        assert [change for _, change in sorted(await read_log(writer))] == written


async def test_open_writer_keeps_its_lane(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that an open transaction has written to is not truncated, and nobody waits for that transaction."""
    monkeypatch.setattr(sql, "LANE_BITS", 2)
    await prepare(servers, writers=0)
    async with connected(servers) as open_writer, connected(servers) as writer, sequencer_of(servers) as sequencer:
        transaction = open_writer.transaction()
        await transaction.start()
        await changes(open_writer, 10)
        await changes(writer, 10)
        assert await sequencer.step() == 10
        assert not await sequencer.reclaim()
        await transaction.commit()
        assert await sequencer.step() == 10
        assert await sequencer.reclaim()
        assert len(await read_log(writer)) == 20


async def test_patient_truncation_would_stall_writers(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncation that waited for the dump would make the writers wait behind it: that is why it does not."""
    monkeypatch.setattr(sql, "LANE_BITS", 2)
    patient = sql.functions().replace("access exclusive mode nowait", "access exclusive mode")
    assert patient != sql.functions()
    await prepare(servers, writers=0)
    async with connected(servers) as dump, connected(servers) as writer, sequencer_of(servers) as sequencer:
        await writer.execute(patient)
        await changes(writer, 10)
        await dump.execute("begin; lock table rowcast.outbox_0, rowcast.outbox_1 in access share mode")
        truncation = asyncio.create_task(sequencer.reclaim())
        await until(lambda: writer.fetchval("select exists (select from pg_locks where not granted and mode = 'AccessExclusiveLock')"))
        await writer.execute("set lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await changes(writer, 10)
        await dump.execute("commit")
        await truncation
        assert len(await changes(writer, 10)) == 10
