"""⑤–⑨ What an open connection costs the web process, and an event on each of them: thousands of clients, fed through Redis."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson

from bench import process
from bench.declaration import booking
from bench.feeder import Feeder
from bench.process import BenchError
from bench.report import Report, milliseconds, percentile
from bench.scale import Scale
from bench.stack import Stack, Web

_PADDING = 120
"""Makes an event of about 200 bytes."""
_TRICKLE = 50_000
_BURST = 100
_SETTLE_SECONDS = 1.0


class Crowd:
    """The clients' process, asked from here."""

    def __init__(self, child: asyncio.subprocess.Process, connecting: float) -> None:
        self._child = child
        self.connecting = connecting

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
    async def open(stack: Stack, web: Web, clients: int) -> AsyncIterator["Crowd"]:
        command = [sys.executable, "-m", "bench.crowd"]
        log = stack.directory / "crowd.log"
        async with process.started(command, stack.environment(), stack.directory, log, talks=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            process.pin(child.pid, 1)
            config = {"port": web.port, "path": f"/streams/{booking.name}", "tokens": [stack.token()], "clients": clients}
            child.stdin.write(orjson.dumps(config) + b"\n")
            async with asyncio.timeout(120):
                line = await child.stdout.readline()
            if not line:
                raise BenchError(f"the clients are not ready: {(await child.stderr.read()).decode()[-500:] if child.stderr else ''}")
            yield Crowd(child, orjson.loads(line)["seconds"])
            child.stdin.close()


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Opens more and more connections on one channel, and lets events trickle, then burst."""
    costs, idles = [], []
    for clients in scale.edge_clients:
        report.say(f"{clients:,} connections")
        async with AsyncExitStack() as later:
            # A bridge beats while they connect. Then it goes, and the log is fed by hand.
            async with stack.bridge("never"):
                web = await later.enter_async_context(stack.web())
                process.pin(web.pid, 0)
                before, memory = process.cpu_seconds(web.pid), process.memory_mb(web.pid)
                crowd = await later.enter_async_context(Crowd.open(stack, web, clients))
                connect = (process.cpu_seconds(web.pid) - before) / clients
                await asyncio.sleep(_SETTLE_SECONDS)
            feeder = Feeder(stack.redis)
            await feeder.begin()
            idles.append(
                (
                    f"{clients:,}",
                    f"{connect * 1e6:,.0f}",
                    f"{clients / crowd.connecting:,.0f}",
                    f"{(process.memory_mb(web.pid) - memory) * 1024 / clients:.1f}",
                )
            )
            for name, at_once in (("trickle", 1), ("burst", _BURST)):
                report.say(f"{clients:,} connections, {name}")
                costs.append((f"{clients:,}, {name}", *await _deliver(feeder, crowd, web, clients, at_once, scale.edge_seconds)))
        await stack.redis.flushall()
    report.table("Edge: connections that listen", ("connections", "CPU µs to connect", "connects/s", "KB each"), idles)
    report.table(
        "Edge: events of 200 bytes on one channel",
        ("connections", "deliveries", "deliveries/s", "CPU µs each", "p50 ms", "p99 ms", "web", "clients"),
        costs,
        ("web and clients: % of the core that each is pinned to. Trickle is paced, burst is as fast as it goes.",),
    )


async def _deliver(feeder: Feeder, crowd: Crowd, web: Web, clients: int, at_once: int, seconds: float) -> Sequence[str]:
    """Publishes, paced if one at a time, else whenever the last have arrived; returns the figures."""
    pause = clients / _TRICKLE if at_once == 1 else 0.0
    begun = await crowd.ask()
    cpu, started = process.cpu_seconds(web.pid), time.monotonic()
    sent = arrived = 0
    delays: list[float] = []
    while time.monotonic() - started < seconds:
        await feeder.feed(booking.name, ["bench-changes"] * at_once, _PADDING)
        sent += at_once * clients
        if pause:
            await asyncio.sleep(max(0.0, started + pause * sent / clients - time.monotonic()))
        while not pause and arrived < sent:
            said = await crowd.ask()
            arrived += said["events"]
            delays += said["delays"]
            await asyncio.sleep(0.001)
    deadline = time.monotonic() + 20
    while arrived < sent and time.monotonic() < deadline:
        said = await crowd.ask()
        arrived += said["events"]
        delays += said["delays"]
        await asyncio.sleep(0.01)
    took = time.monotonic() - started
    used = process.cpu_seconds(web.pid) - cpu
    if arrived != sent:
        raise BenchError(f"{sent:,} deliveries were expected, {arrived:,} arrived")
    return (
        f"{arrived:,}",
        f"{arrived / took:,.0f}",
        f"{used / arrived * 1e6:,.2f}",
        milliseconds(percentile(delays, 0.5)),
        milliseconds(percentile(delays, 0.99)),
        f"{used / took:.0%}",
        f"{(said['busy'] - begun['busy']) / took:.0%}",
    )
