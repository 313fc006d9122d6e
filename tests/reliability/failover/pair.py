"""A Postgres and its standby, which follows it at a distance: what is cut off and promoted lacks the last commits."""

import asyncio
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from gateway.embedded import PostgresServer
from tests.gateway.fanout.traffic import Traffic, go_on, written
from tests.support.gateway import until
from tests.support.ledger import Reader
from tests.support.proxy import Proxy, proxied
from tests.support.servers import FAST, Servers, prepare

_SETTINGS = FAST | {
    "wal_level": "replica",
    "max_wal_senders": "4",
    "wal_keep_size": "64MB",
    "shared_buffers": "32MB",
    "max_connections": "100",
}
_NOTE = "update public.services set description = $1 where id = 1"


@dataclass
class Pair:
    """`way` is the address that everybody has: it leads to the primary, until it is led elsewhere. `link` carries the replication."""

    primary: PostgresServer
    standby: PostgresServer
    way: Proxy
    link: Proxy
    redis_url: str

    @property
    def servers(self) -> Servers:
        """By the way."""
        return Servers(self.way.url(self.primary.url), self.redis_url)

    @property
    def old(self) -> Servers:
        """The first primary, whatever has become of it."""
        return Servers(self.primary.url, self.redis_url)

    @property
    def new(self) -> Servers:
        """The standby, which becomes the primary."""
        return Servers(self.standby.url, self.redis_url)

    async def followed(self) -> None:
        """Waits until the standby has all that is written up to now."""
        async with asyncio.timeout(30):
            end = await self._ask(self.primary.url, "select pg_current_wal_insert_lsn()::text")
            await until(lambda: self._ask(self.standby.url, f"select pg_last_wal_replay_lsn() >= '{end}'"), 30)

    async def kill(self) -> None:
        """Ends the primary at once."""
        await asyncio.to_thread(self.primary.stop, immediate=True)

    async def promote(self) -> None:
        """Makes the standby a primary, and leads everybody there."""
        await self._ask(self.standby.url, "select pg_promote()")
        self.way.target_port = self.standby.port
        self.way.cut()

    async def fail_over(self) -> None:
        """The primary dies, and the standby takes its place."""
        await self.kill()
        await self.promote()

    async def _ask(self, url: str, statement: str) -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


async def lose(both: Pair, readers: list[Reader]) -> None:
    """Lets clients hear of commits that the standby does not get."""
    await go_on(readers)
    both.link.blackhole()
    await written(both.old)
    await go_on(readers)


async def write(servers: Servers, *notes: str) -> None:
    """Writes notes into one row, each in a transaction of its own."""
    connection = await servers.connect()
    for note in notes:
        await connection.execute(_NOTE, note)
    await connection.close()


@asynccontextmanager
async def writing_anew(servers: Servers, writers: int = 2) -> AsyncIterator[Traffic]:
    """Writes as `writing` does, with notes that nobody has written before the failover."""
    traffic, stop = Traffic(), asyncio.Event()
    traffic._numbers = itertools.count(1_000_000)
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(traffic.write(servers, stop, 0.01))
        try:
            yield traffic
        finally:
            stop.set()


def made(directory: Path) -> Path:
    """Makes a database with the example tables, to be copied."""
    server = PostgresServer(directory, _SETTINGS)
    server.start()
    asyncio.run(prepare(server.url))
    server.stop()
    return directory


@asynccontextmanager
async def pair(template: Path, directory: Path, redis_url: str) -> AsyncIterator[Pair]:
    """Starts a primary, and a standby that follows it through a proxy."""
    primary, standby = (PostgresServer(_copied(template, directory / name), dict(_SETTINGS)) for name in ("primary", "standby"))
    async with AsyncExitStack() as stack:
        stack.callback(primary.stop, immediate=True)
        await asyncio.to_thread(primary.start)
        link = await stack.enter_async_context(proxied(primary.url))
        way = await stack.enter_async_context(proxied(primary.url))
        standby.settings["primary_conninfo"] = f"host=127.0.0.1 port={link.port} user=postgres password={primary.password}"
        signal = standby.directory / "standby.signal"
        signal.touch()
        owner = standby.directory.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        stack.callback(standby.stop, immediate=True)
        await asyncio.to_thread(standby.start)
        both = Pair(primary, standby, way, link, redis_url)
        await both.followed()
        yield both


def _copied(template: Path, directory: Path) -> Path:
    directory.mkdir(mode=template.stat().st_mode & 0o777)
    directory.chmod(template.stat().st_mode & 0o777)
    for name in ("postgres", "postgres.password"):
        subprocess.run(["cp", "-a", template / name, directory / name], check=True)
    for claim in template.glob(".*"):
        if claim.is_file():
            shutil.copy2(claim, directory / claim.name)
    return directory
