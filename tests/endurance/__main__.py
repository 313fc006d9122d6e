"""Minutes to hours, and no part of the tests: everything broken in turn, the recovery times, the soak.

Everything runs in a directory of its own, on free ports, and is gone at the end. The exit code is 1 if anything was lost, doubled,
out of order, told to others, or refused; Ctrl-C ends it sooner, with what is known by then. `make endure` runs all three.

    python -m tests.endurance storm --minutes 10 --seed 7

    python -m tests.endurance storm --minutes 1 --clients 60 --only "Redis killed" --only "web killed"

    python -m tests.endurance recovery --times 5 --json recovery.json
"""

import asyncio
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tests.endurance import recovery as recoveries
from tests.endurance import storm as storms
from tests.endurance.failure import CASES
from tests.endurance.show import console, showing, stop_on_signals, write
from tests.endurance.soak import command as soak

Result = TypeVar("Result")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Json = Annotated[Path | None, typer.Option("--json", help="Where all numbers are written to.")]
Keep = Annotated[Path | None, typer.Option("--keep", help="A directory to be made, in which the logs of all processes stay.")]


@app.command()
def storm(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long things are broken.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="What is left to chance follows from it.")] = None,
    clients: Annotated[int, typer.Option(min=1, help="How many clients.")] = 500,
    rate: Annotated[float, typer.Option(min=1, help="Committed changes a second.")] = 500.0,
    only: Annotated[list[str] | None, typer.Option(help="A trouble by its name; may be given again. Without it, all.")] = None,
    json: Json = None,
    keep: Keep = None,
) -> None:
    """Breaks everything in turn under load, and counts what was lost, doubled, out of order or told to others."""
    plan = storms.Plan(minutes * 60, secrets.randbits(32) if seed is None else seed, clients, rate, only=tuple(only or ()))
    console.print(f"seed {plan.seed} (the same again: --seed {plan.seed})")

    async def work(directory: Path) -> storms.Result:
        stop = stop_on_signals(asyncio.get_running_loop())
        with showing(plan.seconds) as show:
            return await storms.run(plan, directory, stop, show.say)

    result = _in_directory(keep, work)
    storms.tell(result)
    write(result.as_json(), json)
    raise SystemExit(1 if result.faults else 0)


@app.command()
def recovery(
    times: Annotated[int, typer.Option(min=1, help="How often each.")] = 5,
    only: Annotated[list[str] | None, typer.Option(help="The beginning of a case's name; may be given again. Without it, all.")] = None,
    json: Json = None,
    keep: Keep = None,
) -> None:
    """Measures how soon events flow again after each failure."""
    cases = [case for case in CASES if not only or case.name.startswith(tuple(only))]

    async def work(directory: Path) -> recoveries.Result:
        stop = stop_on_signals(asyncio.get_running_loop())
        with showing(times * len(cases)) as show:
            return await recoveries.run(times, directory, stop, show.say, cases)

    result = _in_directory(keep, work)
    recoveries.tell(result)
    write(result.as_json(), json)
    raise SystemExit(1 if result.bad else 0)


app.command(name="soak")(soak)


def _in_directory(keep: Path | None, work: Callable[[Path], Awaitable[Result]]) -> Result:
    """Runs it in a directory that is gone afterwards, or in one that is kept."""
    if keep is not None:
        keep.mkdir(parents=True)
    made: AbstractContextManager[str] = nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="rowcast-endurance-")

    async def run() -> Result:
        return await work(Path(directory))

    with made as directory:
        try:
            return asyncio.run(run())
        except KeyboardInterrupt:
            console.print("stopped")
            raise SystemExit(130) from None


if __name__ == "__main__":
    app()
