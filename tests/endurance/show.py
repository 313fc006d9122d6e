"""What an endurance run shows: how far it is, a table of numbers, and a file with all of them."""

import signal
import sys
import time
from asyncio import AbstractEventLoop, Event
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

_WIDTH = 140
_EVERY_SECONDS = 5.0

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)


class Show:
    """A bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, progress: Progress | None, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total) if progress else None
        self._total = total
        self._said = -_EVERY_SECONDS
        self._last = ""

    def say(self, done: float, text: str) -> None:
        """Says how much is done, and what is being done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=min(done, self._total), description=text)
            return
        # What is said once is shown; of what is said every second, some.
        steady = text[:1].isdigit() and self._last[:1].isdigit()
        if not steady or time.monotonic() - self._said >= _EVERY_SECONDS:
            self._said, self._last = time.monotonic(), text
            console.print(f"{done:5.0f}/{self._total:.0f}  {text}", markup=False, soft_wrap=True)


@contextmanager
def showing(total: float) -> Iterator[Show]:
    """Shows progress for as long as the block lasts."""
    if not console.is_terminal:
        yield Show(None, total)
        return
    with Progress(BarColumn(24), TimeElapsedColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        yield Show(progress, total)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; all columns but the first are figures."""
    made = Table(title=title, box=box.SIMPLE, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    for row in rows:
        made.add_row(*row)
    console.print(made)


def write(result: dict[str, Any], file: Path | None) -> None:
    """Writes a result as JSON, if somebody wants it."""
    if file is not None:
        file.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
        console.print(f"written: {file}", markup=False)


def stop_on_signals(loop: AbstractEventLoop) -> Event:
    """Returns what the first Ctrl-C or SIGTERM sets: what is known by then is checked and told. The second one ends at once."""
    stop = Event()

    def heard(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for each in (signal.SIGINT, signal.SIGTERM):
        # A shell in the background has Ctrl-C ignored.
        signal.signal(each, signal.default_int_handler)
        loop.add_signal_handler(each, heard, each)
    return stop
