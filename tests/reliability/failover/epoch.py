"""Whose log it is that Postgres and Redis have: asked of the servers themselves."""

from typing import Any

from redis.asyncio import Redis

from gateway import wire
from tests.support.servers import Servers


async def reasons(servers: Servers) -> list[str]:
    """Returns why each life of the log began."""
    connection = await servers.connect()
    rows = await connection.fetch("select reason from rowcast.epoch order by number")
    await connection.close()
    return [row["reason"] for row in rows]


async def in_redis(url: str) -> str:
    """Returns whose log Redis has."""
    redis: Any
    async with Redis.from_url(url) as redis:
        return str((await redis.hget(wire.META, "epoch")).decode())
