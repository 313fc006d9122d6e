"""What came of a soak: samples, what was done, what was wrong; as it is told, printed, written and drawn."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.endurance import plot
from tests.endurance.audit import Audit
from tests.endurance.figures import CHURN, Figure, Row, Sample, broken, judge, table
from tests.endurance.visitor import Visitors
from tests.support.cluster import Program

WIDTH = 150
_LINE_SECONDS = 30.0
_SHOWN = 40

Say = Callable[[str, str, float], None]
"""Tells the phase, what is being done, and for how many seconds all has lasted."""


@dataclass
class Outcome:
    """Grows while a soak runs. `did` counts visits of the churn, by kind; `checked` are events of the steady readers that were right."""

    known: dict[str, Figure]
    samples: list[Sample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    committed: int = 0

    @property
    def rows(self) -> list[Row]:
        return judge(self.samples, self.known)

    @property
    def well(self) -> bool:
        """Whether everything was judged and has come back, and nothing was wrong."""
        rows = self.rows
        return bool(rows) and not self.faults and not broken(rows) and any(row.well for row in rows)

    def add(self, phase: str, visitors: Visitors, audit: Audit, committed: int) -> None:
        """Adds what came of one phase with clients."""
        self.faults += [f"{phase}: {fault}" for fault in (*visitors.faults, *audit.faults)]
        if phase == CHURN:
            self.did += visitors.did
            self.checked += audit.checked
            self.committed += committed

    def report(self, console: Console, title: str, *, interrupted: bool) -> None:
        """Prints what is known."""
        rows = self.rows
        console.print()
        console.print(title + (" (interrupted)" if interrupted else ""), style="bold", markup=False)
        console.print(", ".join(f"{what}: {count:,}" for what, count in self.did.most_common()) or "no clients yet", markup=False)
        console.print(f"{self.committed:,} changes, {self.checked:,} events of steady readers compared with the log", markup=False)
        console.print(table(rows, self.known))
        for fault in self.faults[:_SHOWN]:
            console.print(f"fault: {fault}", style="red", markup=False)
        if names := broken(rows):
            console.print(f"has not come back: {', '.join(names)}", style="red", markup=False)
        elif self.well:
            console.print("everything has come back, and nothing was lost", style="green")

    def write(self, path: Path, *, minutes: float, seed: int) -> None:
        """Writes all of it as JSON."""
        rows = self.rows
        told = {
            "minutes": minutes,
            "seed": seed,
            "well": self.well,
            "did": dict(self.did.most_common()),
            "committed": self.committed,
            "checked": self.checked,
            "faults": self.faults,
            "broken": broken(rows),
            "figures": [
                {**row._asdict(), "title": self.known[row.name].title, "unit": self.known[row.name].unit, "bound": str(row.bound or "")}
                for row in rows
            ],
            "samples": [sample._asdict() for sample in self.samples],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))

    def draw(self, title: str, path: Path) -> str | None:
        """Draws the samples; returns what is missing for that, or None."""
        if not self.samples:
            return "samples: there are none"
        return plot.draw(self.samples, self.rows, self.known, title, path)


def errors_of(programs: Iterable[Program]) -> list[str]:
    """Returns what processes have written that they should not, and which of them have ended."""
    found = []
    for program in programs:
        if program.process is not None and program.process.poll() is not None:
            found.append(f"{program.name} has ended with {program.process.returncode}")
        lines: Sequence[str] = program.log.read_text(errors="replace").splitlines()
        wrong = [line for line in lines if line.startswith("Traceback") or '"level": "error"' in line or '"level":"error"' in line]
        if wrong:
            found.append(f"{program.name} has written {len(wrong)} errors: {wrong[0][:300]}")
    return found


@contextmanager
def telling(console: Console, total: float) -> Iterator[Say]:
    """Shows what is being done: with a bar on a terminal, in lines now and then elsewhere."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.fields[phase]}"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=total, phase="")
            yield lambda phase, doing, seconds: progress.update(bar, phase=phase, description=doing, completed=seconds)
        return
    told, told_at = "", -math.inf

    def say(phase: str, doing: str, seconds: float) -> None:
        nonlocal told, told_at
        if phase != told or time.monotonic() - told_at >= _LINE_SECONDS:
            told, told_at = phase, time.monotonic()
            console.print(f"{seconds / 60:5.1f} of {total / 60:.0f} min  {phase}: {doing}", markup=False)

    yield say
