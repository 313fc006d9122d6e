"""Each protection of the restart matrix, taken away: the oracle finds it."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway import wire
from tests.reliability.oracle.stage import Stage, staged
from tests.support import broken, crash
from tests.support.cluster import Program
from tests.support.gateway import until
from tests.support.process import environment, wait_ready
from tests.support.view import Wish

EVERYTHING = [Wish(1, "customer", "bookings,services"), Wish(9, "provider", "availability,services")]
_NUMBERS = itertools.count(1000)
_WAITING = """select exists (
    select id from rowcast.outbox_0 union all select id from rowcast.outbox_1 except select outbox_id from rowcast.log)"""
_INSERT = """insert into bookings (id, customer_id, service_id, booking_date, start_time, end_time)
    values ($1, 1, 1, now(), now(), now() + interval '1 hour')"""


@asynccontextmanager
async def _small(directory: Path, chance: random.Random, bridges: int = 1) -> AsyncIterator[Stage]:
    async with staged(directory, chance, EVERYTHING, bridges=bridges, webs=1) as stage:
        yield stage


async def _write(stage: Stage) -> None:
    """Commits a booking of its own, so that nothing that comes later makes up for it."""
    connection = await stage.cluster.servers.connect()
    await connection.execute(_INSERT, next(_NUMBERS))
    await connection.close()


async def _found(stage: Stage) -> bool:
    found = await stage.settle()
    return bool(found) and all("bookings of" in each for each in found)


async def _ahead(stage: Stage) -> int:
    """Returns how far the log is ahead of Redis."""
    connection = await stage.cluster.servers.connect()
    redis: Any = Redis.from_url(stage.cluster.servers.redis_url)
    async with redis:
        head = await connection.fetchval("select max(position) from rowcast.head")
        position = await redis.hget(wire.META, "position")
    await connection.close()
    return int(head) - int(position or 0)


async def _all_sent(stage: Stage) -> bool:
    """Whether Redis has all that is committed."""
    connection = await stage.cluster.servers.connect()
    waiting = await connection.fetchval(_WAITING)
    await connection.close()
    return not waiting and await _ahead(stage) == 0


async def _miss(stage: Stage) -> None:
    """Lets the web process stand still, and lose Redis, while a booking is published; returns when it has Redis again."""
    (web,) = stage.cluster.webs
    web.pause()
    await stage.cluster.redis.kill()
    await stage.cluster.redis.start()
    await _write(stage)
    await until(lambda: _all_sent(stage), 60)
    web.resume()
    await until(lambda: "the tail has lost Redis" in web.says, 60)
    await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{web.port}", 60)


@pytest.mark.long
async def test_control_nothing_is_broken(tmp_path: Path, chance: random.Random) -> None:
    """With every protection in its place, what the controls do harms no view."""
    async with _small(tmp_path, chance) as stage:
        (bridge,), (web,) = stage.cluster.bridges, stage.cluster.webs
        await _miss(stage)
        await web.kill()
        await _write(stage)
        await web.start()
        bridge.pause()
        await _write(stage)
        await stage.cluster.postgres.kill()
        await stage.cluster.postgres.start()
        bridge.resume()
        assert await stage.settle() == []


@pytest.mark.long
async def test_control_bridge(tmp_path: Path, chance: random.Random) -> None:
    """A bridge that goes on from the head of the log, whatever Redis has, leaves out what the killed one had not sent."""
    async with _small(tmp_path, chance, bridges=0) as stage:
        # Sometimes the publisher is quick, and has sent what has just been committed.
        for _ in range(5):
            if await _succeeded_by_a_forgetful_one(stage, tmp_path):
                return
    pytest.fail("no bridge died between a commit and the sending, or the check sees nothing")


async def _succeeded_by_a_forgetful_one(stage: Stage, directory: Path) -> bool:
    """Lets a bridge die between a commit and the sending, with one standing by: after three seconds of silence the web would ask."""
    env, fuse = environment(stage.cluster.servers), directory / f"fuse {next(_NUMBERS)}"
    mortal, forgetful = (
        Program(point, [point, str(fuse)], env, directory / f"{point}.log", module="tests.support.crash")
        for point in ("after-commit", crash.FORGETFUL)
    )
    try:
        await mortal.start()
        events = stage.witness.events
        await _write(stage)
        await until(lambda: stage.witness.events > events, 60)
        await forgetful.start()
        await until(lambda: _two_listen(stage), 60)
        fuse.touch()
        while mortal.runs:
            await _write(stage)
        return await _found(stage)
    finally:
        await mortal.kill()
        await forgetful.kill()


async def _two_listen(stage: Stage) -> bool:
    connection = await stage.cluster.servers.connect()
    count = await connection.fetchval("select count(*) from pg_stat_activity where application_name = 'rowcast listener'")
    await connection.close()
    return bool(count == 2)


async def test_control_web(tmp_path: Path, chance: random.Random) -> None:
    """A web process that takes whoever comes with an id for one who begins now leaves out what happened in between."""
    async with _small(tmp_path, chance) as stage:
        (web,) = stage.cluster.webs
        await web.kill()
        await _write(stage)
        await until(lambda: _all_sent(stage), 60)
        web.module, web.args = broken.MODULE, [broken.RESUME, "web"]
        await web.start()
        # What comes before they do is left out too: the mark that ends the wait must not be.
        await until(lambda: all(client.begun[-1] == "resumed" for client in stage.clients), 60)
        assert await _found(stage)


@pytest.mark.long
async def test_control_redis(tmp_path: Path, chance: random.Random) -> None:
    """A web process that asks nobody what it has missed leaves out what was published while it had lost Redis."""
    async with _small(tmp_path, chance) as stage:
        (web,) = stage.cluster.webs
        await web.stop()
        web.module, web.args = broken.MODULE, [broken.REPAIR, "web"]
        await web.start()
        assert await stage.settle() == []
        await _miss(stage)
        assert await _found(stage)


@pytest.mark.long
async def test_control_postgres(tmp_path: Path, chance: random.Random) -> None:
    """An outbox that does not survive a crash loses what was committed and had no position yet."""
    async with _small(tmp_path, chance) as stage:
        (bridge,) = stage.cluster.bridges
        connection = await stage.cluster.servers.connect()
        for lane in (0, 1):
            await connection.execute(f"alter table rowcast.outbox_{lane} set unlogged")
        await connection.close()
        bridge.pause()
        await _write(stage)
        await stage.cluster.postgres.kill()
        await stage.cluster.postgres.start()
        bridge.resume()
        assert await _found(stage)
