"""Processes of two releases side by side: what they may assume of each other, and what they are told where they may not."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import sql
from gateway import doctor, schema, wire
from gateway.migrator import MigrateError, Plan, migrate
from gateway.schema import SchemaError
from streams.catalog import load
from tests.gateway.fanout.traffic import audience, go_on, writing
from tests.reliability.migrations import versioned
from tests.support.cluster import Doors
from tests.support.gateway import bridge_of, settings, until, web
from tests.support.ledger import agreed, reading
from tests.support.process import environment, free_port, rowcast, started, wait_ready
from tests.support.servers import MAX_BYTES, Servers

PLAN = Plan(load("streams"), "armed", MAX_BYTES)


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this program one of the next release, whose migration has some text; calling it again takes that back."""
    migrations = sql.migrations

    def make(text: str) -> None:
        number = migrations()[-1][0] + 1
        found = [*migrations(), (number, f"{number:04}_next.sql", text)] if text else migrations()
        monkeypatch.setattr(sql, "migrations", lambda: found)

    return make


BREAKING = "insert into rowcast.installed values ('oldest program', '{}') on conflict (name) do update set definition = excluded.definition"


async def test_older_schema(servers: Servers, newer: Callable[[str], None]) -> None:
    """A program that is newer than the schema says that it is to be migrated, and begins no work."""
    newer("select 1")
    with pytest.raises(SchemaError, match="run `rowcast migrate`"):
        await asyncio.wait_for(bridge_of(servers).run(), 20)
    with pytest.raises(SchemaError):
        await schema.check_soon(servers.database_url)
    assert [each.what async for each in doctor.examine(settings(servers)) if not each.well and not each.warning] == ["schema"]


async def test_newer_schema(servers: Servers, newer: Callable[[str], None]) -> None:
    """A program of the release before goes on with a newer schema, and its `rowcast migrate` is refused and changes nothing."""
    connection = await servers.connect()
    newer("create table rowcast.of_the_next (id bigint)")
    assert (await migrate(connection, PLAN))[0].startswith("migration 000")
    newer("")
    await schema.check(connection)
    with pytest.raises(MigrateError, match="a newer Rowcast"):
        await migrate(connection, Plan(load("streams"), "never", MAX_BYTES))
    assert not await connection.fetchval("select exists (select from rowcast.shape where retired_at is not null)")
    await connection.close()


@pytest.mark.long
async def test_schema_that_needs_newer_programs(servers: Servers, newer: Callable[[str], None]) -> None:
    """A migration that the release before cannot go on with says so, and its programs end with a line."""
    connection = await servers.connect()
    newer(BREAKING.format(sql.migrations()[-1][0] + 1))
    await migrate(connection, PLAN)
    await schema.check(connection)
    newer("")
    with pytest.raises(SchemaError, match="start the newer one"):
        await asyncio.wait_for(bridge_of(servers).run(), 20)
    await connection.close()
    for command in ("bridge", "web"):
        outcome = await asyncio.to_thread(rowcast, command, env=environment(servers, PORT=str(free_port())))
        assert outcome.returncode == 1
        (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("rowcast:")]
        assert "start the newer one" in line


async def test_a_user_that_may_not_ask(servers: Servers) -> None:
    """A web process whose database user may only read the log starts as ever."""
    connection = await servers.connect()
    await connection.execute(
        "revoke all on rowcast.migration from public; create role reader_of_log; grant usage on schema rowcast to reader_of_log"
    )
    try:
        await connection.execute("set role reader_of_log")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(sql.statement("schema"))
        await schema.check(connection)
    finally:
        await connection.execute("reset role; drop owned by reader_of_log; drop role reader_of_log")
        await connection.close()


def test_version_of_a_life() -> None:
    """A life's name tells its version; one from before there were versions is of the first."""
    assert wire.version_of(wire.new_life()) == wire.VERSION
    assert [wire.version_of(each) for each in ("2-ab", "12-ab", "ab12cd34", "", "x-1")] == [2, 12, 1, 1, 1]


def test_beat_of_another_version() -> None:
    """A beat of another version is told apart, whatever else it says."""
    for message in (b'["epoch1","2-abcd",1,2,0.5]', b'["epoch1","2-abcd"]', b'["epoch1","2-abcd",{"more":1},2,0.5,"and more"]'):
        with pytest.raises(wire.OtherVersion, match="writes version 2"):
            wire.Beat.decode(message)
    assert wire.Beat.decode(b'["epoch1","abcd",1,2,0.5]').life == "abcd"


@pytest.mark.long
async def test_rolling_upgrade(servers: Servers, tmp_path: Path) -> None:
    """Web processes first, bridges then: clients keep their connections while a bridge of the next release takes over, and back again."""
    port, env = free_port(), environment(servers, HOST="127.0.0.1")
    with started(versioned.command(1, "1,2", "web"), env | {"PORT": str(port)}, tmp_path / "web.log"):
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}", path="/livez")
        async with reading(readers := audience(Doors([port]))):  # type: ignore[arg-type]
            async with writing(servers, writers=2) as traffic:
                for number, (writes, reads) in enumerate([(1, "1"), (2, "1,2"), (1, "1")]):
                    with started(versioned.command(writes, reads, "bridge"), env, tmp_path / f"bridge-{number}.log"):
                        await go_on(readers)
                        await _life_is_of(servers, writes)
                        await go_on(readers)
            with started(versioned.command(2, "1,2", "bridge"), env, tmp_path / "bridge-last.log"):
                ledger, faults = await agreed(servers, readers, 40)
    assert faults == []
    assert traffic.faults(ledger) == []
    assert [(reader.statuses, reader.resets) for reader in readers] == [(["fresh"], [])] * len(readers)
    assert "web processes are to be upgraded" not in (tmp_path / "web.log").read_text()


@pytest.mark.long
async def test_bridge_before_the_web(servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A web process that cannot read what the bridge writes says so, once, serves its clients from Postgres, and they lose nothing."""
    env = environment(servers)
    said = ""
    async with web(servers) as gateway, reading(readers := audience(gateway)):
        async with writing(servers, writers=2) as traffic:
            with started(versioned.command(1, "1", "bridge"), env, tmp_path / "old.log"):
                await go_on(readers)
            with started(versioned.command(2, "1,2", "bridge"), env, tmp_path / "new.log"):
                await _life_is_of(servers, 2)
                await _goes_on_slowly(readers)
                await _goes_on_slowly(readers)
                said += capsys.readouterr().out
        with started(versioned.command(1, "1", "bridge"), env, tmp_path / "again.log"):
            ledger, faults = await agreed(servers, readers, 40)
            await _life_is_of(servers, 1)
    assert faults == []
    assert traffic.faults(ledger) == []
    assert [reader.resets for reader in readers] == [[]] * len(readers)
    assert said.count("web processes are to be upgraded before the bridges") == 1
    assert "writes version 2, and this process reads 1" in said


@pytest.mark.long
async def test_control_a_life_of_two_versions(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A web process that takes what another version wrote for its own has none of it, and the check sees it."""
    monkeypatch.setattr(wire, "version_of", lambda life: wire.VERSION)
    env = environment(servers)
    connection = await servers.connect()
    async with web(servers) as gateway, reading(readers := audience(gateway)[-1:]):
        with started(versioned.command(2, "1,2", "bridge"), env, tmp_path / "new.log"):
            await _life_is_of(servers, 2, lambda life: int(life.partition("-")[0]))
            await connection.execute("update services set description = 'unread' where id = 1")
            _, (fault,) = await agreed(servers, readers, 10)
    assert "missing" in fault
    await connection.close()


async def _life_is_of(servers: Servers, version: int, version_of: Callable[[str], int] = wire.version_of) -> None:
    """Waits until the logs in Redis are of a version."""
    from redis.asyncio import Redis

    redis: Any = Redis.from_url(servers.redis_url)
    async with redis:

        async def there() -> bool:
            life = await redis.hget(wire.META, "life")
            return life is not None and version_of(life.decode()) == version

        await until(there, 40)


async def _goes_on_slowly(readers: list[Any]) -> None:
    before = len(readers[-1].lines)
    await until(lambda: len(readers[-1].lines) > before + 2, 60)
