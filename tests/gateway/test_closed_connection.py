"""What is closed stays closed: a connection to Redis that is written to is an error of Redis's, a client opens no other one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway import sentinel
from gateway.task import ended
from tests.support.gateway import until
from tests.support.servers import Servers

KINDS = [ConnectionPool, BlockingConnectionPool]


def _write_to_a_closed_one(make: Callable[[], Any]) -> None:
    async def work() -> None:
        connection = make().make_connection()
        await connection.connect()
        connection._writer.transport.abort()
        await connection.send_command("PING")

    uvloop.run(work())


@pytest.mark.parametrize("kind", KINDS)
def test_written_to(servers: Servers, kind: type[ConnectionPool]) -> None:
    """Whoever reckons with Redis being away reckons with this."""
    with pytest.raises(RedisConnectionError):
        _write_to_a_closed_one(lambda: sentinel.pool(servers.redis_url, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_control_as_redis_py_has_it(servers: Servers, kind: type[ConnectionPool]) -> None:
    """A connection of redis-py's own raises what nobody reckons with."""
    with pytest.raises(RuntimeError, match="closed"):
        _write_to_a_closed_one(lambda: kind.from_url(servers.redis_url))


async def _open(redis: Any, name: str) -> int:
    return [each["name"] for each in await redis.client_list()].count(name)


async def _close_while_somebody_asks(servers: Servers, kind: type[ConnectionPool], close: Callable[[Any], Awaitable[None]]) -> int:
    """Returns how many connections are open when a client was closed and who asked has asked again."""
    name = "closing"
    async with Redis.from_url(servers.redis_url, decode_responses=True) as looking:
        closed: Any = Redis.from_pool(sentinel.pool(servers.redis_url, kind, client_name=name, retry=Retry(ConstantBackoff(0.05), 1)))
        asking = asyncio.create_task(closed.blpop("nothing", 0))
        try:
            await until(lambda: _waits(looking, name))
            await close(closed)
            await asyncio.wait({asking}, timeout=1)
            return await _open(looking, name)
        finally:
            await ended([asking])
            await sentinel.close(closed)


async def _waits(redis: Any, name: str) -> bool:
    return any(each["name"] == name and each["cmd"] == "blpop" for each in await redis.client_list())


@pytest.mark.parametrize("kind", KINDS)
async def test_closed_for_good(servers: Servers, kind: type[ConnectionPool]) -> None:
    """Who was asking is told so, and who asks afterwards; nothing is open."""
    assert await _close_while_somebody_asks(servers, kind, sentinel.close) == 0
    closed: Any = Redis.from_pool(sentinel.pool(servers.redis_url, kind))
    await sentinel.close(closed)
    with pytest.raises(RedisConnectionError, match="closed"):
        await closed.ping()


@pytest.mark.parametrize("kind", KINDS)
async def test_control_closed_as_redis_py_does(servers: Servers, kind: type[ConnectionPool]) -> None:
    """Who asks again has a connection that nobody closes."""

    async def close(redis: Any) -> None:
        await redis.aclose()

    assert await _close_while_somebody_asks(servers, kind, close) == 1
