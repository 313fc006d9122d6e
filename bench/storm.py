"""⑧ A storm: thousands of clients lose their web process at once, and come back to another with the ids of their last events."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bench import process
from bench.crowd import Crowd, Said
from bench.peer import ALL, Server, rowcast
from bench.process import BenchError
from bench.report import Figure, Report, milliseconds, percentile
from bench.scale import Scale
from bench.stack import Stack

_BYSTANDERS = 100
"""Clients of the process that the others come to: what do they notice?"""
_OWN = 20
_PAUSE_SECONDS = 0.1
"""So many changes, each for one of the users, in each such pause; and one for everybody in each second."""
_CALM_SECONDS = 3.0
_PATIENCE_SECONDS = 120.0


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Kills the web process under all, and counts until every client is live again and has every event once."""
    clients = scale.storm_clients
    report.expect(2)
    async with rowcast.fed(stack) as feeder, rowcast.served(stack, feeder) as first, rowcast.served(stack, feeder) as second:
        report.say(f"{clients:,} clients connect")
        async with (
            Crowd.open(stack, second, _BYSTANDERS) as bystanders,
            Crowd.open(stack, first, clients, owns=True, again=second.port) as crowd,
        ):
            tally = _Tally(crowd)
            async with _traffic(first, clients) as expected:
                await asyncio.sleep(_CALM_SECONDS)
                report.say(f"{clients:,} clients come back")
                cpu, started = process.cpu_seconds(second.pids[0]), time.monotonic()
                calm = await bystanders.ask()
                os.kill(first.pids[0], signal.SIGKILL)
                await tally.until("come back", lambda said: said.back == clients)
                meanwhile = await bystanders.ask()
                took, cpu = time.monotonic() - started, process.cpu_seconds(second.pids[0]) - cpu
                await asyncio.sleep(_CALM_SECONDS)
            await tally.until("get all events", lambda _: tally.events >= expected())
    report.table(
        f"Storm: {clients:,} clients lose their web process and come back at once, each to its own channel",
        ("what", "figure"),
        [
            ("until all were live again", Figure.of(took, ".1f", " s")),
            (f"p99 of {_BYSTANDERS} who were there, before", milliseconds(percentile(calm.delays, 0.99), " ms")),
            ("p99 of those, meanwhile", milliseconds(percentile(meanwhile.delays, 0.99), " ms")),
            ("CPU µs to come back, each", Figure.of(cpu / clients * 1e6, ",.0f")),
            ("deliveries expected", Figure.of(expected(), ",")),
            ("deliveries that arrived", Figure.of(tally.events, ",")),
            ("out of order, or twice", Figure.of(tally.backwards, ",")),
        ],
        (f"Meanwhile {_OWN / _PAUSE_SECONDS:.0f} changes/s, each for one of the users, and one a second for everybody.",),
    )
    wrong = abs(expected() - tally.events) + tally.backwards
    report.aim("storm: deliveries lost, doubled, out of order", "0", Figure.of(wrong, ","), wrong == 0)


class _Tally:
    """What has arrived altogether."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.events = self.backwards = 0

    async def until(self, what: str, reached: Callable[[Said], bool]) -> None:
        """Counts until something is reached. Raises BenchError if it takes too long."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            said = await self._crowd.ask()
            self.events += said.events
            self.backwards = said.backwards
            if reached(said):
                return
            if time.monotonic() > deadline:
                raise BenchError(f"the clients do not {what} within {_PATIENCE_SECONDS:.0f} s: {said}")
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def _traffic(server: Server, clients: int) -> AsyncIterator[Callable[[], int]]:
    """Publishes until the end, and yields what tells how many deliveries that makes."""
    sent = 0

    async def publish() -> None:
        nonlocal sent
        for turn in range(10**9):
            everybody = [ALL] if turn % round(1 / _PAUSE_SECONDS) == 0 else []
            await server.publish([*random.choices(range(clients), k=_OWN), *everybody])
            sent += _OWN + len(everybody) * clients
            await asyncio.sleep(_PAUSE_SECONDS)

    publishing = asyncio.create_task(publish())
    try:
        yield lambda: sent
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
