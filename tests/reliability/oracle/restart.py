"""How each part is restarted while the others stay: in good order, by kill -9, and rolling.

- Bridges and web processes are rolled one after the other: the next one goes when the one before is there again.
- Of Postgres and of Redis there is one, which cannot be rolled. What its clients see when the proxy or the pooler before it is
  replaced is this: each of their connections is cut, one after the other, and the server stays.
- kill -9 is a real one for bridges, web processes and Redis. Postgres is stopped in its immediate mode: as after kill -9 nothing is
  finished and the next start recovers from the WAL, but its backends are not left behind as orphans.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from redis.asyncio import Redis

from tests.reliability.oracle.stage import Stage
from tests.support.cluster import Part, Program
from tests.support.gateway import until

PARTS = ("bridge", "web", "postgres", "redis")
WAYS = ("graceful", "kill", "rolling")
_PATIENCE_SECONDS = 60.0


async def graceful(stage: Stage, part: Part) -> None:
    """Stops it as an operator does, and starts it."""
    await part.stop()
    if isinstance(part, Program):
        assert part.exit_codes[-1] == 0, f"{part.name} ended with {part.exit_codes[-1]}"
    await part.start()


async def kill(stage: Stage, part: Part) -> None:
    """Ends it in the middle of whatever it does, and starts it."""
    await part.kill()
    await part.start()


async def _bridge(stage: Stage, way: str) -> None:
    """The active one, when all are there: one that is just being started knows of no good order yet."""
    await until(lambda: _all_listen(stage), _PATIENCE_SECONDS)
    await until(stage.cluster.active_bridge, _PATIENCE_SECONDS)
    active = stage.cluster.active_bridge()
    assert active is not None
    await (graceful if way == "graceful" else kill)(stage, active)


async def _bridges(stage: Stage) -> None:
    for bridge in stage.cluster.bridges:
        await until(lambda: _all_listen(stage), _PATIENCE_SECONDS)
        await graceful(stage, bridge)
        await stage.progress()


async def _all_listen(stage: Stage) -> bool:
    connection = await stage.cluster.servers.connect()
    count = await connection.fetchval("select count(*) from pg_stat_activity where application_name = 'rowcast listener'")
    await connection.close()
    return bool(count == len(stage.cluster.bridges))


async def _webs(stage: Stage) -> None:
    for web in stage.cluster.webs:
        await graceful(stage, web)
        await stage.progress()


async def _connections_of_postgres(stage: Stage) -> None:
    connection = await stage.cluster.servers.connect()
    pids = await connection.fetch("select pid from pg_stat_activity where application_name like 'rowcast%' order by backend_start")
    assert pids
    for (pid,) in pids:
        await connection.execute("select pg_terminate_backend($1)", pid)
        await asyncio.sleep(stage.chance.uniform(0, 0.1))
    await connection.close()


async def _connections_of_redis(stage: Stage) -> None:
    redis: Any = Redis.from_url(stage.cluster.servers.redis_url)
    async with redis:
        mine = await redis.client_id()
        others = [each["id"] for each in await redis.client_list() if int(each["id"]) != mine]
        assert others
        for each in others:
            await redis.client_kill_filter(_id=each)
            await asyncio.sleep(stage.chance.uniform(0, 0.1))


_ROLLING: Mapping[str, Callable[[Stage], Awaitable[None]]] = {
    "bridge": _bridges,
    "web": _webs,
    "postgres": _connections_of_postgres,
    "redis": _connections_of_redis,
}


async def restart(stage: Stage, part: str, way: str) -> None:
    """Restarts a part in one of the ways, and returns when it is there again."""
    if way == "rolling":
        await _ROLLING[part](stage)
    elif part == "bridge":
        await _bridge(stage, way)
    else:
        of: Mapping[str, Part] = {
            "web": stage.chance.choice(stage.cluster.webs),
            "postgres": stage.cluster.postgres,
            "redis": stage.cluster.redis,
        }
        await (graceful if way == "graceful" else kill)(stage, of[part])
