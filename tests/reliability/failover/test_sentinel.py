"""Redis behind Sentinel: a replica that lacks the last appends is promoted, and clients notice nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, RedisError

from auth.revocation import Revocation, Revocations
from gateway import cli, doctor, sentinel, wire
from gateway.fanout import tail as tails
from gateway.sentinel import Address, NoMaster, Sentinels
from tests.gateway.fanout.traffic import go_on, under_load, written
from tests.reliability.failover.watched import NAME, Watched, watched
from tests.support.gateway import bridge, settings, until, web
from tests.support.ledger import Ledger, Reader, agreed, reading
from tests.support.process import environment, rowcast
from tests.support.servers import Servers


@pytest_asyncio.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Watched]:
    """A master, its replica, and who watches over them."""
    async with watched(tmp_path) as each:
        yield each


async def _behind(redis: Watched, servers: Servers, readers: list[Reader]) -> None:
    """Lets clients hear of what the replica does not get."""
    redis.link.blackhole()
    await written(servers)
    await go_on(readers)


async def _position(url: str) -> int:
    async with Redis.from_url(url) as each:
        return int(await each.hget(wire.META, "position") or 0)


async def test_master_dies(servers: Servers, redis: Watched) -> None:
    """The master is killed with appends that its replica has not: everybody stays, has each event once, and Redis has all."""
    own = replace(servers, redis_url=redis.url)
    async with under_load(own, own) as readers:
        await _behind(redis, own, readers)
        await redis.kill()
        behind = await _position(redis.replica.url)
        await redis.promoted()
        await go_on(readers)
        assert await _position(redis.replica.url) > behind
    await (await Ledger.read(servers)).check_redis(replace(servers, redis_url=redis.replica.url))


@pytest.mark.long
async def test_control_address_of_the_master_alone(servers: Servers, redis: Watched) -> None:
    """With the master's own address nothing arrives after it has died."""
    own = replace(servers, redis_url=redis.master.url)
    async with bridge(own), web(own) as gateway, reading([reader := Reader(gateway, "services", 1)]):
        connection = await servers.connect()
        await connection.execute("update services set description = 'before' where id = 1")
        await until(lambda: reader.lines)
        await redis.kill()
        await redis.promoted()
        await connection.execute("update services set description = 'after' where id = 1")
        with pytest.raises(TimeoutError):
            await until(lambda: len(reader.lines) > 1, 3)
        await connection.close()


@pytest.mark.long
async def test_master_stands_still_and_wakes(servers: Servers, redis: Watched) -> None:
    """A master that stands still is replaced; when it wakes it becomes a replica, and what it had alone is gone without harm."""
    own = replace(servers, redis_url=redis.url)
    async with under_load(own, own) as readers:
        await _behind(redis, own, readers)
        redis.pause()
        await redis.promoted()
        await go_on(readers)
        redis.link.heal()
        redis.resume()
        await go_on(readers)

        async def demoted() -> bool:
            with suppress(RedisError):  # whoever becomes a replica closes its connections
                return await redis.role(redis.master) == "slave"
            return False

        await until(demoted, 90)
        await go_on(readers)
        async with Redis.from_url(redis.master.url) as old:
            with pytest.raises(ReadOnlyError):
                await old.set("written", "to the old master")
    await (await Ledger.read(servers)).check_redis(replace(servers, redis_url=redis.replica.url))


@pytest.mark.long
async def test_master_changes_again_and_again(servers: Servers, redis: Watched) -> None:
    """An operator lets Sentinel change the master back and forth under load."""
    own = replace(servers, redis_url=redis.url)
    redis.link.cut()
    async with under_load(own, own) as readers:
        for expected in (redis.replica, redis.master, redis.replica):
            await until(lambda: _fail_over(redis), 60)

            async def changed() -> bool:
                return all([await redis._master_by(each) == expected.port for each in redis.watchers])  # noqa: B023

            await until(changed, 60)
            await go_on(readers)


async def _fail_over(redis: Watched) -> bool:
    """Asks for a failover; False while the one before is not over."""
    each: Any
    async with Redis(port=redis.watchers[0].port, password=redis.watchers[0].password) as each:
        try:
            await each.execute_command("SENTINEL", "FAILOVER", NAME)
        except Exception:
            return False
    return True


class _Fickle(Sentinels):
    """Sentinels that say what the test says."""

    says: sentinel.Place = ("", 0)

    async def discover_master(self, name: str) -> sentinel.Place:
        return _Fickle.says


@asynccontextmanager
async def _unaware(servers: Servers, redis: Watched, patch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    """The Sentinels call the replica the master, while the old one, which they do not reach, still takes whatever it is given."""
    own = replace(servers, redis_url=redis.url)
    _Fickle.says = ("127.0.0.1", redis.master.port)
    patch.setattr(sentinel, "Sentinels", _Fickle)
    patch.setattr(sentinel, "_LOOK_SECONDS", 0.1)
    patch.setattr(tails, "SILENCE_SECONDS", 0.6)
    async with bridge(own), web(own) as gateway, reading([reader := Reader(gateway, "services", 1)]):
        connection = await servers.connect()
        await connection.execute("update services set description = 'before' where id = 1")
        await until(lambda: reader.lines)
        async with Redis.from_url(redis.replica.url) as other:
            await other.replicaof("NO", "ONE")
        _Fickle.says = ("127.0.0.1", redis.replica.port)
        await connection.execute("update services set description = 'after' where id = 1")
        await connection.close()
        yield reader


@pytest.mark.long
async def test_old_master_that_takes_everything(servers: Servers, redis: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is connected to a master that is none any more, and does not know it, goes to the new one by themselves."""
    for watcher in redis.watchers:
        watcher.stop(immediate=True)
    async with _unaware(servers, redis, monkeypatch) as reader:
        await until(lambda: _reached(servers, redis.replica.url))
        await until(lambda: _listens(redis.replica.url))
        _, faults = await agreed(servers, [reader])
    assert faults == []
    assert reader.statuses == ["fresh"]


@pytest.mark.long
async def test_control_nobody_asks_again(servers: Servers, redis: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were Sentinels asked only when a connection breaks, nothing would come to the new master."""

    async def never(*_: Any) -> bool:
        return False

    monkeypatch.setattr(sentinel, "follow", never)
    monkeypatch.setattr(sentinel, "left", never)
    for watcher in redis.watchers:
        watcher.stop(immediate=True)
    async with _unaware(servers, redis, monkeypatch):
        with pytest.raises(TimeoutError):
            await until(lambda: _reached(servers, redis.replica.url), 3)


async def _reached(servers: Servers, url: str) -> bool:
    return await _position(url) == (await Ledger.read(servers)).head


async def _listens(url: str) -> bool:
    each: Any
    async with Redis.from_url(url) as each:
        return bool((await each.pubsub_numsub(wire.HEAD))[0][1])


async def _said(servers: Servers, url: str) -> tuple[bool, bool, str]:
    """Returns what the doctor says of the Sentinels."""
    configured = settings(replace(servers, redis_url=url))
    (found,) = [finding async for finding in doctor.examine(configured) if finding.what == "sentinel"]
    return found.well, found.warning, found.detail


async def test_commands_find_the_master(servers: Servers, redis: Watched) -> None:
    """The doctor names the master, and the Sentinel that is missing; a revocation is written to the master; what is wrong is one line."""
    place, second = f"127.0.0.1:{redis.master.port}", f"127.0.0.1:{redis.watchers[1].port}"
    assert await _said(servers, redis.url) == (True, False, f"{NAME} is at {place}, by 3 of 3")
    await cli._revoke(redis.url, Revocation.read({"sub": "7"}, 60))
    async with Redis.from_url(redis.master.url) as master:
        assert await Revocations(master, wire.CONTROL).refresh()

    redis.watchers[1].stop(immediate=True)
    assert await _said(servers, redis.url) == (False, True, f"{NAME} is at {place}; the Sentinel at {second} does not answer")

    wrong = redis.url_of("yourmaster")
    well, warning, detail = await _said(servers, wrong)
    assert (well, warning) == (False, False)
    assert f"knows no master yourmaster (it knows {NAME})" in detail
    refused = await asyncio.to_thread(rowcast, "revoke", "--sub", "7", env=environment(replace(servers, redis_url=wrong)))
    assert refused.returncode == 1
    assert f"knows no master yourmaster (it knows {NAME})" in refused.stderr
    assert redis.master.password not in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1

    for watcher in redis.watchers:
        watcher.stop(immediate=True)
    well, warning, detail = await _said(servers, redis.url)
    assert (well, warning, detail.count("does not answer")) == (False, False, 3)
    with pytest.raises(NoMaster, match="does not answer"):
        await Sentinels(Address.read(redis.url)).discover_master(NAME)
