"""What fails when recovery is measured, and what it is measured with: ticks that say when they were begun, clients that wait for one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
from redis.asyncio import Redis

from tests.gateway.fanout.traffic import Connection, Traffic
from tests.support import sse
from tests.support.cluster import Cluster, Part, Program
from tests.support.ledger import Door, Reader
from tests.support.proxy import Proxy

TAIL = b"SUBSCRIBE"
"""What only a tail's connection carries."""
_TICK = "update public.services set description = $1 where id = $2"
_SESSIONS = """
    select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'rowcast %' and datname = current_database()"""
_LISTENERS = "select count(*) from pg_stat_activity where application_name = 'rowcast listener' and datname = current_database()"
_STILL_SECONDS = 10.0


class Ticks(Traffic):
    """Changes of one row each, that everybody who listens to `services` gets; each says when it was begun."""

    async def transaction(self, connection: Connection) -> None:
        number = next(self._numbers)
        note = f"tick {number} {time.monotonic():.6f}"
        try:
            await connection.execute(_TICK, note, 1 + number % 6)
        except asyncpg.InternalClientError as error:
            # asyncpg's word for a connection that has been lost in a moment that it did not expect.
            self.doubtful[note] = 1
            raise asyncpg.InterfaceError(str(error)) from error
        except BaseException:
            self.doubtful[note] = 1
            raise
        self.acknowledged[note] = 1


class Watcher(Reader):
    """A client that notes when the first tick came that was begun after a moment; `found` is 0 until then."""

    def __init__(self, web: Door, streams: str, sub: int) -> None:
        super().__init__(web, streams, sub)
        self.found = 0.0
        self._since = 0.0

    def look_for(self, since: float) -> None:
        """Looks for a tick that was begun after a moment, from now on."""
        self.found, self._since = 0.0, since

    @property
    def port(self) -> int:
        """Of the web process that it is connected to, or 0."""
        return int(self._stream._writer.get_extra_info("peername")[1]) if self._stream is not None else 0

    def _take(self, event: sse.Event) -> None:
        super()._take(event)
        if event.name == "services" and not self.found:
            _, _, begun = event.data["record"]["description"].split(" ")
            if float(begun) >= self._since:
                self.found = time.monotonic()


@dataclass
class Stage:
    """A cluster under load; `concerned` are the clients that a failure concerns."""

    cluster: Cluster
    watchers: Sequence[Watcher]
    proxy: Proxy | None
    concerned: Sequence[Watcher] = field(default_factory=list)

    async def listeners(self) -> int:
        """Returns how many bridges listen: the active one, and those that stand by."""
        connection = await self.cluster.servers.connect(timeout=5)
        try:
            return int(await connection.fetchval(_LISTENERS))
        finally:
            connection.terminate()

    def active(self) -> Program:
        bridge = self.cluster.active_bridge()
        assert bridge is not None, "there is not one active bridge"
        return bridge


class Case(NamedTuple):
    """`act` makes it fail, and returns the moment from which is counted, which `since` says in words."""

    name: str
    since: str
    act: Callable[[Stage], Awaitable[float]]
    proxied: bool = False


async def _bridge_killed(stage: Stage) -> float:
    bridge, now = stage.active(), time.monotonic()
    await bridge.kill()
    return now


async def _bridge_stopped(stage: Stage) -> float:
    bridge, now = stage.active(), time.monotonic()
    await bridge.stop()
    return now


async def _bridge_paused(stage: Stage) -> float:
    bridge, now = stage.active(), time.monotonic()
    bridge.pause()
    return now


async def _web_killed(stage: Stage) -> float:
    web, now = stage.cluster.webs[0], time.monotonic()
    stage.concerned = [watcher for watcher in stage.watchers if watcher.port == web.port] or stage.watchers
    await web.kill()
    return now


async def _sessions_ended(stage: Stage) -> float:
    connection = await stage.cluster.servers.connect()
    try:
        now = time.monotonic()
        await connection.execute(_SESSIONS)
    finally:
        connection.terminate()
    return now


async def _tails_swallowed(stage: Stage) -> float:
    assert stage.proxy is not None
    assert stage.proxy.silence_marked() == len(stage.cluster.webs)
    return time.monotonic()


def _restarted(part: Callable[[Cluster], Part], how: str) -> Callable[[Stage], Awaitable[float]]:
    async def act(stage: Stage) -> float:
        each = part(stage.cluster)
        await (each.kill() if how == "kill" else each.stop())
        await each.start()
        return time.monotonic()

    return act


def _paused(part: Callable[[Cluster], Part]) -> Callable[[Stage], Awaitable[float]]:
    async def act(stage: Stage) -> float:
        each = part(stage.cluster)
        each.pause()
        await asyncio.sleep(_STILL_SECONDS)
        each.resume()
        return time.monotonic()

    return act


def _told(*command: str) -> Callable[[Stage], Awaitable[float]]:
    async def act(stage: Stage) -> float:
        redis: Any = Redis.from_url(stage.cluster.servers.redis_url)
        async with redis:
            now = time.monotonic()
            await redis.execute_command(*command)
        return now

    return act


def _postgres(cluster: Cluster) -> Part:
    return cluster.postgres


def _redis(cluster: Cluster) -> Part:
    return cluster.redis


CASES: Sequence[Case] = (
    Case("bridge killed, another stands by", "its end", _bridge_killed),
    Case("bridge stopped, another stands by", "SIGTERM", _bridge_stopped),
    Case("bridge frozen for good, another stands by", "SIGSTOP", _bridge_paused),
    Case("web killed: its clients, which come back at once", "its end", _web_killed),
    Case("Redis restarted", "it answers again", _restarted(_redis, "stop")),
    Case("Redis crashed", "it answers again", _restarted(_redis, "kill")),
    Case("Redis silent for 10 s", "it answers again", _paused(_redis)),
    Case("FLUSHALL", "the command", _told("FLUSHALL")),
    Case("CLIENT KILL TYPE pubsub", "the command", _told("CLIENT", "KILL", "TYPE", "pubsub")),
    Case("the tails' connections alone silent", "the silence", _tails_swallowed, proxied=True),
    Case("Postgres restarted (fast)", "it answers again", _restarted(_postgres, "stop")),
    Case("Postgres crashed (immediate)", "it answers again", _restarted(_postgres, "kill")),
    Case("Postgres silent for 10 s", "it answers again", _paused(_postgres)),
    Case("Rowcast's sessions in Postgres ended", "the command", _sessions_ended),
)
