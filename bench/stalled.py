"""⑧ A client that stops reading: what the others notice of it, what it costs, and whether it goes."""

import asyncio
import time
from pathlib import Path
from urllib.request import urlopen

from bench.crowd import Crowd
from bench.deliver import Cost, deliver, memory
from bench.peer import ALL, Server
from bench.peer.rowcast import ROWCAST
from bench.process import BenchError
from bench.report import Figure, Report, milliseconds, percentile
from bench.scale import Scale
from bench.stack import Stack
from gateway.fanout.ticker import SLOW_SECONDS

_CLIENTS = 1_000
_STALLED = 50
"""So many stop reading where memory is measured: what one takes would be lost in the noise."""
_EVENTS = 40
_PER_SECOND = 400_000
"""Deliveries a second: 100 KB/s for each client, ten times a second."""
_FILL_SECONDS = 30.0


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Measures 1,000 clients that read, then 999 and one that does not, then 950 and fifty."""
    report.expect(4)
    async with ROWCAST.start(stack) as server:
        report.say(f"{_CLIENTS:,} clients read")
        async with Crowd.open(stack, server, _CLIENTS) as crowd:
            empty = memory(server)
            calm = await _deliver(server, crowd, _CLIENTS, scale.stalled_seconds)
            reading = memory(server) - empty
    async with ROWCAST.start(stack) as server:
        report.say("one of them stops reading")
        async with Crowd.open(stack, server, _CLIENTS, stalled=1) as crowd:
            await _until(server, crowd, _CLIENTS - 1, "rowcast_catch_ups_total", 1)
            stopped = time.monotonic()
            beside = await _deliver(server, crowd, _CLIENTS - 1, scale.stalled_seconds)
            report.say(f"it is to be ended after {SLOW_SECONDS:.0f} s")
            await _until(server, crowd, _CLIENTS - 1, 'rowcast_endings_total{reason="slow"}', 1, SLOW_SECONDS + 15)
            patience = time.monotonic() - stopped
    async with ROWCAST.start(stack) as server:
        report.say(f"{_STALLED} stop reading")
        async with Crowd.open(stack, server, _CLIENTS, stalled=_STALLED) as crowd:
            empty = memory(server)
            await _until(server, crowd, _CLIENTS - _STALLED, "rowcast_catch_ups_total", _STALLED)
            held = (memory(server) - empty - reading) / _STALLED
            queued = _queued(server.port) / _STALLED
    late, calmly = percentile(beside.delays, 0.99), percentile(calm.delays, 0.99)
    report.table(
        f"Slow readers: {_CLIENTS:,} clients, {_PER_SECOND:,} deliveries/s",
        ("clients", "p50 ms", "p99 ms", "CPU µs each"),
        [_row("all read", calm), _row("beside one that does not", beside)],
        (
            f"One that does not read: {held / 1024:,.0f} KB here, {queued / 1024:,.0f} KB in the kernel; ended after {patience:.0f} s",
            "Memory: of fifty that do not, each, beyond what those who read take.",
        ),
    )
    report.aim("p99 beside one that does not read ÷ all read", "≤ 1.1", Figure.of(late / calmly, ".2f"), late <= 1.1 * calmly)
    report.aim("memory for one that does not read, in the process", "≤ 256 KB", Figure.of(held / 1024, ",.0f", " KB"), held <= 262_144)
    both = held + queued
    report.aim("memory for one that does not read, kernel included", "≤ 256 KB", Figure.of(both / 1024, ",.0f", " KB"), both <= 262_144)
    report.aim("ended for it", f"{SLOW_SECONDS:.0f} s", Figure.of(patience, ".0f", " s"), abs(patience - SLOW_SECONDS) <= 5)


def _row(name: str, cost: Cost) -> tuple[str, ...]:
    p50, p99 = (milliseconds(percentile(cost.delays, share)) for share in (0.5, 0.99))
    return name, p50, p99, Figure.of(cost.each * 1e6, ".2f")


async def _deliver(server: Server, crowd: Crowd, listeners: int, seconds: float) -> Cost:
    return await deliver(server, crowd, lambda: [ALL] * _EVENTS, listeners, seconds, _PER_SECOND)


async def _until(server: Server, crowd: Crowd, listeners: int, metric: str, value: int, within: float = _FILL_SECONDS) -> None:
    """Goes on delivering until a metric has a value. Raises BenchError if it does not come to that."""
    deadline = time.monotonic() + within
    while await asyncio.to_thread(_metric, server.port, metric) < value:
        if time.monotonic() > deadline:
            raise BenchError(f"{metric} is not {value} within {within:.0f} s")
        await _deliver(server, crowd, listeners, 0.5)


def _metric(port: int, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


def _queued(port: int) -> int:
    """Returns the bytes that the kernel keeps for a port's clients, which they have not taken; 0 where it does not tell."""
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return 0
    return sum(int(row[4].partition(":")[0], 16) for row in rows if int(row[1].rpartition(":")[2], 16) == port)
