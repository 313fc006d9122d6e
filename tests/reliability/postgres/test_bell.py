"""The bell wakes, and no more: it carries nothing, need not be heard, and can fail no writer."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

import sql
from gateway.bridge import bridge as bridges
from gateway.bridge.listener import Connection, Listener
from gateway.bridge.sequencer import Sequencer
from gateway.doctor import Finding, examine
from gateway.embedded import PostgresServer
from gateway.migrator import Plan, captures, migrate
from streams.catalog import load
from tests.gateway.bridge.test_lease import CHANGE, Waits, arrives, holders, logged
from tests.support.gateway import bridge, settings, until
from tests.support.servers import FAST, MAX_BYTES, Servers, prepare
from tests.support.writers import connected

NOTIFYING = re.compile(r"(?i)\b(?:pg_notify\s*\(([^)]*)\)|notify\s+([^;]*);)")
WAYS = ("armed", "always")


@pytest.mark.parametrize("notify", WAYS)
async def test_bell_carries_nothing(servers: Servers, notify: str) -> None:
    """Whatever is installed in Postgres rings with an empty payload, always the same: Postgres folds it, and no row can be too long."""
    async with connected(servers) as connection:
        rendered = "\n".join(each.statements(1) for each in await captures(connection, Plan(load("streams"), notify, MAX_BYTES)))
    installed = rendered + sql.functions() + "".join(text for _, _, text in sql.migrations())
    assert {each.group(0) for each in NOTIFYING.finditer(installed)} == {f"pg_notify('{sql.BELL}', '')"}


@pytest.mark.parametrize("length", [7_000, 8_000])
async def test_control_bell_that_carries_the_row(servers: Servers, length: int) -> None:
    """A bell with the row in it fails whoever writes 8,000 bytes; it is how others do it, and why ours is empty."""
    async with connected(servers) as writer:
        for function in await writer.fetch("select oid::regprocedure as name from pg_proc where proname like 'capture_public_bookings%'"):
            text: str = await writer.fetchval("select pg_get_functiondef($1::text::regprocedure)", str(function["name"]))
            assert "pg_notify('rowcast', '')" in text
            await writer.execute(text.replace("pg_notify('rowcast', '')", "pg_notify('rowcast', new.notes)"))
        change = writer.execute("update public.bookings set notes = repeat('x', $1::int) where id = 1", length)
        if length < 8_000:
            await change
        else:
            with pytest.raises(asyncpg.InvalidParameterValueError, match="payload string too long"):
                await change


@pytest.mark.parametrize("ticks", [True, False])
async def test_bell_that_nobody_hears(servers: Servers, monkeypatch: pytest.MonkeyPatch, ticks: bool) -> None:
    """A sleeping bridge that hears no bell finds what was written at the next tick; without the tick it does not."""
    waits = Waits(monkeypatch)
    if ticks:
        monkeypatch.setattr(bridges, "_TICK_SECONDS", 0.1)
    monkeypatch.setattr(Listener, "_ring", lambda *_: None)
    async with bridge(servers), connected(servers) as admin:
        await until(lambda: waits.count if ticks else waits.for_the_bell_alone)
        await admin.execute(CHANGE, 1)
        if ticks:
            await arrives(admin, "1")
        else:
            # Later than the bell: the server has given it to the bridge's connection when it answers this one.
            (listener,) = await holders(admin, sql.LEASE_LOCK)
            await until(lambda: admin.fetchval("select state = 'idle' from pg_stat_activity where pid = $1", listener))
            for _ in range(20):
                assert waits.for_the_bell_alone
                assert await logged(admin) == []


@pytest.mark.parametrize("drains", [True, False])
async def test_written_while_nobody_listened(servers: Servers, monkeypatch: pytest.MonkeyPatch, drains: bool) -> None:
    """A bridge looks before it waits: what was written while there was none is found; one that waits first finds it when somebody rings."""
    waits = Waits(monkeypatch)
    if not drains:
        step, looked = Sequencer.step, []

        async def second_look(self: Sequencer) -> int:
            looked.append(True)
            return await step(self) if len(looked) > 1 else 0

        monkeypatch.setattr(Sequencer, "step", second_look)
    async with connected(servers) as admin:
        await admin.execute(CHANGE, 1)
        async with bridge(servers):
            if not drains:
                await until(lambda: waits.for_the_bell_alone)
                assert await logged(admin) == []
                await admin.execute(CHANGE, 2)
            await arrives(admin, *("1",) if drains else ("1", "2"))


@pytest.fixture(scope="module")
def small_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres whose notification queue holds half a megabyte, instead of 8 GB."""
    server = PostgresServer(tmp_path_factory.mktemp("small-queue"), FAST | {"max_notify_queue_pages": "64"})
    server.start()
    asyncio.run(prepare(server.url))
    yield server
    server.stop()


@asynccontextmanager
async def stuck(servers: Servers) -> AsyncIterator[Connection]:
    """Somebody listens, and then stays inside a transaction: from here on nothing leaves the queue. Yields another connection."""
    async with connected(servers) as listener, connected(servers) as other:
        await listener.execute("listen anything")
        await listener.execute("begin")
        await listener.execute("select 1")
        yield other


async def _fill(connection: Connection) -> None:
    """Fills the queue to its end, as another program may."""
    with suppress(asyncpg.ProgramLimitExceededError):
        while True:
            await connection.execute("select pg_notify('anything', repeat('x', 7000))")


@pytest.mark.parametrize("notify", WAYS)
async def test_full_queue_fails_no_writer(
    small_queue: PostgresServer, run_servers: Servers, monkeypatch: pytest.MonkeyPatch, notify: str
) -> None:
    """Somebody else has filled the queue: writers of published tables write all the same, the bridge finds it, the doctor says why."""
    own = Servers(small_queue.url, run_servers.redis_url)
    async with stuck(own) as connection:
        await migrate(connection, Plan(load("streams"), notify, MAX_BYTES))
        before = len(await logged(connection))
        await _fill(connection)
        for number in (1, 2, 3):
            await connection.execute(CHANGE, number)
        assert await connection.fetchval("select pg_notification_queue_usage()") > 0.9
        async with bridge(own, notify=notify):
            await until(lambda: _arrived(connection, before + 3))
        finding = await _queue(own)
        assert not finding.well
        assert "listens inside a transaction" in finding.mend
    async with connected(own) as connection:
        await until(lambda: connection.fetchval("select pg_notification_queue_usage() < 0.1"))
        assert (await _queue(own)).well


@pytest.mark.parametrize("notify", WAYS)
async def test_control_bell_that_rings_into_a_full_queue(
    small_queue: PostgresServer, run_servers: Servers, monkeypatch: pytest.MonkeyPatch, notify: str
) -> None:
    """A trigger that rings without a look at the queue fails its writer when the queue is full."""
    own = Servers(small_queue.url, run_servers.redis_url)
    monkeypatch.setitem(sql._RING, notify, f"perform pg_notify('{sql.BELL}', '');")
    async with stuck(own) as connection:
        await migrate(connection, Plan(load("streams"), notify, MAX_BYTES))
        await _fill(connection)
        with pytest.raises(asyncpg.ProgramLimitExceededError, match="NOTIFY"):
            await connection.execute(CHANGE, 1)


async def test_storm_does_not_fill_the_queue(small_queue: PostgresServer, run_servers: Servers) -> None:
    """While a bridge is awake 20,000 transactions ring so seldom that a queue that nobody empties does not notice; it lost none of them."""
    own = Servers(small_queue.url, run_servers.redis_url)
    async with stuck(own) as connection, connected(own) as writer:
        await migrate(connection, Plan(load("streams"), "armed", MAX_BYTES))
        before = len(await logged(connection))
        async with bridge(own):
            await writer.execute(
                "do $$ begin for n in 1..20000 loop update public.services set price = price + 1 where id = 1; commit; end loop; end $$"
            )
            await until(lambda: _arrived(connection, before + 20_000), within=60)
        assert await connection.fetchval("select pg_notification_queue_usage()") < 0.5


async def _arrived(connection: Connection, entries: int) -> bool:
    return int(await connection.fetchval("select count(*) from rowcast.log")) == entries


async def _queue(servers: Servers) -> Finding:
    (finding,) = [each async for each in examine(settings(servers)) if each.what == "notification queue"]
    return finding
