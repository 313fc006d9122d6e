"""①–⑨ How long a change takes from its commit to the clients, at a gentle pace and out of sleep."""

import asyncio
import time
from dataclasses import dataclass

from bench import process
from bench.clients import listening
from bench.report import Figure, Report, milliseconds, percentile
from bench.scale import Scale
from bench.stack import Stack, Web
from gateway.bridge.listener import Connection, connect

RATE = 100
CLIENTS = 10
P50_AIM_SECONDS, P99_AIM_SECONDS = 0.005, 0.020
_LONE_SECONDS = 0.45
"""Longer than a bridge stays awake."""
_UPDATE = "update public.bench_booking set notes = $2, updated_at = now() where id = $1"


@dataclass(frozen=True)
class Delays:
    """Of every change at every client: since just before COMMIT was sent, and since just after it was answered."""

    since_sent: list[float]
    since_answered: list[float]
    missing: int


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Writes at a pace, then one change at a time to a sleeping bridge."""
    report.expect(2)
    async with stack.bridge("armed"), stack.web() as web:
        report.say(f"{RATE} changes a second to {CLIENTS} clients")
        awake = await _measure(stack, web, int(RATE * scale.delay_seconds), 1 / RATE)
        report.say("lone changes to a sleeping bridge")
        asleep = await _measure(stack, web, scale.lone_changes, _LONE_SECONDS)
    rows = []
    for name, delays in ((f"{RATE}/s, bridge awake", awake), ("one at a time, asleep", asleep)):
        for since, values in (("sent", delays.since_sent), ("answered", delays.since_answered)):
            rows.append(
                (
                    f"{name}, since COMMIT {since}",
                    *(milliseconds(percentile(values, share)) for share in (0.5, 0.95, 0.99, 1)),
                    Figure.of(len(values), ","),
                )
            )
    report.table(
        f"Delay: one writer, {CLIENTS} clients on one web process, ms",
        ("change", "p50", "p95", "p99", "max", "deliveries"),
        rows,
        (f"not arrived: {awake.missing + asleep.missing}",),
    )
    p50, p99 = (percentile(awake.since_answered, share) for share in (0.5, 0.99))
    report.aim(f"delay at {RATE}/s since the answer, p50", "< 5 ms", milliseconds(p50, " ms"), p50 < P50_AIM_SECONDS)
    report.aim(f"delay at {RATE}/s since the answer, p99", "< 20 ms", milliseconds(p99, " ms"), p99 < P99_AIM_SECONDS)


async def _measure(stack: Stack, web: Web, changes: int, pause_seconds: float) -> Delays:
    sent: list[tuple[float, float]] = []
    connection = await connect(stack.database_url, "bench writer")
    try:
        async with listening(stack, web, CLIENTS, each=True) as clients:
            start = time.monotonic() + pause_seconds
            for number in range(changes):
                await asyncio.sleep(max(0.0, start + number * pause_seconds - time.monotonic()))
                sent.append(await _change(connection, number))
            await stack.until_drained(10)

            async def all_arrived() -> bool:
                return bool(clients.samples) and clients.samples[-1].events >= changes * CLIENTS

            await process.until(all_arrived, 5)
    finally:
        connection.terminate()
    arrivals = [(sent[number], at) for _, number, at in clients.arrivals if number >= 0]
    return Delays(
        [at - before for (before, _), at in arrivals], [at - after for (_, after), at in arrivals], changes * CLIENTS - len(arrivals)
    )


async def _change(connection: Connection, number: int) -> tuple[float, float]:
    """Changes one row and returns when COMMIT was sent and when it was answered."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(_UPDATE, 1 + number % 1000, str(number))
    before = time.monotonic()
    await transaction.commit()
    return before, time.monotonic()
