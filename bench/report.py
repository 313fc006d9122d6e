"""What the bench shows: progress, tables, the aims and whether they were reached; and what it leaves behind: JSON, for plots and others."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.process import BenchError

_WIDTH = 140


class Figure(str):
    """A number as it is shown; `value` is the number."""

    value: float

    @staticmethod
    def of(value: float, spec: str, unit: str = "") -> "Figure":
        """Formats a number. A percentage's value is a share."""
        figure = Figure(format(value, spec) + unit)
        figure.value = value
        return figure


@dataclass
class Report:
    """Collects and prints. `say` tells what is being done, `table` what was found, `aim` what was hoped for.

    On a terminal a bar shows how much of a section is done: `expect` says how many things it will `say`.
    """

    console: Console = field(default_factory=lambda: Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH))
    results: dict[str, Any] = field(default_factory=lambda: {"sections": {}, "aims": [], "failures": []})
    _progress: Progress | None = None
    _bar: TaskID | None = None
    _section: str = ""
    _said: int = 0
    _expected: int = 0

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Shows progress for as long as the section runs."""
        self._section, self._said, self._expected = name, 0, 0
        self.results["sections"][name] = {"tables": []}
        with self._bars() as self._progress:
            self._bar = self._progress.add_task("", section=name, total=None) if self._progress else None
            yield
        self._progress, self._section, self._expected = None, "", 0

    def _bars(self) -> AbstractContextManager[Progress | None]:
        if not self.console.is_terminal:
            return nullcontext()
        section, doing = TextColumn("{task.fields[section]}"), TextColumn("{task.description}")
        return Progress(section, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), doing, console=self.console, transient=True)

    def expect(self, steps: int) -> None:
        """Says how many more things there are to do in this section."""
        self._expected += steps

    def say(self, text: str) -> None:
        """Says what is being done now."""
        total = max(self._expected, self._said + 1)
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, description=text, completed=self._said, total=total)
        else:
            place = f"{self._section} {self._said + 1}/{total}: " if self._expected else f"{self._section}: " if self._section else ""
            self.console.print(f"{place}{text}", markup=False, soft_wrap=True)
        self._said += 1

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
        """Prints a section's table; the first column is text, the others are figures."""
        self._print(title, columns, rows, notes)
        kept = {"title": title, "columns": columns, "rows": [[_plain(cell) for cell in row] for row in rows], "notes": notes}
        self.results["sections"][self._section]["tables"].append(kept)

    def machine(self, rows: Sequence[tuple[str, str]]) -> None:
        """Prints what all was measured on."""
        self._print("Machine", ("what", "is"), rows)
        self.results["machine"] = dict(rows)

    def _print(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
        table = Table(box=None, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 or len(columns) == 2 else "right", no_wrap=len(columns) > 2)
        for row in rows:
            table.add_row(*row)
        self.console.print()
        self.console.print(title, style="bold", markup=False)
        self.console.print(table)
        for note in notes:
            self.console.print(f"  {note}", markup=False, style="dim")
        self.console.print()

    def aim(self, what: str, wanted: str, found: str, reached: bool) -> None:
        """Remembers an aim for the last table."""
        self.results["aims"].append({"what": what, "aim": wanted, "found": _plain(found), "shown": found, "reached": reached})

    @contextmanager
    def surviving(self, name: str) -> Iterator[None]:
        """Goes on where a peer fails, which is left out then, and says so; the run fails at its end."""
        try:
            yield
        except BenchError as error:
            self.say(f"{name} is left out: {error}")
            self.fail(f"{name}: {error}")

    def fail(self, what: str) -> None:
        """Remembers what makes figures worthless; the run goes on, and fails at its end."""
        self.results["failures"].append(what)

    def aims(self) -> None:
        """Prints what was hoped for and what was found."""
        rows = [(each["what"], each["aim"], each["shown"], "reached" if each["reached"] else "missed") for each in self.results["aims"]]
        if rows:
            self._print("Aims", ("what", "aim", "found", ""), rows, ("They are those of an idle machine with two cores.",))

    def write(self, path: Path) -> None:
        """Writes all that was found as JSON; numbers are numbers."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(self.results, option=orjson.OPT_INDENT_2))


def _plain(cell: str) -> str | float:
    return cell.value if isinstance(cell, Figure) else cell


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value below which a share of all lies; nan of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


def milliseconds(seconds: float, unit: str = "") -> Figure:
    """Returns a time in milliseconds, more exactly where it is short."""
    return Figure.of(seconds * 1000, ",.2f" if seconds < 0.1 else ",.0f", unit)
