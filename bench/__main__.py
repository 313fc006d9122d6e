"""`python -m bench`: every section, or some; with servers of its own, that end with it."""

import asyncio
import os
import platform
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from bench import alerts, apart, bell, delay, edge, owners, plot, process, stalled, step, storm, throughput
from bench.process import BenchError
from bench.report import Report
from bench.scale import FULL, QUICK, Scale
from bench.stack import Stack
from gateway import embedded


class Section(StrEnum):
    """A part of the bench."""

    bell = "bell"
    delay = "delay"
    throughput = "throughput"
    edge = "edge"
    apart = "apart"
    stalled = "stalled"
    storm = "storm"
    step = "step"
    owners = "owners"
    alerts = "alerts"


_LIBRARIES = ("uvicorn", "uvloop", "starlette", "sse-starlette", "redis", "hiredis", "asyncpg", "pyjwt")
_WORK: dict[Section, Callable[[Stack, Scale, Report], Awaitable[None]]] = {
    Section.bell: bell.run,
    Section.delay: delay.run,
    Section.throughput: throughput.run,
    Section.edge: edge.run,
    Section.apart: apart.run,
    Section.stalled: stalled.run,
    Section.storm: storm.run,
    Section.step: step.run,
    Section.owners: owners.run,
    Section.alerts: alerts.run,
}


def main(
    only: Annotated[list[Section] | None, typer.Option(help="A section; may be given again. Without it, all.")] = None,
    out: Annotated[Path, typer.Option(help="Where results.json and results.png are written.")] = Path("bench-results"),
    quick: Annotated[bool, typer.Option("--quick", help="About two minutes, with rougher figures.")] = False,
) -> None:
    """Measures what a change costs its writers, how long it takes to the clients, and how many a second there may be."""
    # SIGTERM ends like Ctrl-C, also where a shell in the background has switched that off: everything that was started is stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = Report()
    try:
        with tempfile.TemporaryDirectory(prefix="rowcast-bench-") as directory:
            report.say("starting servers")
            with embedded.start(Path(directory) / "data") as servers:
                asyncio.run(_run(servers, Path(directory), only or list(Section), QUICK if quick else FULL, report))
        report.write(out / "results.json")
        report.say(f"written: {out / 'results.json'}")
        missing = plot.draw(report.results, out / "results.png")
        report.say(f"no plot: it needs {missing}" if missing else f"drawn: {out / 'results.png'}")
        if failures := report.results["failures"]:
            raise BenchError("; ".join(failures))
    except KeyboardInterrupt:
        report.console.print("stopped")
        raise SystemExit(130) from None
    except (BenchError, embedded.EmbeddedError) as error:
        report.console.print(f"bench: {error}", markup=False)
        raise SystemExit(1) from error


async def _run(servers: embedded.Servers, directory: Path, sections: list[Section], scale: Scale, report: Report) -> None:
    started = time.monotonic()
    async with Stack.open(servers, directory, scale.total_seconds) as stack:
        report.machine(await _machine(stack))
        for section, work in _WORK.items():
            if section in sections:
                others, began = process.others_seconds(), time.monotonic()
                with report.section(section.value):
                    await work(stack, scale, report)
                took = time.monotonic() - began
                others = (process.others_seconds() - others) / took
                report.results["sections"][section.value] |= {"seconds": took, "others": others}
                report.say(f"{section} took {took:.0f} s; others used {others:.0%} of one core meanwhile")
    report.aims()
    report.say(f"all took {time.monotonic() - started:.0f} s")


async def _machine(stack: Stack) -> list[tuple[str, str]]:
    settings = await stack.connection.fetch(
        "select name, current_setting(name) as value from unnest($1::text[]) name",
        ["server_version", "fsync", "synchronous_commit", "shared_buffers"],
    )
    postgres = {row["name"]: row["value"] for row in settings}
    redis = await stack.redis.info("server")
    appends = await stack.redis.config_get("append*")
    return [
        ("cores", f"{os.cpu_count()} {platform.machine()}, load average {os.getloadavg()[0]:.1f}"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("Python", ", ".join([platform.python_version(), *(f"{name} {version(name)}" for name in _LIBRARIES)])),
        ("Postgres", ", ".join(f"{name} {value}" for name, value in postgres.items())),
        (
            "Redis",
            f"{redis.get('server_name', 'redis')} {redis.get('valkey_version', redis['redis_version'])}, "
            + ", ".join(f"{k} {appends[k]}" for k in ("appendonly", "appendfsync")),
        ),
    ]


if __name__ == "__main__":
    typer.run(main)
