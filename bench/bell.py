"""①② What the trigger and the bell cost the writers: transactions per second of eight of them, as fast as they can."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from statistics import mean, median

import sql
from bench import process, writers
from bench.report import Figure, Report
from bench.scale import Scale
from bench.stack import Stack
from gateway.bridge.listener import connect

AIM = 0.9


@asynccontextmanager
async def _nobody(stack: Stack) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _listener(stack: Stack) -> AsyncIterator[None]:
    connection = await connect(stack.database_url, "bench listener")
    try:
        await connection.add_listener(sql.BELL, lambda *_: None)
        yield
    finally:
        connection.terminate()


@asynccontextmanager
async def _awake(stack: Stack) -> AsyncIterator[None]:
    connection = await connect(stack.database_url, "bench awake")
    try:
        await connection.fetchval("select pg_advisory_lock($1, $2)", sql.LOCK_CLASS, sql.AWAKE_LOCK)
        yield
    finally:
        connection.terminate()


@asynccontextmanager
async def _bridge_always(stack: Stack) -> AsyncIterator[None]:
    async with stack.bridge("always"):
        yield


@asynccontextmanager
async def _bridge_armed(stack: Stack) -> AsyncIterator[None]:
    async with stack.bridge("armed"):
        yield


@dataclass(frozen=True)
class Case:
    """One way to write: which table, how to ring, and who is there meanwhile."""

    name: str
    notify: str
    company: Callable[[Stack], AbstractAsyncContextManager[None]]
    table: str = "bench_booking"
    bridge: bool = False


@dataclass
class Found:
    """Transactions per second in each round, what that was to the base of the same round, and the cores that others used."""

    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)


OUTBOX = Case("outbox only: nobody rings, no bridge", "never", _nobody)
AWAKE = Case("armed, awake: a session holds the lock, no bridge", "armed", _awake)
CASES = (
    Case("no trigger", "never", _nobody, "bench_plain"),
    OUTBOX,
    AWAKE,
    Case("armed, asleep: no bridge", "armed", _nobody),
    Case("armed, asleep: a session listens, no bridge", "armed", _listener),
    Case("NOTIFY in each: no listener", "always", _nobody),
    Case("NOTIFY in each: a session listens, no bridge", "always", _listener),
    Case("armed, awake: a bridge sequences and publishes", "armed", _bridge_armed, bridge=True),
    Case("NOTIFY in each: a bridge sequences and publishes", "always", _bridge_always, bridge=True),
)


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Runs every case in turn, several rounds, every second one backwards; a case is compared within its round."""
    found = {case: Found() for case in CASES}
    report.expect(sum(scale.bell_bridge_rounds if case.bridge else scale.bell_rounds for case in CASES))
    for round in range(scale.bell_rounds):
        for case in CASES[:: -1 if round % 2 else 1]:
            if case.bridge and round >= scale.bell_bridge_rounds:
                continue
            report.say(f"round {round + 1} of {scale.bell_rounds}, {case.name}")
            await stack.hang(case.notify)
            async with case.company(stack):
                others, started = process.others_seconds(), time.monotonic()
                found[case].rates.append(await writers.write(stack, scale.bell_seconds, table=case.table))
                found[case].others.append((process.others_seconds() - others) / (time.monotonic() - started))
        for each in found.values():
            if len(each.rates) > round:
                each.ratios.append(each.rates[round] / found[OUTBOX].rates[round])
    await stack.hang("armed")
    report.table(
        f"Bell: {writers.CLIENTS} writers, single-row updates by primary key, rounds of {scale.bell_seconds} s",
        ("way to ring", "tx/s", "÷ outbox only", "each round", "others"),
        [
            (
                case.name,
                Figure.of(median(each.rates), ",.0f"),
                Figure.of(median(each.ratios), ".2f"),
                " ".join(f"{ratio:.2f}" for ratio in each.ratios),
                Figure.of(mean(each.others), ".0%"),
            )
            for case, each in found.items()
        ],
        (
            "Medians. others: what the rest of the machine used meanwhile, % of one core.",
            "A bridge shares the cores with Postgres and the writers: the last two lines are the cost of its work, not of the bell.",
        ),
    )
    ratio = median(found[AWAKE].ratios)
    report.aim("armed and awake ÷ outbox only, tx/s", f"≥ {AIM}", Figure.of(ratio, ".2f"), ratio >= AIM)
