"""`rowcast migrate` while tables are written: no writer fails or waits for long, also where a migrator ends or is silent in the middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway import migrator, trigger
from gateway.migrator import MigrateError, Plan, migrate
from streams.catalog import Catalog
from tests.gateway.fanout.traffic import under_load
from tests.reliability.migrations import halting
from tests.reliability.migrations.notes import CREATE, EXAMPLES, NOTES, TASKS
from tests.reliability.migrations.parcels import busy, catalog, plan, staged
from tests.sql.published import Published, publishing
from tests.support.gateway import until
from tests.support.process import environment, started
from tests.support.servers import MAX_BYTES, Servers

AGAIN = Plan(Catalog([NOTES, TASKS]), "never", MAX_BYTES)
"""Makes both triggers anew."""


@asynccontextmanager
async def tables(servers: Servers) -> AsyncIterator[tuple[Published, Any, Any]]:
    """Publishes two tables; yields them, and two writers, of whom Postgres looks for deadlocks at once."""
    async with publishing(servers, CREATE, NOTES, TASKS) as published:
        writers = [await servers.connect(server_settings={"deadlock_timeout": "10ms"}) for _ in range(2)]
        await migrate(published.connection, Plan(Catalog([NOTES, TASKS]), "armed", MAX_BYTES))
        try:
            yield published, writers[0], writers[1]
        finally:
            for each in writers:
                each.terminate()


async def waits_for(servers: Servers, waiting: int, blocking: int) -> None:
    """Waits until one process waits for a lock of another, or behind it."""
    connection = await servers.connect()
    try:

        async def blocked() -> bool:
            return bool(await connection.fetchval("select $2::int = any (pg_blocking_pids($1::int))", waiting, blocking))

        await until(blocked, 30)
    finally:
        await connection.close()


def pid(connection: Any) -> int:
    return int(connection.get_server_pid())


# The queue behind a lock that is waited for


async def test_long_transaction(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody's transaction is open, writers wait only shortly; the other tables are done, and who is in the way is said."""
    monkeypatch.setattr(migrator, "_ATTEMPTS", 4)
    monkeypatch.setattr(migrator, "_PAUSES_SECONDS", (0.3,))
    async with tables(servers) as (published, long, writer):
        await long.execute("begin; update notes set body = 'held' where id = 1")
        migrating = asyncio.create_task(migrate(published.connection, AGAIN))
        written = 0
        while not migrating.done():
            await writer.execute("insert into notes select coalesce(max(id), 0) + 1, 1, 'passes' from notes")
            written += 1
            await asyncio.sleep(0.01)
        with pytest.raises(MigrateError, match=rf"public.notes is in use by process {pid(long)} .* 1 of 2 tables are done"):
            await migrating
        assert written > 4
        await long.execute("commit")
        assert [line.split(" (")[0] for line in await migrate(published.connection, AGAIN)] == ["trigger on public.notes"]
        assert len(await published.changes()) == written + 1


async def test_control_waiting_without_end(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that waits for as long as it takes has all writers of the table wait behind it."""
    monkeypatch.setattr(trigger, "_WRITERS_WAIT_MS", 0)
    async with tables(servers) as (published, long, writer):
        await long.execute("begin; update notes set body = 'held' where id = 1")
        migrating = asyncio.create_task(migrate(published.connection, AGAIN))
        await waits_for(servers, pid(published.connection), pid(long))
        writing = asyncio.create_task(writer.execute("insert into notes values (2, 1, 'waits')"))
        await waits_for(servers, pid(writer), pid(published.connection))
        for _ in range(20):
            await waits_for(servers, pid(writer), pid(published.connection))
            assert not writing.done()
        await long.execute("commit")
        await migrating
        await writing


async def test_goes_on_when_the_transaction_ends(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    """A migration that has to wait says for whom, and goes on as soon as they have ended."""
    async with tables(servers) as (published, long, _):
        await long.execute("begin; update notes set body = 'held' where id = 1")
        migrating = asyncio.create_task(migrate(published.connection, AGAIN))
        said = ""
        while "a table is in use" not in said:
            said += capsys.readouterr().out
            await asyncio.sleep(0.01)
        assert "public.notes" in said
        assert str(pid(long)) in said
        await long.execute("commit")
        assert len(await migrating) == 2


async def _crosswise(servers: Servers, migrating: Any, published: Published, writer: Any) -> None:
    """A writer of the later table turns to the earlier one while a migration waits for the later."""
    await writer.execute("begin; update tasks set body = 'held' where id = 1")
    task = asyncio.create_task(migrating)
    await waits_for(servers, pid(published.connection), pid(writer))
    try:
        await writer.execute("update notes set body = 'too' where id = 1; commit")
    finally:
        await asyncio.wait({task})
    await task


async def test_no_deadlock_with_a_writer(servers: Servers) -> None:
    """A migration that waits for one table holds no other, so that a writer of both is never caught between."""
    async with tables(servers) as (published, writer, _):
        await _crosswise(servers, migrate(published.connection, AGAIN), published, writer)


async def test_control_all_tables_at_once(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that does all tables in one transaction makes a writer fail."""
    monkeypatch.setattr(trigger, "_WRITERS_WAIT_MS", 30_000)
    async with tables(servers) as (published, writer, _):

        async def at_once() -> None:
            async with published.connection.transaction():
                await migrate(published.connection, AGAIN)

        with pytest.raises(asyncpg.DeadlockDetectedError):
            await _crosswise(servers, at_once(), published, writer)


async def _silent(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Yields a writer that waits for a migrator which holds its table and says nothing any more."""
    reached = asyncio.Event()

    async def put(self: trigger.Change, connection: Any) -> str:
        reached.set()
        return str(await asyncio.Event().wait())

    async with tables(servers) as (published, writer, _):
        monkeypatch.setattr(trigger.Change, "_put", put)
        migrating = asyncio.create_task(migrate(published.connection, AGAIN))
        await reached.wait()
        writing = asyncio.create_task(writer.execute("update notes set body = 'waits' where id = 1"))
        yield writing, pid(writer), pid(published.connection)
        migrating.cancel()
        published.connection.terminate()
        await asyncio.gather(migrating, writing, return_exceptions=True)


async def test_silent_migrator(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migrator that falls silent with a table in its hands loses it."""
    monkeypatch.setattr(trigger, "_SILENT_SECONDS", 1)
    async for writing, _, _ in _silent(servers, monkeypatch):
        async with asyncio.timeout(60):
            assert await writing == "UPDATE 1"


@pytest.mark.long
async def test_control_silent_migrator(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a bound on its silence a migrator keeps its table, and the writer waits."""
    monkeypatch.setattr(trigger, "_SILENT_SECONDS", 0)
    async for writing, writer, migrator_pid in _silent(servers, monkeypatch):
        await waits_for(servers, writer, migrator_pid)
        await asyncio.wait({writing}, timeout=3)
        assert not writing.done()


# Two at once, and one that ends in the middle


@pytest.mark.long
async def test_two_at_once(servers: Servers) -> None:
    """Migrations of different declarations come at once, again and again: each ends well, and so does the traffic of the examples."""
    async with under_load(servers, servers):
        connections = [await servers.connect() for _ in range(2)]
        for _ in range(2):
            plans = [Plan(EXAMPLES, notify, MAX_BYTES) for notify in ("always", "armed")]
            await asyncio.gather(*(migrate(each, given) for each, given in zip(connections, plans, strict=True)))
        for each in connections:
            await each.close()


@pytest.mark.long
@pytest.mark.parametrize("point", halting.POINTS)
async def test_killed_in_the_middle(servers: Servers, tmp_path: Path, point: str) -> None:
    """A migrator that is killed leaves whole tables behind it, and the next one does the rest; writers go on all the while."""
    async with staged(servers) as stage:
        async with busy(stage):
            file = tmp_path / "halted"
            with started(halting.command(point, file), environment(servers), tmp_path / "migrate.log") as process:
                await until(file.exists, 60)
                process.kill()
                process.wait()
            await stage.go_on()
            assert await stage.migrate(plan(notify="always")) != []
            await stage.go_on()
        assert stage.writers.told == []
        await stage.check()
        assert catalog().by_table().keys() == {
            row["relation"] for row in await stage.connection.fetch("select relation from rowcast.shape where retired_at is null")
        }


@pytest.mark.long
async def test_frozen_in_the_middle(servers: Servers, tmp_path: Path) -> None:
    """A migrator that is frozen with a table in its hands holds its writers up for some seconds, and fails when it comes to itself."""
    async with staged(servers) as stage:
        async with busy(stage):
            file = tmp_path / "halted"
            with started(halting.command(halting.POINTS[1], file), environment(servers), tmp_path / "migrate.log") as process:
                await until(file.exists, 60)
                await stage.go_on()
                process.kill()
                process.wait()
            assert await stage.migrate(plan(notify="always")) != []
        assert stage.writers.told == []
        await stage.check()
