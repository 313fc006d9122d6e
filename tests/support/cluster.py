"""A whole Rowcast of real processes: Postgres, Redis, bridges and web processes, each of which can fail and come back by itself.

- Every part has the same verbs: `start`, `stop` (as an operator stops it), `kill` (-9), `pause` and `resume` (SIGSTOP, SIGCONT).
- A part comes back on its port and with its data.
- Whatever a test has done to the parts, all of them are gone after the block, those that are paused too.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gateway.embedded import EmbeddedError, PostgresServer, ValkeyServer
from gateway.embedded.server import Server
from tests.support import sse
from tests.support.gateway import token
from tests.support.process import environment, free_port, wait_ready
from tests.support.servers import FAST, Servers, prepare

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
"""More than the drain window of any part here."""


class Part(Protocol):
    """Something of the cluster that can fail."""

    @property
    def name(self) -> str: ...

    @property
    def runs(self) -> bool:
        """Whether it has been started, and has not ended since."""

    async def start(self) -> None:
        """Starts it, and returns when it works."""

    async def stop(self) -> None:
        """Stops it in its own good order."""

    async def kill(self) -> None:
        """Ends it at once: nothing is finished."""

    def pause(self) -> None:
        """Lets it stand still: its connections stay open, and nobody answers."""

    def resume(self) -> None:
        """Lets it go on."""


@dataclass
class Program:
    """A `rowcast` process. `exit_codes` are those of its ends by `stop`."""

    name: str
    args: Sequence[str]
    env: Mapping[str, str]
    log: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    exit_codes: list[int] = field(default_factory=list)
    module: str = "gateway"
    """What `python -m` runs: a test may have one of its own that lacks something."""
    _since: int = 0

    @property
    def says(self) -> str:
        """What it has said since its last start."""
        return self.log.read_bytes()[self._since :].decode() if self.process is not None else ""

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        with self.log.open("ab") as file:
            self._since = file.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.args],
                env=dict(self.env),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self.port:
            try:
                wait_ready(f"http://127.0.0.1:{self.port}", within=1, path="/livez")
                break
            except TimeoutError:
                if not self.runs or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} has not started: {self.says[-1000:]}") from None

    async def stop(self) -> None:
        if self.process is not None:
            self.resume()
            self.process.send_signal(signal.SIGTERM)
            self.exit_codes.append(await asyncio.to_thread(self.process.wait, _STOP_SECONDS))
            self.process = None

    async def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)


@dataclass
class Store:
    """Postgres or Redis. A paused Postgres stands still with all its backends."""

    server: Server
    _paused: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def runs(self) -> bool:
        with suppress(EmbeddedError):
            return self.server.pid > 0
        return False

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def stop(self) -> None:
        self.resume()
        await asyncio.to_thread(self.server.stop)

    async def kill(self) -> None:
        self.resume()
        await asyncio.to_thread(self.server.stop, immediate=True)

    def pause(self) -> None:
        # Its parent first: nobody is born meanwhile. Backends of Postgres are in sessions of their own.
        self._paused = [self.server.pid]
        os.kill(self.server.pid, signal.SIGSTOP)
        for child in children(self.server.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
                self._paused.append(child)

    def resume(self) -> None:
        for pid in reversed(self._paused):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._paused = []


def children(pid: int) -> list[int]:
    """Returns the processes whose parent this is, from Linux's /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


class Doors:
    """Several web processes as one address: each stream is opened at one of them, at random, as behind a proxy.

    A Reader takes it for one web process. Who is sent away (429, 503) gets ConnectionRefusedError, and comes again.
    """

    def __init__(self, ports: Sequence[int], chance: Callable[[Sequence[int]], int] = random.choice) -> None:
        self._ports = ports
        self._chance = chance

    async def open(self, streams: str, sub: object, role: str | None, since: str | None, **claims: Any) -> sse.Stream:
        """Opens streams as a user, after an id."""
        headers = {"Authorization": f"Bearer {token(sub, role, **claims)}"} | ({"Last-Event-ID": since} if since else {})
        stream = await sse.request("127.0.0.1", self._chance(self._ports), f"/streams/{streams}", headers)
        if stream.status in (429, 503):
            raise ConnectionRefusedError(stream.body)
        assert stream.status == 200, stream.body
        # A process may be killed in the middle of an event.
        stream.may_tear = True
        return stream


@dataclass
class Cluster:
    """The parts, by what they are, and the addresses of the servers themselves."""

    servers: Servers
    postgres: Store
    redis: Store
    bridges: list[Program]
    webs: list[Program]

    @property
    def doors(self) -> Doors:
        """All web processes as one address."""
        return self.doors_of(*self.webs)

    @property
    def parts(self) -> list[Part]:
        return [self.postgres, self.redis, *self.bridges, *self.webs]

    def active_bridge(self) -> Program | None:
        """Returns the bridge that is active by its own account, if there is just one."""
        active = [each for each in self.bridges if each.says.rfind("this bridge is active") > each.says.rfind("bridge starts again")]
        return active[0] if len(active) == 1 else None

    def doors_of(self, *webs: Program) -> Doors:
        """Returns some of the web processes as one address."""
        return Doors([web.port for web in webs])


@asynccontextmanager
async def cluster(
    directory: Path,
    *,
    bridges: int = 2,
    webs: int = 2,
    database_settings: Mapping[str, str] = FAST,
    bridge: tuple[str, Sequence[str]] = ("gateway", ["bridge"]),
    between: Callable[[Servers], AbstractAsyncContextManager[Servers]] = nullcontext,
    **settings: str,
) -> AsyncIterator[Cluster]:
    """Starts everything, with the example tables; `settings` are variables of the environment (`ROWCAST_DRAIN="2s"`).

    `bridge` is the module that is run as a bridge, and its arguments. The bridges talk to Postgres and Redis directly; so do the
    web processes, unless there is something `between`, which yields other addresses for them.
    """
    data = directory / "servers"
    data.mkdir()
    stores = [Store(PostgresServer(data, database_settings)), Store(ValkeyServer(data))]
    async with AsyncExitStack() as stack:
        for store in stores:
            stack.push_async_callback(store.kill)
            await store.start()
        servers = Servers(stores[0].server.url, stores[1].server.url)
        await prepare(servers.database_url)
        env = environment(servers, ROWCAST_DEMO="0", **settings)
        module, args = bridge
        programs = [Program(f"bridge {n}", args, env, directory / f"bridge-{n}.log", module=module) for n in range(1, bridges + 1)]
        seen = await stack.enter_async_context(between(servers))
        env |= {"DATABASE_URL": seen.database_url, "REDIS_URL": seen.redis_url}
        for n in range(1, webs + 1):
            port = free_port()
            there = env | {"HOST": "127.0.0.1", "PORT": str(port)}
            programs.append(Program(f"web {n}", ["web"], there, directory / f"web-{n}.log", port))
        for program in programs:
            stack.push_async_callback(program.kill)
            await program.start()
        yield Cluster(servers, stores[0], stores[1], programs[:bridges], programs[bridges:])
