"""Everything at once: two active bridges, restless readers, and one fault after the other, in whatever order."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.bridge import lease
from gateway.bridge import publisher as publishers
from gateway.fanout import repair, roster
from gateway.fanout import subscriber as subscribers
from tests.gateway.fanout.traffic import restless, writing
from tests.support.gateway import bridge, web
from tests.support.ledger import agreed, reading
from tests.support.servers import Servers


class Faults:
    """What befalls Redis and the sessions of Postgres."""

    def __init__(self, redis: Any, postgres: Any) -> None:
        self._redis, self._postgres = redis, postgres
        self._kept: dict[bytes, bytes] = {}
        self._all: list[Callable[[], Awaitable[Any]]] = [
            self._empty,
            self._silence,
            self._disconnect,
            self._keep,
            self._fail_over,
            self._end,
        ]

    async def strike(self, chance: random.Random) -> None:
        """Does one of them."""
        with contextlib.suppress(RedisError, asyncpg.PostgresError):
            await chance.choice(self._all)()

    async def _empty(self) -> None:
        await self._redis.flushall()

    async def _silence(self) -> None:
        await self._redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    async def _disconnect(self) -> None:
        await self._redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def _keep(self) -> None:
        """Not all of one moment, while a bridge writes: what is kept may contradict itself."""
        keys = [key async for key in self._redis.scan_iter()]
        values = [await self._redis.dump(key) for key in keys]
        self._kept = {key: value for key, value in zip(keys, values, strict=True) if value}

    async def _fail_over(self) -> None:
        """Redis becomes a replica that was behind."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.flushall()
        for key, value in self._kept.items():
            pipeline.restore(key, 0, value)
        await pipeline.execute()
        await self._silence()

    async def _end(self) -> None:
        await self._postgres.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'rowcast %' and datname = current_database() and random() < 0.5"
        )


async def test_storm(servers: Servers, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, chance: random.Random) -> None:
    """Whatever happens to Redis, to the sessions of Postgres and to their connections, readers see exactly the log, and no reset."""

    async def everybody(_: object) -> None:
        return None

    monkeypatch.setattr(lease, "acquire", everybody)
    monkeypatch.setattr(roster, "_LINGER_SECONDS", 0.1)
    monkeypatch.setattr(repair, "_ENTRIES", chance.choice([10, 5000]))
    monkeypatch.setattr(subscribers, "_BUFFER_ENTRIES", chance.choice([1, 5, 512]))
    monkeypatch.setattr(publishers, "BATCH_ENTRIES", chance.choice([3, 20, 500]))
    redis: Any = Redis.from_url(servers.redis_url)
    postgres = await servers.connect()
    entries = chance.choice([10, 1000])
    async with (
        redis,
        bridge(servers, log_entries=entries),
        bridge(servers, log_entries=entries),
        web(servers, heartbeat="400ms") as gateway,
    ):
        faults = Faults(redis, postgres)
        async with reading(readers := restless(gateway)):
            async with writing(servers) as traffic:
                for _ in range(120 if pytestconfig.getoption("--long") else 20):
                    await asyncio.sleep(chance.uniform(0, 0.4))
                    await faults.strike(chance)
            ledger, found = await agreed(servers, readers, within=30)
        assert found == []
        assert traffic.faults(ledger) == []
        assert not any(reader.resets for reader in readers)
    await postgres.close()
