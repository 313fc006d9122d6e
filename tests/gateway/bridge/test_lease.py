"""The armed bell and the lease: writers ring only a sleeping bridge, no wake-up is lost, and another bridge takes over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

import sql
from gateway.bridge import bridge as bridge_module
from gateway.bridge import lease
from gateway.bridge.bridge import Bridge
from gateway.bridge.lease import Wakefulness
from gateway.bridge.listener import Connection, listening
from gateway.migrator import Plan, migrate
from streams.catalog import load
from tests.support.gateway import bridge, until
from tests.support.servers import MAX_BYTES, Servers
from tests.support.writers import connected

NEVER = 3600.0
CHANGE = "update public.services set price = price + 1 where id = $1"
HOLDERS = """
select pid from pg_locks where locktype = 'advisory' and granted and mode = 'ExclusiveLock' and classid::bigint = $1 and objid::bigint = $2
   and database = (select oid from pg_database where datname = current_database())"""
LISTENERS = "select pid from pg_stat_activity where application_name = 'rowcast listener' and datname = current_database()"
SEQUENCER = "select pid from pg_stat_activity where application_name = 'rowcast sequencer' and datname = current_database()"
OUTBOX = "select count(*) from (select txid from rowcast.outbox_0 union all select txid from rowcast.outbox_1) o"


class Ear:
    """Hears the bell, beside the bridge."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bells = 0
        self._echoed = asyncio.Event()

    async def bells(self) -> int:
        """Returns how often the bell has been rung since the last time: an echo sent now comes after all of them."""
        self._echoed.clear()
        await self._connection.execute("notify echo")
        await asyncio.wait_for(self._echoed.wait(), 20)
        bells, self._bells = self._bells, 0
        return bells

    def hear(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        if channel == sql.BELL:
            self._bells += 1
        else:
            self._echoed.set()


@asynccontextmanager
async def ear_of(servers: Servers) -> AsyncIterator[Ear]:
    async with connected(servers) as connection:
        ear = Ear(connection)
        await connection.add_listener(sql.BELL, ear.hear)
        await connection.add_listener("echo", ear.hear)
        yield ear
        await connection.reset()


class Waits:
    """What the bridge's loop waits for: for how long at most, and how often it has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._seconds: float | None = None
        wait = Bridge._wait

        async def waiting(each: Bridge, rung: asyncio.Event, seconds: float) -> None:
            self.count += 1
            self._seconds = seconds
            await wait(each, rung, seconds)
            self._seconds = None

        monkeypatch.setattr(Bridge, "_wait", waiting)
        monkeypatch.setattr(bridge_module, "_TICK_SECONDS", NEVER)

    @property
    def for_the_bell_alone(self) -> bool:
        return self._seconds == NEVER


async def holders(connection: Connection, lock: int) -> list[int]:
    """Returns the processes that hold a lock of Rowcast's exclusively, in this database."""
    return [row["pid"] for row in await connection.fetch(HOLDERS, sql.LOCK_CLASS, lock)]


async def logged(connection: Connection) -> list[str]:
    """Returns the ids of the changed services, in the order of the log."""
    return [row["id"] for row in await connection.fetch("select key::json ->> 'id' as id from rowcast.log order by position")]


async def arrives(connection: Connection, *ids: str) -> None:
    """Waits until exactly these changes are in the log."""

    async def arrived() -> bool:
        return await logged(connection) == list(ids)

    await until(arrived)


@pytest.mark.parametrize("settles", [True, False])
async def test_writer_open_while_the_bridge_falls_asleep(servers: Servers, monkeypatch: pytest.MonkeyPatch, settles: bool) -> None:
    """A writer that saw the bridge awake and ends after it fell asleep is heard; without the fence it is not, until somebody rings."""
    waits = Waits(monkeypatch)
    monkeypatch.setattr(bridge_module, "_AWAKE_SECONDS", NEVER)
    if not settles:
        monkeypatch.setattr(Wakefulness, "settling", False)
    async with bridge(servers), connected(servers) as admin, connected(servers) as writer, ear_of(servers) as ear:
        await until(lambda: waits.for_the_bell_alone)
        await admin.execute(CHANGE, 1)
        await until(lambda: holders(admin, sql.AWAKE_LOCK))
        await ear.bells()
        await writer.execute("begin")
        await writer.execute(CHANGE, 2)

        monkeypatch.setattr(bridge_module, "_AWAKE_SECONDS", 0.0)
        await until(lambda: nobody(admin))
        if settles:
            polled = waits.count
            await until(lambda: waits.count > polled + 20)
            assert not waits.for_the_bell_alone
        else:
            await until(lambda: waits.for_the_bell_alone)

        await writer.execute("commit")
        assert await ear.bells() == 0
        if not settles:
            assert waits.for_the_bell_alone
            assert await admin.fetchval(OUTBOX) == 2
            assert await logged(admin) == ["1"]
            await admin.execute("notify rowcast")
        await arrives(admin, "1", "2")
        await until(lambda: waits.for_the_bell_alone)


async def nobody(connection: Connection) -> bool:
    return not await holders(connection, sql.AWAKE_LOCK)


async def test_settles_when_open_writers_have_ended(servers: Servers) -> None:
    """After falling asleep the bridge settles once the writers of before have ended, and not earlier."""
    async with listening(servers.database_url) as listener, connected(servers) as writer:
        wakefulness = Wakefulness(listener)
        await wakefulness.wake()
        assert wakefulness.awake
        await writer.execute("begin")
        await writer.execute(CHANGE, 1)
        await wakefulness.fall_asleep()
        assert not wakefulness.awake
        for _ in range(3):
            await wakefulness.settle()
            assert wakefulness.settling
        await writer.execute("commit")

        async def settled() -> bool:
            await wakefulness.settle()
            return not wakefulness.settling

        await until(settled)


async def test_newest_completed_number_is_no_fence(servers: Servers) -> None:
    """`pg_snapshot_xmax` does not wait for an open writer that is above the newest completed transaction; a number drawn later does."""
    async with connected(servers) as bridge, connected(servers) as writer:
        for _ in range(20):
            await writer.execute("begin")
            number = await writer.fetchval("select pg_current_xact_id()::text::bigint")
            newest = await bridge.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            if newest <= number:
                break
            await writer.execute("rollback")  # somebody else has completed a newer one
        assert newest <= number

        async def ended(fence: int) -> bool:
            return bool(await bridge.fetchval(sql.statement("oldest_open")) >= fence)

        await until(lambda: ended(newest))
        assert await writer.fetchval("select pg_current_xact_id_if_assigned()::text::bigint") == number
        fence = await bridge.fetchval(sql.statement("fence"))
        assert not await ended(fence)
        await writer.execute("commit")
        await until(lambda: ended(fence))


@pytest.mark.parametrize(("notify", "asleep", "awake"), [("never", 0, 0), ("always", 1, 1), ("armed", 1, 0)])
async def test_who_rings(servers: Servers, notify: str, asleep: int, awake: int) -> None:
    """Writers ring never, always, or only while no bridge is awake; and once a transaction, however much it changes."""
    async with connected(servers) as writer, connected(servers) as other, ear_of(servers) as ear:
        await migrate(writer, Plan(load("streams"), notify, MAX_BYTES))
        assert await ear.bells() == 0
        await writer.execute("update public.services set price = price + 1")
        assert await ear.bells() == asleep
        await other.execute("select pg_advisory_lock($1, $2)", sql.LOCK_CLASS, sql.AWAKE_LOCK)
        await writer.execute(CHANGE, 1)
        assert await ear.bells() == awake
        await other.execute("select pg_advisory_unlock($1, $2)", sql.LOCK_CLASS, sql.AWAKE_LOCK)
        await writer.execute(CHANGE, 1)
        assert await ear.bells() == asleep


async def test_open_writer_does_not_keep_the_bridge_from_waking(servers: Servers) -> None:
    """A writer gives the lock back at once, so a bridge can say that it is awake while the writer's transaction is open."""
    async with listening(servers.database_url) as listener, connected(servers) as writer, writer.transaction():
        await writer.execute(CHANGE, 1)
        wakefulness = Wakefulness(listener)
        await wakefulness.wake()
        assert wakefulness.awake


@pytest.mark.parametrize("notify", ["always", "never"])
async def test_unarmed_bridge_takes_no_lock(servers: Servers, notify: str) -> None:
    """With another way of ringing the bridge never says that it is awake, and changes arrive by the bell or the tick."""
    async with connected(servers) as admin:
        await migrate(admin, Plan(load("streams"), notify, MAX_BYTES))
        async with bridge(servers, notify=notify):
            await until(lambda: holders(admin, sql.LEASE_LOCK))
            await admin.execute(CHANGE, 1)
            await arrives(admin, "1")
            assert not await holders(admin, sql.AWAKE_LOCK)


async def test_standby_takes_over(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the active bridge loses its connection, the one that stands by becomes active and carries on."""
    Waits(monkeypatch)
    monkeypatch.setattr(lease, "_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(bridge_module, "backoff", SimpleNamespace(pause=lambda *_: NEVER))  # who falls does not come back
    async with connected(servers) as admin, bridge(servers):
        await until(lambda: holders(admin, sql.LEASE_LOCK))
        (active,) = await holders(admin, sql.LEASE_LOCK)
        async with bridge(servers):
            await until(lambda: admin.fetchval(f"select count(*) = 2 from ({LISTENERS}) l"))
            (standby,) = [row["pid"] for row in await admin.fetch(LISTENERS) if row["pid"] != active]
            await admin.execute(CHANGE, 1)
            await arrives(admin, "1")
            assert await holders(admin, sql.LEASE_LOCK) == [active]
            working = await admin.fetchval(SEQUENCER)
            await admin.execute("select pg_terminate_backend($1)", active)
            await until(lambda: admin.fetchval("select not exists (select from pg_stat_activity where pid = $1)", working))
            await until(lambda: holders(admin, sql.LEASE_LOCK))
            assert await holders(admin, sql.LEASE_LOCK) == [standby]
            await admin.execute(CHANGE, 2)
            await arrives(admin, "1", "2")


async def test_lost_listener_is_survived(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge whose listening connection is ended finds what was committed meanwhile, and hears the bell again."""
    waits = Waits(monkeypatch)
    async with connected(servers) as admin, bridge(servers):
        await until(lambda: waits.for_the_bell_alone)
        (before,) = await holders(admin, sql.LEASE_LOCK)
        waits.count = 0
        await admin.execute("select pg_terminate_backend($1)", before)
        await admin.execute(CHANGE, 1)
        await arrives(admin, "1")
        (after,) = await holders(admin, sql.LEASE_LOCK)
        assert after != before
        await until(lambda: waits.count > 0 and waits.for_the_bell_alone)
        await admin.execute(CHANGE, 2)
        await arrives(admin, "1", "2")
