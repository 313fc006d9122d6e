"""A whole Rowcast on free ports in a directory of its own: embedded servers with their default durable settings, bridge, web."""

import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import orjson
from redis.asyncio import Redis

import sql
from auth.key import shared_secret
from auth.token import sign
from bench import declaration, process
from bench.process import BenchError
from gateway import wire
from gateway.bridge.listener import Connection, connect
from gateway.embedded import Servers
from gateway.migrator import Plan, migrate
from streams.catalog import Catalog, load

_ROOT = Path(__file__).parents[1]
_MAX_EVENT_BYTES = 262_144
_READY_SECONDS = 30.0


@dataclass(frozen=True)
class Web:
    """A running web process."""

    pid: int
    port: int


class Stack:
    """Addresses, one connection for questions, and the processes that a section asks for."""

    def __init__(self, servers: Servers, directory: Path, connection: Connection, ends_at: float) -> None:
        assert servers.database_url
        assert servers.redis_url
        self.database_url = servers.database_url
        self.redis_url = servers.redis_url
        self.directory = directory
        self.connection = connection
        self.ends_at = ends_at
        self.redis = Redis.from_url(self.redis_url)
        self._secret = secrets.token_urlsafe(32)
        self.postmaster = 0
        self.valkey = 0

    @staticmethod
    @asynccontextmanager
    async def open(servers: Servers, directory: Path, within: float) -> AsyncIterator["Stack"]:
        """Connects, and installs the bench's tables and triggers; `within` so many seconds the sections are to end."""
        connection = await connect(servers.database_url or "", "bench")
        stack = Stack(servers, directory, connection, time.monotonic() + within)
        try:
            await connection.execute(declaration.TABLE)
            await stack.hang("armed")
            stack.postmaster = process.parent(await connection.fetchval("select pg_backend_pid()"))
            stack.valkey = int((await stack.redis.info("server"))["process_id"])
            yield stack
        finally:
            await stack.redis.aclose()
            connection.terminate()

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()

    async def hang(self, notify: str) -> None:
        """Hangs the bell up: always, armed or never."""
        await migrate(self.connection, Plan(Catalog([declaration.booking]), notify, _MAX_EVENT_BYTES))

    @asynccontextmanager
    async def examples(self) -> AsyncIterator[None]:
        """Installs the tables of the examples and hangs their triggers up, and the bench's own again afterwards."""
        await migrate(self.connection, Plan(load("streams"), "armed", _MAX_EVENT_BYTES), examples=True)
        try:
            yield
        finally:
            await self.hang("armed")

    def environment(self, **more: str) -> dict[str, str]:
        """Returns an environment in which nothing of Rowcast's is set but what the bench sets."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ROWCAST_", "PG")) and k not in {"HOST", "PORT"}}
        ours = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "ROWCAST_JWT_SECRET": self._secret,
            "ROWCAST_STREAMS": declaration.__name__,
            # Counted as ever, and never reached.
            "ROWCAST_CONNECTIONS_PER_USER": "1000000",
            "LOG_LEVEL": "warning",
            "PYTHONPATH": str(_ROOT),
        }
        return clean | ours | more

    def token(self, user: int = 1) -> str:
        return sign(shared_secret(self._secret), {"sub": str(user), "exp": int(time.time()) + 3600})

    @asynccontextmanager
    async def bridge(self, notify: str, **more: str) -> AsyncIterator[int]:
        """Runs a bridge, and yields its process id when it leads and has caught up."""
        log = self.directory / "bridge.log"
        command = [sys.executable, "-m", "gateway", "bridge"]
        async with process.started(command, self.environment(ROWCAST_NOTIFY=notify, **more), self.directory, log) as child:
            await self._until(self._led, child, log)
            await self._until(self.drained, child, log)
            yield child.pid

    @asynccontextmanager
    async def web(self, module: str = "gateway", **more: str) -> AsyncIterator[Web]:
        """Runs a web process, and yields when it is ready and has heard the bridge."""
        port = free_port()
        log = self.directory / "web.log"
        command = [sys.executable, "-m", module, "web"]
        env = self.environment(PORT=str(port), HOST="127.0.0.1", ROWCAST_DRAIN="1s", **more)

        async def ready() -> bool:
            return await asyncio.to_thread(_ready, port)

        async with process.started(command, env, self.directory, log) as child:
            await self._until(ready, child, log)
            yield Web(child.pid, port)

    async def head(self) -> int:
        """Returns the newest position of the Postgres log."""
        row = await self.connection.fetchrow(sql.statement("head"))
        assert row is not None
        return int(row["position"])

    async def drained(self) -> bool:
        """Says whether every committed change has a position, and Redis has it."""
        row = await self.connection.fetchrow(sql.statement("head_snapshot"))
        assert row is not None
        waiting = await self.connection.fetchval(sql.statement("waiting"), row["snapshot"])
        return not waiting and int(await self.redis.hget(wire.META, "position") or -1) >= row["position"]

    async def until_drained(self, within: float = _READY_SECONDS) -> bool:
        """Waits until all is published, for a bounded time; False if it was not."""
        return await process.until(self.drained, within)

    async def _led(self) -> bool:
        return bool(
            await self.connection.fetchval(
                "select exists (select from pg_locks where locktype = 'advisory' and granted and classid = $1 and objid = $2)",
                sql.LOCK_CLASS,
                sql.LEASE_LOCK,
            )
        )

    async def _until(self, condition: Callable[[], Awaitable[bool]], child: asyncio.subprocess.Process, log: Path) -> None:
        async def ended_or_so() -> bool:
            return child.returncode is not None or await condition()

        if not await process.until(ended_or_so, _READY_SECONDS) or child.returncode is not None:
            raise BenchError(f"a process has not become ready within {_READY_SECONDS:.0f} s; {process.last_lines(log)}")


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(orjson.loads(answer.read())["components"]["bridge"] == "up")
    except (URLError, OSError):
        return False
