"""Publishes to a server and counts what arrives: what an event costs, and how late it is."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import process
from bench.crowd import Crowd
from bench.peer import Server
from bench.process import BenchError
from bench.report import Figure, milliseconds, percentile

_LATE_SECONDS = 20.0
_BEHIND_SECONDS = 0.5
CLIENTS_CORE = 0.95
"""Clients that use more of their core are the bottleneck."""
COLUMNS = ("CPU µs each", "÷ Rowcast", "deliveries/s", "p50 ms", "p99 ms", "core", "clients'")


@dataclass(frozen=True)
class Cost:
    """What deliveries cost: elapsed seconds, CPU seconds of the server and of the clients, delays in seconds."""

    deliveries: int
    seconds: float
    cpu: float
    delays: list[float]
    clients_cpu: float

    @property
    def each(self) -> float:
        """CPU seconds of the server for one delivery."""
        return self.cpu / self.deliveries

    @property
    def core(self) -> float:
        """The share of one core that the server used."""
        return self.cpu / self.seconds

    @property
    def clients_core(self) -> float:
        """The share of their core that the clients used."""
        return self.clients_cpu / self.seconds

    def row(self, ours: "Cost") -> tuple[str, ...]:
        """Returns the figures for a table with COLUMNS, `ours` being what is compared with."""
        return (
            Figure.of(self.each * 1e6, ",.2f"),
            Figure.of(self.each / ours.each, ".2f"),
            Figure.of(self.deliveries / self.seconds, ",.0f"),
            milliseconds(percentile(self.delays, 0.5)),
            milliseconds(percentile(self.delays, 0.99)),
            Figure.of(self.core, ".0%"),
            Figure.of(self.clients_core, ".0%"),
        )


def cpu_seconds(server: Server) -> float:
    """Returns the CPU seconds of all processes of a server."""
    return sum(process.cpu_seconds(pid) for pid in server.pids)


def memory(server: Server) -> float:
    """Returns the resident bytes of all processes of a server."""
    return sum(process.memory_mb(pid) for pid in server.pids) * 2**20


async def deliver(
    server: Server, crowd: Crowd, batch: Callable[[], Sequence[int]], listeners: int, seconds: float, per_second: float | None
) -> Cost:
    """Publishes batch after batch for some seconds: so many deliveries a second, or, without a pace, whenever the last have arrived.

    Each event of a batch goes to so many listeners. Raises BenchError if one does not arrive.
    """
    before = await crowd.ask()
    cpu, started = cpu_seconds(server), time.monotonic()
    sent = arrived = 0
    delays: list[float] = []
    said = before

    async def until(expected: int) -> None:
        nonlocal arrived, said
        deadline = time.monotonic() + _LATE_SECONDS
        while arrived < expected and time.monotonic() < deadline:
            said = await crowd.ask()
            arrived += said.events
            delays.extend(said.delays)
            await asyncio.sleep(0.001)

    while time.monotonic() - started < seconds:
        channels = batch()
        await server.publish(channels)
        sent += len(channels) * listeners
        if per_second is not None:
            await asyncio.sleep(max(0.0, started + sent / per_second - time.monotonic()))
            # One that cannot keep the pace is waited for, before it ends streams for what waits.
            await until(sent - round(per_second * _BEHIND_SECONDS))
        else:
            await until(sent)
    await until(sent)
    took = time.monotonic() - started
    if arrived != sent:
        raise BenchError(f"{server.name}: {sent:,} deliveries were expected, {arrived:,} arrived")
    return Cost(arrived, took, cpu_seconds(server) - cpu, delays, said.busy - before.busy)
