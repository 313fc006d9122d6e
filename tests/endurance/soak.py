"""The soak: a cluster of real processes under half an hour of clients that come and go, and then: has everything come back?

- Warm-up, baseline, churn, calm. The warm-up is a short churn; before the baseline and in the calm nobody is there, and hardly anything
  is written.
- Meanwhile readers that stay, or come back with their id, must get all that the log has for them, once, in order.
- Whatever breaks a bound, is lost, or is an error in a log, makes the exit code 1.
"""

import asyncio
import random
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from redis.exceptions import RedisError
from rich.console import Console

from tests.endurance import leak
from tests.endurance.audit import Audit, ShortLived, steady
from tests.endurance.burst import bursts
from tests.endurance.figures import BASELINE, CALM, CHURN, WARM_UP, figures, settled
from tests.endurance.load import Load
from tests.endurance.outcome import WIDTH, Outcome, errors_of, telling
from tests.endurance.pace import LOG_ENTRIES, Pace
from tests.endurance.sampler import Sampler
from tests.endurance.visit import VISITS
from tests.endurance.visitor import Visitors
from tests.support.cluster import Cluster, cluster
from tests.support.gateway import until

_BASELINE_SAMPLES = 4
_MISSED = 5
_CUSTOMERS, _PROVIDERS, _BOOKINGS = 24, 8, 120
_IDLE_CHANNELS = 2
"""Those of the beat and of what web processes tell each other."""


class Soak:
    """One run. Whatever happens to it, `outcome` has what is known."""

    def __init__(self, pace: Pace, console: Console, leaks: Sequence[str] = ()) -> None:
        self.pace = pace
        self.outcome = Outcome(figures(LOG_ENTRIES))
        self._console = console
        self._leaks = leaks
        self._phase = WARM_UP
        self._visitors: Visitors | None = None
        self._audit: Audit | None = None
        self._over = asyncio.Event()
        self._began = time.monotonic()
        self._load: Load | None = None
        self._last = 0
        """The last of the bookings that are there from the beginning."""

    async def run(self, directory: Path) -> None:
        """Runs all phases."""
        async with cluster(directory, **self.pace.settings()) as each:
            for web, kind in zip(each.webs, self._leaks, strict=False):
                await leak.put_in_place(web, kind)
            try:
                await self._run(each)
            finally:
                self.outcome.faults += errors_of([*each.bridges, *each.webs])

    async def _run(self, each: Cluster) -> None:
        connection = await each.servers.connect()
        self._load = await Load.prepare(connection, _CUSTOMERS, _PROVIDERS, _BOOKINGS, self.pace.rate)
        self._last = await connection.fetchval("select max(id) from public.bookings")
        await connection.close()
        self._began = time.monotonic()
        sampler = await Sampler.connect(each)
        try:
            async with asyncio.TaskGroup() as group:
                aside = [group.create_task(self._sample(sampler)), group.create_task(self._tell())]
                await self._churn(each, WARM_UP, self.pace.warm_up)
                await self._rest(each, BASELINE)
                await self._churn(each, CHURN, self.pace.churn)
                await self._rest(each, CALM)
                self._over.set()
                await asyncio.gather(*aside)
        finally:
            await sampler.close()

    # Phases

    async def _churn(self, each: Cluster, phase: str, seconds: float) -> None:
        """Lets clients come and go and writers write, holds what the steady readers get against the log, and ends all of it."""
        self._phase = phase
        load = self._loaded(self.pace.rate)
        door = ShortLived(each.doors, self.pace.token)
        readers = steady(door, load)
        audit = self._audit = Audit(each.servers, readers)
        visitors = self._visitors = Visitors([web.port for web in each.webs], load.customers, load.providers, each.webs[0].env)
        await audit.begin()
        stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                for reader in readers:
                    group.create_task(reader.run())
                await until(lambda: all(reader.statuses for reader in readers), self.pace.patience)
                visits = [group.create_task(visitors.run(VISITS, self.pace.idle)) for _ in range(self.pace.visitors)]
                writing = [group.create_task(load.write(each.servers, stop)) for _ in range(self.pace.writers)]
                writing.append(group.create_task(bursts(load, each.servers, stop, self._last, self.pace.burst_pause, self.pace.burst_rows)))
                writing.append(group.create_task(audit.run(stop)))
                await asyncio.sleep(seconds)
                for task in visits:
                    task.cancel()
                stop.set()
                await asyncio.gather(*writing)
                await audit.finish(load, self.pace.patience)
                for reader in readers:
                    reader.stop()
        finally:
            self.outcome.add(phase, visitors, audit, load.committed)
            self._visitors = None

    async def _rest(self, each: Cluster, phase: str) -> None:
        """Lets hardly anything happen: before the baseline until all have left, in the calm until everything has come back."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loaded(1.0).write(each.servers, stop, pause=1.0))
            if phase == BASELINE:
                with suppress(TimeoutError):
                    await until(self._left, self.pace.settling)
                self._phase = phase
                await until(lambda: self._count(phase) >= _BASELINE_SAMPLES, self.pace.patience + 10 * self.pace.sample)
            else:
                self._phase = phase
                await asyncio.sleep(self.pace.calm)
                with suppress(TimeoutError):
                    await until(lambda: settled(self.outcome.samples, self.outcome.known), self.pace.settling)
            stop.set()

    def _loaded(self, rate: float) -> Load:
        """Returns writers that know nothing of what others have written."""
        assert self._load is not None
        return Load(self._load.customers, self._load.providers, self._load.bookings, rate)

    def _left(self) -> bool:
        """Whether nobody is there any more, as far as the last sample knows."""
        if not self.outcome.samples:
            return False
        values = self.outcome.samples[-1].values
        return not any(values["connections"].values()) and values["channels"]["valkey"] <= _IDLE_CHANNELS

    def _count(self, phase: str) -> int:
        return sum(sample.phase == phase for sample in self.outcome.samples)

    # Beside them

    async def _sample(self, sampler: Sampler) -> None:
        # redis-py swallows a cancellation now and then: it is looked for.
        missed, task = 0, asyncio.current_task()
        while not self._over.is_set() and task is not None and not task.cancelling():
            began = time.monotonic()
            clients = self._visitors.open if self._visitors else 0
            try:
                self.outcome.samples.append(await sampler.take(self._phase, clients))
            except (OSError, RedisError, asyncpg.PostgresError) as error:
                # Such as an answer that takes too long: of many samples one may be missing.
                missed += 1
                if missed > _MISSED:
                    raise
                self._console.print(f"a sample is missing: {error!r}", markup=False)
            await self._pause(began + self.pace.sample - time.monotonic())

    async def _tell(self) -> None:
        with telling(self._console, self.pace.total) as say:
            while not self._over.is_set():
                say(self._phase, self._doing(), time.monotonic() - self._began)
                await self._pause(1.0)

    async def _pause(self, seconds: float) -> None:
        """Waits for so long, or until all is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._over.wait()

    def _doing(self) -> str:
        values = self.outcome.samples[-1].values if self.outcome.samples else {}
        memory = ", ".join(f"{part} {value:.0f}" for part, value in values.get("rss", {}).items() if part.startswith("web"))
        here = f"{self._visitors.open} clients, {self._visitors.did.total():,} visits, " if self._visitors else ""
        checked = self._audit.checked if self._audit else 0
        return f"{here}{sum(values.get('changes', {}).values()):.0f} changes/s, {checked:,} events checked, MB: {memory}"


def soak(
    minutes: float,
    seed: int,
    out: Path | None = None,
    *,
    plot: Path | None = None,
    json: Path | None = None,
    leaks: Sequence[str] = (),
) -> int:
    """Runs a soak of about so many minutes; returns the exit code. In `out` it leaves soak.json and soak.png, like `json` and `plot`.

    `leaks` are those of the web processes, which the soak must find (tests/endurance/leak.py).
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    outcome, interrupted = _soaked(Pace.of(minutes), seed, leaks, console)
    plot, json = plot or (out and out / "soak.png"), json or (out and out / "soak.json")
    outcome.report(console, f"Soak of {minutes:g} minutes, seed {seed}", interrupted=interrupted)
    if json is not None:
        outcome.write(json, minutes=minutes, seed=seed)
        console.print(f"written: {json}", markup=False)
    if plot is not None:
        missing = outcome.draw(f"Soak of {minutes:g} minutes, seed {seed}", plot)
        console.print(f"no plot: it needs {missing}" if missing else f"drawn: {plot}", markup=False)
    return 130 if interrupted else 0 if outcome.well else 1


def _soaked(pace: Pace, seed: int, leaks: Sequence[str], console: Console) -> tuple[Outcome, bool]:
    random.seed(seed)
    each = Soak(pace, console, leaks)
    with tempfile.TemporaryDirectory(prefix="rowcast-soak-", ignore_cleanup_errors=True) as directory:
        try:
            asyncio.run(each.run(Path(directory)))
        except KeyboardInterrupt:
            return each.outcome, True
        except (Exception, BaseExceptionGroup) as error:
            console.print("".join(traceback.format_exception(error)), markup=False)
            each.outcome.faults.append(f"the soak has failed: {error!r}"[:500])
    return each.outcome, False


def command(
    minutes: Annotated[float, typer.Option(min=1, help="How long it takes, about.")] = 30,
    seed: Annotated[int | None, typer.Option(help="What is left to chance follows from it, as far as processes let it.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Where the picture goes (PNG; needs matplotlib).")] = None,
    json: Annotated[Path | None, typer.Option(help="Where figures and samples go.")] = None,
) -> None:
    """Lets clients come and go for half an hour, and looks whether everything comes back to where it was."""
    # SIGTERM ends like Ctrl-C, also where a shell in the background has switched that off: everything that was started is stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    raise SystemExit(soak(minutes, seed if seed is not None else secrets.randbits(32), plot=plot, json=json))


if __name__ == "__main__":
    typer.run(command)
