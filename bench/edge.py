"""⑤–⑨ What an open connection costs the web process, and an event on each of them: thousands of clients on one channel.

Each server has one core and the clients have the other. Rowcast is fed through Redis, as by its bridge; Nchan by HTTP.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from bench import nchan, process
from bench.declaration import booking
from bench.feeder import Feeder
from bench.nchan import Nchan
from bench.process import BenchError
from bench.report import Report, milliseconds, percentile
from bench.scale import Scale
from bench.stack import Stack

_PADDING = 120
"""Makes an event of about 200 bytes."""
_TRICKLE = 50_000
"""Deliveries a second that are asked for: less than any of the servers can do."""
_BURST = 100
_SETTLE_SECONDS = 1.0
_LATE_SECONDS = 20.0
_READY_SECONDS = 120.0
_READY = "event: ready"
PATH = f"/streams/{booking.name}"

Publish = Callable[[int], Awaitable[None]]
"""Publishes so many events at once."""
ROWCAST = "Rowcast"
NCHAN = "Nchan"


@dataclass
class Server:
    """What is measured."""

    name: str
    pid: int
    port: int
    ready: str


@dataclass
class Idle:
    """What connections cost that only listen: CPU seconds and elapsed seconds to connect, resident bytes, each."""

    cpu: float
    elapsed: float
    memory: float


@dataclass
class Cost:
    """What events cost."""

    deliveries: int
    seconds: float
    cpu: float
    delays: list[float]
    clients_cpu: float


Begun = tuple[Server, Callable[[], Awaitable[Publish]]]
"""A server, and what makes it ready to be published to."""
Peer = AbstractAsyncContextManager[Begun]


class Crowd:
    """The clients' process, asked from here."""

    def __init__(self, child: asyncio.subprocess.Process, seconds: float) -> None:
        self._child = child
        self.seconds = seconds

    async def ask(self) -> dict[str, Any]:
        """Returns what has arrived since it was asked before."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        said: dict[str, Any] = orjson.loads(await self._child.stdout.readline())
        if said["ended"]:
            raise BenchError(f"{said['ended']} streams have ended")
        return said

    @staticmethod
    @asynccontextmanager
    async def open(stack: Stack, server: Server, clients: int) -> AsyncIterator["Crowd"]:
        command = [sys.executable, "-m", "bench.crowd"]
        async with process.started(command, stack.environment(), stack.directory, stack.directory / "crowd.log", talks=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            process.pin(child.pid, 1)
            config = {"port": server.port, "path": PATH, "token": stack.token(), "clients": clients, "ready": server.ready}
            child.stdin.write(orjson.dumps(config) + b"\n")
            try:
                async with asyncio.timeout(_READY_SECONDS):
                    line = await child.stdout.readline()
            except TimeoutError:
                line = b""
            if not line:
                raise BenchError(f"{server.name}: the clients have not become ready, see {stack.directory / 'crowd.log'}")
            yield Crowd(child, orjson.loads(line)["seconds"])
            child.stdin.close()


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Opens more and more connections on one channel of each server, and lets events trickle, then burst."""
    idle: dict[tuple[int, str], Idle] = {}
    cost: dict[tuple[int, str, str], Cost] = {}
    peers: list[Callable[[Stack], Peer]] = [_rowcast, _plain, *([_nchan] if nchan.installed() else [])]
    for clients in scale.edge_clients:
        for peer in peers:
            async with peer(stack) as (server, begin):
                process.pin(server.pid, 0)
                report.say(f"{server.name}: {clients:,} connections")
                cpu, memory = process.cpu_seconds(server.pid), process.memory_mb(server.pid)
                async with Crowd.open(stack, server, clients) as crowd:
                    cpu = process.cpu_seconds(server.pid) - cpu
                    await asyncio.sleep(_SETTLE_SECONDS)
                    memory = process.memory_mb(server.pid) - memory
                    idle[clients, server.name] = Idle(cpu / clients, crowd.seconds / clients, memory * 2**20 / clients)
                    publish = await begin()
                    for name, at_once in (("trickle", 1), ("burst", _BURST)):
                        report.say(f"{server.name}: {clients:,} connections, {name}")
                        cost[clients, name, server.name] = await _deliver(publish, crowd, server, clients, at_once, scale.edge_seconds)
    _tables(report, idle, cost)
    _aims(report, idle, cost)


@asynccontextmanager
async def _rowcast(stack: Stack, name: str = ROWCAST, module: str = "gateway") -> AsyncIterator[Begun]:
    async with AsyncExitStack() as bridge:
        # A bridge beats while they connect. Then it goes, and the log is fed by hand.
        await bridge.enter_async_context(stack.bridge("never"))
        feeder = Feeder(stack.redis)

        async def publish(count: int) -> None:
            await feeder.feed(booking.name, ["bench-changes"] * count, _PADDING)

        async def begin() -> Publish:
            await bridge.aclose()
            await feeder.begin()
            return publish

        async with stack.web(module) as web:
            yield Server(name, web.pid, web.port, _READY), begin
    await stack.redis.flushall()


def _plain(stack: Stack) -> Peer:
    return _rowcast(stack, "on sse-starlette", "bench.plain")


@asynccontextmanager
async def _nchan(stack: Stack) -> AsyncIterator[Begun]:
    async with Nchan.running(stack) as server:

        async def publish(count: int) -> None:
            await server.publish([b'{"at":%.6f,"padding":"%b"}' % (time.monotonic(), b"x" * _PADDING)] * count)

        async def begin() -> Publish:
            return publish

        yield Server(NCHAN, server.pid, server.port, Nchan.READY), begin


async def _deliver(publish: Publish, crowd: Crowd, server: Server, clients: int, at_once: int, seconds: float) -> Cost:
    """Publishes, paced if one at a time, else whenever the last have arrived."""
    pause = clients / _TRICKLE if at_once == 1 else 0.0
    before = await crowd.ask()
    cpu, started = process.cpu_seconds(server.pid), time.monotonic()
    sent = arrived = 0
    delays: list[float] = []
    said = before

    async def until(expected: int) -> None:
        nonlocal arrived, said
        deadline = time.monotonic() + _LATE_SECONDS
        while arrived < expected and time.monotonic() < deadline:
            said = await crowd.ask()
            arrived += said["events"]
            delays.extend(said["delays"])
            await asyncio.sleep(0.001)

    while time.monotonic() - started < seconds:
        await publish(at_once)
        sent += at_once * clients
        if pause:
            await asyncio.sleep(max(0.0, started + pause * sent / clients - time.monotonic()))
        else:
            await until(sent)
    await until(sent)
    took = time.monotonic() - started
    if arrived != sent:
        raise BenchError(f"{server.name}: {sent:,} deliveries were expected, {arrived:,} arrived")
    return Cost(arrived, took, process.cpu_seconds(server.pid) - cpu, delays, said["busy"] - before["busy"])


def _aims(report: Report, idle: dict[tuple[int, str], Idle], cost: dict[tuple[int, str, str], Cost]) -> None:
    """The aims of one channel; those that compare are left out where the peer is not installed."""

    def each(clients: int, kind: str, name: str) -> float:
        return cost[clients, kind, name].cpu / cost[clients, kind, name].deliveries

    counts = sorted({clients for clients, _ in idle})
    burst = min(cost[clients, "burst", ROWCAST].deliveries / cost[clients, "burst", ROWCAST].cpu for clients in counts)
    report.aim("deliveries per CPU second, burst", "≥ 1,000,000", f"{burst:,.0f}", burst >= 1e6)
    memory = max(idle[clients, ROWCAST].memory for clients in counts) / 1024
    report.aim("memory per idle connection", "≤ 4 KB", f"{memory:.1f} KB", memory <= 4)
    connect = max(idle[clients, ROWCAST].cpu for clients in counts) * 1e6
    report.aim("CPU per connect with a verified token", "≤ 400 µs", f"{connect:,.0f} µs", connect <= 400)
    for clients in counts:
        if (clients, "trickle", NCHAN) in cost:
            ratio = each(clients, "trickle", ROWCAST) / each(clients, "trickle", NCHAN)
            report.aim(f"CPU per delivery ÷ Nchan, trickle, {clients:,}", "≤ 1.0", f"{ratio:.2f}", ratio <= 1)
    if len(counts) > 1:
        growth = each(counts[-1], "trickle", ROWCAST) / each(counts[0], "trickle", ROWCAST)
        report.aim(f"CPU per delivery, {counts[-1]:,} ÷ {counts[0]:,}", "≤ 1.3", f"{growth:.2f}", growth <= 1.3)
    if (counts[-1], NCHAN) in idle:
        ratio = idle[counts[-1], ROWCAST].memory / idle[counts[-1], NCHAN].memory
        report.aim(f"memory per idle connection ÷ Nchan, {counts[-1]:,}", "≤ 0.6", f"{ratio:.2f}", ratio <= 0.6)


def _tables(report: Report, idle: dict[tuple[int, str], Idle], cost: dict[tuple[int, str, str], Cost]) -> None:
    report.table(
        "Edge: connections that listen",
        ("connections", "server", "CPU µs to connect", "connects/s", "KB each", "÷ Rowcast"),
        [
            (
                f"{clients:,}",
                name,
                f"{each.cpu * 1e6:,.0f}",
                f"{1 / each.elapsed:,.0f}",
                f"{each.memory / 1024:.1f}",
                f"{each.memory / idle[clients, ROWCAST].memory:.2f}",
            )
            for (clients, name), each in idle.items()
        ],
        ("Rowcast verifies a token for each connection (HS256), Nchan verifies nothing. ÷ Rowcast: memory.",),
    )
    report.table(
        "Edge: events of 200 bytes on one channel",
        ("connections", "server", "CPU µs each", "÷ Rowcast", "deliveries/s", "p50 ms", "p99 ms", "core", "clients'"),
        [
            (
                f"{clients:,}, {kind}",
                name,
                f"{each.cpu / each.deliveries * 1e6:,.2f}",
                f"{each.cpu / each.deliveries / (ours := cost[clients, kind, ROWCAST]).cpu * ours.deliveries:.2f}",
                f"{each.deliveries / each.seconds:,.0f}",
                milliseconds(percentile(each.delays, 0.5)),
                milliseconds(percentile(each.delays, 0.99)),
                f"{each.cpu / each.seconds:.0%}",
                f"{each.clients_cpu / each.seconds:.0%}",
            )
            for (clients, kind, name), each in cost.items()
        ],
        (
            f"Trickle is paced at {_TRICKLE:,} deliveries/s, burst is {_BURST} events at once, whenever the last have arrived.",
            "core: what the server used of its own; where the clients' is near 100% they are the bottleneck, and delays theirs.",
        ),
    )
