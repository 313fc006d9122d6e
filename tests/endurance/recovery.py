"""How soon events flow again: each failure several times, under a steady load, with a bridge that stands by.

- Measured is from a moment that each case names to the first event of a change that was begun after it: at the first client, and
  at the last one that it concerns. Each change carries the time at which it was begun.
- No time is asserted anywhere; that events flow again, and that nothing is lost, is.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from tests.endurance import show
from tests.endurance.failure import CASES, TAIL, Case, Stage, Ticks, Watcher
from tests.gateway.fanout.traffic import Traffic
from tests.support.cluster import Cluster, cluster
from tests.support.gateway import until
from tests.support.ledger import agreed, reading
from tests.support.proxy import Proxy, proxied
from tests.support.servers import Servers

WITHIN_SECONDS = 90.0
_CLIENTS = 20
_PAUSE_SECONDS = 0.02


@dataclass
class Times:
    """Of one case, in seconds, one number each time; `never` counts those times when events did not flow again."""

    name: str
    since: str
    first: list[float] = field(default_factory=list)
    everybody: list[float] = field(default_factory=list)
    never: int = 0

    def row(self) -> list[str]:
        """Returns its line of the table."""
        figures = [format(value, ".2f") for of in (self.first, self.everybody) if of for value in (median(of), max(of))]
        return [self.name, self.since, *(figures or ["never"] * 4), str(self.never or "")]


@dataclass
class Result:
    """All times, and what was found to be lost or wrong."""

    times: list[Times] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return len(self.faults) + sum(each.never for each in self.times)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def run(
    times: int,
    directory: Path,
    stop: asyncio.Event,
    say: Callable[[float, str], None],
    cases: Sequence[Case] = CASES,
    within: float = WITHIN_SECONDS,
) -> Result:
    """Measures all cases, each so many times, or until `stop` is set; events that do not flow again `within` so many seconds never do."""
    result = Result()
    done = 0
    for proxy_needed in (False, True):
        some = [case for case in cases if case.proxied == proxy_needed]
        if not some or stop.is_set():
            continue
        place = directory / ("through-a-proxy" if proxy_needed else "direct")
        place.mkdir()
        async with _stage(place, proxy_needed, result) as stage:
            for case in some:
                measured = Times(case.name, case.since)
                result.times.append(measured)
                for _ in range(times):
                    if stop.is_set():
                        break
                    say(done, case.name)
                    await _measure(stage, case, measured, within)
                    done += 1
    return result


@asynccontextmanager
async def _stage(directory: Path, proxy_needed: bool, result: Result) -> Any:
    """A cluster with clients and a steady load; at the end everybody must have everything."""
    proxies: list[Proxy] = []

    @asynccontextmanager
    async def through(servers: Servers) -> Any:
        async with proxied(servers.redis_url) as proxy:
            proxy.watched = TAIL
            proxies.append(proxy)
            yield Servers(servers.database_url, proxy.url(servers.redis_url))

    between: Callable[[Servers], AbstractAsyncContextManager[Servers]] = through if proxy_needed else nullcontext
    async with cluster(directory, between=between, ROWCAST_DRAIN="2s") as parts:
        watchers = [Watcher(parts.doors, "services", number) for number in range(1, _CLIENTS + 1)]
        ticks, halt = Ticks(), asyncio.Event()
        async with reading(watchers), asyncio.TaskGroup() as group:
            writer = group.create_task(ticks.write(parts.servers, halt, _PAUSE_SECONDS))
            stage = Stage(parts, watchers, proxies[0] if proxies else None)
            await ready(stage)
            yield stage
            halt.set()
            await writer
            result.faults += await _lost(parts, watchers, ticks)


async def _lost(parts: Cluster, watchers: Sequence[Watcher], ticks: Traffic) -> list[str]:
    ledger, faults = await agreed(parts.servers, watchers, within=WITHIN_SECONDS)
    faults += ticks.faults(ledger)
    return faults + [f"{each}: reset, {reason}" for each in watchers for reason in each.resets]


async def _measure(stage: Stage, case: Case, measured: Times, within: float) -> None:
    stage.concerned = stage.watchers
    since = await case.act(stage)
    for watcher in stage.concerned:
        watcher.look_for(since)
    try:
        await until(lambda: all(watcher.found for watcher in stage.concerned), within)
        found = [watcher.found - since for watcher in stage.concerned]
        measured.first.append(round(min(found), 3))
        measured.everybody.append(round(max(found), 3))
    except TimeoutError:
        measured.never += 1
    await heal(stage)
    await ready(stage)


async def heal(stage: Stage) -> None:
    """Everything runs again."""
    if stage.proxy is not None:
        stage.proxy.heal()
    for part in stage.cluster.parts:
        part.resume()
        if not part.runs:
            await part.start()


async def ready(stage: Stage) -> None:
    """Returns when events flow to everybody, and one bridge is active and another stands by."""
    now = time.monotonic()
    for watcher in stage.watchers:
        watcher.look_for(now)

    async def so() -> bool:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return all(watcher.found for watcher in stage.watchers) and await stage.listeners() == len(stage.cluster.bridges)
        return False

    await until(so, WITHIN_SECONDS)


def tell(result: Result) -> None:
    """Prints the table."""
    columns = ["what fails", "counted from", "next event: median", "worst", "everybody: median", "worst", "never"]
    show.table("Until events flow again, in seconds", columns, [each.row() for each in result.times])
    for fault in result.faults:
        show.console.print(f"  {fault}", markup=False)
    show.console.print("something was lost or did not come back" if result.bad else "nothing was lost", markup=False)
