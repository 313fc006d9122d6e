"""⑤–⑨ What an open connection costs the web process, and an event on each of them: thousands of clients on one channel.

Each server has one core and the clients have the other. Rowcast is fed through Redis, as by its bridge.
"""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from bench import deliver
from bench.crowd import Crowd
from bench.deliver import Cost, cpu_seconds, memory
from bench.peer import ALL, Peer
from bench.peer.centrifuge import CENTRIFUGE
from bench.peer.mercure import MERCURE
from bench.peer.nchan import NCHAN
from bench.peer.pushpin import PUSHPIN
from bench.peer.rowcast import PLAIN, ROWCAST
from bench.peer.socketio import SOCKETIO
from bench.report import Figure, Report
from bench.scale import Scale
from bench.stack import Stack

TRICKLE = 50_000
"""Deliveries a second that are asked for: less than most of the servers can do."""
_SETTLE_SECONDS = 1.0
PEERS: Sequence[Peer] = (ROWCAST, PLAIN, NCHAN, PUSHPIN, SOCKETIO, MERCURE, CENTRIFUGE)


@dataclass(frozen=True)
class Idle:
    """What connections cost that only listen: CPU seconds and elapsed seconds to connect, resident bytes, each."""

    cpu: float
    elapsed: float
    memory: float


def installed(report: Report) -> list[Peer]:
    """Returns the peers that can be measured here, and says which cannot and what they lack."""
    for peer in PEERS:
        if missing := peer.missing():
            report.say(f"{peer.name} is left out: it needs {missing}")
    return [peer for peer in PEERS if not peer.missing()]


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Opens more and more connections on one channel of each server, and lets events trickle, then burst."""
    idle: dict[tuple[int, str], Idle] = {}
    cost: dict[tuple[int, str, str], Cost] = {}
    peers = installed(report)
    report.expect(3 * len(scale.edge_clients) * len(peers))
    for clients in scale.edge_clients:
        for peer in peers:
            with nullcontext() if peer is ROWCAST else report.surviving(peer.name):
                async with peer.start(stack) as server:
                    report.say(f"{server.name}: {clients:,} connections")
                    before, empty = cpu_seconds(server), memory(server)
                    async with Crowd.open(stack, server, clients) as crowd:
                        cpu = cpu_seconds(server) - before
                        await asyncio.sleep(_SETTLE_SECONDS)
                        idle[clients, server.name] = Idle(cpu / clients, crowd.seconds / clients, (memory(server) - empty) / clients)
                        for name, at_once, pace in (("trickle", 1, TRICKLE), ("burst", peer.burst, None)):
                            report.say(f"{server.name}: {clients:,} connections, {name}")
                            cost[clients, name, server.name] = await deliver.deliver(
                                server, crowd, partial(_for_all, at_once), clients, scale.edge_seconds, pace
                            )
    _tables(report, idle, cost)
    _aims(report, idle, cost)


def _for_all(count: int) -> list[int]:
    return [ALL] * count


def _aims(report: Report, idle: dict[tuple[int, str], Idle], cost: dict[tuple[int, str, str], Cost]) -> None:
    """The aims of one channel; those that compare are left out where the peer is not installed."""
    counts = sorted({clients for clients, _ in idle})
    for (clients, kind, name), each in cost.items():
        if each.clients_core > deliver.CLIENTS_CORE:
            report.fail(f"{name}, {clients:,} connections, {kind}: the clients were the bottleneck ({each.clients_core:.0%} of their core)")
    burst = min(1 / cost[clients, "burst", ROWCAST.name].each for clients in counts)
    report.aim("deliveries per CPU second, burst", "≥ 1,000,000", Figure.of(burst, ",.0f"), burst >= 1e6)
    kilobytes = max(idle[clients, ROWCAST.name].memory for clients in counts) / 1024
    report.aim("memory per idle connection", "≤ 4 KB", Figure.of(kilobytes, ".1f", " KB"), kilobytes <= 4)
    ratios = [
        cost[clients, "burst", PUSHPIN.name].each / cost[clients, "burst", ROWCAST.name].each
        for clients in counts
        if (clients, "burst", PUSHPIN.name) in cost
    ]
    if ratios:
        report.aim("deliveries per CPU second, burst ÷ Pushpin", "≥ 3", Figure.of(min(ratios), ".0f"), min(ratios) >= 3)
    for clients in counts:
        if (clients, "trickle", NCHAN.name) in cost:
            ratio = cost[clients, "trickle", ROWCAST.name].each / cost[clients, "trickle", NCHAN.name].each
            report.aim(f"CPU per delivery ÷ Nchan, trickle, {clients:,}", "≤ 1.0", Figure.of(ratio, ".2f"), ratio <= 1)
    if len(counts) > 1:
        growth = cost[counts[-1], "trickle", ROWCAST.name].each / cost[counts[0], "trickle", ROWCAST.name].each
        report.aim(f"CPU per delivery, {counts[-1]:,} ÷ {counts[0]:,}", "≤ 1.3", Figure.of(growth, ".2f"), growth <= 1.3)
    if (counts[-1], NCHAN.name) in idle:
        ratio = idle[counts[-1], ROWCAST.name].memory / idle[counts[-1], NCHAN.name].memory
        report.aim(f"memory per idle connection ÷ Nchan, {counts[-1]:,}", "≤ 0.6", Figure.of(ratio, ".2f"), ratio <= 0.6)


def _tables(report: Report, idle: dict[tuple[int, str], Idle], cost: dict[tuple[int, str, str], Cost]) -> None:
    report.table(
        "Edge: connections that listen",
        ("connections", "server", "CPU µs to connect", "connects/s", "KB each", "÷ Rowcast"),
        [
            (
                Figure.of(clients, ","),
                name,
                Figure.of(each.cpu * 1e6, ",.0f"),
                Figure.of(1 / each.elapsed, ",.0f"),
                Figure.of(each.memory / 1024, ".1f"),
                Figure.of(each.memory / idle[clients, ROWCAST.name].memory, ".2f"),
            )
            for (clients, name), each in idle.items()
        ],
        ("Rowcast verifies a token for each connection (HS256). ÷ Rowcast: memory.",),
    )
    report.table(
        "Edge: events of 200 bytes on one channel",
        ("connections", "kind", "server", *deliver.COLUMNS),
        [
            (Figure.of(clients, ","), kind, name, *each.row(cost[clients, kind, ROWCAST.name]))
            for (clients, kind, name), each in cost.items()
        ],
        (
            f"Trickle: one event at a time, {TRICKLE:,} deliveries/s where the server can.",
            f"Burst: {ROWCAST.burst} at once ({SOCKETIO.burst} for Socket.IO), whenever the last have arrived.",
            "core: what the server used of its own; where the clients' is near 100% they are the bottleneck, and delays theirs.",
        ),
    )
