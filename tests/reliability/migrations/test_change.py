"""A published table is changed while it is written and listened to: no writer fails, and what cannot be captured is told."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

import sql
from gateway import doctor, trigger
from streams.stream import Stream
from tests.reliability.migrations.parcels import BOARD, LABELS, PARCELS, PARTITIONED, Stage, busy, plan, staged
from tests.support.gateway import settings, until
from tests.support.servers import Servers

QUIET = (
    "alter table parcels add column later text default 'canary'",
    "alter table parcels add column stamped timestamptz default clock_timestamp()",
    "alter table parcels alter column notes set not null",
    "alter table parcels replica identity full",
    "alter table parcels enable row level security; create policy everything on parcels using (true)",
    "alter table parcels drop constraint parcels_pkey cascade; alter table parcels add primary key (id, owner_id)",
    "alter table parcels drop column secret",
    "vacuum full parcels",
    "create index concurrently on parcels (owner_id)",
)
"""What does not concern what is published, also where it writes the table anew."""
LIGHTER = tuple(replace(each, columns=tuple(c for c in each.columns if c != "weight")) for each in (PARCELS, BOARD))


def renamed(stream: Stream) -> Stream:
    return replace(stream, columns=tuple("mass" if c == "weight" else c for c in stream.columns))


async def change(stage: Stage, statement: str) -> None:
    """Changes the table as an owner does who lets writers pass: with a short lock_timeout, again and again."""
    connection = await stage.servers.connect(server_settings={"search_path": "public", "lock_timeout": "500ms"})
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    await connection.execute(statement)
                    return
                except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                    await connection.execute("rollback")
                    await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def findings(servers: Servers) -> list[str]:
    """Returns what the doctor says is not well about the streams, triggers and captures."""
    given = settings(servers, streams="tests.reliability.migrations.declared")
    concerned = ("streams", "trigger", "capture")
    return [each.detail async for each in doctor.examine(given) if not each.well and each.what.startswith(concerned)]


async def test_changes_beside_what_is_published(servers: Servers) -> None:
    """Columns, keys, policies, rewrites: whatever does not concern the listed columns is noticed by nobody, and published by nothing."""
    async with staged(servers) as stage:
        async with busy(stage):
            for statement in QUIET:
                await change(stage, statement)
                await stage.go_on()
        await stage.check()
        assert stage.writers.told == []
        assert [reader.resets for reader in stage.readers] == [[]] * len(stage.readers)
        assert "canary" not in str([reader.lines for reader in stage.readers])


async def _told(stage: Stage, statement: str, fault: str, parcels: Stream = PARCELS, board: Stream = BOARD) -> None:
    """Changes the table so that the trigger cannot read it; then migrates to what is declared for it now."""
    async with busy(stage):
        await change(stage, statement)
        await stage.told()
        assert any(fault in each for each in await findings(stage.servers))
        await stage.migrate(plan(parcels, board, LABELS))
        await stage.go_on()
    assert stage.writers.told == []
    faults = await stage.faults_in_log()
    # Of the last, which the sequencer tells, the row is in the log.
    besides = ("perhaps its values", "not captured", "whose it is cannot be found out")
    known = sum(count for text, count in faults.items() if not any(each in text for each in besides))
    await stage.check(parcels=parcels, board=board, lost=known)


@pytest.mark.long
async def test_dropped_column(servers: Servers) -> None:
    """A listed column is dropped: writers go on, each change is a reset until the declaration is mended, and then events go on."""
    async with staged(servers) as stage:
        await _told(stage, "alter table parcels drop column weight", "no column weight", *LIGHTER)


@pytest.mark.long
async def test_renamed_column(servers: Servers) -> None:
    """A listed column is renamed: as if it were dropped."""
    async with staged(servers) as stage:
        statement = "alter table parcels rename column weight to mass"
        await _told(stage, statement, "no column weight", renamed(PARCELS), renamed(BOARD))


@pytest.mark.long
async def test_retyped_column(servers: Servers) -> None:
    """A listed column gets another type and other values: each change is a reset, and so is the migration, for no row says what it was."""
    async with staged(servers) as stage:
        await _told(stage, "alter table parcels alter weight type bigint using weight * 10", "older than its declaration")
        assert [text for text in await stage.faults_in_log() if "perhaps its values" in text]


async def test_control_trigger_without_its_guard(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger that does not guard its reading fails the writer, and the check says so."""
    text = sql.text

    def unguarded(name: str) -> str:
        return text(name).replace("exception when others or assert_failure then", "exception when division_by_zero then")

    monkeypatch.setattr(sql, "text", unguarded)
    async with staged(servers) as stage:
        stop = asyncio.Event()
        writing = asyncio.create_task(stage.writers.write(servers, stop, 0.01))
        await stage.go_on()
        await change(stage, "alter table parcels drop column weight")
        await until(lambda: stage.writers.told)
        stop.set()
        await writing
    assert any('has no field "weight"' in each for each in stage.writers.told)


@pytest.mark.long
@pytest.mark.parametrize("disabled", ['"00_rowcast_capture"', "all", "user"])
async def test_disabled_trigger(servers: Servers, disabled: str) -> None:
    """What is written while a trigger is disabled nobody captures: the doctor says so, and the migration that mends it tells everybody."""
    async with staged(servers) as stage:
        async with busy(stage):
            await change(stage, f"alter table parcels disable trigger {disabled}")
            before = stage.writers.rows
            await until(lambda: stage.writers.rows > before + 10)
            assert "the trigger is missing or disabled" in await findings(servers)
            await stage.migrate(plan(), tells="capture-failed")
        assert stage.writers.told == []
        (said,) = await findings(servers)
        assert "changes of the last day could not be read: changes were not captured: a trigger was missing or disabled" in said
        assert await _lost(stage) > 0
        await stage.check(lost=await _lost(stage))


async def test_control_repair_that_tells_nobody(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that mends a trigger and says nothing leaves clients with rows that are not so, and the check sees it."""
    monkeypatch.setattr(trigger, "_tell", lambda *_: "")
    async with staged(servers) as stage:
        await stage.connection.execute('alter table parcels disable trigger "00_rowcast_capture"')
        await stage.connection.execute(
            "update parcels set notes = 'unseen' where id = 12; delete from labels; delete from parcels where id = 3"
        )
        await stage.migrate(plan())
        await stage.connection.execute("update parcels set notes = 'seen' where id <= 2")
        view = stage.views[1]
        await until(lambda: view.rows[1]["notes"] == "seen")
        assert view.rows != await view.expected(stage.connection, BOARD.columns)
        assert view.rows[12]["notes"] == "first"


async def _lost(stage: Stage) -> int:
    """Returns how many of the rows that were acknowledged are not in the log."""
    return sum(stage.writers.acknowledged.values()) - (await stage.logged()).total()


@pytest.mark.long
async def test_renamed_table(servers: Servers) -> None:
    """A table that is renamed is captured on, under the name that is declared; the doctor says that it is not there."""
    async with staged(servers) as stage:
        async with busy(stage):
            for statement, name in (("rename to cargo", "cargo"), ("rename to parcels", "parcels")):
                await change(stage, f"alter table {stage.writers.table} {statement}")
                stage.writers.table = name
                await stage.go_on()
                assert any("is in public.parcels" in each for each in await findings(servers)) == (name == "cargo")
        assert {each.split(":")[0] for each in stage.writers.told} <= {"UndefinedTableError"}
        await stage.check()
        assert [reader.resets for reader in stage.readers] == [[]] * len(stage.readers)


_SWAP = """
    begin;
    lock table labels, parcels;
    alter table labels drop constraint labels_parcel_id_fkey;
    alter table parcels rename to parcels_before;
    create table parcels (like parcels_before including all);
    grant select on parcels to authenticated;
    insert into parcels select * from parcels_before;
    commit
"""


@pytest.mark.long
async def test_table_that_takes_anothers_place(servers: Servers) -> None:
    """A new table that takes the name of a published one is published by the next migration, all are told, and the other one no more."""
    async with staged(servers) as stage:
        async with busy(stage):
            await change(stage, _SWAP)
            before = stage.writers.rows
            await until(lambda: stage.writers.rows > before + 10)
            assert "the trigger is missing or disabled" in await findings(servers)
            await stage.migrate(plan(), tells="capture-failed")
            await stage.connection.execute("update parcels_before set notes = 'of the table before'")
        assert stage.writers.told == []
        await stage.check(lost=await _lost(stage))
        assert "of the table before" not in str([reader.lives for reader in stage.readers])
        assert await stage.migrate(plan()) == []


@pytest.mark.long
async def test_dropped_and_created_again(servers: Servers) -> None:
    """A table that is dropped and made anew takes the log down with it as little as its writers, and is published again by a migration."""
    async with staged(servers) as stage:
        async with busy(stage):
            await change(stage, "begin; lock table labels, parcels; drop table parcels cascade; commit")
            assert any("is in public.parcels" in each for each in await findings(servers))
            await stage.connection.execute("update services set description = 'the log goes on' where id = 1")
            await stage.connection.execute(
                "create table parcels (id bigint primary key, owner_id bigint, notes text, state text, weight integer, secret text);"
                "grant select on parcels to authenticated;"
                "insert into parcels select n, 1 + n % 3, 'second', 'new', n from generate_series(1, 12) n"
            )
            await stage.migrate(plan(), tells="capture-failed")
        assert {each.split(":")[0] for each in stage.writers.told} <= {"UndefinedTableError"}
        known = sum((await stage.faults_in_log()).values())
        assert known
        await stage.check(lost=await _lost(stage))


@pytest.mark.long
async def test_partitions_come_and_go(servers: Servers) -> None:
    """Empty partitions are captured at once; rows that come or go with a partition are told by the next migration."""
    async with staged(servers, PARTITIONED) as stage:
        async with busy(stage):
            await change(stage, "create table parcels_more partition of parcels for values from (10000) to (20000)")
            await stage.connection.execute("insert into parcels (id, owner_id, notes) values (10001, 1, 'in the new one')")
            await until(lambda: "in the new one" in str(stage.readers[0].lines))
            assert [reader.resets for reader in stage.readers] == [[]] * len(stage.readers)
            await stage.migrate(plan(), tells="capture-failed")
            await stage.connection.execute(
                "create table parcels_full (like parcels including all);"
                "insert into parcels_full (id, owner_id, notes) select n, 1 + n % 3, 'came along' from generate_series(20000, 20010) n"
            )
            await change(stage, "alter table parcels attach partition parcels_full for values from (20000) to (30000)")
            await stage.migrate(plan(), tells="capture-failed")
            await change(stage, "alter table parcels detach partition parcels_more")
            await stage.migrate(plan(), tells="capture-failed")
            await stage.connection.execute(
                "insert into parcels_more (id, owner_id, notes) values (10002, 1, 'outside'); truncate parcels_more"
            )
        assert stage.writers.told == []
        await stage.check()
        assert "outside" not in str([reader.lives for reader in stage.readers])
        assert await stage.migrate(plan()) == []
