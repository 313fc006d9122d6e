"""①–⑨ The highest rate of changes that is carried for some seconds without the delay growing, and who pays for it."""

import asyncio
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from bench import process, writers
from bench.clients import Clients, Sample, listening
from bench.report import Figure, Report, milliseconds
from bench.scale import Scale
from bench.stack import Stack, Web

AIM = 10_000.0
_MOST = 400_000
_GROWTH_SECONDS = 0.1
"""Delay grows if that of the last second is above that of the first by more than this."""
_LATE_SECONDS = 0.05
"""Writers that begin their transactions later than this on average do not keep to the rate."""
_OTHERS = 0.3
"""Where others have used more of a core, a step that failed is tried once more, one in each ramp."""
_SETTLE_SECONDS = 0.5
_CATCH_UP_SECONDS = 6.0
_STEPS = 6
"""Of a ramp, as a rule."""


@dataclass(frozen=True)
class Step:
    """What happened at one rate: changes per second asked for, written, received; how late; delays of the first and last second."""

    asked: float
    written: float
    received: float
    late: float
    first: float
    last: float
    missing: int
    cpu: Mapping[str, float]

    @property
    def sustained(self) -> bool:
        """All of it was written and received, and the delay did not grow."""
        return self.late <= _LATE_SECONDS and self.last <= self.first + _GROWTH_SECONDS and not self.missing

    @property
    def verdict(self) -> str:
        if self.sustained:
            return "sustained"
        if self.missing:
            return f"{self.missing:,} not received in time"
        return "delay grew" if self.last > self.first + _GROWTH_SECONDS else "writers fell behind"


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Ramps up single-row transactions, then hundred-row statements."""
    cpu_rows = []
    report.expect(2 * _STEPS)
    for name, script, rows in (("1 row a transaction", writers.ONE, 1), ("100 rows a statement", writers.HUNDRED, 100)):
        async with stack.bridge("armed") as bridge, stack.web() as web:
            ramp = Ramp(stack, scale, report, name, script, rows, bridge, web)
            best = await ramp.climb()
        report.table(
            f"Throughput: {writers.CLIENTS} writers, {name}, one client that gets everything",
            ("changes/s asked", "written/s", "received/s", "writers late, ms", "delay ms, first s", "last s", ""),
            [
                (
                    Figure.of(step.asked, ",.0f"),
                    Figure.of(step.written, ",.0f"),
                    Figure.of(step.received, ",.0f"),
                    milliseconds(step.late),
                    milliseconds(step.first),
                    milliseconds(step.last),
                    step.verdict,
                )
                for step in ramp.steps
            ],
            (
                f"highest sustained: {best.written:,.0f} changes/s" if best else "no rate was sustained",
                "each line is a run; the last one is the longest",
            ),
        )
        if rows > 1:
            rate = best.written if best else 0.0
            report.aim(f"highest rate sustained, {name}", f"≥ {AIM:,.0f}/s", Figure.of(rate, ",.0f", "/s"), rate >= AIM)
        last = ramp.steps[-1]
        cpu_rows.append((f"{name}, % of one core", *(Figure.of(value, ".0%") for value in last.cpu.values())))
        cpu_rows.append((f"{name}, µs a change", *(Figure.of(value / max(last.written, 1) * 1e6, ",.0f") for value in last.cpu.values())))
    report.table("CPU in the last line of each", ("during", *last.cpu), cpu_rows)


class Ramp:
    """Finds the rate: doubles until it is too much, halves the interval, then tries the best for longer."""

    def __init__(self, stack: Stack, scale: Scale, report: Report, name: str, script: str, rows: int, bridge: int, web: Web) -> None:
        self.steps: list[Step] = []
        self._again = False
        self._stack = stack
        self._scale = scale
        self._report = report
        self._name = name
        self._script = script
        self._rows = rows
        self._bridge = bridge
        self._web = web

    async def climb(self) -> Step | None:
        """Returns the longest step that was sustained, or None."""
        ends_at = time.monotonic() + self._scale.ramp_limit_seconds
        good, bad, rate = 0.0, math.inf, self._scale.ramp_from * (1.0 if self._rows == 1 else 4.0)
        while rate < _MOST and bad == math.inf and time.monotonic() < ends_at:
            good, bad = await self._try(rate, good, bad)
            rate *= 2
        for _ in range(self._scale.ramp_bisections if bad < math.inf else 0):
            if time.monotonic() < ends_at:
                good, bad = await self._try((good + bad) / 2, good, bad)
        for share in (1.0, 0.7):
            if good and (step := await self._step(good * share, self._scale.sustain_seconds)).sustained:
                return step
        return None

    async def _try(self, rate: float, good: float, bad: float) -> tuple[float, float]:
        step = await self._step(rate, self._scale.ramp_seconds)
        if not step.sustained and step.cpu["others"] > _OTHERS and not self._again:
            self._again = True
            step = await self._step(rate, self._scale.ramp_seconds)
        return (rate, bad) if step.sustained else (good, rate)

    async def _step(self, rate: float, seconds: int) -> Step:
        self._report.say(f"{self._name}, {rate:,.0f} changes/s for {seconds} s")
        before = await self._stack.head()
        async with listening(self._stack, self._web, 1, each=False) as clients:
            async with writers.writing(self._stack, seconds, self._script, rate=rate / self._rows) as run:
                await asyncio.sleep(_SETTLE_SECONDS)
                cpu = await self._cpu(run.child.pid, clients.child.pid, seconds - 2 * _SETTLE_SECONDS)
                written = await run.written()
            ended = len(clients.samples)
            await self._stack.until_drained(_CATCH_UP_SECONDS)
            expected = await self._stack.head() - before
            missing = expected - await _arrived(clients, expected)
        step = Step(
            rate,
            written.rate * self._rows,
            _rate(clients.samples[:ended]),
            written.late_seconds,
            *_ends(clients.samples[:ended]),
            missing,
            cpu,
        )
        self.steps.append(step)
        return step

    async def _cpu(self, pgbench: int, receiver: int, seconds: float) -> dict[str, float]:
        """Returns how much of a core each has used in these seconds."""
        stack = self._stack
        trees = {"Postgres": stack.postmaster, "bridge": self._bridge, "Redis": stack.valkey, "web": self._web.pid}
        trees |= {"writers": pgbench, "client": receiver}

        def look() -> dict[str, float]:
            used = {name: process.cpu_seconds(pid) for name, pid in trees.items()}
            used["bench"] = process.cpu_seconds(os.getpid(), tree=False)
            used["others"] = process.others_seconds()
            return used

        before = look()
        await asyncio.sleep(seconds)
        return {name: max(0.0, value - before[name]) / seconds for name, value in look().items()}


async def _arrived(clients: Clients, expected: int) -> int:
    """Waits for a bounded time for the last events, and returns how many have arrived."""

    async def all_arrived() -> bool:
        return bool(clients.samples) and clients.samples[-1].events >= expected

    await process.until(all_arrived, _CATCH_UP_SECONDS)
    return clients.samples[-1].events if clients.samples else 0


def _ends(samples: list[Sample]) -> tuple[float, float]:
    """Returns the median delay of the first second in which something arrived, and of the last."""
    heard = [sample for sample in samples if sample.delay is not None]
    if not heard:
        return math.inf, math.inf
    first = [sample.delay for sample in heard if sample.delay is not None and sample.at <= heard[0].at + 1]
    last = [sample.delay for sample in heard if sample.delay is not None and sample.at >= heard[-1].at - 1]
    return median(first), median(last)


def _rate(samples: list[Sample]) -> float:
    moving = [sample for sample in samples if sample.events]
    if len(moving) < 2:
        return 0.0
    return (moving[-1].events - moving[0].events) / (moving[-1].at - moving[0].at)
