"""What the bench shows: progress on a terminal, plain lines elsewhere; plain tables; the aims and whether they were reached."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.status import Status
from rich.table import Table

_WIDTH = 110


@dataclass
class Report:
    """Collects and prints. `say` tells what is being done, `table` what was found, `aim` what was hoped for."""

    console: Console = field(default_factory=lambda: Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH))
    _status: Status | None = None
    _section: str = ""
    _aims: list[tuple[str, str, str, bool]] = field(default_factory=list)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Shows progress for as long as the section runs."""
        self._section = name
        if self.console.is_terminal:
            with self.console.status(name) as self._status:
                yield
        else:
            yield
        self._status, self._section = None, ""

    def say(self, text: str) -> None:
        """Says what is being done now."""
        if self._status is not None:
            self._status.update(f"{self._section}: {text}")
        else:
            self.console.print(f"{self._section}: {text}" if self._section else text, markup=False, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
        """Prints a table; the first column is text, the others are figures."""
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self.console.print()
        self.console.print(table)
        for note in notes:
            self.console.print(f"  {note}", markup=False, style="dim")
        self.console.print()

    def aim(self, what: str, wanted: str, found: str, reached: bool) -> None:
        """Remembers an aim for the last table."""
        self._aims.append((what, wanted, found, reached))

    def aims(self) -> None:
        """Prints what was hoped for and what was found."""
        if self._aims:
            rows = [(what, wanted, found, "reached" if reached else "missed") for what, wanted, found, reached in self._aims]
            self.table("Aims (on an idle machine)", ("what", "aim", "found", ""), rows)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value below which a share of all lies; nan of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.2f}" if seconds < 0.1 else f"{seconds * 1000:,.0f}"
