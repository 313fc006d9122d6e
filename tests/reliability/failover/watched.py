"""A Redis with a replica and three Sentinels that watch over them: real processes, each of which can fail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway.embedded import ValkeyServer
from tests.support.cluster import Store
from tests.support.gateway import until
from tests.support.proxy import Proxy, proxied

NAME = "mymaster"
WATCHER_PASSWORD = "of the watchers"
_SENTINEL = """\
bind 127.0.0.1
port {port}
dir {directory}
requirepass "{password}"
sentinel sentinel-pass "{password}"
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel auth-pass {name} {master_password}
sentinel down-after-milliseconds {name} 1000
sentinel failover-timeout {name} 60000
sentinel parallel-syncs {name} 1
"""


class Watcher(ValkeyServer):
    """A Sentinel: the same program, which writes what it learns into its own configuration."""

    name = "sentinel"

    def __init__(self, data_dir: Path, master: ValkeyServer) -> None:
        super().__init__(data_dir)
        self._master = master

    @property
    def password(self) -> str:
        return WATCHER_PASSWORD

    def _command(self) -> Any:
        path = self.directory / "sentinel.conf"
        if not path.exists():
            fields = {"port": self.port, "directory": self.directory, "password": WATCHER_PASSWORD, "name": NAME}
            path.write_text(_SENTINEL.format(master=self._master.port, master_password=self._master.password, **fields))
        return [self.program, path, "--sentinel"], {}

    def _ready(self, pid: int) -> bool:
        return self.log.exists() and b"+monitor" in self.log.read_bytes()


@dataclass
class Watched:
    """`link` carries what is replicated."""

    master: ValkeyServer
    replica: ValkeyServer
    watchers: list[Watcher]
    link: Proxy
    _paused: list[Store] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address by which everybody finds the master."""
        return self.url_of(NAME)

    def url_of(self, name: str) -> str:
        """Returns the address of a master by a name."""
        places = ",".join(f"127.0.0.1:{each.port}" for each in self.watchers)
        password = WATCHER_PASSWORD.replace(" ", "%20")
        return f"redis+sentinel://:{self.master.password}@{places}/{name}/0?sentinel_password={password}"

    async def promoted(self) -> None:
        """Waits until all Sentinels that answer call the replica the master."""

        async def all_say() -> bool:
            return all([await self._master_by(each) == self.replica.port for each in self.watchers])

        await until(all_say, 60)

    async def _master_by(self, watcher: Watcher) -> int:
        async with Redis(port=watcher.port, password=WATCHER_PASSWORD) as sentinel:
            masters: Any = await sentinel.sentinel_masters()
            return int(masters[NAME]["port"])

    async def role(self, server: ValkeyServer) -> str:
        """Returns what a server believes to be."""
        async with Redis.from_url(server.url) as redis:
            info: Any = await redis.info("replication")
            return str(info["role"])

    async def kill(self) -> None:
        """Ends the master at once."""
        await asyncio.to_thread(self.master.stop, immediate=True)

    def pause(self) -> None:
        """Lets the master stand still."""
        self._paused = [Store(self.master)]
        self._paused[0].pause()

    def resume(self) -> None:
        for store in self._paused:
            store.resume()
        self._paused = []


@asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    """Starts all, and waits until the Sentinels know the replica and each other."""
    async with AsyncExitStack() as stack:
        places = [directory / name for name in ("master", "replica", "sentinel-1", "sentinel-2", "sentinel-3")]
        for place in places:
            place.mkdir()
        master, replica = ValkeyServer(places[0]), ValkeyServer(places[1])
        (places[1] / "valkey.password").write_text(master.password)
        for server in (master, replica):
            stack.callback(server.stop, immediate=True)
            await asyncio.to_thread(server.start)
        link = await stack.enter_async_context(proxied(master.url))
        async with Redis.from_url(replica.url) as redis, Redis.from_url(master.url) as other:
            for each in (redis, other):
                await each.config_set("masterauth", master.password)
                await each.config_set("repl-diskless-sync-delay", 0)
            await redis.replicaof("127.0.0.1", link.port)

            async def follows() -> bool:
                info: Any = await redis.info("replication")
                return str(info["master_link_status"]) == "up"

            await until(follows, 30)
        watchers = [Watcher(place, master) for place in places[2:]]
        for watcher in watchers:
            stack.callback(watcher.stop, immediate=True)
            await asyncio.to_thread(watcher.start)
        whole = Watched(master, replica, watchers, link)
        stack.callback(whole.resume)
        await until(lambda: _acquainted(whole), 60)
        yield whole


async def _acquainted(each: Watched) -> bool:
    for watcher in each.watchers:
        async with Redis(port=watcher.port, password=WATCHER_PASSWORD) as sentinel:
            masters: Any = await sentinel.sentinel_masters()
            if (masters[NAME]["num-slaves"], masters[NAME]["num-other-sentinels"]) != (1, 2):
                return False
    return True
