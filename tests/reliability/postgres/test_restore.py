"""Postgres is not what it was: restarted, restored, failed over. Nothing is lost, or clients are told; no id ever means two things."""

import asyncio
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

import sql
from gateway import wire
from gateway.bridge.publisher import Place, Publisher
from gateway.embedded import PostgresServer
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import under_load
from tests.reliability.postgres.network import beyond, captured
from tests.support.gateway import bridge, until, web
from tests.support.ledger import Reader, reading
from tests.support.servers import FAST, Servers, prepare
from tests.support.writers import connected

NOTE = "update public.services set description = $1 where id = 1"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres of these tests' own, to stop, copy and put back."""
    server = PostgresServer(tmp_path_factory.mktemp("restore"), FAST)
    server.start()
    asyncio.run(prepare(server.url))
    yield server
    server.stop()


async def _own(postgres: PostgresServer, run_servers: Servers) -> Servers:
    async with Redis.from_url(run_servers.redis_url) as redis:
        await redis.flushall()
    return Servers(postgres.url, run_servers.redis_url)


async def test_postgres_restarts_again_and_again(run_servers: Servers, postgres: PostgresServer) -> None:
    """Postgres is restarted in good order, crashes, and crashes again as soon as it is back: clients stay and have everything."""
    own = await _own(postgres, run_servers)
    async with under_load(own, own) as readers:
        for immediate in (False, True, True):
            await asyncio.to_thread(postgres.stop, immediate)
            await asyncio.to_thread(postgres.start)
            await captured(own, 10)
        await beyond(own, readers)


def _doubtful(reader: Reader) -> list[str]:
    """Returns the ids that came with two contents."""
    contents = defaultdict(set)
    for life in reader.lives:
        for line in life.lines:
            contents[line.id].add(line.data)
    return [id for id, datas in contents.items() if len(datas) > 1]


async def _restored(postgres: PostgresServer, servers: Servers) -> tuple[Reader, list[str]]:
    """Copies Postgres, lets a client hear of more, puts the copy back, and goes on; returns the reader, and the later changes it lacks."""
    copy = postgres.data_dir / "copy"

    async def write(servers: Servers, *notes: str) -> None:
        async with connected(servers) as writer:
            for note in notes:
                await writer.execute(NOTE, note)

    def exchange(source: str, target: str) -> None:
        postgres.stop()
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", source, target], check=True)
        postgres.start()

    later = [f"later {number}" for number in range(30)]
    async with web(servers) as gateway, reading([reader := Reader(gateway, "services", 1)]), bridge(servers):
        await write(servers, "before")
        await until(lambda: reader.lines)
        await asyncio.to_thread(exchange, str(postgres.directory), str(copy))
        await write(servers, *(f"lost {number}" for number in range(10)))
        await until(lambda: len(reader.lines) == 11)
        await asyncio.to_thread(exchange, str(copy), str(postgres.directory))
        await write(servers, *later)
        await until(lambda: reader.lines and "later 29" in reader.lines[-1].data)
    text = "".join(line.data for line in reader.lines)
    return reader, [note for note in later if f'"{note}"' not in text]


async def test_restored_from_a_copy(run_servers: Servers, postgres: PostgresServer) -> None:
    """Postgres is put back to what it was: a new epoch, a reset, all that happens later, and no id that was given out before."""
    reader, missing = await _restored(postgres, await _own(postgres, run_servers))
    assert reader.resets == ["epoch"]
    assert missing == []
    assert _doubtful(reader) == []


async def test_control_bridge_that_does_not_compare(
    run_servers: Servers, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bridge that does not ask Redis how far it was gives positions out again, and clients take what is new for what they have."""
    begin = Publisher.begin

    async def forgetful(self: Publisher) -> Place:
        head = await self._connection.fetchrow(sql.statement("head"))
        assert head is not None
        if await self._redis.hexists(wire.META, "position"):
            await self._redis.hset(wire.META, "position", head["position"])
        return await begin(self)

    monkeypatch.setattr(Publisher, "begin", forgetful)
    reader, missing = await _restored(postgres, await _own(postgres, run_servers))
    assert missing or _doubtful(reader)
    assert reader.resets == []


CASES = {
    "another cluster": ("system_identifier = '0'", 0, False, "restored"),
    "another cluster, and Redis was further": ("system_identifier = '0'", 7, False, "restored"),
    "another cluster, and an empty Redis": ("system_identifier = '0'", 0, True, "restored"),
    "the same, and an empty Redis": ("reason = reason", 0, True, None),
}


@pytest.mark.parametrize("case", CASES)
async def test_whose_log_is_it(servers: Servers, case: str) -> None:
    """A bridge goes on in the same epoch on the same timeline of the same and else begins another, behind all that was ever sent."""
    change, ahead, emptied, reason = CASES[case]
    async with manual(servers) as by_hand:
        await by_hand.change(5)
        before = by_hand.place.epoch
        await by_hand.connection.execute(f"update rowcast.epoch set {change}")
        if ahead:
            await by_hand.redis.hset(wire.META, "position", 5 + ahead)
        if emptied:
            await by_hand.redis.flushall()
        async with bridge(servers), connected(servers) as admin:
            await admin.execute(NOTE, "after")
            await until(lambda: admin.fetchval("select exists (select from rowcast.log where position > 5)"))
            epoch = await admin.fetchrow("select epoch, after_position, reason from rowcast.epoch order by number desc limit 1")
            position = await admin.fetchval("select max(position) from rowcast.log")
        assert epoch is not None
        assert (epoch["epoch"] == before) is (reason is None)
        if reason is not None:
            assert (epoch["reason"], epoch["after_position"]) == (reason, 5 + ahead)
        assert position == 6 + ahead
