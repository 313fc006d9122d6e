"""⑤–⑨ Everybody on a channel of their own, as a marketplace's users are: changes spread over thousands of connections."""

import random
from contextlib import nullcontext
from functools import partial

from bench import deliver
from bench.crowd import Crowd
from bench.deliver import Cost, cpu_seconds
from bench.edge import installed
from bench.peer import Server
from bench.peer.rowcast import ROWCAST
from bench.report import Figure, Report, milliseconds, percentile
from bench.scale import Scale
from bench.stack import Stack

_CHANGES = 2_000
"""Changes a second, each for one of the users."""
_AT_ONCE = 20


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Opens a stream for each user of each server, and spreads changes over them."""
    connect: dict[str, tuple[float, float]] = {}
    cost: dict[str, Cost] = {}
    clients = scale.apart_clients
    peers = installed(report)
    report.expect(2 * len(peers))
    for peer in peers:
        with nullcontext() if peer is ROWCAST else report.surviving(peer.name):
            async with peer.start(stack) as server:
                report.say(f"{server.name}: {clients:,} connections with a channel each")
                before = cpu_seconds(server)
                async with Crowd.open(stack, server, clients, owns=True) as crowd:
                    connect[server.name] = (cpu_seconds(server) - before) / clients, clients / crowd.seconds
                    report.say(f"{server.name}: {_CHANGES:,} changes/s")
                    cost[server.name] = await _spread(server, crowd, clients, scale.apart_seconds)
    report.table(
        f"Own channels: {clients:,} users, {_CHANGES:,} changes/s spread over them",
        ("users", "server", "CPU µs to connect", "connects/s", *deliver.COLUMNS),
        [
            (Figure.of(clients, ","), name, Figure.of(cpu * 1e6, ",.0f"), Figure.of(rate, ",.0f"), *cost[name].row(cost[ROWCAST.name]))
            for name, (cpu, rate) in connect.items()
            if name in cost
        ],
        ("A connection to Rowcast verifies a token, and has three channels: its own, and those of two streams for everybody.",),
    )
    ours, (cpu, _) = cost[ROWCAST.name], connect[ROWCAST.name]
    report.aim("CPU per connect, verified token, three channels", "≤ 400 µs", Figure.of(cpu * 1e6, ",.0f", " µs"), cpu <= 400e-6)
    late = percentile(ours.delays, 0.99)
    report.aim(f"own channels, p99 at {_CHANGES:,} changes/s", "≤ 50 ms", milliseconds(late, " ms"), late <= 0.05)
    report.aim("own channels, share of one core", "< 100%", Figure.of(ours.core, ".0%"), ours.core < 0.95)


async def _spread(server: Server, crowd: Crowd, clients: int, seconds: float) -> Cost:
    some = partial(random.Random(1).choices, range(clients), k=_AT_ONCE)
    return await deliver.deliver(server, crowd, some, 1, seconds, _CHANGES)
