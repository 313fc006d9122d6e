"""A database of the first migration, with changes in outbox and log, is brought to the newest one while it is written.

What it was like then is kept in golden/: functions and triggers as they were rendered before there was a second migration. Migrations are
never edited, so that the first one is what it was.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sql
from gateway.migrator import Plan, migrate
from gateway.task import ended
from streams.catalog import load
from streams.payload import Shape
from tests.gateway.fanout.traffic import Traffic, audience, go_on
from tests.support.gateway import bridge_of, until, web
from tests.support.ledger import agreed, reading
from tests.support.servers import MAX_BYTES, Servers, fresh

PLAN = Plan(load("streams"), "armed", MAX_BYTES)
GOLDEN = Path(__file__).parent / "golden" / "0001.sql"
POSITIONS = 20
_WAITING = "select (select count(*) from rowcast.outbox_0) + (select count(*) from rowcast.outbox_1)"


@pytest.fixture
def empty(run_servers: Servers) -> Iterator[Servers]:
    """A database in which nothing was ever installed."""
    with fresh(run_servers, "template0") as each:
        yield each


async def first_release(servers: Servers) -> None:
    """Installs what the first release did, with the example tables that it had."""
    number, name, text = sql.migrations()[0]
    connection = await servers.connect(server_settings={"search_path": "public"})
    await connection.execute(sql.text("example/homeser.sql"))
    await connection.execute(
        "create schema if not exists rowcast;"
        "create table rowcast.migration (number integer primary key, name text not null, applied_at timestamptz not null default now());"
        "create table rowcast.installed (name text primary key, definition text not null)"
    )
    await connection.execute(text)
    await connection.execute("insert into rowcast.migration (number, name) values ($1, $2)", number, name)
    await connection.execute(GOLDEN.read_text(encoding="utf-8"))
    await connection.execute("select rowcast.begin_epoch('installed', 0); select rowcast.open_segment()")
    await connection.close()


async def _worked(connection: Any) -> None:
    """Gives positions, as the first release did, until there are some; waits until more changes wait in the outbox."""
    while await connection.fetchval("select max(position) from rowcast.head") < POSITIONS:
        await connection.fetch("select * from rowcast.advance(null, null)")
        await asyncio.sleep(0.01)
    before = await connection.fetchval(_WAITING)

    async def more() -> bool:
        return bool(await connection.fetchval(_WAITING) > before + 10)

    await until(more, 40)


async def test_upgrade_under_load(empty: Servers) -> None:
    """Migrated while writers write, with changes of the first release in log and outbox: each is there once, and is told to everybody."""
    await first_release(empty)
    connection = await empty.connect()
    traffic, stop = Traffic(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(traffic.write(empty, stop, 0.01))
        await _worked(connection)
        changed = await migrate(connection, PLAN, examples=True)
        assert [line[:14] for line in changed if line.startswith("migration")] == [f"migration {n:04}" for n, *_ in sql.migrations()[1:]]
        async with web(empty) as gateway:
            bridge = group.create_task(bridge_of(empty).run())
            readers = audience(gateway)
            for reader in readers:
                # From the first change that the first release has given a position.
                reader.last_id = "earliest"
            async with reading(readers):
                await go_on(readers)
                stop.set()
                ledger, faults = await agreed(empty, readers, 40)
            await ended([bridge])
    assert faults == []
    assert traffic.faults(ledger) == []
    assert [reader.resets for reader in readers] == [[]] * len(readers)
    assert min(ledger.entries) == 1
    assert await connection.fetchval("select count(distinct shape) from rowcast.log") >= 3
    assert await migrate(connection, PLAN, examples=True) == []
    await connection.close()


async def test_control_upgrade(empty: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that cannot read what the first release has captured brings the bridge down."""
    decode = Shape.decode

    def strict(relation: str, streams: str) -> Shape:
        if '"several"' not in streams:
            raise KeyError("several")
        return decode(relation, streams)

    await first_release(empty)
    connection = await empty.connect()
    await connection.execute("update bookings set notes = 'of the first release' where id = 1")
    await migrate(connection, PLAN, examples=True)
    await connection.close()
    monkeypatch.setattr(Shape, "decode", staticmethod(strict))
    with pytest.raises(ExceptionGroup) as fallen:
        await asyncio.wait_for(bridge_of(empty).run(), 40)
    assert fallen.group_contains(KeyError)
