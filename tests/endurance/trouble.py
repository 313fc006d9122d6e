"""What befalls a cluster, one thing after the other: each is done, lasts, and is healed again.

- What concerns one part comes after what concerned it before; what concerns different parts may come at once.
- A deck is dealt from: everything has its turn before anything comes again.
"""

import asyncio
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tests.endurance.load import Load
from tests.support.cluster import Cluster, Part, Program

_SESSIONS = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name like 'rowcast %' and datname = current_database() and random() < $1"""


class Trouble:
    """All that can be done to a cluster, by name. `long` is the most that a part is away or stands still, in seconds."""

    def __init__(self, cluster: Cluster, load: Load, cut: Callable[[], None], chance: random.Random, long: float = 6.0) -> None:
        self.done: Counter[str] = Counter()
        self.ended: list[str] = []
        """Who has ended without being told to, or has not although it was told to."""
        self.chance = chance
        self.now = ""
        """What is being done."""
        self._cluster = cluster
        self._load = load
        self._cut = cut
        self._long = long
        self._background: set[asyncio.Task[None]] = set()
        self.all: dict[str, tuple[str, Callable[[], Awaitable[None]]]] = {
            "active bridge killed": ("bridge", self._bridge_killed),
            "active bridge stopped": ("bridge", self._bridge_stopped),
            "active bridge paused": ("bridge", self._bridge_paused),
            "all bridges killed": ("bridge", self._bridges_killed),
            "web killed": ("web", self._web_killed),
            "webs stopped one after the other": ("web", self._webs_stopped),
            "web paused": ("web", self._web_paused),
            "Redis killed": ("redis", lambda: self._away(self._cluster.redis, self._cluster.redis.kill)),
            "Redis stopped": ("redis", lambda: self._away(self._cluster.redis, self._cluster.redis.stop)),
            "Redis comes back empty": ("redis", self._redis_emptied),
            "Redis paused": ("redis", lambda: self._still(self._cluster.redis)),
            "FLUSHALL": ("redis", lambda: self._redis("FLUSHALL")),
            "CLIENT KILL TYPE pubsub": ("redis", lambda: self._redis("CLIENT", "KILL", "TYPE", "pubsub")),
            "CLIENT KILL TYPE normal": ("redis", lambda: self._redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")),
            "CLIENT PAUSE": ("redis", self._redis_holds),
            "Postgres restarted": ("postgres", lambda: self._away(self._cluster.postgres, self._cluster.postgres.stop)),
            "Postgres crashed": ("postgres", lambda: self._away(self._cluster.postgres, self._cluster.postgres.kill)),
            "Postgres paused": ("postgres", lambda: self._still(self._cluster.postgres)),
            "sessions ended": ("postgres", self._sessions_ended),
            "transaction open for long": ("transaction", self._long_transaction),
            "clients cut": ("clients", self._clients_cut),
        }

    def deal(self, only: Collection[str] = ()) -> Iterator[str]:
        """Yields names for ever, all of them once in each round."""
        names = [name for name in self.all if not only or name in only]
        while True:
            self.chance.shuffle(names)
            yield from names

    async def strike(self, *names: str) -> None:
        """Does some of it at once, as far as it concerns different parts; what concerns the same waits."""
        by_part: dict[str, list[str]] = {}
        for name in names:
            by_part.setdefault(self.all[name][0], []).append(name)
        self.now = " and ".join(names)
        await asyncio.gather(*(self._in_turn(theirs) for theirs in by_part.values()))
        self.now = ""
        await self._revive()

    async def _in_turn(self, names: Collection[str]) -> None:
        for name in names:
            self.done[name] += 1
            await self.all[name][1]()

    async def _revive(self) -> None:
        """Starts processes of ours that have ended by themselves, as a supervisor does, and remembers them."""
        for program in (*self._cluster.bridges, *self._cluster.webs):
            if program.process is not None and program.process.poll() is not None:
                self.ended.append(f"{program.name} has ended with {program.process.returncode}: {program.says[-600:]}")
                program.process = None
                await program.start()

    async def heal(self) -> None:
        """Everything runs."""
        for part in self._cluster.parts:
            part.resume()
            if not part.runs:
                await part.start()
        await asyncio.gather(*self._background)

    def _moment(self, least: float = 0.3) -> float:
        return self.chance.uniform(min(least, self._long), self._long)

    async def _away(self, part: Part, end: Callable[[], Awaitable[None]]) -> None:
        await end()
        await asyncio.sleep(self._moment() / 2)
        await part.start()

    async def _still(self, part: Part) -> None:
        part.pause()
        await asyncio.sleep(self._moment(2.0))
        part.resume()

    def _active(self) -> Program:
        return self._cluster.active_bridge() or self.chance.choice(self._cluster.bridges)

    async def _bridge_killed(self) -> None:
        bridge = self._active()
        await self._away(bridge, bridge.kill)

    async def _bridge_stopped(self) -> None:
        bridge = self._active()
        await self._away(bridge, lambda: self._stop(bridge))

    async def _stop(self, program: Program) -> None:
        try:
            await program.stop()
        except subprocess.TimeoutExpired:
            self.ended.append(f"{program.name} has not ended after SIGTERM: {program.says[-300:]}")
            await program.kill()

    async def _bridge_paused(self) -> None:
        """It wakes up as a second one, if it was held to be gone."""
        await self._still(self._active())

    async def _bridges_killed(self) -> None:
        bridges = self._cluster.bridges
        await asyncio.gather(*(self._away(bridge, bridge.kill) for bridge in bridges))

    async def _web_killed(self) -> None:
        web = self.chance.choice(self._cluster.webs)
        await self._away(web, web.kill)

    async def _webs_stopped(self) -> None:
        """As a deploy does it."""
        for web in self._cluster.webs:
            await self._stop(web)
            await web.start()

    async def _web_paused(self) -> None:
        await self._still(self.chance.choice(self._cluster.webs))

    async def _redis_emptied(self) -> None:
        redis = self._cluster.redis
        await redis.kill()
        shutil.rmtree(redis.server.directory)
        await redis.start()

    async def _redis(self, *command: object) -> None:
        redis: Any = Redis.from_url(self._cluster.servers.redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=5)
        with suppress(RedisError, OSError):
            await redis.execute_command(*command)
        await redis.aclose()

    async def _redis_holds(self) -> None:
        await self._redis("CLIENT", "PAUSE", int(1000 * self._moment(1.0)), "ALL")

    async def _sessions_ended(self) -> None:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection: Any = await self._cluster.servers.connect(timeout=5)
            try:
                await connection.execute(_SESSIONS, self.chance.choice((0.3, 1.0)))
            finally:
                connection.terminate()

    async def _long_transaction(self) -> None:
        seconds = self.chance.uniform(1, 2 * self._long)
        task = asyncio.create_task(self._load.open_for_long(self._cluster.servers, seconds))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _clients_cut(self) -> None:
        self._cut()
